"""Record: what a Kafka record's headers tell, and what goes into those of a reply."""

import re
from collections.abc import Iterable
from typing import Final
from uuid import uuid4

import msgspec
from aiokafka import ConsumerRecord

from adapters.kafka.config import TOPIC_NAME
from gateway.message import Header, Message
from gateway.net.error_reply import GATEWAY_STATUS, error_body
from gateway.net.problem_json import PROBLEM_JSON
from gateway.status import Failure, invalid

CONTENT_TYPE: Final = "content-type"
CORRELATION_ID: Final = "correlation-id"
MESSAGE_ID: Final = "message-id"
REPLY_PARTITION: Final = "reply-partition"
REPLY_TO: Final = "reply-to"
TRACE: Final = "traceparent"
ASKING: Final = frozenset({REPLY_TO, REPLY_PARTITION, CORRELATION_ID})
"""Headers that a request bears of the gateway's own; none that a caller gave may take their place."""

_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_TOPIC: Final = re.compile(TOPIC_NAME.encode())
_PARTITION: Final = re.compile(rb"[0-9]{1,9}")
_REPLYING: Final = frozenset({CORRELATION_ID, GATEWAY_STATUS})

WireHeaders = list[tuple[str, bytes | None]]


class ReplyAddress(msgspec.Struct, frozen=True):
    """Where the reply to a request goes. partition: None for the one that the publisher chooses."""

    topic: str
    partition: int | None
    correlation_id: bytes


class Reply(msgspec.Struct, gc=False):
    body: bytes
    headers: WireHeaders


def headers_of(record: ConsumerRecord, wanted: frozenset[str]) -> tuple[list[Header], str]:
    """The headers that the route wants, and the trace context."""
    found: list[Header] = []
    trace = ""
    for name, value in record.headers:
        lower = name.lower()
        if lower == TRACE and value is not None and _TRACEPARENT.fullmatch(value):
            trace = value.decode("ascii")
        elif lower in wanted and value is not None:
            try:
                found.append((lower, value.decode()))
            except UnicodeDecodeError:
                found.append((lower, value))
    return found, trace


def header_of(record: ConsumerRecord, name: str) -> bytes | None:
    """The last header of this name; None where there is none, or none with a value."""
    return next((value for header, value in reversed(record.headers) if header.lower() == name), None)


def asks(record: ConsumerRecord) -> bool:
    """Whether it bears what a reply needs."""
    return bool(header_of(record, REPLY_TO)) and header_of(record, CORRELATION_ID) is not None


def reply_address(record: ConsumerRecord) -> ReplyAddress:
    """Of a record that asks. Raises Failure(INVALID_ARGUMENT) where it names no topic or no partition."""
    topic = header_of(record, REPLY_TO) or b""
    if not _TOPIC.fullmatch(topic):
        raise invalid("the header reply-to names no topic")
    partition = header_of(record, REPLY_PARTITION)
    if partition is not None and not _PARTITION.fullmatch(partition):
        raise invalid("the header reply-partition names no partition")
    number = None if partition is None else int(partition)
    return ReplyAddress(topic.decode("ascii"), number, header_of(record, CORRELATION_ID) or b"")


def wire_headers(headers: Iterable[Header], without: frozenset[str]) -> WireHeaders:
    """The headers as records bear them."""
    return [
        (name, value if isinstance(value, bytes) else value.encode()) for name, value in headers if name not in without
    ]


def reply_of(message: Message) -> Reply:
    headers = wire_headers(message.headers, _REPLYING)
    if all(name != MESSAGE_ID for name, _ in headers):
        headers.append((MESSAGE_ID, uuid4().hex.encode()))
    return Reply(message.body or b"", headers)


def error_reply(failure: Failure) -> Reply:
    headers: WireHeaders = [
        (GATEWAY_STATUS, failure.code.name.encode()),
        (CONTENT_TYPE, PROBLEM_JSON.encode()),
        (MESSAGE_ID, uuid4().hex.encode()),
    ]
    return Reply(error_body(failure), headers)
