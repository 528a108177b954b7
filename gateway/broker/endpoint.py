"""Broker: what the addresses of all brokers' adapters speak, by how they ask and answer."""

from typing import ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from gateway.codecs.declared_format import DeclaredFormat
from gateway.net.broker.redelivery import Retries
from gateway.pattern import Pattern
from gateway.port import Address, Endpoint

PATTERNS: Final = frozenset({Pattern.ONE_WAY, Pattern.REQUEST_REPLY})
STREAMED: Final = frozenset({Pattern.SERVER_STREAM, Pattern.SUBSCRIBE})
"""Of a target with mode subscribe."""

AFTER: Final = "$headers.last-event-id"
"""Where a caller of a stream says that it would go on from a position."""

_IANA: Final = (("iso8859-", "iso-8859-"), ("cp125", "windows-125"), ("ascii", "us-ascii"))

Answers = Literal["none", "one"]
Mode = Literal["accepted", "reply", "subscribe"]


class BrokerSource(Retries, Address):
    """Base of the Source of a broker's adapter."""

    replies: Answers = Field(
        default="none",
        description="one: a message that names an address for its reply gets the route's reply there, with its "
        "correlation id, before it counts as consumed; a failure as a reply with the header gateway-status and a "
        "problem+json body. Other messages are handled too, and their replies discarded.",
    )


class BrokerTarget(Address):
    """Base of the Target of a broker's adapter.

    streamed: names of all that an address has with mode subscribe; the first must be given.
    """

    streamed: ClassVar[tuple[str, ...]]
    mode: Mode = Field(
        default="accepted",
        description="accepted: answer once the broker has confirmed the message. reply: answer with the reply that a "
        "consumer sends, with the request's correlation id, within the route's deadline. subscribe: stream to each "
        "caller what is published from now on, which a process consumes once for all of them. A stream can't be "
        "resumed: one that gives a Last-Event-ID is refused with UNIMPLEMENTED.",
    )

    @model_validator(mode="after")
    def _streamed(self) -> Self:
        if self.mode != "subscribe":
            return self
        needed = self.streamed[0]
        if not getattr(self, needed):
            raise ValueError(f"mode subscribe needs {needed}")
        for name in sorted(self.model_fields_set - {"mode", needed}):
            if name not in self.streamed:
                raise ValueError(f"{name} is for publishing, not for `mode: subscribe`")
            if str(getattr(self, name)).startswith("$"):
                why = "callers share what is consumed"
                raise ValueError(f"{name} can't come from the request in `mode: subscribe`: {why}")
        return self


class BrokerEndpoint(DeclaredFormat, Endpoint):
    """Base of the Endpoint of a broker's adapter.

    nulls: as Contract has it.
    """

    nulls: ClassVar[bool] = False

    max_message_bytes: int = Field(
        default=1024 * 1024,
        ge=1,
        le=512 * 1024 * 1024,
        description="Largest message either way, in bytes. Keep it within what the broker takes.",
    )

    @property
    def content_type(self) -> str:
        """What messages of its own say that they are."""
        match self.format:
            case "json":
                return "application/json"
            case "text":
                return f"text/plain; charset={_iana(self.charset)}"
            case _:
                return "application/octet-stream"


def _iana(charset: str) -> str:
    """The name that other languages know, of one of Python's."""
    for own, name in _IANA:
        if charset.startswith(own):
            return name + charset.removeprefix(own)
    return charset
