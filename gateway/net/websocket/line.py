"""A WebSocket connection whose messages are requests and their replies."""

import asyncio
import logging
from collections.abc import Callable

from gateway.codecs.correlation import FieldCorrelation
from gateway.net.free_number import free_number
from gateway.net.websocket.connection import GOING_AWAY, PROTOCOL_ERROR, WebSocket, WebSocketClosed
from gateway.net.websocket.status import code_of_close
from gateway.status import Code, Failure

log = logging.getLogger("gateway.websocket")


def broken(socket: WebSocket, *, sent: bool = True) -> Failure:
    """The failure of a call whose connection has ended before its time."""
    if socket.blamed:
        text = f"the upstream broke the WebSocket protocol: {socket.close_reason} (close code {socket.close_code})"
        return Failure(Code.INTERNAL, text, sent=sent)
    code = code_of_close(socket.close_code)
    if code is Code.OK or not socket.close_code:
        return Failure(Code.UNAVAILABLE, "the upstream closed the connection before it replied", sent=sent)
    return Failure(code, f"the upstream ended the connection with close code {socket.close_code}", sent=sent)


class WebSocketLine:
    """A connection with its calls.

    replies: whether any come. correlation: None where they come in the order of the requests.
    told_failure: the failure that a message tells; None where it is a reply.
    """

    def __init__(
        self,
        socket: WebSocket,
        correlation: FieldCorrelation | None,
        told_failure: Callable[[bytes], Failure | None],
        *,
        replies: bool,
        text: bool,
    ) -> None:
        self.calls = 0
        self.usable = True
        self._socket = socket
        self._correlation = correlation
        self._told_failure = told_failure
        self._replies = replies
        self._text = text
        self._waiting: dict[int | None, asyncio.Future[bytes]] = {}
        self._number = 0
        self._reading = asyncio.create_task(self._read(), name="websocket replies")

    async def exchange(self, body: bytes) -> bytes:
        """The reply to this request. Raises Failure."""
        number: int | None = None
        if self._correlation is not None:
            number = self._number = free_number(self._number, self._correlation.numbers, self._waiting)
            body = self._correlation.write(body, number)
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = reply
        try:
            await self.send(body)
            return await reply
        except BaseException:
            if self._correlation is None and (reply.cancelled() or not reply.done()):
                self.retire()  # the reply that may still come would be taken for another call's
            raise
        finally:
            self._waiting.pop(number, None)

    async def send(self, body: bytes) -> None:
        """Raises Failure; sent=False where the peer was gone already."""
        try:
            await self._socket.send(body, text=self._text)
        except WebSocketClosed as closed:
            self.usable = False
            raise broken(self._socket, sent=closed.sent) from None

    def retire(self) -> None:
        """Close it; other calls on it fail."""
        self.usable = False
        self._socket.close_soon(GOING_AWAY)

    async def _read(self) -> None:
        async for message in self._socket:
            body = message.encode() if isinstance(message, str) else message
            if not self._settle(body):
                break
        self.usable = False
        failure = broken(self._socket)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(failure)

    def _settle(self, body: bytes) -> bool:
        """Hand a reply to its call; False where nothing can be trusted any more."""
        if not self._replies:
            failure = self._told_failure(body)
            log.warning("an upstream answered a one-way message: %s", failure.code.name if failure else "no error")
            return True
        if self._correlation is None:
            waiting = self._waiting.get(None)
            if waiting is None or waiting.done():
                log.warning("an upstream sent a message that no call waits for; its connection is closed")
                self._socket.close_soon(PROTOCOL_ERROR, "no request waits for this message")
                return False
        else:
            waiting = self._waiting.get(self._correlation.read(body)[0])
            if waiting is None or waiting.done():
                # Late for its call, or never asked for.
                log.debug("an upstream sent a reply that no call waits for")
                return True
        failure = self._told_failure(body)
        if failure is None:
            waiting.set_result(body)
        else:
            waiting.set_exception(failure)
        return True
