"""Waiters: those who wait for a place, first come first served."""

import asyncio
from collections import deque
from collections.abc import Callable


class Waiters:
    """A pool's queue. Who wakes looks again for the place, which somebody may have taken."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    async def wait(self) -> None:
        """Return when woken; raise what fail() was given. One that is cancelled as it wakes wakes the next."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.wake()
            raise

    def wake(self) -> None:
        """There may be room for one more."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def fail(self, error: Callable[[], Exception]) -> None:
        """There will be no room for any of them."""
        waiting, self._waiting = self._waiting, deque()
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(error())
