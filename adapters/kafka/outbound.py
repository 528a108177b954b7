"""Outbound: publishes to topics, asks over them, and streams them."""

from typing import Any, Final

from adapters.kafka.backbone import live
from adapters.kafka.config import Endpoint, Target
from adapters.kafka.connection import Connection
from adapters.kafka.inbound import KafkaInbound
from adapters.kafka.producer import Producer
from adapters.kafka.record import ASKING, METADATA, REPLY_PARTITION, REPLY_TO
from adapters.kafka.replies import Replies
from gateway.follow import Follow
from gateway.message import MESSAGE_ID, TRACEPARENT, Context, Message
from gateway.net.broker.byte_headers import ByteHeaders, byte_headers, last_header, read_headers
from gateway.net.broker.reply import CORRELATION_ID, GATEWAY_STATUS, message_id, message_of
from gateway.net.broker.workers import Workers
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Contract, Service, UnaryService
from gateway.schema.types import STRING, Scalar

RECEIPT: Final[dict[str, Scalar]] = {**METADATA, "id": STRING}
_GIVEN: Final = frozenset({TRACEPARENT, MESSAGE_ID})


class KafkaOutbound:
    """All routes of an endpoint publish through one producer; those of one reply topic, or one that is
    streamed, read it together.

    Counter: late_replies (their callers had given up).
    """

    def __init__(self, name: str, endpoint: Endpoint, network: Network) -> None:
        self._name = name
        self._endpoint = endpoint
        self._network = network
        self._late = network.counters.counter(name, "late_replies")
        self._connection = Connection(endpoint, network)
        self._producer = Producer(self._connection, endpoint, endpoint.max_message_bytes)
        self._replies: Workers[tuple[str, int | None], Replies] = Workers()
        self._streams: Workers[str, Follow] = Workers()

    async def load(self) -> None:
        await self._connection.load()

    def contract(self, address: Target) -> Contract:
        if address.mode == "subscribe":
            return self._endpoint.streaming(f"topic {address.topic}", METADATA)
        where = f"partition {address.partition}" if address.partition is not None else f"key {address.key or 'none'}"
        return self._endpoint.publishing(
            f"topic {address.topic}, {where}",
            address.mode,
            confirmed="once all in-sync replicas have it",
            replied=f"the reply in topic {address.reply_topic}",
            sources={"key": address.key} if address.key else {},
            receipt=RECEIPT,
        )

    def service(self, address: Target, contract: Contract, pattern: Pattern) -> Service:
        topic = address.topic
        if address.mode == "subscribe":
            return self._streams.obtain(
                topic, lambda: Follow(KafkaInbound, self._name, self._endpoint, self._network, live(topic))
            )
        if pattern is not Pattern.REQUEST_REPLY:
            return Publish(address, self._producer)
        key = (address.reply_topic, address.reply_partition)
        replies = self._replies.obtain(key, lambda: Replies(self._connection, self._producer, *key, self._late))
        return Request(address, self._producer, replies, contract.headers, self._endpoint.max_message_bytes)

    async def start(self) -> None:
        self._producer.start()
        self._replies.start()
        self._streams.start()

    async def stop(self) -> None:
        await self._streams.stop()
        await self._replies.stop()
        await self._producer.stop()

    @property
    def unready(self) -> str:
        return self._producer.unready or self._replies.unready or self._streams.unready


class Publish(UnaryService):
    """The Service of one topic. A request without a body is a tombstone, for which it must bear a key."""

    def __init__(self, address: Target, producer: Producer) -> None:
        self._topic = address.topic
        self._partition = address.partition
        self._producer = producer

    async def call(self, request: Message, context: Context) -> Message:
        return Message(None, params=await self._publish(request, context, byte_headers(request.headers, _GIVEN)))

    async def _publish(self, request: Message, context: Context, headers: ByteHeaders) -> dict[str, Any]:
        """The receipt."""
        identity = message_id(request.headers)
        headers.append((MESSAGE_ID, identity.encode()))
        if context.trace:
            headers.append((TRACEPARENT, context.trace.encode()))
        found = await self._producer.publish(self._topic, request.body, request.key, headers, self._partition)
        return {**found, "id": identity}


class Request(Publish):
    """The Service of one topic whose consumers reply to another."""

    def __init__(
        self, address: Target, producer: Producer, replies: Replies, wanted: frozenset[str], limit: int
    ) -> None:
        super().__init__(address, producer)
        self._replies = replies
        self._wanted = wanted
        self._limit = limit
        self._asking: ByteHeaders = [(REPLY_TO, address.reply_topic.encode())]
        if address.reply_partition is not None:
            self._asking.append((REPLY_PARTITION, b"%d" % address.reply_partition))

    async def call(self, request: Message, context: Context) -> Message:
        headers = byte_headers(request.headers, _GIVEN | ASKING)
        with await self._replies.ask() as question:
            asking = [*self._asking, (CORRELATION_ID, question.correlation_id.encode())]
            await self._publish(request, context, headers + asking)
            record = await question.reply
        found, _ = read_headers(record.headers, self._wanted)
        status = (last_header(record.headers, GATEWAY_STATUS) or b"").decode(errors="replace")
        return message_of(record.value or b"", found, status, self._limit)
