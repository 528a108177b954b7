"""Delivery: a message that was taken from a queue, and the reply to it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from aiormq.abc import DeliveredMessage

from adapters.amqp.wire import ContentProperties
from gateway.codecs.amqp_properties import Properties, WireError, read, write
from gateway.message import Header
from gateway.schema.types import BOOL, INT32, STRING, TIMESTAMP, Scalar
from gateway.status import invalid

JSON: Final = "application/json"
_TEXTS: Final = ("content_type", "correlation_id", "reply_to", "message_id", "type", "user_id", "app_id")
METADATA: Final[dict[str, Scalar]] = {
    "exchange": STRING,
    "routing_key": STRING,
    "redelivered": BOOL,
    "priority": INT32,
    "timestamp": TIMESTAMP,
    **dict.fromkeys(_TEXTS, STRING),
}
"""What a route may read of a message; a text is empty where the message has none."""
UNCERTAIN: Final = frozenset({"timestamp"})
DIRECT_REPLY_TO: Final = "amq.rabbitmq.reply-to"


class Delivery(msgspec.Struct, gc=False):
    """raw: the properties as they came. trouble: why they can't be read; `properties` is empty then.

    asks, deadline: as settlement.Delivery has them.
    """

    tag: int
    queue: str
    exchange: str
    routing_key: str
    redelivered: bool
    body: bytes
    raw: bytes
    properties: Properties
    trouble: str = ""
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
        properties = self.properties
        params: dict[str, Any] = {
            "exchange": self.exchange,
            "routing_key": self.routing_key,
            "redelivered": self.redelivered,
            "priority": properties.priority,
            **{name: getattr(properties, name) for name in _TEXTS},
        }
        if (moment := properties.nanoseconds) is not None:
            params["timestamp"] = moment
        return params


def delivery_of(message: DeliveredMessage, queue: str) -> Delivery:
    carried = message.header.properties
    raw = (carried.raw if isinstance(carried, ContentProperties) else None) or b"\0\0"
    properties, trouble = Properties(), ""
    try:
        properties = read(raw)
    except WireError as error:
        trouble = str(error)
    return Delivery(
        message.delivery_tag or 0,
        queue,
        message.exchange or "",
        message.routing_key or "",
        bool(message.redelivered),
        message.body,
        raw,
        properties,
        trouble,
    )


def written(headers: Sequence[Header], **properties: str | int) -> bytes:
    """amqp_properties.write(). Raises Failure for what has no room."""
    try:
        return write(headers, **properties)
    except WireError as error:
        raise invalid(str(error)) from error
