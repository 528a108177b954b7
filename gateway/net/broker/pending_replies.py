"""Pending replies: questions whose answers come by themselves, with the question's correlation id."""

import asyncio
from types import TracebackType
from typing import Final, Generic, TypeVar
from uuid import uuid4

from gateway.net.counters import Counter
from gateway.status import Failure

T = TypeVar("T")

MOST_ABANDONED: Final = 10_000  # questions whose late replies are still known as such


class Question(Generic[T]):
    """One question, asked within `with`. reply: to be awaited; what comes after the end of `with` is late."""

    __slots__ = ("_pending", "correlation_id", "reply")

    def __init__(self, pending: "PendingReplies[T]", correlation_id: str, reply: "asyncio.Future[T]") -> None:
        self._pending = pending
        self.correlation_id = correlation_id
        self.reply = reply

    def __enter__(self) -> "Question[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pending.forget(self)


class PendingReplies(Generic[T]):
    """late: counts replies to questions that were given up or answered already.
    shared: others' replies come here too, and are not counted.
    """

    def __init__(self, late: Counter, *, shared: bool) -> None:
        self._late = late
        self._shared = shared
        self._waiting: dict[str, asyncio.Future[T]] = {}
        self._abandoned: dict[str, None] = {}

    def __len__(self) -> int:
        """Questions without a reply."""
        return len(self._waiting)

    def ask(self) -> Question[T]:
        """A question with a new correlation id."""
        correlation_id = str(uuid4())
        reply = self._waiting[correlation_id] = asyncio.get_running_loop().create_future()
        return Question(self, correlation_id, reply)

    def take(self, correlation_id: str, reply: T) -> None:
        """A reply came."""
        waiting = self._waiting.get(correlation_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)
        elif not self._shared:
            self._late.add()
        elif correlation_id in self._abandoned:
            del self._abandoned[correlation_id]
            self._late.add()

    def fail(self, failure: Failure) -> None:
        """No reply will come to what was asked."""
        for reply in self._waiting.values():
            if not reply.done():
                reply.set_exception(failure)

    def forget(self, question: Question[T]) -> None:
        """Nobody waits any longer."""
        reply = self._waiting.pop(question.correlation_id)
        if not (reply.cancel() or reply.cancelled()):
            reply.exception()  # known to the caller already, or never asked for
        elif self._shared:
            self._abandoned[question.correlation_id] = None
            if len(self._abandoned) > MOST_ABANDONED:
                del self._abandoned[next(iter(self._abandoned))]
