"""What the gateway publishes, as pika and the broker see it."""

import asyncio

from support.amqp_gateway import endpoint, name, publishing, target
from support.amqp_peer import channel, take

from gateway.message import Context, Message


async def test_a_message_with_all_properties(rabbitmq: str) -> None:
    exchange, queue = name("x"), name()
    address = target(
        exchange=exchange,
        declare={"type": "topic"},
        routing_key="$.region",
        type="order.placed",
        app_id="shop",
        priority=3,
        expiration="60s",
        headers={"tenant": "acme"},
    )
    async with publishing(endpoint(rabbitmq), address) as (_, (publish,)):
        with channel(rabbitmq) as open_:
            open_.queue_declare(queue)
            open_.queue_bind(queue, exchange, "eu.*")
        headers = [("message-id", "m-1"), ("correlation-id", "c-1"), ("x-text", "ü"), ("x-bytes", b"\xff\x00")]
        request = Message(b'{"a": 1}', headers, {"routing_key": "eu.west"})
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        reply = await publish.call(request, Context(trace=trace))
        assert reply.body is None
        assert reply.params == {"message_id": "m-1", "exchange": exchange, "routing_key": "eu.west"}
        (got,) = await asyncio.to_thread(take, rabbitmq, queue)
    assert (got.exchange, got.routing_key, got.body) == (exchange, "eu.west", b'{"a": 1}')
    properties = got.properties
    assert (properties.message_id, properties.correlation_id) == ("m-1", "c-1")
    assert (properties.content_type, properties.delivery_mode, properties.priority) == ("application/json", 2, 3)
    assert (properties.type, properties.app_id, properties.expiration) == ("order.placed", "shop", "60000")
    assert properties.timestamp > 1_700_000_000
    assert got.headers == {"x-text": "ü", "x-bytes": b"\xff\x00", "tenant": "acme", "traceparent": trace}
