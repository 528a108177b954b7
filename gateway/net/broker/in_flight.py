"""In flight: what a broker has handed to one consumer, and takes back one by one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.net.broker.redelivery import Redelivery, Retries


class InFlight:
    """Each is handled in the task that the broker's library made for it."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ending: asyncio.Future[None] | None = None
        self._redelivery: Redelivery | None = None

    def start(self) -> None:
        """Nothing is handled before, and nothing tried again after drain()."""
        retries, self._ending = self._retries, asyncio.get_running_loop().create_future()
        self._redelivery = Redelivery(retries, self._ending)

    @property
    def ended(self) -> bool:
        """Whether drain() was called."""
        return self._ending is not None and self._ending.done()

    async def handle(self, handle: Callable[[Redelivery], Awaitable[None]]) -> None:
        """Handle one in the running task."""
        task = asyncio.current_task()
        if task is None or self._redelivery is None:
            return
        self._tasks.add(task)
        try:
            await handle(self._redelivery)
        finally:
            self._tasks.discard(task)

    def cancel(self) -> None:
        """End what runs: it is no longer the gateway's."""
        for task in self._tasks:
            task.cancel()

    async def drain(self) -> None:
        """Return when what runs has ended. What waits for another try ends at once."""
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(None)
        while self._tasks:
            await asyncio.wait(self._tasks)
