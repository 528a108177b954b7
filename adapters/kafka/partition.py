"""Partition: one assigned partition of a topic, from fetching to settling."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from adapters.kafka.config import Source
from adapters.kafka.record import Reply, ReplyAddress, asks, error_reply, headers_of, reply_address, reply_of
from gateway.message import Context, Message
from gateway.net.counters import Counter
from gateway.net.lanes import Lanes, LowWaterMark
from gateway.net.redelivery import Redelivery
from gateway.pattern import Pattern
from gateway.port import Binding
from gateway.status import Failure, invalid

FETCH_MILLISECONDS: Final = 10_000
_UNKEYED: Final = object()

DeadLetter = Callable[[ConsumerRecord, Failure, int], Awaitable[None]]
"""(record, why, deliveries): returns once the brokers have the dead letter. Raises Failure."""

Answer = Callable[[ReplyAddress, Reply], Awaitable[None]]
"""Returns once the brokers have the reply, or never will. Raises Failure while they may."""


class Partition:
    """Calls the route for each record and settles it afterwards: records of one key in order, keys at once.

    Records without a key keep the order of the partition. At most source.max_in_flight records lie between the
    committed offset and the newest one taken, so that a crash repeats no more than those.

    binding: whose service is called; may be replaced at any time.
    discarded: counts replies that no record asked for.
    pressing: called when a commit should not wait any longer.
    broken: called with what ended fetching.
    """

    def __init__(
        self,
        where: TopicPartition,
        source: Source,
        binding: Callable[[], Binding],
        limit: int,
        dead_letter: DeadLetter,
        answer: Answer,
        discarded: Counter,
        pressing: Callable[[], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self.where = where
        self._source = source
        self._binding = binding
        self._limit = limit
        self._dead_letter = dead_letter
        self._answer = answer
        self._discarded = discarded
        self._pressing = pressing
        self._broken = broken
        self._mark = LowWaterMark()
        self._lanes: Lanes[ConsumerRecord] = Lanes(source.max_in_flight, self._serve)
        self._passed = 0
        self._room = asyncio.Event()
        self._ending = asyncio.get_running_loop().create_future()
        self._redelivery = Redelivery(source.max_deliveries, source.backoff, source.max_backoff, self._ending)
        self._fetching: asyncio.Task[None] | None = None

    @property
    def committable(self) -> tuple[int, int] | None:
        """(the offset to go on from, how many settled records a commit of it frees); None where nothing is new."""
        mark = self._mark.mark
        return (mark, self._passed) if self._passed and mark is not None else None

    @property
    def hungry(self) -> bool:
        """There is room for more records than were fetched."""
        return len(self._mark) + self._passed < self._source.max_in_flight

    def committed(self, passed: int) -> None:
        """What committable told was committed."""
        self._passed -= passed
        self._room.set()

    def start(self, consumer: AIOKafkaConsumer) -> None:
        self._fetching = asyncio.create_task(self._fetch(consumer), name=f"kafka {self.where.topic}")
        self._fetching.add_done_callback(self._fetched)

    async def release(self, grace: float | None = None) -> None:
        """Fetch no more, begin nothing more, and return when what runs has ended.

        grace: seconds after which it is cancelled; without, the caller bounds the time.
        """
        if not self._ending.done():
            self._ending.set_result(None)
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        self._lanes.close()
        if grace is not None:
            ended = asyncio.create_task(self._lanes.join())
            await asyncio.wait((ended,), timeout=grace)
            ended.cancel()
            await self._lanes.cancel()
        await self._lanes.join()

    async def _fetch(self, consumer: AIOKafkaConsumer) -> None:
        most = self._source.max_in_flight
        while True:
            room = most - len(self._mark) - self._passed
            if room <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            fetched = await consumer.getmany(self.where, timeout_ms=FETCH_MILLISECONDS, max_records=room)
            for record in fetched.get(self.where, ()):
                self._mark.add(record.offset)
                await self._lanes.submit(_UNKEYED if record.key is None else record.key, record)

    def _fetched(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken(error if isinstance(error, Exception) else RuntimeError("fetching ended"))

    async def _serve(self, record: ConsumerRecord) -> None:
        replies = self._binding().pattern is Pattern.REQUEST_REPLY
        if await (self._reply(record) if replies and asks(record) else self._handle(record, replies)):
            self._settle(record)

    async def _handle(self, record: ConsumerRecord, replies: bool) -> bool:
        """Whether it is settled. replies: the route answers, but nobody asked."""

        async def deliver() -> None:
            await self._deliver(record)
            if replies:
                self._discarded.add()

        return await self._redelivery.settle(deliver, lambda why, tries: self._dead_letter(record, why, tries))

    async def _reply(self, record: ConsumerRecord) -> bool:
        """Whether it is settled, its reply with it."""
        try:
            address = reply_address(record)
            if not self._source.may_reply_to(address.topic):
                raise invalid("the header reply-to names a topic that takes no replies from here")
        except Failure as failure:
            why = failure
            return await self._redelivery.persist(lambda: self._dead_letter(record, why, 0))
        told = Reply(b"", [])

        async def deliver() -> None:
            nonlocal told
            told = reply_of(await self._deliver(record))

        async def give_up(failure: Failure, deliveries: int) -> None:
            nonlocal told
            told = error_reply(failure)

        if not await self._redelivery.settle(deliver, give_up, awaited=True):
            return False
        return await self._redelivery.persist(lambda: self._answer(address, told))

    async def _deliver(self, record: ConsumerRecord) -> Message:
        binding = self._binding()
        headers, trace = headers_of(record, binding.headers)
        value = record.value
        if value is not None and len(value) > self._limit:
            raise invalid(f"the message is larger than the limit of {self._limit} bytes")
        request = Message(
            value,
            headers,
            {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "timestamp": record.timestamp * 1_000_000,
            },
            record.key,
        )
        context = Context(peer=f"{record.topic}/{record.partition}/{record.offset}", trace=trace)
        return await binding.service.call(request, context)

    def _settle(self, record: ConsumerRecord) -> None:
        self._passed += self._mark.settle(record.offset)
        if 2 * self._passed >= self._source.max_in_flight:
            self._pressing()
