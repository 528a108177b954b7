"""Outbound: publishes to topics."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final
from uuid import uuid4

from adapters.kafka.config import Endpoint, Target
from adapters.kafka.connection import Connection
from adapters.kafka.producer import Producer
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Contract
from gateway.schema.types import INT32, INT64, STRING, TIMESTAMP, Scalar
from gateway.status import Code, Failure

PATTERNS: Final = frozenset({Pattern.ONE_WAY})
RECEIPT: Final[dict[str, Scalar]] = {
    "topic": STRING,
    "partition": INT32,
    "offset": INT64,
    "timestamp": TIMESTAMP,
    "id": STRING,
}
MESSAGE_ID: Final = "message-id"
TRACE: Final = "traceparent"


class KafkaOutbound:
    """All routes of an endpoint publish through one producer."""

    def __init__(self, name: str, endpoint: Endpoint, network: Network) -> None:
        self._endpoint = endpoint
        self._connection = Connection(endpoint, network)
        self._producer = Producer(self._connection, endpoint, endpoint.max_message_bytes)

    async def load(self) -> None:
        await self._connection.load()

    def contract(self, address: Target) -> Contract:
        where = f"partition {address.partition}" if address.partition is not None else f"key {address.key or 'none'}"
        return Contract(
            patterns=PATTERNS,
            format=self._endpoint.format,
            sources={"key": address.key} if address.key else {},
            receipt=RECEIPT,
            headers=frozenset(name.lower() for name in self._endpoint.forward_headers),
            describe=f"publishes to topic {address.topic}, {where}, and answers once all in-sync replicas have it",
        )

    def service(self, address: Target, contract: Contract, pattern: Pattern) -> "Publish":
        return Publish(address, self._producer)

    async def start(self) -> None:
        self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    @property
    def unready(self) -> str:
        return self._producer.unready


class Publish:
    """The Service of one topic. A request without a body is a tombstone, for which it must bear a key."""

    def __init__(self, address: Target, producer: Producer) -> None:
        self._topic = address.topic
        self._partition = address.partition
        self._producer = producer

    async def call(self, request: Message, context: Context) -> Message:
        identity = ""
        headers: list[tuple[str, bytes | None]] = []
        for name, value in request.headers:
            if name == TRACE:
                continue
            if name == MESSAGE_ID and not identity:
                identity = value if isinstance(value, str) else value.decode(errors="replace")
            headers.append((name, value if isinstance(value, bytes) else value.encode()))
        if not identity:
            identity = uuid4().hex
            headers.append((MESSAGE_ID, identity.encode()))
        if context.trace:
            headers.append((TRACE, context.trace.encode()))
        confirmed = await self._producer.publish(self._topic, request.body, request.key, headers, self._partition)
        return Message(
            None,
            params={
                "topic": self._topic,
                "partition": confirmed.partition,
                "offset": confirmed.offset,
                "timestamp": confirmed.timestamp * 1_000_000,
                "id": identity,
            },
        )

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        raise Failure(Code.UNIMPLEMENTED, "a topic takes one message at a time", sent=False)
        yield request
