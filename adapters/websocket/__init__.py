"""WebSocket with messages of declared formats, in and out."""

from adapters.websocket.config import WebSocketEndpoint, WebSocketSource, WebSocketTarget
from adapters.websocket.inbound import WebSocketInbound
from adapters.websocket.outbound import WebSocketOutbound
from gateway.pattern import Pattern
from gateway.port import Adapter, Side

ADAPTER = Adapter(
    protocol="websocket",
    summary="WebSocket: messages as JSON, text, bytes or declared records; one way, request and reply, streams",
    endpoint=WebSocketEndpoint,
    inbound=Side(address=WebSocketSource, open=WebSocketInbound, patterns=frozenset(Pattern)),
    outbound=Side(address=WebSocketTarget, open=WebSocketOutbound, patterns=frozenset(Pattern)),
    examples={
        "endpoints": {
            "live": {"listen": "0.0.0.0:8080", "origins": ["https://shop.example"]},
            "prices": {"target": "ws://prices:8080"},
        },
        "from": {"endpoint": "live", "path": "/orders/{order_id}/events", "mode": "stream", "requests": "query"},
        "to": {"endpoint": "prices", "path": "/quotes", "correlation": {"field": "id"}},
    },
)
