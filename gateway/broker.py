"""Broker: what the addresses of all brokers' adapters speak, by how they ask and answer."""

from collections.abc import Mapping
from typing import ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from gateway.codecs.format import Unknown
from gateway.codecs.json.settings import JsonSettings
from gateway.net.broker.redelivery import Retries
from gateway.pattern import Pattern
from gateway.port import Address, Contract, Endpoint
from gateway.schema.types import STRING, Type

PATTERNS: Final = frozenset({Pattern.ONE_WAY, Pattern.REQUEST_REPLY})
STREAMED: Final = frozenset({Pattern.SERVER_STREAM, Pattern.SUBSCRIBE})
"""Of a target with mode subscribe."""

AFTER: Final = "$headers.last-event-id"
"""Where a caller of a stream says that it would go on from a position."""

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


class BrokerEndpoint(JsonSettings, Endpoint):
    """Base of the Endpoint of a broker's adapter."""

    max_message_bytes: int = Field(
        default=1024 * 1024,
        ge=1,
        le=512 * 1024 * 1024,
        description="Largest message either way, in bytes. Keep it within what the broker takes.",
    )

    def consuming(
        self,
        what: str,
        answers: Answers,
        *,
        letters: str,
        claim: str,
        metadata: Mapping[str, Type],
        uncertain: frozenset[str] = frozenset(),
    ) -> Contract:
        """Of a source. what: how it consumes. letters: where its dead letters go."""
        asks = answers == "one"
        return Contract(
            patterns=frozenset({Pattern.REQUEST_REPLY if asks else Pattern.ONE_WAY}),
            format=self.format,
            unknown=self.unknown,
            metadata=metadata,
            uncertain=uncertain,
            headers=self.forwarded,
            claim=claim,
            describe=f"consumes {what}{', and replies' if asks else ''}; dead letters go to {letters}",
        )

    def streaming(self, where: str, metadata: Mapping[str, Type], uncertain: frozenset[str] = frozenset()) -> Contract:
        """Of a target with mode subscribe, whose service is a gateway.follow.Follow. metadata: of each message, but for
        what it may lack."""
        told = {name: type_ for name, type_ in metadata.items() if name not in uncertain}
        return Contract(
            patterns=STREAMED,
            format=self.format,
            unknown=self.unknown,
            sources={"after": AFTER},
            endless=True,
            receipt={**told, "key": STRING},
            headers=self.forwarded,
            describe=f"streams what comes from now on to {where}",
        )

    def publishing(
        self,
        where: str,
        mode: Mode,
        *,
        confirmed: str,
        replied: str,
        sources: Mapping[str, str],
        receipt: Mapping[str, Type],
    ) -> Contract:
        """Of a target. where: to what it publishes. confirmed, replied: when it answers in each mode."""
        asks = mode == "reply"
        return Contract(
            patterns=frozenset({Pattern.REQUEST_REPLY if asks else Pattern.ONE_WAY}),
            format=self.format,
            unknown=Unknown.DROP,
            sources=sources,
            receipt={} if asks else receipt,
            headers=self.forwarded,
            describe=f"publishes to {where}, and answers {replied if asks else confirmed}",
        )
