"""Feeder: sends the requests of a call while its replies are read."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from gateway.net.tasks import end


class Feeder:
    """At most one task beside the call's own. Ends with stop()."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self, sending: Coroutine[Any, Any, None]) -> None:
        """sending: takes the caller's messages to their end; what it raises is why they ended before."""
        self._task = asyncio.create_task(sending, name="requests")

    def check(self) -> None:
        """Raise what ended the caller's messages, if anything has."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()

    async def stop(self) -> None:
        """Safe before start()."""
        if self._task is not None:
            await end([self._task])
