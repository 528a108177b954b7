"""Window: what of a log is being handled, between the position that is kept and the newest one taken."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from gateway.net.lanes import Lanes, LowWaterMark
from gateway.net.redelivery import Redelivery, Retries

T = TypeVar("T")


class Window(Generic[T]):
    """Made on the event loop. Records of one key are handled in order, keys at once.

    At most `limit` records lie between the position that is kept and the newest one taken, so that a crash repeats no
    more than those.

    position: where a record stands in its log.
    settle: handles a record; whether it is settled.
    moved: called when records were settled.
    settled: how many records the mark has passed since the position that is kept.
    """

    def __init__(
        self,
        limit: int,
        retries: Retries,
        position: Callable[[T], int],
        settle: Callable[[T, Redelivery], Awaitable[bool]],
        moved: Callable[[], None],
    ) -> None:
        self.settled = 0
        self._limit = limit
        self._position = position
        self._settle = settle
        self._moved = moved
        self._ending = asyncio.get_running_loop().create_future()
        self._redelivery = Redelivery(retries.max_deliveries, retries.backoff, retries.max_backoff, self._ending)
        self._mark = LowWaterMark()
        self._lanes: Lanes[T] = Lanes(limit, self._serve)
        self._room = asyncio.Event()

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

    async def wait(self) -> int:
        """Room, as soon as there is some."""
        while self.room <= 0:
            self._room.clear()
            await self._room.wait()
        return self.room

    async def take(self, key: Hashable, record: T) -> None:
        """Handle a record after those of its key."""
        self._mark.add(self._position(record))
        await self._lanes.submit(key, record)

    def kept(self, settled: int) -> None:
        """A position was kept, behind which are so many of the `settled`."""
        self.settled -= settled
        self._room.set()

    async def release(self, grace: float | None = None) -> None:
        """Begin nothing more, and return when what runs has ended.

        grace: seconds after which it is cancelled; without, the caller bounds the time.
        """
        if not self._ending.done():
            self._ending.set_result(None)
        self._lanes.close()
        if grace is not None:
            ended = asyncio.create_task(self._lanes.join())
            await asyncio.wait((ended,), timeout=grace)
            ended.cancel()
            await self._lanes.cancel()
        await self._lanes.join()

    async def _serve(self, record: T) -> None:
        if await self._settle(record, self._redelivery):
            self.settled += self._mark.settle(self._position(record))
            self._moved()
