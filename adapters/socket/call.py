"""Calls of routes as messages that have one reply, or none."""

from collections.abc import Awaitable, Callable

from gateway.codecs.declared_format import Formats
from gateway.message import Context, Message
from gateway.net.json_error import told_failure
from gateway.port import UnaryService
from gateway.status import Failure


def told(reply: bytes, formats: Formats) -> Failure | None:
    """The failure that a reply tells, where it is no other message."""
    if not formats.json:
        return None
    return told_failure(reply, "" if formats.correlation is None else formats.correlation.field, own=True)


class Ask(UnaryService):
    """Messages with one reply each. ask: sends a request and returns its reply."""

    def __init__(self, ask: Callable[[bytes], Awaitable[bytes]], formats: Formats) -> None:
        self._ask = ask
        self._formats = formats

    async def call(self, request: Message, context: Context) -> Message:
        reply = await self._ask(request.body)
        failure = told(reply, self._formats)
        if failure is not None:
            raise failure
        return Message(reply)


class Tell(UnaryService):
    """Messages without reply. The call returns when the system has the bytes; no peer confirms them."""

    def __init__(self, tell: Callable[[bytes], Awaitable[None]]) -> None:
        self._tell = tell

    async def call(self, request: Message, context: Context) -> Message:
        await self._tell(request.body)
        return Message(None)
