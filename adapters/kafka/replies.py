"""Replies: this process's own reading of a reply topic."""

import asyncio
import logging
from typing import Final
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from adapters.kafka.config import Endpoint
from adapters.kafka.connection import MAX_RECONNECT_SECONDS, RECONNECT_SECONDS, SILENCE_SECONDS, Connection, start
from adapters.kafka.producer import Producer
from adapters.kafka.record import CORRELATION_ID, header_of
from adapters.kafka.status import failure, unreachable
from gateway.net.counters import Counter
from gateway.net.redelivery import backoff
from gateway.status import Code, Failure

WAIT_MILLISECONDS: Final = 1000
METADATA_MILLISECONDS: Final = 30_000  # until a new partition of the topic is read
CLOSE_SECONDS: Final = 5.0
MOST_ABANDONED: Final = 10_000  # questions whose late replies are still known as such

log = logging.getLogger("gateway.kafka")


class Replies:
    """Reads all partitions of a reply topic, or one, from the time at which it first could, and in no group: every
    process reads all replies and keeps its own. What comes while the brokers are away is read afterwards.

    producer: of the same endpoint; it makes the brokers create the topic where they do so of themselves.
    late: counts replies to questions that were given up.
    """

    def __init__(
        self,
        connection: Connection,
        endpoint: Endpoint,
        producer: Producer,
        topic: str,
        partition: int | None,
        late: Counter,
    ) -> None:
        self._connection = connection
        self._endpoint = endpoint
        self._producer = producer
        self._topic = topic
        self._partition = partition
        self._late = late
        self._next: dict[TopicPartition, int] = {}
        self._waiting: dict[bytes, asyncio.Future[ConsumerRecord]] = {}
        self._abandoned: dict[bytes, None] = {}
        self._task: asyncio.Task[None] | None = None
        self._trouble = "not connected yet"

    @property
    def unready(self) -> str:
        return f"reply topic {self._topic}: {self._trouble}" if self._trouble else ""

    def start(self) -> None:
        """Read in the background."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"kafka replies {self._topic}")

    async def stop(self) -> None:
        """Fail what waits."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._trouble = "stopped"
        for reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(failure(KafkaConnectionError()))

    def expect(self) -> tuple[bytes, asyncio.Future[ConsumerRecord]]:
        """A new correlation id and the reply to come, which forget() must be called for.

        Raises Failure(UNAVAILABLE) while replies can't be read.
        """
        if self._trouble:
            raise unreachable()
        correlation_id = str(uuid4()).encode()
        reply = self._waiting[correlation_id] = asyncio.get_running_loop().create_future()
        return correlation_id, reply

    def forget(self, correlation_id: bytes) -> None:
        """Nobody waits any longer; a reply that comes nevertheless is late."""
        reply = self._waiting.pop(correlation_id)
        if reply.cancel() or reply.cancelled():
            self._abandoned[correlation_id] = None
            if len(self._abandoned) > MOST_ABANDONED:
                del self._abandoned[next(iter(self._abandoned))]
        else:
            reply.exception()  # known to the caller already, or never asked for

    async def _keep(self) -> None:
        attempt = 0
        while True:
            if self._producer.unready:
                self._trouble = self._producer.unready
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            client = AIOKafkaConsumer(
                **self._connection.options,
                enable_auto_commit=False,
                # Where the topic was made anew, or has lost what was not read: replies are not to be skipped.
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                max_partition_fetch_bytes=self._endpoint.max_message_bytes,
                metadata_max_age_ms=METADATA_MILLISECONDS,
            )
            try:
                await start(client)
                await self._assign(client, await self._producer.partitions(self._topic))
                attempt = 0
                self._trouble = ""
                log.info("kafka reply topic %s: reading", self._topic)
                await self._read(client)
            except Exception as error:
                attempt += 1
                why = str(error)
                if not isinstance(error, Failure):
                    _, why = await self._connection.diagnose(error)
                if why != self._trouble:
                    known = isinstance(error, KafkaError | Failure)
                    log.warning("kafka reply topic %s: %s", self._topic, why, exc_info=not known)
                self._trouble = why
            finally:
                closing = asyncio.create_task(client.stop(), name="kafka replies close")
                done, _ = await asyncio.wait((closing,), timeout=CLOSE_SECONDS)
                if done and closing.exception() is not None:
                    log.debug("kafka reply topic %s: not closed cleanly: %s", self._topic, closing.exception())
            await asyncio.sleep(backoff(attempt, RECONNECT_SECONDS, MAX_RECONNECT_SECONDS))

    async def _assign(self, client: AIOKafkaConsumer, partitions: set[int]) -> None:
        """Read these partitions: from now at first, later from where reading was, new ones from their beginning."""
        if self._partition is not None:
            if self._partition not in partitions:
                raise Failure(Code.FAILED_PRECONDITION, f"the topic has no partition {self._partition}")
            partitions = {self._partition}
        places = {TopicPartition(self._topic, partition) for partition in partitions}
        fresh = places - self._next.keys()
        if fresh:
            find = client.beginning_offsets if self._next else client.end_offsets
            self._next.update(await find(list(fresh)))
        client.assign(list(places))
        for place in places:
            client.seek(place, self._next[place])

    async def _read(self, client: AIOKafkaConsumer) -> None:
        """Raises what broke the client."""
        clock = asyncio.get_running_loop().time
        polled, heard = 0, clock()
        while True:
            for place, records in (await client.getmany(timeout_ms=WAIT_MILLISECONDS)).items():
                for record in records:
                    self._next[place] = record.offset + 1
                    self._take(record)
            assigned = client.assignment()
            newest = max(client.last_poll_timestamp(place) or 0 for place in assigned)
            if newest != polled:
                polled, heard = newest, clock()
            silent = clock() - heard > SILENCE_SECONDS
            self._trouble = "no broker answers" if silent else ""
            known = client.partitions_for_topic(self._topic) or set()
            if self._partition is None and len(known) > len(assigned):
                await self._assign(client, known)

    def _take(self, record: ConsumerRecord) -> None:
        correlation_id = header_of(record, CORRELATION_ID) or b""
        reply = self._waiting.get(correlation_id)
        if reply is not None and not reply.done():
            reply.set_result(record)
        elif correlation_id in self._abandoned:
            del self._abandoned[correlation_id]
            self._late.add()
