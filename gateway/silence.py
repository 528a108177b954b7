"""Silence: how long a Route waits for an upstream's next message."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Final

from gateway.message import Context, Message
from gateway.net.deadlines import Deadlines
from gateway.pattern import Count, Pattern
from gateway.port import Service
from gateway.reading import Reading
from gateway.status import Code, Failure

_NEVER: Final = float("inf")


class SilenceLimit:
    """A Service whose upstream may be silent for so many seconds, the first message included; then it is cancelled, and
    fails with DEADLINE_EXCEEDED.

    Time in which the caller takes nothing is not the upstream's. Where the upstream has one reply, or none, to many
    requests, neither is time in which it waits for the next request.
    """

    def __init__(self, service: Service, pattern: Pattern, seconds: float) -> None:
        self._service = service
        self._seconds = seconds
        self._requests_first = pattern.requests is Count.MANY and pattern.replies is not Count.MANY
        self._deadlines = Deadlines(seconds)

    async def call(self, request: Message, context: Context) -> Message:
        armed = self._deadlines.arm(_NEVER)
        try:
            return await self._service.call(request, context)
        except asyncio.CancelledError:
            if armed.settle():
                raise self._failure() from None
            raise
        finally:
            self._deadlines.disarm(armed)

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        watch = _Watch(self._seconds, self._failure())
        if more is not None and self._requests_first:
            more = _Requests(more, watch)
        try:
            async with aclosing(self._service.stream(request, more, context)) as replies:
                while (reply := await watch.reply(replies)) is not None:
                    yield reply
        finally:
            watch.end()

    def _failure(self) -> Failure:
        return Failure(Code.DEADLINE_EXCEEDED, f"no message from the upstream for {self._seconds:g} s")


class _Watch:
    """One stream's timer; it looks at when the wait began, so that a message costs no timer of its own.

    failure: how it ends the stream. Ends with end().
    """

    __slots__ = ("_asking", "_at", "_failure", "_loop", "_reading", "_seconds", "_timer")

    def __init__(self, seconds: float, failure: Failure) -> None:
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._failure = failure
        self._reading = Reading()
        self._asking = False
        self._at = _NEVER
        self._timer = self._loop.call_later(seconds, self._check)

    async def reply(self, replies: AsyncGenerator[Message, None]) -> Message | None:
        """As Reading.next."""
        self._at = self._due()
        return await self._reading.next(replies)

    def ask(self, *, asking: bool) -> None:
        """Whether the upstream waits for the caller."""
        self._asking = asking
        self._at = self._due()

    def end(self) -> None:
        self._timer.cancel()

    def _due(self) -> float:
        return _NEVER if self._asking else self._loop.time() + self._seconds

    def _check(self) -> None:
        rest = self._at - self._loop.time() if self._reading.waits else _NEVER
        if rest <= 0:
            self._reading.end(self._failure)
        else:
            self._timer = self._loop.call_later(min(rest, self._seconds), self._check)


class _Requests:
    """The caller's requests; while one is waited for, it is the caller that is silent."""

    __slots__ = ("_more", "_watch")

    def __init__(self, more: AsyncIterator[Message], watch: _Watch) -> None:
        self._more = more
        self._watch = watch

    def __aiter__(self) -> "_Requests":
        return self

    async def __anext__(self) -> Message:
        self._watch.ask(asking=True)
        try:
            return await anext(self._more)
        finally:
            self._watch.ask(asking=False)
