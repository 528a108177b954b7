"""SOAP 1.1 and 1.2 over HTTP, in and out."""

from adapters.soap.config import SoapEndpoint, SoapSource, SoapTarget
from adapters.soap.inbound import SoapInbound
from adapters.soap.outbound import SoapOutbound
from gateway.pattern import Pattern
from gateway.port import Adapter, Side

_UNARY = frozenset({Pattern.REQUEST_REPLY, Pattern.ONE_WAY})

ADAPTER = Adapter(
    protocol="soap",
    summary="SOAP 1.1 and 1.2 over HTTP, from a WSDL; declared faults, ?wsdl, WS-Security UsernameToken",
    endpoint=SoapEndpoint,
    inbound=Side(address=SoapSource, open=SoapInbound, patterns=_UNARY),
    outbound=Side(address=SoapTarget, open=SoapOutbound, patterns=_UNARY),
    examples={
        "endpoints": {
            "legacy": {"listen": "0.0.0.0:8080", "path": "/soap/orders", "wsdl": "schemas/orders.wsdl"},
            "warehouse": {"target": "http://warehouse:8080/soap", "wsdl": "schemas/orders.wsdl"},
        },
        "from": {"endpoint": "legacy", "operation": "PlaceOrder"},
        "to": {"endpoint": "warehouse", "operation": "PlaceOrder"},
    },
)
