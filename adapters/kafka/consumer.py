"""Consumer: one route's membership of a consumer group."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, TopicAuthorizationFailedError

from adapters.kafka.config import Source
from adapters.kafka.connection import Client, answered, log, pulse, start
from adapters.kafka.producer import Producer
from adapters.kafka.record import Delivery, metadata_of, reply_address
from adapters.kafka.status import unreachable
from gateway.message import Context, Message
from gateway.net.broker.byte_headers import byte_headers, read_headers, reply_headers
from gateway.net.broker.redelivery import Redelivery
from gateway.net.broker.reply import Reply
from gateway.net.broker.settlement import Counts, Settlement
from gateway.net.broker.windows import Windows
from gateway.port import Binding
from gateway.status import Code, Failure

COMMIT_SECONDS: Final = 1.0
FETCH_MILLISECONDS: Final = 10_000
NEVER_MILLISECONDS: Final = 2**31 - 1


class Consumer(Client[AIOKafkaConsumer], ConsumerRebalanceListener):  # type: ignore[misc]
    """Consumes the topics of one source and calls its binding's service; the Courier of their records.

    binding: may be replaced at any time by one with the same address.
    producer: of dead letters and replies.
    """

    def __init__(self, group: str, binding: Binding, producer: Producer, counts: Counts) -> None:
        super().__init__(producer.connection, f"group {group}")
        self.binding = binding
        self.source: Source = binding.address
        self._group = group
        self._producer = producer
        self._settlement = Settlement(self.what, counts, self.connection.endpoint, log)
        self._client: AIOKafkaConsumer | None = None
        self._windows: Windows[TopicPartition, ConsumerRecord] = Windows(
            self.source.max_in_flight,
            self.source,
            position=attrgetter("offset"),
            lane=attrgetter("key"),  # those without one keep the order of the partition
            settle=self._settle,
            fetch=self._fetch,
            keep=self._commit,
        )
        self._draining = self._joined = False

    @property
    def unready(self) -> str:
        joining = "" if self._joined else f"{self.what}: not in the group yet"
        return super().unready or joining or self._settlement.unready

    def start(self) -> None:
        """Join the group in the background."""
        self._draining = False
        super().start()

    async def drain(self) -> None:
        """Begin nothing new; return when what runs is done and committed."""
        self._draining = True
        await self._windows.release()

    async def stop(self) -> None:
        """Cancel what runs, commit what is settled and leave the group."""
        self._draining = True
        await super().stop()

    # -- the group

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        client = self._client
        if client is None or self._draining:
            return
        try:
            for where in assigned:
                # "latest" is found anew at each start until something is committed: what arrived while the gateway was
                # away would be skipped.
                if self.source.start == "latest" and await client.committed(where) is None:
                    await client.commit({where: await client.position(where)})
                self._windows.open(where)
        except (KafkaError, IllegalStateError) as error:
            self._windows.fail(error)
        self._joined = True

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """The group waits for this, for its session timeout at most."""
        await self._windows.close(revoked, self.source.session_timeout / 2)

    # -- as a Keeper

    async def open(self) -> AIOKafkaConsumer:
        source = self.source
        self._joined = False
        client = self._client = self.connection.consumer(
            group_id=self._group,
            group_instance_id=source.member or None,
            auto_offset_reset=source.start,
            session_timeout_ms=int(source.session_timeout * 1000),
            heartbeat_interval_ms=int(source.session_timeout * 1000 / 3),
            # A partition whose window is full is not polled, and that is no reason to lose it: the heartbeat tells
            # that the process lives.
            max_poll_interval_ms=NEVER_MILLISECONDS,
        )
        client.subscribe(source.topic, listener=self)
        return client

    async def serve(self, client: AIOKafkaConsumer) -> None:
        """Commit now and then. Raises what broke the consumer."""
        await start(client)
        heart = pulse(self, client)
        while True:
            await self._windows.tend(COMMIT_SECONDS)
            heart.feel(answered(client, self._windows.asking))

    async def close(self, client: AIOKafkaConsumer) -> None:
        """Let go of all partitions first."""
        await self._windows.close_all()
        self._client = None
        await super().close(client)

    async def _commit(self, offsets: Mapping[TopicPartition, int]) -> bool:
        if self._client is None:
            return False
        try:
            await self._client.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            # The partitions went to another member. What is not committed is redelivered.
            log.info("%s: offsets not committed: %s", self.what, error)
            return False
        return True

    async def _fetch(self, where: TopicPartition, most: int) -> Sequence[ConsumerRecord]:
        if self._client is None:
            raise unreachable()
        fetched = await self._client.getmany(where, timeout_ms=FETCH_MILLISECONDS, max_records=most)
        records: Sequence[ConsumerRecord] = fetched.get(where, ())
        return records

    # -- records

    async def _settle(self, record: ConsumerRecord, redelivery: Redelivery) -> bool:
        delivery = Delivery(record, f"{record.topic}/{record.partition}/{record.offset}", record.value)
        if self.source.replies == "one":
            try:
                delivery.address = reply_address(record, self.source.may_reply_to)
            except Failure as why:
                return await self._settlement.refuse(self, delivery, why, redelivery)
        return await self._settlement.settle(self, delivery, redelivery)

    async def deliver(self, delivery: Delivery) -> Message:
        """As Courier.deliver."""
        binding, record = self.binding, delivery.record
        headers, trace = read_headers(record.headers, binding.headers)
        request = Message(record.value, headers, metadata_of(record.topic, record), record.key)
        return await binding.service.call(request, Context(peer=delivery.name, trace=trace))

    def grave(self, delivery: Delivery) -> str:
        """As Courier.grave."""
        return self.source.dead_letter_topic(delivery.record.topic)

    async def bury(self, delivery: Delivery, reason: Sequence[tuple[str, str]]) -> None:
        """As Courier.bury."""
        record = delivery.record
        headers = [*record.headers, *byte_headers(reason)]
        # aiokafka can't publish a record that has neither key nor value.
        value = b"" if record.value is None and record.key is None else record.value
        await self._producer.publish(self.grave(delivery), value, record.key, headers)

    async def answer(self, delivery: Delivery, reply: Reply) -> None:
        """As Courier.answer."""
        address = delivery.address
        headers = reply_headers(reply, address.correlation_id)
        try:
            await self._producer.publish(address.topic, reply.body, None, headers, address.partition)
        except Failure as failure:
            if isinstance(failure.__cause__, TopicAuthorizationFailedError):
                # An operator mends it, but whoever asked may name any topic.
                raise Failure(Code.PERMISSION_DENIED, failure.message) from failure
            raise
