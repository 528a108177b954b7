"""Broker: what the addresses of all brokers' adapters speak, by how they ask and answer."""

from collections.abc import Mapping
from typing import Final, Literal

from pydantic import Field

from gateway.codecs.format import Unknown
from gateway.codecs.json_settings import JsonSettings
from gateway.pattern import Pattern
from gateway.port import Contract, Endpoint
from gateway.schema.types import Type

PATTERNS: Final = frozenset({Pattern.ONE_WAY, Pattern.REQUEST_REPLY})

Answers = Literal["none", "one"]
"""A source's `replies`."""

Mode = Literal["accepted", "reply"]
"""A target's `mode`."""


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
