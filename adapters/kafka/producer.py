"""Producer: publishes with acks=all over a connection that is kept up in the background."""

import asyncio
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

from adapters.kafka.config import Endpoint
from adapters.kafka.connection import PROBE_SECONDS, SILENT, Connection, log, reachable, start
from adapters.kafka.record import metadata_of
from adapters.kafka.status import failure, unreachable
from gateway.net.broker.byte_headers import ByteHeaders
from gateway.net.broker.keeper import Keeper
from gateway.status import Code, Failure, invalid

BATCH_BYTES: Final = 256 * 1024  # buffered for one partition, beyond which publish() waits
WATCH_SECONDS: Final = 1.0
IDLE_WATCHES: Final = 10  # watches between two probes while nothing is wrong
STUCK_WATCHES: Final = 60  # watches without a broker after which the bootstrap servers are asked again
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

    def __init__(self, connection: Connection, endpoint: Endpoint, limit: int) -> None:
        self._connection = connection
        self._endpoint = endpoint
        self._limit = limit
        self._keeper: Keeper[AIOKafkaProducer] = connection.keeper(f"producer of {endpoint.client_id}", self)
        self._serving: AIOKafkaProducer | None = None  # its keeper may refuse it to callers for a while
        self._broken: asyncio.Future[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._open = 0
        self._confirmed = 0
        self._absent: dict[str, float] = {}

    @property
    def unready(self) -> str:
        return self._keeper.unready

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
                    self._retire(client, error)
                raise failure(error, sent=False) from error
            try:
                found = await future
            except KafkaError as error:
                if self._endpoint.idempotent or type(error) is KafkaError:
                    self._retire(client, error)
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

    def _retire(self, client: AIOKafkaProducer, error: Exception) -> None:
        # A record that the brokers refused leaves a gap in an idempotent producer's numbers, at which they refuse
        # all that follows; and some errors end aiokafka's sender for good. A new client is cheaper than telling apart.
        if self._serving is client and self._broken is not None and not self._broken.done():
            log.warning("kafka producer of %s: renewed after: %s", self._endpoint.client_id, error)
            self._keeper.renew(client)
            self._broken.set_result(None)

    # -- as what its keeper keeps

    async def open(self) -> AIOKafkaProducer:
        endpoint = self._endpoint
        return AIOKafkaProducer(
            **self._connection.options,
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
        await self._watch(client)

    async def close(self, client: AIOKafkaProducer) -> None:
        """In the background: the next one is not to wait for it."""
        flush = FLUSH_SECONDS if not self._keeper.unready else 0.0
        closing = asyncio.create_task(_close(client, flush), name="kafka producer closes")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _watch(self, client: AIOKafkaProducer) -> None:
        """Serve until the client is broken or its brokers are gone for long."""
        self._serving = client
        broken = self._broken = asyncio.get_running_loop().create_future()
        self._keeper.up(client)
        confirmed, watches, down = self._confirmed, 0, 0
        while not broken.done() and down < STUCK_WATCHES:
            await asyncio.wait((broken,), timeout=WATCH_SECONDS)
            watches += 1
            stalled = self._open and self._confirmed == confirmed
            confirmed = self._confirmed
            if broken.done() or not (stalled or down or watches % IDLE_WATCHES == 0):
                continue
            answers = await reachable(client.client)
            if broken.done():
                return
            if answers:
                down = 0
                self._keeper.up(client)
            else:
                down += 1
                self._keeper.down(f"{SILENT}; bootstrap servers {', '.join(self._endpoint.bootstrap_servers)}")


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
