"""Byte headers: names with values in bytes or none, which are all that a log's messages have besides key and value.

A request that wants a reply bears reply-to, which names a place on the broker, and correlation-id; its reply bears the
same correlation-id, and a failure is told as gateway.net.broker.reply has it. Both bear a message-id.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from gateway.message import MESSAGE_ID, TRACEPARENT, Context, Header, Message, trace_of
from gateway.net.broker.reply import CORRELATION_ID, GATEWAY_STATUS, Reply, message_id, message_of

REPLY_TO: Final = "reply-to"
CONTENT_TYPE: Final = "content-type"
OWN: Final = frozenset({TRACEPARENT, MESSAGE_ID})
"""Of what is published for a caller; none that the caller gave takes their place."""

ByteHeaders = list[tuple[str, bytes | None]]


def read_headers(given: Sequence[tuple[str, bytes | None]], wanted: frozenset[str]) -> tuple[list[Header], str]:
    """Those that the route wants, and the trace context."""
    found: list[Header] = []
    trace = ""
    for name, value in given:
        lower = name.lower()
        if lower == TRACEPARENT:
            trace = trace_of(value) or trace
        elif lower in wanted and value is not None:
            try:
                found.append((lower, value.decode()))
            except UnicodeDecodeError:
                found.append((lower, value))
    return found, trace


def last_header(given: Sequence[tuple[str, bytes | None]], name: str) -> bytes | None:
    """The last of this name; None where there is none, or none with a value."""
    return next((value for header, value in reversed(given) if header.lower() == name), None)


def byte_headers(headers: Iterable[Header], without: frozenset[str] = frozenset()) -> ByteHeaders:
    """All but those of these names."""
    return [
        (name, value if isinstance(value, bytes) else value.encode()) for name, value in headers if name not in without
    ]


def request_headers(
    request: Message,
    context: Context,
    content_type: str,
    asking: ByteHeaders | None = None,
    own: frozenset[str] = OWN,
) -> tuple[str, ByteHeaders]:
    """(message id, headers) of what is published for a caller. content_type: where the caller gives none, of what has a
    body. asking: those that a reply needs. own: OWN, and names that are as little the caller's."""
    identity = message_id(request.headers)
    headers = byte_headers(request.headers, own)
    if request.body is not None:
        _say(headers, content_type)
    headers += asking or ()
    headers.append((MESSAGE_ID, identity.encode()))
    if context.trace:
        headers.append((TRACEPARENT, context.trace.encode()))
    return identity, headers


def reply_headers(reply: Reply, correlation_id: bytes) -> ByteHeaders:
    """Of what is published for whoever asked."""
    headers = byte_headers(reply.headers)
    _say(headers, reply.content_type)
    headers += [(MESSAGE_ID, reply.message_id.encode()), (CORRELATION_ID, correlation_id)]
    return headers


def _say(headers: ByteHeaders, content_type: str) -> None:
    if all(name != CONTENT_TYPE for name, _ in headers):
        headers.append((CONTENT_TYPE, content_type.encode()))


def correlation_of(headers: Sequence[tuple[str, bytes | None]]) -> str:
    """The correlation id of a reply; empty where it has none."""
    return (last_header(headers, CORRELATION_ID) or b"").decode(errors="replace")


def told(
    body: bytes | None, headers: Sequence[tuple[str, bytes | None]], wanted: frozenset[str], limit: int
) -> Message:
    """What a reply tells, as message_of()."""
    status = (last_header(headers, GATEWAY_STATUS) or b"").decode(errors="replace")
    return message_of(body or b"", read_headers(headers, wanted)[0], status, limit)
