"""What is spoken at an address of either protocol."""

from adapters.socket.config import PATTERNS, TcpEndpoint, UdpEndpoint
from gateway.codecs.declared_format import Formats
from gateway.codecs.format import Unknown
from gateway.net.failure_message import failure_message
from gateway.pattern import Pattern
from gateway.port import Contract, ContractError
from gateway.schema.types import STRING


def source_contract(endpoint: TcpEndpoint | UdpEndpoint, formats: Formats, pattern: str) -> Contract:
    """Of an inbound. Raises ContractError."""
    if endpoint.on_failure is not None:
        failure_message(endpoint.on_failure, formats)
    ordered = isinstance(endpoint, TcpEndpoint) and pattern == "request-reply" and formats.correlation is None
    if ordered and endpoint.on_failure == "drop":
        raise ContractError(
            "a failure that is not answered would put all later replies in the wrong place",
            field=("pattern",),
            hint="correlate by a field, or choose another on_failure",
        )
    where = f"on {endpoint.listen}" if endpoint.listen else f"from {endpoint.target}"
    place = f"{endpoint.protocol} {where}"
    return Contract(
        patterns=_patterns(endpoint, pattern),
        format=formats.received_request,
        reply_format=formats.reply,
        request=formats.request_type,
        reply=formats.reply_type,
        unknown=endpoint.unknown,
        metadata={"peer": STRING},
        claim=place,
        holds=(place,),
        describe=_describe(endpoint, formats, pattern, where),
    )


def target_contract(endpoint: TcpEndpoint | UdpEndpoint, formats: Formats, pattern: str, where: str) -> Contract:
    """Of an outbound. where: for `explain`. Raises ContractError."""
    return Contract(
        patterns=_patterns(endpoint, pattern),
        format=formats.request,
        reply_format=formats.received_reply,
        request=formats.request_type,
        reply=formats.reply_type,
        unknown=Unknown.DROP,
        describe=_describe(endpoint, formats, pattern, where),
    )


def _patterns(endpoint: TcpEndpoint | UdpEndpoint, pattern: str) -> frozenset[Pattern]:
    """Raises ContractError where the endpoint can't do it."""
    if isinstance(endpoint, TcpEndpoint) and pattern == "stream":
        if endpoint.tls is not None:
            raise ContractError("a stream needs a half-close, which TLS connections don't have", field=("pattern",))
        if endpoint.framing.single:
            text = "with framing until-close a connection carries one message each way"
            raise ContractError(text, field=("pattern",))
    return frozenset({PATTERNS[pattern]})


def _describe(endpoint: TcpEndpoint | UdpEndpoint, formats: Formats, pattern: str, where: str) -> str:
    manner = f" by {endpoint.framing.kind}" if isinstance(endpoint, TcpEndpoint) else ", best effort"
    return f"{endpoint.protocol} {pattern} {where}, {formats.request.name}{manner}"
