"""Partition: one assigned partition of a topic, from fetching to settling."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from adapters.kafka.config import Source
from adapters.kafka.connection import backoff
from gateway.message import Context, Header, Message
from gateway.net.lanes import Lanes, LowWaterMark
from gateway.port import Binding
from gateway.status import Code, Disposition, Failure, disposition, invalid

FETCH_MILLISECONDS: Final = 10_000
_TRACEPARENT: Final = re.compile(rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_UNKEYED: Final = object()

log = logging.getLogger("gateway.kafka")

DeadLetter = Callable[[ConsumerRecord, Failure, int], Awaitable[None]]
"""(record, why, deliveries): returns once the brokers have the dead letter. Raises Failure."""


class Partition:
    """Calls the route for each record and settles it afterwards: records of one key in order, keys at once.

    Records without a key keep the order of the partition. At most source.max_in_flight records lie between the
    committed offset and the newest one taken, so that a crash repeats no more than those.

    binding: whose service is called; may be replaced at any time.
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
        pressing: Callable[[], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self.where = where
        self._source = source
        self._binding = binding
        self._limit = limit
        self._dead_letter = dead_letter
        self._pressing = pressing
        self._broken = broken
        self._mark = LowWaterMark()
        self._lanes: Lanes[ConsumerRecord] = Lanes(source.max_in_flight, self._serve)
        self._passed = 0
        self._room = asyncio.Event()
        self._ending = asyncio.get_running_loop().create_future()
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
        deliveries = bounded = 0
        while not self._ending.done():
            deliveries += 1
            failure = await self._deliver(record)
            if failure is None:
                self._settle(record)
                return
            fate = disposition(failure.code)
            bounded += fate is Disposition.REDELIVER_THEN_DEAD_LETTER
            if fate is Disposition.DEAD_LETTER or bounded >= self._source.max_deliveries:
                await self._bury(record, failure, deliveries)
                return
            await self._pause(deliveries, failure.retry_after)

    async def _bury(self, record: ConsumerRecord, failure: Failure, deliveries: int) -> None:
        attempt = 0
        while not self._ending.done():
            try:
                await self._dead_letter(record, failure, deliveries)
            except Failure:
                pass
            except Exception:
                log.exception("kafka %s: bug while dead-lettering a record", record.topic)
            else:
                self._settle(record)
                return
            # The record is neither handled nor kept elsewhere: the offset must not pass it.
            attempt += 1
            await self._pause(attempt, None)

    async def _pause(self, attempt: int, least: float | None) -> None:
        source = self._source
        seconds = backoff(attempt, source.backoff, source.max_backoff)
        if least is not None:
            seconds = max(seconds, min(least, source.max_backoff))
        await asyncio.wait((self._ending,), timeout=seconds)

    async def _deliver(self, record: ConsumerRecord) -> Failure | None:
        binding = self._binding()
        headers, trace = _headers(record, binding.headers)
        value = record.value
        if value is not None and len(value) > self._limit:
            return invalid(f"the message is larger than the limit of {self._limit} bytes")
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
        try:
            await binding.service.call(request, context)
        except Failure as failure:
            return failure
        except Exception:
            log.exception("kafka %s: bug while handling a record", context.peer)
            return Failure(Code.INTERNAL, "internal error")
        return None

    def _settle(self, record: ConsumerRecord) -> None:
        self._passed += self._mark.settle(record.offset)
        if 2 * self._passed >= self._source.max_in_flight:
            self._pressing()


def _headers(record: ConsumerRecord, wanted: frozenset[str]) -> tuple[list[Header], str]:
    """The headers that the route wants, and the trace context."""
    found: list[Header] = []
    trace = ""
    for name, value in record.headers:
        lower = name.lower()
        if lower == "traceparent" and value is not None and _TRACEPARENT.fullmatch(value):
            trace = value.decode("ascii")
        elif lower in wanted and value is not None:
            try:
                found.append((lower, value.decode()))
            except UnicodeDecodeError:
                found.append((lower, value))
    return found, trace
