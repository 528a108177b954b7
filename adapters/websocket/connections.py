"""Connections that calls share: many calls by id on one, or one at a time on each of several."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import count

from adapters.websocket.status import code_of
from adapters.websocket.wire import Correlator, told_failure
from gateway.net.websocket import GOING_AWAY, PROTOCOL_ERROR, WebSocket, WebSocketClosed
from gateway.status import Code, Failure

Key = tuple[str, tuple[tuple[str, str], ...]]
"""(URL, headers of the handshake)"""

log = logging.getLogger("gateway.websocket")


def broken(socket: WebSocket, *, sent: bool = True) -> Failure:
    """The failure of a call whose connection has ended before its time."""
    if socket.blamed:
        text = f"the upstream broke the WebSocket protocol: {socket.close_reason} (close code {socket.close_code})"
        return Failure(Code.INTERNAL, text, sent=sent)
    code = code_of(socket.close_code)
    if code is Code.OK or not socket.close_code:
        return Failure(Code.UNAVAILABLE, "the upstream closed the connection before it replied", sent=sent)
    return Failure(code, f"the upstream ended the connection with close code {socket.close_code}", sent=sent)


class Line:
    """A connection with its calls.

    replies: whether any come. correlator: None where they come in the order of the requests.
    """

    def __init__(self, socket: WebSocket, correlator: Correlator | None, *, replies: bool, text: bool) -> None:
        self.calls = 0
        self.usable = True
        self._socket = socket
        self._correlator = correlator
        self._replies = replies
        self._text = text
        self._waiting: dict[bytes, asyncio.Future[bytes]] = {}
        self._ids = count(1)
        self._reading = asyncio.create_task(self._read(), name="websocket replies")

    async def exchange(self, body: bytes) -> bytes:
        """The reply to this request. Raises Failure."""
        raw = b""
        if self._correlator is not None:
            raw = b'"%d"' % next(self._ids)
            try:
                body = self._correlator.write(body, raw)
            except ValueError as misfit:
                raise Failure(Code.INVALID_ARGUMENT, f"the request {misfit}", sent=False) from None
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[raw] = reply
        try:
            await self.send(body)
            return await reply
        except BaseException:
            if self._correlator is None and (reply.cancelled() or not reply.done()):
                self.retire()  # the reply that may still come would be taken for another call's
            raise
        finally:
            self._waiting.pop(raw, None)

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
            failure = told_failure(body)
            log.warning("an upstream answered a one-way message: %s", failure.code.name if failure else "no error")
            return True
        if self._correlator is None:
            waiting = self._waiting.get(b"")
            if waiting is None or waiting.done():
                log.warning("an upstream sent a message that no call waits for; its connection is closed")
                self._socket.close_soon(PROTOCOL_ERROR, "no request waits for this message")
                return False
        else:
            try:
                raw = self._correlator.read(body)
            except Failure:
                raw = b""
            waiting = self._waiting.get(raw if raw[:1] == b'"' else b'"%b"' % raw)
            if waiting is None or waiting.done():
                # Late for its call, or never asked for.
                log.debug("an upstream sent a reply that no call waits for")
                return True
        failure = told_failure(body, "" if self._correlator is None else self._correlator.field)
        if failure is None:
            waiting.set_result(body)
        else:
            waiting.set_exception(failure)
        return True


class Connections:
    """The lines of one address.

    limit: of lines, over all keys; further calls wait. places: calls on a line at a time; where there are many, calls
    share a line as long as it has places.
    """

    def __init__(self, connect: Callable[[Key], Awaitable[Line]], limit: int, places: int) -> None:
        self._connect = connect
        self._limit = limit
        self._places = places
        self._lines: dict[Key, list[Line]] = {}
        self._count = 0
        self._opening: dict[Key, asyncio.Task[Line | None]] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def take(self, key: Key) -> Line:
        """A line with a place for one more call, to be given back. Raises Failure, with sent=False."""
        while True:
            line = self._free(key)
            if line is not None:
                line.calls += 1
                return line
            opened = await (self._open(key) if self._places == 1 else self._open_once(key))
            if opened is None:
                await self._wait()

    def give(self, line: Line) -> None:
        """The call is over."""
        line.calls -= 1
        if not line.usable:
            self._remove(line)
        self._wake()

    def _free(self, key: Key) -> Line | None:
        for line in list(self._lines.get(key, ())):
            if not line.usable:
                self._remove(line)
            elif line.calls < self._places:
                return line
        return None

    async def _open(self, key: Key) -> Line | None:
        """A new line; None where there may be no more. Raises Failure."""
        if self._count >= self._limit and not self._evict():
            return None
        self._count += 1
        try:
            line = await self._connect(key)
        except BaseException:
            self._count -= 1
            self._wake()
            raise
        self._lines.setdefault(key, []).append(line)
        return line

    async def _open_once(self, key: Key) -> Line | None:
        """As _open(), once for all who ask meanwhile."""
        opening = self._opening.get(key)
        if opening is None:
            opening = self._opening[key] = asyncio.create_task(self._open(key), name="websocket connect")
            opening.add_done_callback(lambda task: self._opened(key, task))
        return await asyncio.shield(opening)

    def _opened(self, key: Key, task: "asyncio.Task[Line | None]") -> None:
        del self._opening[key]
        if not task.cancelled():
            task.exception()  # all who asked may have left

    def _evict(self) -> bool:
        """Make room by closing a line that nobody uses."""
        for lines in self._lines.values():
            for line in lines:
                if not line.calls:
                    line.retire()
                    self._remove(line)
                    return True
        return False

    def _remove(self, line: Line) -> None:
        for key, lines in self._lines.items():
            if line in lines:
                lines.remove(line)
                self._count -= 1
                if not lines:
                    del self._lines[key]
                self._wake()
                return

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._wake()  # the place is another's
            raise

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
