"""Apache Thrift, in and out: binary, compact and JSON, buffered, framed and over HTTP."""

from adapters.thrift.config import ThriftEndpoint, ThriftSource, ThriftTarget
from adapters.thrift.inbound import ThriftInbound
from adapters.thrift.outbound import ThriftOutbound
from gateway.pattern import Pattern
from gateway.port import Adapter, Side

_UNARY = frozenset({Pattern.REQUEST_REPLY, Pattern.ONE_WAY})

ADAPTER = Adapter(
    protocol="thrift",
    summary="Apache Thrift from its IDL: binary, compact and JSON; buffered, framed and HTTP; multiplexed services",
    endpoint=ThriftEndpoint,
    inbound=Side(address=ThriftSource, open=ThriftInbound, patterns=_UNARY),
    outbound=Side(address=ThriftTarget, open=ThriftOutbound, patterns=_UNARY),
    examples={
        "endpoints": {
            "orders": {"listen": "0.0.0.0:9090", "thrift": "schemas/orders.thrift"},
            "warehouse": {
                "target": "warehouse:9090",
                "thrift": "schemas/orders.thrift",
                "encoding": "compact",
                "transport": "framed",
            },
        },
        "from": {"endpoint": "orders", "function": "PlaceOrder"},
        "to": {"endpoint": "warehouse", "function": "PlaceOrder"},
    },
)
