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

from adapters.kafka.connection import CLOSE_SECONDS, SILENT, Client, Connection, start
from adapters.kafka.record import metadata_of
from adapters.kafka.status import failure, unreachable
from gateway.net.broker.byte_headers import ByteHeaders
from gateway.net.broker.keeper import bounded
from gateway.net.broker.pulse import ask
from gateway.status import Code, Failure, invalid

BATCH_BYTES: Final = 256 * 1024  # buffered for one partition, beyond which publish() waits
TOPIC_SECONDS: Final = 3.0  # for a broker to create a topic of itself, and how long its absence is believed
FLUSH_SECONDS: Final = 5.0

# Raised before a record is buffered, and only because of it.
_HARMLESS: Final = (MessageSizeTooLargeError, KafkaTimeoutError, UnknownTopicOrPartitionError)
# How brokers answer InitProducerId that don't know it.
_NOT_IDEMPOTENT: Final = (UnknownError, UnsupportedVersionError, IncompatibleBrokerVersion)


class Producer(Client[AIOKafkaProducer]):
    """Confirmed publishing. Without a broker publish() fails at once instead of waiting for one.

    limit: of key, value and headers of one record together, in bytes.
    """

    def __init__(self, connection: Connection, limit: int) -> None:
        super().__init__(connection, f"producer of {connection.endpoint.client_id}")
        self._endpoint = connection.endpoint
        self._limit = limit
        self._closing: set[asyncio.Task[None]] = set()
        self._open = self._confirmed = 0
        self._absent: dict[str, float] = {}

    async def load(self) -> None:
        """As Connection.load."""
        await self.connection.load()

    async def stop(self) -> None:
        """Flush for FLUSH_SECONDS at most, then fail what was not confirmed."""
        await super().stop()
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
        client = self.client or await self.get()
        partitions = await self._partitions(client, topic)
        if partition is not None and partition not in partitions:
            raise Failure(Code.FAILED_PRECONDITION, f"the topic has no partition {partition}", sent=False)
        buffered = None
        self._open += 1
        try:
            buffered = await client.send(topic, value, key, partition, headers=headers)
            found = await buffered
        except KafkaError as error:
            sent = buffered is not None
            # A record that the brokers refused leaves a gap in an idempotent producer's numbers, at which they refuse
            # all that follows; and some errors end aiokafka's sender for good. A new client is cheaper than telling
            # apart.
            if self._endpoint.idempotent or type(error) is KafkaError if sent else not isinstance(error, _HARMLESS):
                self.renew(client, error)
            raise failure(error, sent=sent) from error
        finally:
            self._open -= 1
        self._confirmed += 1
        return metadata_of(topic, found)

    async def partitions(self, topic: str) -> set[int]:
        """The partitions of a topic, which the brokers may create of themselves; waits for them. Raises Failure."""
        return await self._partitions(await self.opened(), topic)

    async def _partitions(self, client: AIOKafkaProducer, topic: str) -> set[int]:
        """Waits a little for a topic that is not seen yet, and which the brokers may create of themselves."""
        cluster, clock = client.client.cluster, asyncio.get_running_loop().time
        known: set[int] | None = cluster.partitions_for_topic(topic)
        if known is not None:
            return known
        self._absent = {absent: until for absent, until in self._absent.items() if until > clock()}
        deadline = clock() + TOPIC_SECONDS
        while topic not in self._absent:
            client.client.add_topic(topic)
            answered = await client.client.force_metadata_update()
            known = cluster.partitions_for_topic(topic)
            if known is not None:
                return known
            if topic in cluster.unauthorized_topics:
                error = TopicAuthorizationFailedError(topic)
                raise failure(error, sent=False) from error
            if not answered:
                raise unreachable()
            if clock() > deadline:
                self._absent[topic] = clock() + TOPIC_SECONDS
                # aiokafka would ask for it ever after, and whoever asks for a reply may name any topic.
                client.client._topics.discard(topic)  # noqa: SLF001
            await asyncio.sleep(0.1)
        raise failure(UnknownTopicOrPartitionError(), sent=False)

    def _answered(self) -> int | None:
        return self._confirmed if self._open else None

    # -- as a Keeper

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
        await ask(self, client, self._answered, client.client.force_metadata_update, silent)

    async def close(self, client: AIOKafkaProducer) -> None:
        """In the background: the next one is not to wait for it."""
        flush = FLUSH_SECONDS if not self.trouble else 0.0
        closing = asyncio.create_task(_close(client, flush), name="kafka producer closes")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _close(client: AIOKafkaProducer, flush: float) -> None:
    """Flush for so many seconds at most, and disconnect."""
    stopping = asyncio.create_task(client.stop(), name="kafka producer stops")
    done, _ = await asyncio.wait((stopping,), timeout=flush)
    if not done:
        # An idempotent producer never gives up by itself, and stop() waits for it.
        client._message_accumulator.fail_all(ProducerClosed())  # noqa: SLF001
    await bounded(stopping, CLOSE_SECONDS, lingers=True)
