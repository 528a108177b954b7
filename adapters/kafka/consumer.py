"""Consumer: one route's membership of a consumer group."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from adapters.kafka.config import Endpoint, Source
from adapters.kafka.connection import MAX_RECONNECT_SECONDS, RECONNECT_SECONDS, SILENCE_SECONDS, Connection, start
from adapters.kafka.partition import Partition
from adapters.kafka.producer import Producer
from adapters.kafka.record import CORRELATION_ID, Reply, ReplyAddress, error_reply
from adapters.kafka.status import refuses_topic
from gateway.net.counters import Counter
from gateway.net.redelivery import backoff, reasons
from gateway.port import Binding
from gateway.status import Code, Failure

COMMIT_SECONDS: Final = 1.0
COMMIT_PATIENCE_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 5.0
NEVER_MILLISECONDS: Final = 2**31 - 1

log = logging.getLogger("gateway.kafka")


class Counts(msgspec.Struct, frozen=True):
    """undeliverable_replies: those whose topic is not there or refuses them. discarded_replies: nobody asked."""

    dead_letters: Counter
    undeliverable_replies: Counter
    discarded_replies: Counter


class Consumer(ConsumerRebalanceListener):  # type: ignore[misc]
    """Consumes the topics of one source and calls its binding's service.

    binding: may be replaced at any time by one with the same address.
    producer: of dead letters and replies.
    """

    def __init__(
        self,
        connection: Connection,
        endpoint: Endpoint,
        group: str,
        binding: Binding,
        producer: Producer,
        counts: Counts,
    ) -> None:
        self.binding = binding
        self.source: Source = binding.address
        self._connection = connection
        self._endpoint = endpoint
        self._group = group
        self._producer = producer
        self._counts = counts
        self._client: AIOKafkaConsumer | None = None
        self._partitions: dict[TopicPartition, Partition] = {}
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._committing = asyncio.Lock()
        self._error: Exception | None = None
        self._draining = False
        self._trouble = "not connected yet"
        self._unburied = ""

    @property
    def unready(self) -> str:
        why = self._trouble or self._unburied
        return f"group {self._group}: {why}" if why else ""

    def start(self) -> None:
        """Join the group in the background."""
        if self._task is None:
            self._draining = False
            self._task = asyncio.create_task(self._keep(), name=f"kafka group {self._group}")

    async def drain(self) -> None:
        """Begin nothing new; return when what runs is done and committed."""
        self._draining = True
        await asyncio.gather(*(partition.release() for partition in self._partitions.values()))
        await self._commit()

    async def stop(self) -> None:
        """Cancel what runs, commit what is settled and leave the group."""
        self._draining = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._trouble = "stopped"

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        client = self._client
        if client is None or self._draining:
            return
        assigned = set(assigned)
        if self.source.start == "latest":
            await self._pin(client, assigned)
        for where in assigned:
            partition = self._partitions[where] = Partition(
                where,
                self.source,
                lambda: self.binding,
                self._endpoint.max_message_bytes,
                self._bury,
                self._answer,
                self._counts.discarded_replies,
                self._wake.set,
                self._break,
            )
            partition.start(client)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """The group waits for this, for its session timeout at most."""
        leaving = [self._partitions[where] for where in revoked if where in self._partitions]
        grace = self.source.session_timeout / 2
        await asyncio.gather(*(partition.release(grace) for partition in leaving))
        await self._commit()
        for partition in leaving:
            del self._partitions[partition.where]

    async def _pin(self, client: AIOKafkaConsumer, assigned: Iterable[TopicPartition]) -> None:
        # "latest" is found anew at each start until something is committed: what arrived while the gateway was away
        # would be skipped.
        try:
            for where in assigned:
                if await client.committed(where) is None:
                    await client.commit({where: await client.position(where)})
        except (KafkaError, IllegalStateError) as error:
            self._break(error)

    async def _keep(self) -> None:
        source = self.source
        attempt = 0
        while True:
            self._error = None
            client = self._client = AIOKafkaConsumer(
                **self._connection.options,
                group_id=self._group,
                enable_auto_commit=False,
                auto_offset_reset=source.start,
                isolation_level="read_committed",
                max_partition_fetch_bytes=self._endpoint.max_message_bytes,
                session_timeout_ms=int(source.session_timeout * 1000),
                heartbeat_interval_ms=int(source.session_timeout * 1000 / 3),
                # A partition whose window is full is not polled, and that is no reason to lose it: the heartbeat tells
                # that the process lives.
                max_poll_interval_ms=NEVER_MILLISECONDS,
            )
            client.subscribe(source.topic, listener=self)
            try:
                await start(client)
                attempt = 0
                self._trouble = ""
                log.info("kafka group %s: joined", self._group)
                await self._watch(client)
            except Exception as error:
                attempt += 1
                _, why = await self._connection.diagnose(error)
                if why != self._trouble:
                    log.warning("kafka group %s: %s", self._group, why, exc_info=not isinstance(error, KafkaError))
                self._trouble = why
            finally:
                await self._leave(client)
            await asyncio.sleep(backoff(attempt, RECONNECT_SECONDS, MAX_RECONNECT_SECONDS))

    async def _watch(self, client: AIOKafkaConsumer) -> None:
        """Commit now and then. Raises what broke the consumer."""
        loop = asyncio.get_running_loop()
        polled, heard = 0, loop.time()
        due = loop.time() + COMMIT_SECONDS
        while True:
            try:
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            except TimeoutError:
                due = loop.time() + COMMIT_SECONDS
            self._wake.clear()
            if self._error is not None:
                raise self._error
            await self._commit()
            hungry = [where for where, partition in self._partitions.items() if partition.hungry]
            newest = max((client.last_poll_timestamp(where) or 0 for where in hungry), default=polled)
            if newest != polled or not hungry:
                polled, heard = newest, loop.time()
            silent = loop.time() - heard > SILENCE_SECONDS
            self._trouble = "no broker answers" if silent else ""

    async def _commit(self) -> None:
        async with self._committing:
            client = self._client
            due = {
                where: ready
                for where, partition in self._partitions.items()
                if (ready := partition.committable) is not None
            }
            if client is None or not due:
                return
            partitions = dict(self._partitions)
            try:
                async with asyncio.timeout(COMMIT_PATIENCE_SECONDS):
                    await client.commit({where: offset for where, (offset, _) in due.items()})
            except (CommitFailedError, IllegalStateError, TimeoutError) as error:
                # The partitions went to another member, or the brokers are away. What is not committed is redelivered.
                log.info("kafka group %s: offsets not committed: %s", self._group, error or "no answer")
            except KafkaError as error:
                self._break(error)
            else:
                for where, (_, passed) in due.items():
                    partitions[where].committed(passed)

    def _break(self, error: Exception) -> None:
        self._error = error
        self._wake.set()

    async def _leave(self, client: AIOKafkaConsumer) -> None:
        """Let go of all partitions and close the client, within bounds."""
        await asyncio.gather(*(partition.release(0.0) for partition in self._partitions.values()))
        await self._commit()
        self._partitions.clear()
        self._client = None
        closing = asyncio.create_task(client.stop(), name="kafka consumer closes")
        done, _ = await asyncio.wait((closing,), timeout=CLOSE_SECONDS)
        if done and closing.exception() is not None:
            log.debug("kafka group %s: not left cleanly: %s", self._group, closing.exception())

    async def _bury(self, record: ConsumerRecord, failure: Failure, deliveries: int) -> None:
        topic = self.source.dead_letter_topic(record.topic)
        headers = list(record.headers)
        reason = [
            *((name, text.encode()) for name, text in reasons(failure, deliveries)),
            ("dead-letter-topic", record.topic.encode()),
            ("dead-letter-partition", b"%d" % record.partition),
            ("dead-letter-offset", b"%d" % record.offset),
        ]
        where = f"{record.topic}/{record.partition}/{record.offset}"
        # aiokafka can't publish a record that has neither key nor value.
        value = b"" if record.value is None and record.key is None else record.value
        try:
            try:
                await self._producer.publish(topic, value, record.key, headers + reason)
            except Failure as trouble:
                if trouble.code is not Code.INVALID_ARGUMENT:
                    raise
                # With the reason it is larger than the brokers take; as it came, it was not.
                await self._producer.publish(topic, value, record.key, headers)
        except Failure as trouble:
            self._unburied = f"{where} can't be put into {topic}: {trouble}"
            log.warning("kafka group %s: %s", self._group, self._unburied)
            raise
        self._unburied = ""
        self._counts.dead_letters.add()
        log.warning("kafka group %s: %s put into %s: %s", self._group, where, topic, failure)

    async def _answer(self, address: ReplyAddress, reply: Reply) -> None:
        limit = self._endpoint.max_message_bytes
        if len(reply.body) > limit:
            reply = error_reply(Failure(Code.INTERNAL, f"the reply is larger than the limit of {limit} bytes"))
        try:
            try:
                await self._publish_reply(address, reply)
            except Failure as trouble:
                if trouble.code is not Code.INVALID_ARGUMENT:
                    raise
                told = Failure(Code.INTERNAL, f"the reply can't be sent: {trouble.message}")
                await self._publish_reply(address, error_reply(told))
        except Failure as trouble:
            # Whoever asked chose the topic: what is wrong with it must not hold up the others.
            if not refuses_topic(trouble):
                raise
            self._counts.undeliverable_replies.add()
            log.info("kafka group %s: a reply can't be put into %s: %s", self._group, address.topic, trouble)

    async def _publish_reply(self, address: ReplyAddress, reply: Reply) -> None:
        headers = [*reply.headers, (CORRELATION_ID, address.correlation_id)]
        await self._producer.publish(address.topic, reply.body, None, headers, address.partition)
