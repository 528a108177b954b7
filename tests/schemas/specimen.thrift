namespace * specimen

/** The contract of specimen.proto, in Thrift: uint64, decimals and wide timestamps are text, null is JSON. */
struct Specimen {
  1: required string id
  2: required i32 small
  3: required i64 big
  4: required string huge
  5: required double ratio
  6: required bool flag
  7: required string label
  8: required binary blob
  9: optional string price
  10: optional string at
  11: optional i64 took (duration = "ns")
  12: optional Hue hue
  13: required map<string, string> tags
  14: required map<string, i64> sizes
  15: required list<i64> serial_numbers
  16: required list<Part> parts
  17: optional Place origin
  18: optional string card
  19: optional Money cash
  20: optional i32 rank
  21: optional string nickname (json = "")
  22: optional Node tree
}

enum Hue {
  RED = 1
  DARK_BLUE = 2
}

struct Part {
  1: required string name
  2: required i64 count
}

struct Place {
  1: required string city
  2: optional string zip
}

struct Money {
  1: required string currency
  2: required i64 units
}

struct Node {
  1: required string name
  2: list<Node> children
}

struct Batch {
  1: required list<Specimen> specimens
}

struct Receipt {
  1: optional string topic
  2: optional i32 partition
  3: optional i64 offset
  4: optional string id
}

exception OutOfStock {
  1: required string sku
  2: required i64 available
}
