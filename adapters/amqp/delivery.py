"""Delivery: a message that was taken from a queue, and the reply to it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from aiormq.abc import DeliveredMessage

from adapters.amqp.status import TO_WIRE
from adapters.amqp.wire import ContentProperties
from gateway.codecs.amqp_properties import Properties, WireError, header_text, read
from gateway.message import Header
from gateway.net.error_reply import GATEWAY_STATUS, error_body
from gateway.net.problem_json import PROBLEM_JSON
from gateway.schema.types import BOOL, INT32, STRING, TIMESTAMP, Scalar
from gateway.status import Failure

JSON: Final = "application/json"
METADATA: Final[dict[str, Scalar]] = {
    "exchange": STRING,
    "routing_key": STRING,
    "redelivered": BOOL,
    "content_type": STRING,
    "priority": INT32,
    "correlation_id": STRING,
    "reply_to": STRING,
    "message_id": STRING,
    "type": STRING,
    "user_id": STRING,
    "app_id": STRING,
    "timestamp": TIMESTAMP,
}
"""What a route may read of a message; a text is empty where the message has none."""
UNCERTAIN: Final = frozenset({"timestamp"})
DIRECT_REPLY_TO: Final = "amq.rabbitmq.reply-to"
TRACE: Final = "traceparent"
MESSAGE_ID: Final = "message-id"
CORRELATION_ID: Final = "correlation-id"

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_LATEST: Final = 253_402_300_799  # the last second of the year 9999


class Delivery(msgspec.Struct, gc=False):
    """raw: the properties as they came. trouble: why they can't be read; `properties` is empty then."""

    tag: int
    exchange: str
    routing_key: str
    redelivered: bool
    body: bytes
    raw: bytes
    properties: Properties
    trouble: str = ""

    @property
    def name(self) -> str:
        """For the access log."""
        return self.properties.message_id or str(self.tag)

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
            "content_type": properties.content_type,
            "priority": properties.priority,
            "correlation_id": properties.correlation_id,
            "reply_to": properties.reply_to,
            "message_id": properties.message_id,
            "type": properties.type,
            "user_id": properties.user_id,
            "app_id": properties.app_id,
        }
        seconds: float | None = properties.timestamp
        if seconds is not None and seconds <= 1000 * _LATEST:
            # Many write milliseconds, although AMQP has seconds.
            params["timestamp"] = seconds * 1_000_000 if seconds > _LATEST else seconds * 1_000_000_000
        return params

    def metadata(self, wanted: frozenset[str]) -> tuple[list[Header], str]:
        """The headers that the route wants, and the trace context."""
        return headers_of(self.properties, wanted)


class Reply(msgspec.Struct, gc=False):
    body: bytes
    headers: Sequence[Header]
    content_type: str


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
        if lower == TRACE and isinstance(value, str) and _TRACEPARENT.fullmatch(value):
            trace = value
        elif lower in wanted and (text := header_text(value)) is not None:
            found.append((lower, text))
    ids: Mapping[str, str] = {MESSAGE_ID: properties.message_id, CORRELATION_ID: properties.correlation_id}
    for name, text in ids.items():
        if text and name in wanted and not any(name == header for header, _ in found):
            found.append((name, text))
    return found, trace


def error_reply(failure: Failure) -> Reply:
    return Reply(error_body(failure), [(GATEWAY_STATUS, TO_WIRE[failure.code])], PROBLEM_JSON)
