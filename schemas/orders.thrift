namespace * shop.orders

/** The order service of the demo as Thrift knows it: the same names as in orders.proto. */
service Orders {
  Order PlaceOrder(1: PlaceOrderRequest request) throws (1: OutOfStock out_of_stock)
  Order GetOrder(1: string order_id)
  /** What happened to an order; nobody waits for an answer. */
  oneway void RegisterEvent(1: OrderEvent event)
}

struct PlaceOrderRequest {
  1: string customer_id
  2: list<OrderLine> lines
  3: optional string channel
}

struct OrderLine {
  1: string sku
  2: i32 quantity
}

enum OrderStatus {
  UNSPECIFIED = 0
  PLACED = 1
  PAID = 2
  SHIPPED = 3
}

struct Order {
  1: string order_id
  2: string customer_id
  3: list<OrderLine> lines
  4: OrderStatus status
  5: i64 total_cents
  6: optional i64 placed_at (timestamp = "us", round = "down")
}

struct OrderEvent {
  1: string order_id
  2: OrderStatus status
  3: i64 at (timestamp = "us", round = "down")
}

exception OutOfStock {
  1: string sku
  2: i32 available
}
