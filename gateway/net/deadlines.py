"""Deadlines: many calls under one timer, and the time that one has left."""

import asyncio
from typing import Final

from gateway.message import Context
from gateway.status import Code, Failure

_NEVER: Final = float("inf")


def remaining(context: Context) -> float | None:
    """Seconds to the call's deadline; None where it has none. Raises Failure where it has passed."""
    if context.deadline == _NEVER:
        return None
    left = context.deadline - asyncio.get_running_loop().time()
    if left <= 0:
        raise Failure(Code.DEADLINE_EXCEEDED, "the deadline passed before the upstream was called", sent=False)
    return left


class Armed:
    """One call that is being timed. at: on the event loop's clock."""

    __slots__ = ("_cancelling", "_expired", "_task", "at", "timer")

    def __init__(self, task: "asyncio.Task[object]", at: float) -> None:
        self._task = task
        self._cancelling = task.cancelling()
        self.at = at
        self._expired = False
        self.timer: asyncio.TimerHandle | None = None

    def expire(self) -> None:
        if not self._expired:
            self._expired = True
            self._task.cancel()

    def settle(self) -> bool:
        """Take back the cancellation, if there was one. Whether the deadline alone had asked for it."""
        expired, self._expired = self._expired, False
        return expired and self._task.uncancel() <= self._cancelling


class Deadlines:
    """Cancels calls whose time is up. All get the same time, so those that began first are due first, and a timer per
    call, which costs more than the rest of a route, is needed only where a caller has less time.

    seconds: how long a call may take.
    """

    __slots__ = ("_armed", "_hurried", "_loop", "_timer", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._armed: dict[Armed, None] = {}
        self._hurried: set[Armed] = set()  # with timers of their own
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def arm(self, latest: float) -> Armed:
        """Time the current task's call. latest: when the caller itself gives up, or infinity. Ends with disarm()."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call is made in a task")
        at = loop.time() + self.seconds
        if latest < at:
            armed = Armed(task, latest)
            armed.timer = loop.call_at(latest, armed.expire)
            self._hurried.add(armed)
            return armed
        armed = Armed(task, at)
        self._armed[armed] = None
        if self._timer is None:
            self._timer = loop.call_at(at, self._due)
        return armed

    def disarm(self, armed: Armed) -> None:
        armed.settle()
        if armed.timer is not None:
            armed.timer.cancel()
            self._hurried.discard(armed)
        else:
            self._armed.pop(armed, None)

    def expire(self) -> None:
        """The time of all that are timed now is up."""
        due = [*self._armed, *self._hurried]
        self._armed.clear()
        self._hurried.clear()
        for armed in due:
            if armed.timer is not None:
                armed.timer.cancel()
            armed.expire()

    def _due(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        due = []
        self._timer = None
        for armed in self._armed:
            if armed.at > now:
                self._timer = loop.call_at(armed.at, self._due)
                break
            due.append(armed)
        for armed in due:
            del self._armed[armed]
            armed.expire()
