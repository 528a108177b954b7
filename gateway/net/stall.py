"""Stalls: a peer that takes nothing of what it is sent is not waited for longer than its time."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Self

from gateway.message import Context, Departure
from gateway.net.counters import Counter
from gateway.net.deadlines import Armed
from gateway.status import Code, Failure

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
    """Ends the block that it is the context of when one message takes longer than `seconds`, for libraries that own the
    transport: between writing() and written() a message is on its way. Raises Failure(DEADLINE_EXCEEDED) then.

    context: of the call that the block makes, whose departure tells it why. stalled: counts such callers.
    """

    __slots__ = ("_armed", "_context", "_loop", "_seconds", "_since", "_stalled", "_timer")

    def __init__(self, seconds: float, context: Context, stalled: Counter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("messages are sent in a task")
        self._armed = Armed(task, _NEVER)
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._stalled = stalled
        self._since = _NEVER
        self._timer = self._loop.call_later(seconds, self._check)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._timer.cancel()
        # What was raised meanwhile says more than that.
        if self._armed.settle() and isinstance(error, asyncio.CancelledError):
            told = f"the caller took no message for {self._seconds:g} seconds"
            raise Failure(Code.DEADLINE_EXCEEDED, told, counted=True) from None

    def writing(self) -> None:
        self._since = self._loop.time()

    def written(self) -> None:
        self._since = _NEVER

    def _check(self) -> None:
        rest = self._since + self._seconds - self._loop.time()
        if rest <= 0:
            self._stalled.add()
            self._context.departure = Departure()
            self._context.departure.stalled(self._seconds)
            self._armed.expire()
        else:
            self._timer = self._loop.call_later(min(rest, self._seconds), self._check)
