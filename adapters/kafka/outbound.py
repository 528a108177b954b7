"""Outbound: publishes to topics, asks over them, and streams them."""

from functools import partial
from typing import Any, Final

from adapters.kafka.backbone import live
from adapters.kafka.config import Endpoint, Source, Target
from adapters.kafka.connection import Connection
from adapters.kafka.inbound import KafkaInbound
from adapters.kafka.producer import Producer
from adapters.kafka.record import METADATA, REPLY_PARTITION
from adapters.kafka.replies import Replies
from gateway.broker.sides import BrokerOutbound
from gateway.message import Context, Message
from gateway.net.broker.byte_headers import OWN, REPLY_TO, ByteHeaders, request_headers, told
from gateway.net.broker.reply import CORRELATION_ID
from gateway.net.network import Network
from gateway.port import Contract, Service, UnaryService
from gateway.schema.types import STRING, Scalar

RECEIPT: Final[dict[str, Scalar]] = {**METADATA, "id": STRING}
ASKING: Final = OWN | {REPLY_TO, REPLY_PARTITION, CORRELATION_ID}


class KafkaOutbound(BrokerOutbound[Target]):
    """All routes of an endpoint publish through one producer; those of one reply topic, or one that is
    streamed, read it together.

    Counter: late_replies (their callers had given up).
    """

    def __init__(self, name: str, endpoint: Endpoint, network: Network) -> None:
        self._late = network.counters.counter(name, "late_replies")
        self._producer = Producer(Connection(endpoint, network), endpoint.max_message_bytes)
        super().__init__(partial(KafkaInbound, follows=True), name, endpoint, network, self._producer)

    def contract(self, address: Target) -> Contract:
        if address.mode == "subscribe":
            return self.streaming(f"topic {address.topic}", METADATA)
        where = f"partition {address.partition}" if address.partition is not None else f"key {address.key or 'none'}"
        return self.publishing(
            f"topic {address.topic}, {where}",
            address.mode,
            confirmed="once all in-sync replicas have it",
            replied=f"the reply in topic {address.reply_topic}",
            sources={"key": address.key} if address.key else {},
            receipt=RECEIPT,
        )

    def live(self, address: Target) -> Source:
        """As BrokerOutbound.live."""
        return live(address.topic)

    def publisher(self, address: Target, contract: Contract) -> Service:
        """As BrokerOutbound.publisher."""
        if address.mode == "accepted":
            return Publish(address, self._producer)
        key = (address.reply_topic, address.reply_partition)
        replies = self.worker(key, lambda: Replies(self._producer, *key, self._late))
        return Request(address, self._producer, replies, contract.headers)


class Publish(UnaryService):
    """The Service of one topic. A request without a body is a tombstone, for which it must bear a key."""

    def __init__(self, address: Target, producer: Producer) -> None:
        self._topic = address.topic
        self._partition = address.partition
        self._producer = producer
        endpoint = producer.connection.endpoint
        self._content_type, self._limit = endpoint.content_type, endpoint.max_message_bytes

    async def call(self, request: Message, context: Context) -> Message:
        identity, headers = request_headers(request, context, self._content_type)
        return Message(None, params={**await self._publish(request, headers), "id": identity})

    async def _publish(self, request: Message, headers: ByteHeaders) -> dict[str, Any]:
        return await self._producer.publish(self._topic, request.body, request.key, headers, self._partition)


class Request(Publish):
    """The Service of one topic whose consumers reply to another."""

    def __init__(self, address: Target, producer: Producer, replies: Replies, wanted: frozenset[str]) -> None:
        super().__init__(address, producer)
        self._replies = replies
        self._wanted = wanted
        self._asking: ByteHeaders = [(REPLY_TO, address.reply_topic.encode())]
        if address.reply_partition is not None:
            self._asking.append((REPLY_PARTITION, b"%d" % address.reply_partition))

    async def call(self, request: Message, context: Context) -> Message:
        with await self._replies.ask() as question:
            asking = [*self._asking, (CORRELATION_ID, question.correlation_id.encode())]
            _, headers = request_headers(request, context, self._content_type, asking, ASKING)
            await self._publish(request, headers)
            record = await question.reply
        return told(record.value, record.headers, self._wanted, self._limit)
