"""Events: publish and subscribe by topic on a broker inside the gateway, with CloudEvents and webhooks at its edges."""

from adapters.events.config import Endpoint, Source, Target
from adapters.events.inbound import PATTERNS as INBOUND
from adapters.events.inbound import EventsInbound
from adapters.events.outbound import PATTERNS as OUTBOUND
from adapters.events.outbound import EventsOutbound
from gateway.port import Adapter, Side

ADAPTER = Adapter(
    protocol="events",
    summary="Publish and subscribe by topic on a broker inside the gateway: durable subscriptions, replay, CloudEvents "
    "over HTTP, webhooks.",
    endpoint=Endpoint,
    inbound=Side(address=Source, open=EventsInbound, on_backbone=EventsInbound, patterns=INBOUND, settles=True),
    outbound=Side(address=Target, open=EventsOutbound, on_backbone=EventsOutbound, patterns=OUTBOUND),
    examples={
        "endpoints": {"events": {"store": "events.db", "listen": "127.0.0.1:8090"}},
        "from": {"endpoint": "events", "topic": "orders.*", "subscription": "order-relay"},
        "to": {"endpoint": "events", "topic": "orders.placed", "key": "$.order_id"},
    },
)
