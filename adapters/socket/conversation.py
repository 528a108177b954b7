"""Conversation: an inbound connection that is one call, with any number of messages both ways."""

import asyncio
import logging
from collections import deque
from contextlib import aclosing
from typing import Final

from adapters.socket.connection import Connection
from adapters.socket.serving import Serving
from gateway.message import Context, Message
from gateway.net.framing import FramingError
from gateway.status import Code, Failure

log = logging.getLogger("gateway.socket")

WAITING: Final = 16  # messages read ahead of the route


class Conversation:
    """The session of one connection. A reset tells the caller that not all went well, where no message does."""

    busy = True

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._connection: Connection | None = None
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._over = False
        self._failure: Failure | None = None
        self._task: asyncio.Task[None] | None = None

    def opened(self, connection: Connection) -> None:
        self._connection = connection
        self._serving.enter(connection)
        self._task = asyncio.get_running_loop().create_task(self._run(connection))

    def frame(self, body: bytes) -> None:
        self._serving.received.add()
        self._waiting.append(body)
        if len(self._waiting) >= WAITING and self._connection is not None:
            self._connection.pause()
        self._wake.set()

    def ended(self) -> None:
        self._over = True
        self._wake.set()

    def broken(self, error: FramingError) -> None:
        self._serving.malformed.add()
        self._failure = Failure(Code.INVALID_ARGUMENT, str(error), sent=False)
        self.ended()

    def lost(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._connection is not None:
            self._serving.leave(self._connection)

    def drain(self) -> None:
        """A call in progress goes on to its end."""

    async def finished(self) -> None:
        """Return when the call has ended."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    async def next(self) -> Message:
        """The caller's next message. Raises StopAsyncIteration at the end, and Failure where it broke the framing."""
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            if self._over:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        if self._connection is not None:
            self._connection.resume()
        return Message(self._waiting.popleft())

    async def _run(self, connection: Connection) -> None:
        serving = self._serving
        head = Message(None, (), {"peer": connection.peer})
        try:
            replies = serving.binding.service.stream(head, _Requests(self), Context(peer=connection.peer))
            async with aclosing(replies):
                async for reply in replies:
                    if reply.body is not None:
                        connection.send(connection.framed(serving.formats.compact(reply.body)))
                        await connection.drained()
        except Failure as failure:
            serving.failed.add()
            message = serving.told(failure, None, connection)
            if message is None:
                connection.reset()
                return
            connection.send(message)
        except Exception:
            log.exception("bug in a conversation with %s", connection.peer)
            connection.reset()
            return
        connection.close()


class _Requests:
    """The caller's messages. No generator, for the route may leave while somebody still waits for the next one."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def __aiter__(self) -> "_Requests":
        return self

    async def __anext__(self) -> Message:
        return await self._conversation.next()
