namespace * shop.pricing

/** The pricing service of the demo. */
service Pricing {
  Quote quote(1: string sku, 2: i32 quantity) throws (1: UnknownSku unknown)
}

struct Quote {
  1: string sku
  2: i32 quantity
  3: i64 total_cents
  4: double discount
}

exception UnknownSku {
  1: string sku
}
