"""Record: a delivery, what its headers ask for, and where it stands."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from aiokafka import ConsumerRecord
from aiokafka.structs import RecordMetadata

from adapters.kafka.config import TOPIC_NAME
from gateway.net.broker.byte_headers import REPLY_TO, last_header
from gateway.net.broker.reply import CORRELATION_ID
from gateway.schema.types import INT32, INT64, STRING, TIMESTAMP, Scalar
from gateway.status import invalid

METADATA: Final[dict[str, Scalar]] = {"topic": STRING, "partition": INT32, "offset": INT64, "timestamp": TIMESTAMP}
REPLY_PARTITION: Final = "reply-partition"

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
    name: str
    body: bytes | None
    address: ReplyAddress = NOBODY
    deadline: float = float("inf")

    @property
    def asks(self) -> bool:
        return self.address is not NOBODY

    @property
    def origin(self) -> Mapping[str, str]:
        record = self.record
        return {"topic": record.topic, "partition": str(record.partition), "offset": str(record.offset)}


def metadata_of(topic: str, found: ConsumerRecord | RecordMetadata) -> dict[str, Any]:
    """After METADATA."""
    moment = found.timestamp * 1_000_000
    return {"topic": topic, "partition": found.partition, "offset": found.offset, "timestamp": moment}


def reply_address(record: ConsumerRecord, allowed: Callable[[str], bool]) -> ReplyAddress:
    """NOBODY where it asks for no reply. Raises Failure(INVALID_ARGUMENT) where it names no topic that is allowed, or
    no partition."""
    topic, correlation_id = last_header(record.headers, REPLY_TO), last_header(record.headers, CORRELATION_ID)
    if not topic or correlation_id is None:
        return NOBODY
    if not _TOPIC.fullmatch(topic):
        raise invalid("the header reply-to names no topic")
    if not allowed(topic.decode("ascii")):
        raise invalid("the header reply-to names a topic that takes no replies from here")
    partition = last_header(record.headers, REPLY_PARTITION)
    if partition is not None and not _PARTITION.fullmatch(partition):
        raise invalid("the header reply-partition names no partition")
    return ReplyAddress(topic.decode("ascii"), None if partition is None else int(partition), correlation_id)
