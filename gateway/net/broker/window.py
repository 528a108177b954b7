"""Window: what of a log is being handled, between the position that is kept and the newest one taken."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

from gateway.net.broker.redelivery import Redelivery, Retries
from gateway.net.lanes import Lanes, LowWaterMark
from gateway.net.tasks import end

T = TypeVar("T")


class Window(Generic[T]):
    """Fetches records and handles them, those of one lane in order, lanes at once.

    At most `limit` records lie between the position that is kept and the newest one taken, so that a crash repeats no
    more than those.

    position, lane: where a record stands in its log, and what it keeps the order of.
    settle: handles a record; whether it is settled.
    moved: called with `settled` whenever it has risen.
    settled: how many records the mark has passed since the position that is kept.
    """

    def __init__(
        self,
        limit: int,
        retries: Retries,
        *,
        position: Callable[[T], int],
        lane: Callable[[T], Hashable],
        settle: Callable[[T, Redelivery], Awaitable[bool]],
        moved: Callable[[int], None],
    ) -> None:
        self.settled = 0
        self._limit = limit
        self._position = position
        self._lane = lane
        self._settle = settle
        self._moved = moved
        self._mark = LowWaterMark()
        self._lanes: Lanes[T] = Lanes(limit, self._serve)
        self._room = asyncio.Event()
        self._ending = asyncio.get_running_loop().create_future()
        self._redelivery = Redelivery(retries, self._ending)
        self._fetching: asyncio.Task[None] | None = None

    @property
    def mark(self) -> int | None:
        """All records below it are settled; None before the first one."""
        return self._mark.mark

    def __len__(self) -> int:
        """Records that the mark has not passed."""
        return len(self._mark)

    @property
    def room(self) -> int:
        """How many more records may be taken."""
        return self._limit - len(self._mark) - self.settled

    @property
    def due(self) -> tuple[int, int] | None:
        """(the mark, `settled`) where keeping it frees room."""
        mark = self._mark.mark
        return (mark, self.settled) if self.settled and mark is not None else None

    def kept(self, settled: int) -> None:
        """A position was kept, behind which are so many of the `settled`."""
        self.settled -= settled
        self._room.set()

    def start(self, fetch: Callable[[int], Awaitable[Sequence[T]]], broken: Callable[[Exception], None]) -> None:
        """Fetch in the background. fetch: (at most so many) -> records. broken: called with what it raised."""
        self._fetching = asyncio.create_task(self._fill(fetch, broken), name="window")

    async def release(self, grace: float | None = None) -> None:
        """Fetch no more, begin nothing more, and return when what runs has ended.

        grace: seconds after which it is cancelled; without, the caller bounds the time.
        """
        if not self._ending.done():
            self._ending.set_result(None)
        if self._fetching is not None:
            await end([self._fetching])
        self._lanes.close()
        if grace is not None:
            ended = asyncio.create_task(self._lanes.join())
            await asyncio.wait((ended,), timeout=grace)
            ended.cancel()
            await self._lanes.cancel()
        await self._lanes.join()

    async def _fill(self, fetch: Callable[[int], Awaitable[Sequence[T]]], broken: Callable[[Exception], None]) -> None:
        try:
            while True:
                while self.room <= 0:
                    self._room.clear()
                    await self._room.wait()
                records = await fetch(self.room)
                # All of them before any is handled: what fetch() has passed over lies below the mark only then.
                for record in records:
                    self._mark.add(self._position(record))
                for record in records:
                    await self._lanes.submit(self._lane(record), record)
        except Exception as error:
            broken(error)

    async def _serve(self, record: T) -> None:
        if await self._settle(record, self._redelivery):
            passed = self._mark.settle(self._position(record))
            if passed:
                self.settled += passed
                self._moved(self.settled)
