"""AMQP 0-9-1 (RabbitMQ): queues in, confirmed publishing and request-reply out."""

from adapters.amqp.backbone import BACKBONE
from adapters.amqp.config import Endpoint, Source, Target
from adapters.amqp.inbound import AmqpInbound
from adapters.amqp.outbound import AmqpOutbound
from gateway.broker.endpoint import PATTERNS, STREAMED
from gateway.port import Adapter, Side

ADAPTER = Adapter(
    protocol="amqp",
    summary="AMQP 0-9-1 (RabbitMQ): queues in, with replies where asked; confirmed publishing and request-reply out.",
    endpoint=Endpoint,
    inbound=Side(address=Source, open=AmqpInbound, patterns=PATTERNS, settles=True),
    outbound=Side(address=Target, open=AmqpOutbound, patterns=PATTERNS | STREAMED),
    backbone=BACKBONE,
    examples={
        "endpoints": {"rabbit": {"url": "amqp://127.0.0.1:5672", "forward_headers": ["message-id"]}},
        "from": {
            "endpoint": "rabbit",
            "queue": "orders",
            "declare": {"bindings": [{"exchange": "shop", "routing_key": "order.*"}]},
        },
        "to": {"endpoint": "rabbit", "exchange": "shop", "declare": {}, "routing_key": "$.region"},
    },
)
