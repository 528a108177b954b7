/** What several services share. */
enum Color { RED = 1, GREEN = 2, DARK_BLUE = 5 }

typedef i64 (timestamp = "ms") Millis

struct Money {
  1: required string currency
  2: required i64 units
}

const i32 DEFAULT_SIZE = 7

exception Unavailable {
  1: string message
  2: optional i32 retry_seconds
}

service Base {
  void ping()
  string echo(1: string text)
}
