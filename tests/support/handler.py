"""A test's own route."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from gateway.message import Context, Message
from gateway.status import Failure
from support.until import until

Outcome = Callable[[Message], Awaitable[Failure | Message | None]]


class Handler:
    """The Service of a unary route: keeps what came, and answers as `outcome` says (a Failure to raise, a reply, or
    None)."""

    def __init__(self, outcome: Outcome | None = None) -> None:
        self.requests: list[Message] = []
        self.contexts: list[Context] = []
        self._outcome = outcome

    async def call(self, request: Message, context: Context) -> Message:
        self.requests.append(request)
        self.contexts.append(context)
        outcome = await self._outcome(request) if self._outcome else None
        if isinstance(outcome, Failure):
            raise outcome
        return outcome or Message(None)

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        raise AssertionError("what a broker delivers is a unary call")
        yield request

    @property
    def bodies(self) -> list[Any]:
        return [request.body for request in self.requests]

    async def wait(self, count: int) -> None:
        """Return when so many calls came."""
        await until(lambda: len(self.requests) >= count, lambda: f"{len(self.requests)} of {count} calls came")
