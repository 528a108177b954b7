"""Message is what gets translated; Context is what does not."""

import re
from collections.abc import Mapping, Sequence
from itertools import count
from secrets import token_hex
from types import MappingProxyType
from typing import Any, Final

import msgspec

Header = tuple[str, str | bytes]

NO_PARAMS: Mapping[str, Any] = MappingProxyType({})


TRACEPARENT: Final = "traceparent"
"""The header that carries Context.trace, wherever there are headers."""

REQUEST_ID: Final = "x-request-id"
"""The header that carries Context.request_id over HTTP."""

MESSAGE_ID: Final = "message-id"
"""The header that names a message, the same however often it is delivered."""

_TRACE: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[ -~]{1,200})?")


def trace_of(value: object) -> str:
    """A caller's W3C traceparent. Empty for what is none: it would be passed on to all that believe it is one."""
    if not value:
        return ""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    return value if isinstance(value, str) and _TRACE.fullmatch(value) else ""


_PROCESS: Final = token_hex(8)
_requests: Final = count()
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@~-]{1,128}")


def request_id_of(value: str | None) -> str:
    """A caller's request id, or a new one: no secret, and unique but for chance. What is not short and plain text is
    none: it would stand in logs."""
    return value if value and _REQUEST_ID.fullmatch(value) else f"{_PROCESS}{next(_requests):016x}"


class Message(msgspec.Struct, gc=False):
    """One message on its way between a socket and a socket.

    body: outside the codecs the wire form that the side's own Format reads and writes (mostly bytes),
        between them a plain value (see gateway.schema.values). None: there is no message, only metadata.
    headers: metadata that may cross, names in lower case; bytes only for binary values.
    params: what addressing captured (path, query, topic, partition ...), and on the way out what the
        outbound address asked for. On a reply: the receipt of a one-way delivery.
    key: ordering, partition or idempotency key. On a reply of a stream: the place after which the source can go on
        (HTTP's Last-Event-ID).
    """

    body: Any = b""
    headers: Sequence[Header] = ()
    params: Mapping[str, Any] = NO_PARAMS
    key: bytes | None = None


class Departure:
    """How a caller's connection ends while its calls go on, as the access log tells it. Who cuts it says why first."""

    __slots__ = ("why",)

    def __init__(self, why: str = "the caller left") -> None:
        self.why = why

    def stalled(self, seconds: float) -> None:
        """The caller took nothing for so long."""
        self.why = f"the caller took nothing for {seconds:g} s"


LEFT: Final = Departure()
"""Of callers that are never cut off; not to be written to."""


class Context(msgspec.Struct, gc=False):
    """One per call; never copied, never translated.

    deadline: absolute, in seconds on the event loop's clock (monotonic). The inbound sets the caller's own
        deadline or infinity; the Route lowers it to its own.
    peer: the caller's address for the access log.
    trace: the W3C traceparent of the call, or empty.
    request_id: what the caller calls its request, or the gateway; empty where the protocol has no word for it.
    departure: of the caller's connection, which its calls share.
    """

    deadline: float = float("inf")
    peer: str = ""
    trace: str = ""
    request_id: str = ""
    route: str = ""
    departure: Departure = LEFT
