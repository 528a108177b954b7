"""gRPC, in and out: all four call kinds, contract from files, descriptor sets or reflection."""

from adapters.grpc.config import Endpoint, Source, Target
from adapters.grpc.inbound import GrpcInbound
from adapters.grpc.outbound import GrpcOutbound
from gateway.pattern import Pattern
from gateway.port import Adapter, Side

_PATTERNS = frozenset({Pattern.REQUEST_REPLY, Pattern.SERVER_STREAM, Pattern.CLIENT_STREAM, Pattern.BIDI})

ADAPTER = Adapter(
    protocol="grpc",
    summary="gRPC over HTTP/2: unary calls and streams, health, reflection, google.rpc error details.",
    endpoint=Endpoint,
    inbound=Side(address=Source, open=GrpcInbound, patterns=_PATTERNS),
    outbound=Side(address=Target, open=GrpcOutbound, patterns=_PATTERNS),
    examples={
        "endpoints": {
            "rpc": {"listen": "0.0.0.0:50051", "proto": "schemas/orders.proto"},
            "orders": {"target": "orders:50051", "proto": "schemas/orders.proto"},
        },
        "from": {"endpoint": "rpc", "method": "shop.orders.v1.Orders/PlaceOrder"},
        "to": {"endpoint": "orders", "method": "shop.orders.v1.Orders/PlaceOrder"},
    },
)
