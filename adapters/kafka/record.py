"""Record: a delivery, what its headers tell, and what goes into those of a reply."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiokafka import ConsumerRecord
from aiokafka.structs import RecordMetadata

from adapters.kafka.config import TOPIC_NAME
from gateway.message import MESSAGE_ID
from gateway.net.broker.byte_headers import ByteHeaders, byte_headers, last_header
from gateway.net.broker.reply import CORRELATION_ID, Reply
from gateway.schema.types import INT32, INT64, STRING, TIMESTAMP, Scalar
from gateway.status import invalid

METADATA: Final[dict[str, Scalar]] = {"topic": STRING, "partition": INT32, "offset": INT64, "timestamp": TIMESTAMP}
CONTENT_TYPE: Final = "content-type"
REPLY_PARTITION: Final = "reply-partition"
REPLY_TO: Final = "reply-to"
ASKING: Final = frozenset({REPLY_TO, REPLY_PARTITION, CORRELATION_ID})
"""Headers that a request bears of the gateway's own; none that a caller gave may take their place."""

_TOPIC: Final = re.compile(TOPIC_NAME.encode())
_PARTITION: Final = re.compile(rb"[0-9]{1,9}")


class ReplyAddress(msgspec.Struct, frozen=True):
    """Where the reply to a request goes. partition: None for the one that the publisher chooses."""

    topic: str
    partition: int | None
    correlation_id: bytes


NOBODY: Final = ReplyAddress("", None, b"")


class Delivery(msgspec.Struct):
    """address: NOBODY where no reply is asked for."""

    record: ConsumerRecord
    address: ReplyAddress = NOBODY
    deadline: float = float("inf")

    @property
    def name(self) -> str:
        return f"{self.record.topic}/{self.record.partition}/{self.record.offset}"

    @property
    def asks(self) -> bool:
        return self.address is not NOBODY

    @property
    def body(self) -> bytes | None:
        value: bytes | None = self.record.value
        return value

    @property
    def origin(self) -> Mapping[str, str]:
        record = self.record
        return {"topic": record.topic, "partition": str(record.partition), "offset": str(record.offset)}


def metadata_of(topic: str, found: ConsumerRecord | RecordMetadata) -> dict[str, Any]:
    """After METADATA."""
    moment = found.timestamp * 1_000_000
    return {"topic": topic, "partition": found.partition, "offset": found.offset, "timestamp": moment}


def asks(record: ConsumerRecord) -> bool:
    """Whether it bears what a reply needs."""
    return bool(last_header(record.headers, REPLY_TO)) and last_header(record.headers, CORRELATION_ID) is not None


def reply_address(record: ConsumerRecord) -> ReplyAddress:
    """Of a record that asks. Raises Failure(INVALID_ARGUMENT) where it names no topic or no partition."""
    topic = last_header(record.headers, REPLY_TO) or b""
    if not _TOPIC.fullmatch(topic):
        raise invalid("the header reply-to names no topic")
    partition = last_header(record.headers, REPLY_PARTITION)
    if partition is not None and not _PARTITION.fullmatch(partition):
        raise invalid("the header reply-partition names no partition")
    number = None if partition is None else int(partition)
    return ReplyAddress(topic.decode("ascii"), number, last_header(record.headers, CORRELATION_ID) or b"")


def reply_headers(reply: Reply, address: ReplyAddress) -> ByteHeaders:
    headers = byte_headers(reply.headers)
    headers += [(MESSAGE_ID, reply.message_id.encode()), (CORRELATION_ID, address.correlation_id)]
    if reply.content_type:
        headers.append((CONTENT_TYPE, reply.content_type.encode()))
    return headers
