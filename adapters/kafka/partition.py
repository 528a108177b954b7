"""Partition: one assigned partition of a topic, from fetching to committing."""

import asyncio
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from adapters.kafka.config import Source
from gateway.net.redelivery import Redelivery
from gateway.net.window import Window

FETCH_MILLISECONDS: Final = 10_000
_UNKEYED: Final = object()


class Partition:
    """Records without a key keep the order of the partition.

    settle: as Window has it.
    pressing: called when a commit should not wait any longer.
    broken: called with what ended fetching.
    """

    def __init__(
        self,
        where: TopicPartition,
        source: Source,
        settle: Callable[[ConsumerRecord, Redelivery], Awaitable[bool]],
        pressing: Callable[[], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self.where = where
        self._pressing = pressing
        self._broken = broken
        self._enough = (source.max_in_flight + 1) // 2
        self._window: Window[ConsumerRecord] = Window(
            source.max_in_flight, source, attrgetter("offset"), settle, self._moved
        )
        self._fetching: asyncio.Task[None] | None = None

    @property
    def committable(self) -> tuple[int, int] | None:
        """(the offset to go on from, how many settled records a commit of it frees); None where nothing is new."""
        window = self._window
        return (window.mark, window.settled) if window.settled and window.mark is not None else None

    @property
    def hungry(self) -> bool:
        """There is room for more records than were fetched."""
        return self._window.room > 0

    def committed(self, settled: int) -> None:
        """What committable told was committed."""
        self._window.kept(settled)

    def start(self, consumer: AIOKafkaConsumer) -> None:
        self._fetching = asyncio.create_task(self._fetch(consumer), name=f"kafka {self.where.topic}")
        self._fetching.add_done_callback(self._fetched)

    async def release(self, grace: float | None = None) -> None:
        """Fetch no more, and as Window.release."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        await self._window.release(grace)

    async def _fetch(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            room = await self._window.wait()
            fetched = await consumer.getmany(self.where, timeout_ms=FETCH_MILLISECONDS, max_records=room)
            for record in fetched.get(self.where, ()):
                await self._window.take(_UNKEYED if record.key is None else record.key, record)

    def _fetched(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken(error if isinstance(error, Exception) else RuntimeError("fetching ended"))

    def _moved(self) -> None:
        if self._window.settled >= self._enough:
            self._pressing()
