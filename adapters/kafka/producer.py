"""Producer: publishes with acks=all over a connection that is kept up in the background."""

import asyncio
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ProducerClosed,
    TopicAuthorizationFailedError,
    UnknownError,
    UnknownTopicOrPartitionError,
    UnsupportedVersionError,
)

from adapters.kafka.connection import PROBE_SECONDS, SILENT, Connection, log, start
from adapters.kafka.record import metadata_of
from adapters.kafka.status import failure, unreachable
from gateway.net.broker.byte_headers import ByteHeaders
from gateway.net.broker.keeper import Keeper
from gateway.net.broker.pulse import ask
from gateway.status import Code, Failure, invalid

BATCH_BYTES: Final = 256 * 1024  # buffered for one partition, beyond which publish() waits
TOPIC_SECONDS: Final = 3.0  # for a broker to create a topic of itself, and how long its absence is believed
FLUSH_SECONDS: Final = 5.0

# Raised before a record is buffered, and only because of it.
_HARMLESS: Final = (MessageSizeTooLargeError, KafkaTimeoutError, UnknownTopicOrPartitionError)
# How brokers answer InitProducerId that don't know it.
_NOT_IDEMPOTENT: Final = (UnknownError, UnsupportedVersionError, IncompatibleBrokerVersion)


class Producer:
    """Confirmed publishing. Without a broker publish() fails at once instead of waiting for one.

    limit: of key, value and headers of one record together, in bytes.
    """

    def __init__(self, connection: Connection, limit: int) -> None:
        self.connection = connection
        self._endpoint = connection.endpoint
        self._limit = limit
        self._keeper: Keeper[AIOKafkaProducer] = connection.keeper(f"producer of {self._endpoint.client_id}", self)
        self._closing: set[asyncio.Task[None]] = set()
        self._open = self._confirmed = 0
        self._absent: dict[str, float] = {}

    @property
    def unready(self) -> str:
        return self._keeper.unready and f"publishing: {self._keeper.unready}"

    async def load(self) -> None:
        """As Connection.load."""
        await self.connection.load()

    def start(self) -> None:
        """Connect in the background."""
        self._keeper.start()

    async def stop(self) -> None:
        """Flush for FLUSH_SECONDS at most, then fail what was not confirmed."""
        await self._keeper.stop()
        await asyncio.gather(*self._closing)

    async def publish(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: ByteHeaders,
        partition: int | None = None,
    ) -> dict[str, Any]:
        """Return its METADATA once all in-sync replicas have the record. Raises Failure; cancelled, the outcome is
        unknown."""
        if value is None and key is None:
            raise invalid("a message without a body needs a key")
        client = self._keeper.client or await self._keeper.get()
        partitions = await self._partitions(client, topic)
        if partition is not None and partition not in partitions:
            raise Failure(Code.FAILED_PRECONDITION, f"the topic has no partition {partition}", sent=False)
        self._open += 1
        try:
            try:
                future = await client.send(topic, value, key, partition, headers=headers)
            except KafkaError as error:
                if not isinstance(error, _HARMLESS):
                    self._keeper.renew(client, error)
                raise failure(error, sent=False) from error
            try:
                found = await future
            except KafkaError as error:
                # A record that the brokers refused leaves a gap in an idempotent producer's numbers, at which they
                # refuse all that follows; and some errors end aiokafka's sender for good. A new client is cheaper than
                # telling apart.
                if self._endpoint.idempotent or type(error) is KafkaError:
                    self._keeper.renew(client, error)
                raise failure(error) from error
        finally:
            self._open -= 1
        self._confirmed += 1
        return metadata_of(topic, found)

    async def partitions(self, topic: str) -> set[int]:
        """The partitions of a topic, which the brokers may create of themselves; waits for them. Raises Failure."""
        return await self._partitions(await self._keeper.opened(), topic)

    async def _partitions(self, client: AIOKafkaProducer, topic: str) -> set[int]:
        known: set[int] | None = client.client.cluster.partitions_for_topic(topic)
        return await self._find(client, topic) if known is None else known

    async def _find(self, client: AIOKafkaProducer, topic: str) -> set[int]:
        """The partitions of a topic not seen yet, waiting a little for one that the brokers create of themselves."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + TOPIC_SECONDS
        for absent in [absent for absent, until in self._absent.items() if until <= loop.time()]:
            del self._absent[absent]
        if topic in self._absent:
            raise failure(UnknownTopicOrPartitionError(), sent=False)
        cluster = client.client.cluster
        client.client.add_topic(topic)
        while True:
            answered = await client.client.force_metadata_update()
            partitions: set[int] | None = cluster.partitions_for_topic(topic)
            if partitions is not None:
                return partitions
            if topic in cluster.unauthorized_topics:
                error = TopicAuthorizationFailedError(topic)
                raise failure(error, sent=False) from error
            if not answered:
                raise unreachable()
            if loop.time() > deadline:
                self._absent[topic] = loop.time() + TOPIC_SECONDS
                # aiokafka would ask for it ever after, and whoever asks for a reply may name any topic.
                client.client._topics.discard(topic)  # noqa: SLF001
                raise failure(UnknownTopicOrPartitionError(), sent=False)
            await asyncio.sleep(0.1)

    def _answered(self) -> int | None:
        return self._confirmed if self._open else None

    # -- as what its keeper keeps

    async def open(self) -> AIOKafkaProducer:
        endpoint = self._endpoint
        return AIOKafkaProducer(
            **self.connection.options,
            acks="all",
            enable_idempotence=endpoint.idempotent,
            compression_type=None if endpoint.compression == "none" else endpoint.compression,
            max_batch_size=min(BATCH_BYTES, endpoint.max_message_bytes),
            max_request_size=self._limit,
        )

    async def serve(self, client: AIOKafkaProducer) -> None:
        try:
            await start(client)
        except _NOT_IDEMPOTENT as error:
            if not self._endpoint.idempotent:
                raise
            hint = "a broker that knows no idempotent producers needs `idempotent: false`"
            raise type(error)(f"{error}; {hint}") from error
        silent = f"{SILENT}; bootstrap servers {', '.join(self._endpoint.bootstrap_servers)}"
        await ask(self._keeper, client, self._answered, partial(_reachable, client), silent)

    async def close(self, client: AIOKafkaProducer) -> None:
        """In the background: the next one is not to wait for it."""
        flush = FLUSH_SECONDS if not self._keeper.unready else 0.0
        closing = asyncio.create_task(_close(client, flush), name="kafka producer closes")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _reachable(client: AIOKafkaProducer) -> bool:
    """Whether any broker answers now."""
    try:
        return bool(await asyncio.wait_for(client.client.force_metadata_update(), PROBE_SECONDS))
    except TimeoutError:
        return False


async def _close(client: AIOKafkaProducer, flush: float) -> None:
    """Flush for so many seconds at most, and disconnect."""
    stopping = asyncio.create_task(client.stop(), name="kafka producer stops")
    done, _ = await asyncio.wait((stopping,), timeout=flush)
    if not done:
        # An idempotent producer never gives up by itself, and stop() waits for it.
        client._message_accumulator.fail_all(ProducerClosed())  # noqa: SLF001
        done, _ = await asyncio.wait((stopping,), timeout=PROBE_SECONDS)
    if done and stopping.exception() is not None:
        log.debug("kafka: a producer did not close cleanly: %s", stopping.exception())
