"""HTTP/1.1 with JSON and other bodies, in and out."""

from adapters.http.config import HttpEndpoint, HttpSource, HttpTarget
from adapters.http.inbound import HttpInbound
from adapters.http.outbound import HttpOutbound
from gateway.pattern import Pattern
from gateway.port import Adapter, Side

_STREAMS = {Pattern.SERVER_STREAM, Pattern.CLIENT_STREAM, Pattern.BIDI}

ADAPTER = Adapter(
    protocol="http",
    summary="REST over HTTP/1.1: JSON, forms, multipart, XML, MessagePack and protobuf; replies of many messages as a "
    "JSON array, NDJSON or server-sent events",
    endpoint=HttpEndpoint,
    inbound=Side(
        address=HttpSource,
        open=HttpInbound,
        patterns=frozenset({Pattern.REQUEST_REPLY, *_STREAMS}),
    ),
    outbound=Side(address=HttpTarget, open=HttpOutbound, patterns=frozenset({Pattern.REQUEST_REPLY, *_STREAMS})),
    examples={
        "endpoints": {"web": {"listen": "0.0.0.0:8080"}, "inventory": {"target": "http://inventory:8080"}},
        "from": {"endpoint": "web", "method": "POST", "path": "/orders/{order_id}/events"},
        "to": {"endpoint": "inventory", "method": "GET", "path": "/stock/{sku}"},
    },
)
