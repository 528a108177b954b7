"""Stalls: a peer that takes nothing of what it is sent is not waited for longer than its time."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from gateway.net.deadlines import Armed

log = logging.getLogger("gateway.net")

_NEVER: Final = float("inf")


class TransportStall:
    """Aborts a connection whose unsent bytes don't get fewer for `seconds`, however few it takes in that time. Before
    it does, it calls `stalled`.

    Made when the transport asks to pause writing; ends with end(), when it asks to go on or is lost.
    """

    __slots__ = ("_seconds", "_stalled", "_timer", "_transport", "_unsent")

    def __init__(self, transport: asyncio.Transport, seconds: float, stalled: Callable[[], object]) -> None:
        self._transport = transport
        self._stalled = stalled
        self._seconds = seconds
        self._unsent = transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._check)

    def end(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        unsent = self._transport.get_write_buffer_size()
        if unsent >= self._unsent:
            log.info("a connection is cut: its peer took nothing for %g s", self._seconds)
            self._stalled()
            self._transport.abort()
            return
        self._unsent = unsent
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._check)


class MessageStall:
    """Cancels the current task when one message takes longer than `seconds`; for libraries that own the transport.
    Before it does, it calls `stalled`.

    Between writing() and written() a message is on its way. Ends with settle().
    """

    __slots__ = ("_armed", "_loop", "_seconds", "_since", "_stalled", "_timer")

    def __init__(self, seconds: float, stalled: Callable[[], object]) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("messages are sent in a task")
        self._armed = Armed(task, _NEVER)
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._stalled = stalled
        self._since = _NEVER
        self._timer = self._loop.call_later(seconds, self._check)

    def writing(self) -> None:
        self._since = self._loop.time()

    def written(self) -> None:
        self._since = _NEVER

    def settle(self) -> bool:
        """Whether it was a stall, and nothing else, that cancelled the task; the cancellation is taken back then."""
        self._timer.cancel()
        return self._armed.settle()

    def _check(self) -> None:
        rest = self._since + self._seconds - self._loop.time()
        if rest <= 0:
            self._stalled()
            self._armed.expire()
        else:
            self._timer = self._loop.call_later(min(rest, self._seconds), self._check)
