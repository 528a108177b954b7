"""MessageStream: the session of a connection that is one call, with any number of messages."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.message import Message
from gateway.net.tcp.connection import Connection
from gateway.net.tcp.framing import FramingError
from gateway.status import Code, Failure

WAITING: Final = 16  # messages read ahead of who takes them


class MessageStream:
    """The peer's messages, to be iterated over until it ends its side; then the failure that ended them is raised,
    if there is one. No generator, for who iterates may leave while somebody still waits for the next one.

    misread: the failure that bytes which break the framing are.
    """

    busy = True

    def __init__(self, misread: Callable[[FramingError], Failure]) -> None:
        self.failure: Failure | None = None
        self._misread = misread
        self._connection: Connection | None = None
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._over = False

    def __aiter__(self) -> "MessageStream":
        return self

    async def __anext__(self) -> Message:
        while not self._waiting:
            if self.failure is not None:
                raise self.failure
            if self._over:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        message = Message(self._waiting.popleft())
        if self._connection is not None:
            self._connection.resume()
        return message

    def fail(self, failure: Failure) -> None:
        """End it so."""
        self.failure = self.failure or failure
        self._wake.set()

    def opened(self, connection: Connection) -> None:
        self._connection = connection

    def frame(self, message: bytes) -> None:
        self._waiting.append(message)
        if len(self._waiting) >= WAITING and self._connection is not None:
            self._connection.pause()
        self._wake.set()

    def ended(self) -> None:
        self._over = True
        self._wake.set()

    def broken(self, error: FramingError) -> None:
        self.fail(self._misread(error))

    def lost(self) -> None:
        if not self._over:
            self.fail(Failure(Code.UNAVAILABLE, "the connection broke before the stream's end"))
