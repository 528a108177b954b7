"""Apache Kafka: consumer groups in, confirmed publishing out."""

from adapters.kafka.backbone import BACKBONE
from adapters.kafka.config import Endpoint, Source, Target
from adapters.kafka.inbound import KafkaInbound
from adapters.kafka.outbound import KafkaOutbound
from gateway.broker.endpoint import PATTERNS, STREAMED
from gateway.port import Adapter, Side

ADAPTER = Adapter(
    protocol="kafka",
    summary="Apache Kafka: consumer groups in, confirmed publishing out.",
    endpoint=Endpoint,
    inbound=Side(address=Source, open=KafkaInbound, patterns=PATTERNS, settles=True),
    outbound=Side(address=Target, open=KafkaOutbound, patterns=PATTERNS | STREAMED),
    backbone=BACKBONE,
    examples={
        "endpoints": {"events": {"bootstrap_servers": ["127.0.0.1:9092"], "forward_headers": ["message-id"]}},
        "from": {"endpoint": "events", "topic": "orders.placed", "group": "order-relay"},
        "to": {"endpoint": "events", "topic": "orders.placed", "key": "$.order_id"},
    },
)
