"""Ordered lanes: items of one key run in order, those of different keys at once; and how far a log is settled."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from gateway.net.tasks import end

T = TypeVar("T")

log = logging.getLogger("gateway.lanes")


class Lanes(Generic[T]):
    """Runs each item once. A lane is the line of items with one key; it costs a task only while it has work.

    limit: how many items may be inside at once, waiting in their lanes or running.
    run: serves one item and handles its own errors; one that escapes is logged and ends nothing but that item.
    """

    def __init__(self, limit: int, run: Callable[[T], Awaitable[None]]) -> None:
        if limit < 1:
            raise ValueError("a limit of less than one item lets nothing through")
        self._limit = limit
        self._run = run
        self._lines: dict[Hashable, deque[T]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._inside = 0
        self._closed = False
        self._waiters: deque[asyncio.Future[bool]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_flight(self) -> int:
        """Items inside: waiting in their lanes or running."""
        return self._inside

    async def submit(self, key: Hashable, item: T) -> None:
        """Put an item at the end of its lane; waits, first come first served, while `limit` items are inside.

        Raises RuntimeError once close() was called.
        """
        if self._closed or not await self._enter():
            raise RuntimeError("the lanes are closed")
        line = self._lines.get(key)
        if line is not None:
            line.append(item)
            return
        self._lines[key] = deque((item,))
        task = asyncio.create_task(self._serve(key), name="lane")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Take nothing more and drop what has not begun; what runs goes on."""
        self._closed = True
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(False)
        self._waiters.clear()
        for line in self._lines.values():
            while len(line) > 1:
                line.pop()
                self._leave()

    async def join(self) -> None:
        """Return when nothing is inside."""
        await self._idle.wait()

    async def cancel(self) -> None:
        """Close, cancel what runs and return when it has ended."""
        self.close()
        await end(self._tasks)
        for line in self._lines.values():
            for _ in line:
                self._leave()
        self._lines.clear()

    async def _enter(self) -> bool:
        if self._inside < self._limit:
            self._inside += 1
            self._idle.clear()
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result():
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(True)  # the place inside passes to the waiter, so that nobody slips in between
                return
        self._inside -= 1
        if not self._inside:
            self._idle.set()

    async def _serve(self, key: Hashable) -> None:
        line = self._lines[key]
        while line:
            try:
                await self._run(line[0])
            except Exception:
                log.exception("an item failed in its lane")
            line.popleft()
            self._leave()
        del self._lines[key]


class LowWaterMark:
    """How far a log is settled when its records are settled in any order.

    mark: all deliveries below it are settled; the place to go on from after a crash. None before the first delivery.
    """

    __slots__ = ("_next", "_open", "_settled", "mark")

    def __init__(self) -> None:
        self.mark: int | None = None
        self._next = 0
        self._open: deque[int] = deque()
        self._settled: set[int] = set()

    def add(self, offset: int) -> None:
        """A record was delivered. Offsets rise; gaps are allowed (compaction). Raises ValueError where one falls."""
        if self.mark is not None and offset < self._next:
            raise ValueError(f"offset {offset} after {self._next - 1}")
        if self.mark is None or not self._open:
            self.mark = offset
        self._open.append(offset)
        self._next = offset + 1

    def settle(self, offset: int) -> int:
        """A record is done with, for good; the mark moves over all settled ones. Returns how many it passed."""
        self._settled.add(offset)
        passed = 0
        while self._open and self._open[0] in self._settled:
            self._settled.remove(self._open.popleft())
            passed += 1
        if passed:
            self.mark = self._open[0] if self._open else self._next
        return passed

    def __len__(self) -> int:
        """Deliveries that the mark has not passed, settled ones among them."""
        return len(self._open)
