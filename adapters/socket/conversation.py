"""Conversation: an inbound connection that is one call, with any number of messages both ways."""

import asyncio
import logging
from contextlib import aclosing, suppress

from adapters.socket.handler import Handler
from gateway.message import Context, Message
from gateway.net.tcp.connection import Connection
from gateway.net.tcp.server import Server
from gateway.net.tcp.stream import MessageStream
from gateway.status import Failure

log = logging.getLogger("gateway.socket")


class Conversation(MessageStream):
    """A reset tells the caller that not all went well, where no message does."""

    def __init__(self, server: Server, handler: Handler) -> None:
        super().__init__(handler.malformation)
        self._server = server
        self._handler = handler
        self._task: asyncio.Task[None] | None = None

    def opened(self, connection: Connection) -> None:
        super().opened(connection)
        if self._server.enter(self, connection):
            self._task = asyncio.get_running_loop().create_task(self._run(connection))
            self._task.add_done_callback(lambda task: self._leave())

    def frame(self, message: bytes) -> None:
        self._handler.received.add()
        super().frame(message)

    def lost(self) -> None:
        self.cancel()
        self._leave()

    def drain(self) -> None:
        """A call in progress goes on to its end."""

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _leave(self) -> None:
        if self._task is None or self._task.done():
            self._server.leave(self)

    async def _run(self, connection: Connection) -> None:
        handler = self._handler
        head = Message(None, (), {"peer": connection.peer})
        context = Context(peer=connection.peer, departure=connection.departure)
        try:
            async with aclosing(handler.binding.service.stream(head, self, context)) as replies:
                async for reply in replies:
                    if reply.body is not None:
                        connection.send(connection.framed(reply.body))
                        await connection.drained()
        except Failure as failure:
            handler.failed.add()
            with suppress(Failure):
                message = handler.told(failure, connection)
                if message is not None:
                    connection.send(message)
                    connection.close()
                    return
            connection.reset()
        except Exception:
            log.exception("bug in a conversation with %s", connection.peer)
            connection.reset()
        else:
            connection.close()
