"""Producer: publishes with acks=all over a connection that is kept up in the background."""

import asyncio
import logging
from typing import Final

import msgspec
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
from adapters.kafka.connection import (
    MAX_RECONNECT_SECONDS,
    PROBE_SECONDS,
    RECONNECT_SECONDS,
    Connection,
    reachable,
    start,
)
from adapters.kafka.status import failure, unreachable
from gateway.net.redelivery import backoff
from gateway.status import Code, Failure, invalid

BATCH_BYTES: Final = 256 * 1024  # buffered for one partition, beyond which publish() waits
WATCH_SECONDS: Final = 1.0
IDLE_WATCHES: Final = 10  # watches between two probes while nothing is wrong
STUCK_WATCHES: Final = 60  # watches without a broker after which the bootstrap servers are asked again
TOPIC_SECONDS: Final = 3.0  # for a broker to create a topic of itself, and how long its absence is believed
FLUSH_SECONDS: Final = 5.0
RENEW_SECONDS: Final = 2.0

# Raised before a record is buffered, and only because of it.
_HARMLESS: Final = (MessageSizeTooLargeError, KafkaTimeoutError, UnknownTopicOrPartitionError)
# How brokers answer InitProducerId that don't know it.
_NOT_IDEMPOTENT: Final = (UnknownError, UnsupportedVersionError, IncompatibleBrokerVersion)

log = logging.getLogger("gateway.kafka")


class Confirmed(msgspec.Struct, frozen=True):
    """Where the brokers keep a record. timestamp: milliseconds since the epoch."""

    partition: int
    offset: int
    timestamp: int


class Producer:
    """Confirmed publishing. Without a broker publish() fails at once instead of waiting for one.

    limit: of key, value and headers of one record together, in bytes.
    """

    def __init__(self, connection: Connection, endpoint: Endpoint, limit: int) -> None:
        self._connection = connection
        self._endpoint = endpoint
        self._limit = limit
        self._client: AIOKafkaProducer | None = None
        self._task: asyncio.Task[None] | None = None
        self._broken: asyncio.Future[None] | None = None
        self._renewed: asyncio.Future[None] | None = None
        self._refusal = unreachable()
        self._unready = "not connected yet"
        self._closing: set[asyncio.Task[None]] = set()
        self._open = 0
        self._confirmed = 0
        self._absent: dict[str, float] = {}

    @property
    def unready(self) -> str:
        return self._unready

    def start(self) -> None:
        """Connect in the background."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name="kafka producer")

    async def stop(self) -> None:
        """Flush for FLUSH_SECONDS at most, then fail what was not confirmed."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.gather(*self._closing)
        self._unready = "stopped"

    async def publish(
        self,
        topic: str,
        value: bytes | None,
        key: bytes | None,
        headers: list[tuple[str, bytes | None]],
        partition: int | None = None,
    ) -> Confirmed:
        """Return once all in-sync replicas have the record. Raises Failure; cancelled, the outcome is unknown."""
        if value is None and key is None:
            raise invalid("a message without a body needs a key")
        client = await self._connected()
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
        return Confirmed(found.partition, found.offset, found.timestamp)

    async def partitions(self, topic: str) -> set[int]:
        """The partitions of a topic, which the brokers may create of themselves. Raises Failure."""
        return await self._partitions(await self._connected(), topic)

    async def _connected(self) -> AIOKafkaProducer:
        if self._renewed is not None:
            await asyncio.wait((self._renewed,), timeout=RENEW_SECONDS)
        client = self._client
        if client is None or self._unready:
            raise Failure(self._refusal.code, self._refusal.message, sent=False)
        return client

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
        if self._client is client and self._broken is not None and not self._broken.done():
            log.warning("kafka %s: producer renewed after: %s", self._endpoint.client_id, error)
            self._client = None
            self._renewed = asyncio.get_running_loop().create_future()
            self._broken.set_result(None)

    def _renew(self) -> None:
        """Let those go on who wait for a new client."""
        renewed, self._renewed = self._renewed, None
        if renewed is not None:
            renewed.set_result(None)

    async def _keep(self) -> None:
        attempt = 0
        while True:
            options = self._connection.options
            client = AIOKafkaProducer(
                **options,
                acks="all",
                enable_idempotence=self._endpoint.idempotent,
                compression_type=None if self._endpoint.compression == "none" else self._endpoint.compression,
                max_batch_size=min(BATCH_BYTES, self._endpoint.max_message_bytes),
                max_request_size=self._limit,
            )
            try:
                await start(client)
                attempt = 0
                await self._watch(client)
            except Exception as error:
                if not isinstance(error, KafkaError | OSError):
                    log.exception("kafka %s: bug in the producer", self._endpoint.client_id)
                attempt += 1
                await self._refuse(error)
                await asyncio.sleep(backoff(attempt, RECONNECT_SECONDS, MAX_RECONNECT_SECONDS))
            finally:
                self._client = None
                flush = FLUSH_SECONDS if not self._unready else 0.0
                closing = asyncio.create_task(_close(client, flush), name="kafka producer closes")
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    async def _refuse(self, error: Exception) -> None:
        cause, why = await self._connection.diagnose(error)
        if self._endpoint.idempotent and isinstance(cause, _NOT_IDEMPOTENT):
            why += "; a broker that knows no idempotent producers needs `idempotent: false`"
        if why != self._unready:
            log.warning("kafka %s: producer: %s", self._endpoint.client_id, why)
        self._unready = why
        self._renew()
        self._refusal = failure(cause, sent=False) if isinstance(cause, KafkaError) else unreachable()

    async def _watch(self, client: AIOKafkaProducer) -> None:
        """Serve until the client is broken or its brokers are gone for long."""
        broken = self._broken = asyncio.get_running_loop().create_future()
        self._client, self._unready, self._refusal = client, "", unreachable()
        self._renew()
        log.info("kafka %s: producer connected", self._endpoint.client_id)
        confirmed, watches, down = self._confirmed, 0, 0
        while not broken.done() and down < STUCK_WATCHES:
            await asyncio.wait((broken,), timeout=WATCH_SECONDS)
            watches += 1
            stalled = self._open and self._confirmed == confirmed
            confirmed = self._confirmed
            if broken.done() or not (stalled or down or watches % IDLE_WATCHES == 0):
                continue
            if await reachable(client.client):
                if down:
                    log.info("kafka %s: producer connected again", self._endpoint.client_id)
                down, self._unready = 0, ""
            else:
                down += 1
                self._unready = f"no broker answers; bootstrap servers {', '.join(self._endpoint.bootstrap_servers)}"
                if down == 1:
                    log.warning("kafka %s: producer: %s", self._endpoint.client_id, self._unready)


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
