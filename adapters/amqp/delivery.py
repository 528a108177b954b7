"""Delivery: a message that was taken from a queue, and the reply to it."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiormq.abc import DeliveredMessage

from adapters.amqp.wire import ContentProperties
from gateway.codecs.amqp_properties import Properties, WireError, header_text, read
from gateway.message import TRACEPARENT, Header, trace_of
from gateway.net.reply import CORRELATION_ID, MESSAGE_ID
from gateway.schema.types import BOOL, INT32, STRING, TIMESTAMP, Scalar

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

_LATEST: Final = 253_402_300_799  # the last second of the year 9999


class Delivery(msgspec.Struct, gc=False):
    """raw: the properties as they came. trouble: why they can't be read; `properties` is empty then.

    asks, deadline: as settlement.Delivery has them.
    """

    tag: int
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
    def patience(self) -> float:
        """Seconds for which the caller waits for a reply, as its expiration tells; else infinity."""
        text = self.properties.expiration
        return int(text) / 1000 if text.isascii() and text.isdigit() else float("inf")

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
        seconds: float | None = properties.timestamp
        if seconds is not None and seconds <= 1000 * _LATEST:
            # Many write milliseconds, although AMQP has seconds.
            params["timestamp"] = seconds * 1_000_000 if seconds > _LATEST else seconds * 1_000_000_000
        return params


def delivery_of(message: DeliveredMessage) -> Delivery:
    carried = message.header.properties
    raw = carried.raw if isinstance(carried, ContentProperties) else b"\0\0"
    properties, trouble = Properties(), ""
    try:
        properties = read(raw)
    except WireError as error:
        trouble = str(error)
    return Delivery(
        message.delivery_tag or 0,
        message.exchange or "",
        message.routing_key or "",
        bool(message.redelivered),
        message.body,
        raw,
        properties,
        trouble,
    )


def headers_of(properties: Properties, wanted: frozenset[str]) -> tuple[list[Header], str]:
    """The wanted headers, the ids of the message among them, and the trace context."""
    found: list[Header] = []
    trace = ""
    for name, value in properties.headers.items():
        lower = name.lower()
        if lower == TRACEPARENT:
            trace = trace_of(value) or trace
        elif lower in wanted and (text := header_text(value)) is not None:
            found.append((lower, text))
    ids: Mapping[str, str] = {MESSAGE_ID: properties.message_id, CORRELATION_ID: properties.correlation_id}
    for name, text in ids.items():
        if text and name in wanted and not any(name == header for header, _ in found):
            found.append((name, text))
    return found, trace
