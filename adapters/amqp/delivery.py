"""Delivery: a message that was taken from a queue."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiormq.abc import DeliveredMessage

from adapters.amqp.wire import ContentProperties
from gateway.codecs import amqp_properties
from gateway.codecs.amqp_properties import Properties, read
from gateway.schema.types import BOOL, STRING, Scalar

METADATA: Final[Mapping[str, Scalar]] = {
    "exchange": STRING,
    "routing_key": STRING,
    "redelivered": BOOL,
    **amqp_properties.METADATA,
}
"""What a route may read of a message."""


class Delivery(msgspec.Struct, gc=False):
    """raw: the properties as they came. asks, deadline: as settlement.Delivery has them."""

    tag: int
    queue: str
    exchange: str
    routing_key: str
    redelivered: bool
    body: bytes
    raw: bytes
    properties: Properties
    asks: bool = False
    deadline: float = float("inf")

    @property
    def name(self) -> str:
        """For logs."""
        name = self.properties.message_id
        return name if name and name.isprintable() else str(self.tag)

    @property
    def origin(self) -> Mapping[str, str]:
        return {"queue": self.queue, "exchange": self.exchange, "routing-key": self.routing_key}

    @property
    def params(self) -> dict[str, Any]:
        """After METADATA."""
        params = self.properties.params
        params["exchange"] = self.exchange
        params["routing_key"] = self.routing_key
        params["redelivered"] = self.redelivered
        return params


def delivery_of(message: DeliveredMessage, queue: str) -> Delivery:
    carried = message.header.properties
    raw = (carried.raw if isinstance(carried, ContentProperties) else None) or b"\0\0"
    return Delivery(
        message.delivery_tag or 0,
        queue,
        message.exchange or "",
        message.routing_key or "",
        bool(message.redelivered),
        message.body,
        raw,
        read(raw),
    )
