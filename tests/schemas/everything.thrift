include "common.thrift"
namespace py everything
namespace * everything

typedef list<string> Names
typedef common.Money Amount

// One of each kind of value.
struct Everything {
  1: optional bool flag
  2: optional i8 tiny
  3: optional byte octet
  4: optional i16 small
  5: optional i32 medium
  6: optional i64 big
  7: optional double ratio
  8: optional string text
  9: optional binary blob
  10: optional common.Color color
  11: optional Amount amount
  12: optional Names names
  13: optional list<i32> numbers
  14: optional list<bool> flags
  15: optional list<list<i64>> matrix
  16: optional set<string> tags
  40: optional map<string, i32> counts
  41: optional map<i32, string> labels
  42: optional map<bool, double> odds
  43: optional map<common.Color, Payment> colors
  44: optional map<double, string> doubles
  45: optional map<binary, i32> blobs
  100: optional Payment payment
  101: optional Node tree
  102: optional list<Node> forest
  103: optional list<common.Color> palette
  104: optional list<double> ratios
  105: optional list<binary> chunks
  106: optional set<i32> unique
  107: optional list<map<string, list<Node>>> deep
  // Out of order and far away.
  30000: optional i32 far
  20: optional bool late
}

struct StructKeys {
  1: optional map<common.Money, string> rates
  2: optional map<list<i32>, i32> lists
}

union Payment {
  1: string card
  2: common.Money cash
  3: bool free
}

struct Node {
  1: required string name
  2: optional list<Node> children
  3: optional Node sibling
}

struct Times {
  1: optional i64 at (timestamp = "ms")
  2: optional i64 floor (timestamp = "s", round = "down")
  3: optional i64 took (duration = "us")
  4: optional common.Millis aliased
  5: optional list<common.Millis> many
  6: optional i64 nanos (timestamp = "ns")
}

struct Defaults {
  1: i32 size = common.DEFAULT_SIZE
  2: string name = "none"
  3: common.Color color = common.Color.GREEN
  4: list<string> empty = []
  5: list<string> filled = ["a", 'b']
  6: common.Money money = {"currency": "EUR", "units": 5}
  7: map<string, i32> table = {"x": 1}
  8: double half = 0.5
  9: bool yes = true
  10: optional i64 big = 0x10
  11: string bare
}

exception Refused {
  1: required string message
  2: optional common.Color color
}

service Everythings extends common.Base {
  Everything swap(1: Everything value) throws (1: Refused refused, 2: common.Unavailable unavailable)
  i32 add(1: i32 left, 2: i32 right)
  list<Node> nodes(1: Names names)
  void nothing()
  oneway void notify(1: string what, 2: i64 number)
  StructKeys keys(1: StructKeys value)
  Times times(1: Times value)
  Defaults defaults(1: Defaults value)
  Payment pay(1: Payment payment)
}
