"""Broker: what the addresses of all brokers' adapters speak, by how they ask and answer."""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from gateway.codecs.format import Unknown
from gateway.codecs.json.settings import JsonSettings
from gateway.pattern import Pattern
from gateway.port import Address, Contract, Endpoint
from gateway.schema.types import STRING, Type

PATTERNS: Final = frozenset({Pattern.ONE_WAY, Pattern.REQUEST_REPLY})
STREAMED: Final = frozenset({Pattern.SERVER_STREAM, Pattern.SUBSCRIBE})
"""Of a target with mode subscribe."""

AFTER: Final = "$headers.last-event-id"
"""Where a caller of a stream says that it would go on from a position."""

Answers = Literal["none", "one"]
"""A source's `replies`."""

Mode = Literal["accepted", "reply", "subscribe"]
"""A target's `mode`."""


def check_streamed(address: Address, needed: str, *names: str) -> None:
    """Of an address with mode subscribe. needed, names: all that it has besides. Raises ValueError."""
    if not getattr(address, needed):
        raise ValueError(f"mode subscribe needs {needed}")
    for name in sorted(address.model_fields_set - {"mode", needed}):
        if name not in names:
            raise ValueError(f"{name} is for publishing, not for `mode: subscribe`")
        if str(getattr(address, name)).startswith("$"):
            raise ValueError(f"{name} can't come from the request in `mode: subscribe`: callers share what is consumed")


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
