"""Reading: a stream while it is read, which others may end."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final

from gateway.message import Message
from gateway.net.deadlines import Armed
from gateway.status import Failure

_NEVER: Final = float("inf")


class Reading:
    """waits: for the upstream, and not for the caller. failure: what it was ended with."""

    __slots__ = ("_armed", "_task", "failure", "waits")

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._armed: Armed | None = None
        self.waits = False
        self.failure: Failure | None = None

    async def next(self, replies: AsyncGenerator[Message, None]) -> Message | None:
        """The next one, or None at the end. Raises the failure it was ended with; a wait is cut short for it."""
        if self.failure is not None:
            raise self.failure
        # Each reply may be waited for in a task of its own.
        task = asyncio.current_task()
        if task is not self._task and task is not None:
            self._task = task
            self._armed = Armed(task, _NEVER)
        self.waits = True
        try:
            return await anext(replies, None)
        except asyncio.CancelledError:
            if self._settle() and self.failure is not None:
                raise self.failure from None
            raise
        finally:
            self.waits = False
            if self.failure is not None:
                self._settle()

    def _settle(self) -> bool:
        return self._armed is not None and self._armed.settle()

    def end(self, failure: Failure) -> None:
        """Nothing more is asked of the upstream."""
        if self.failure is None:
            self.failure = failure
            if self.waits and self._armed is not None:
                self._armed.expire()
