"""TCP and UDP with declared framings and records, in and out."""

from adapters.socket.config import TcpEndpoint, TcpSource, TcpTarget, UdpEndpoint, UdpSource, UdpTarget
from adapters.socket.inbound import TcpInbound
from adapters.socket.outbound import TcpOutbound
from adapters.socket.udp_inbound import UdpInbound
from adapters.socket.udp_outbound import UdpOutbound
from gateway.pattern import Pattern
from gateway.port import Adapter, Side

_TCP = frozenset({Pattern.ONE_WAY, Pattern.REQUEST_REPLY, Pattern.BIDI})
_UDP = frozenset({Pattern.ONE_WAY, Pattern.REQUEST_REPLY})

TCP = Adapter(
    protocol="tcp",
    summary="TCP: messages by declared framing, as JSON, text, bytes or declared records; listening or dialling",
    endpoint=TcpEndpoint,
    inbound=Side(address=TcpSource, open=TcpInbound, patterns=_TCP),
    outbound=Side(address=TcpTarget, open=TcpOutbound, patterns=_TCP),
    examples={
        "endpoints": {
            "tills": {"listen": "0.0.0.0:7000", "framing": {"kind": "delimiter", "delimiter": "\r\n"}},
            "mainframe": {
                "target": "mainframe:7001",
                "framing": {"kind": "length", "width": 2},
                "format": "record",
                "record": {
                    "charset": "cp037",
                    "fields": [
                        {"name": "account", "type": "text", "width": 10},
                        {"name": "amount", "type": "packed", "digits": 9, "places": 2},
                    ],
                },
            },
        },
        "from": {"endpoint": "tills", "pattern": "request-reply"},
        "to": {"endpoint": "mainframe", "pattern": "request-reply"},
    },
)

UDP = Adapter(
    protocol="udp",
    summary="UDP: a datagram is a message; best effort, with exact counters of what came and what was lost",
    endpoint=UdpEndpoint,
    inbound=Side(address=UdpSource, open=UdpInbound, patterns=_UDP),
    outbound=Side(address=UdpTarget, open=UdpOutbound, patterns=_UDP),
    examples={
        "endpoints": {
            "sensors": {"listen": "0.0.0.0:5140", "format": "text"},
            "collector": {"target": "collector:5140"},
        },
        "from": {"endpoint": "sensors", "pattern": "one-way"},
        "to": {"endpoint": "collector", "pattern": "one-way"},
    },
)
