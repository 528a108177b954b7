"""WebSocket (RFC 6455): an open connection, of either end. aiohttp's parser and writer are the engine.

What a connection does between frames is this file's own: the engine reads only where its user reads, so that a busy
user would answer no ping and notice no close, and it hangs up before the peer can have read why.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import WebSocketError, WSMsgType

MESSAGE_BYTES: Final = 1024 * 1024
HEARTBEAT_SECONDS: Final = 30.0
IDLE_SECONDS: Final = 3600.0
CLOSE_SECONDS: Final = 2.0  # for the peer's half of the closing handshake
STOP_SECONDS: Final = 0.5  # the same when the server stops
LINGER_SECONDS: Final = 0.2  # before hanging up on a peer that broke the protocol, so that it can read why
BUFFERED_MESSAGES: Final = 16
BUFFERED_BYTES: Final = 64 * 1024
WRITE_BYTES: Final = 64 * 1024  # what may wait in a transport before a sender does
REASON_BYTES: Final = 123

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005
ABNORMAL: Final = 1006
TOO_BIG: Final = 1009
INTERNAL: Final = 1011


class WebSocketClosed(Exception):
    """Nothing can be sent any more.

    code, reason: as WebSocket's close_code and close_reason. sent: False where nothing of the message has gone out.
    """

    def __init__(self, code: int, reason: str, *, sent: bool) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.sent = sent


class CloseWebSocket(Exception):
    """Raised by a server's handler to close with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class WebSocketLimits(msgspec.Struct, frozen=True):
    """What holds for one connection.

    max_message_bytes: of a message, inflated; a larger one closes the connection with 1009 before it is buffered.
    heartbeat_seconds: a peer quiet for so long is pinged, and taken for dead when it stays quiet for as long again. A
        single message must not take longer either.
    idle_seconds: without a message either way the connection is closed with 1001.
    compression: offer or accept permessage-deflate (RFC 7692). Costs up to 300 KiB a connection.
    """

    max_message_bytes: int = MESSAGE_BYTES
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    idle_seconds: float = IDLE_SECONDS
    compression: bool = False


class WebSocket:
    """An open connection.

    `async for message in socket` gives messages, str or bytes, to one reader. It ends when the peer or this side closes
    or the connection breaks, and on a draining server. At most BUFFERED_MESSAGES and BUFFERED_BYTES wait for the
    reader, besides what the engine holds (512 KiB); then the peer has to wait. Pings are answered meanwhile.

    subprotocol: the one agreed on, or empty.
    close_code, close_reason: how the peer closed (RFC 6455, 7.4; 1005 for a close without code, 1006 for a broken
        connection), or what this side blames it for; 0 and empty while it is open.
    blamed: the peer did not close: it broke the protocol or a limit, and was told close_code.
    draining: the server wants to stop: finish what is in flight. The connection is then closed with 1001.
    reads_while_draining: to be set where iteration is to go on then: what is in flight can't end otherwise.
    on_leaving: called when the connection ends and it was not this side that closed it.
    """

    __slots__ = (
        "__weakref__",
        "_active",
        "_arrival",
        "_buffer",
        "_buffered",
        "_close_sent",
        "_closed_here",
        "_engine",
        "_flushed",
        "_gone",
        "_heard",
        "_limits",
        "_loop",
        "_pump_task",
        "_reader",
        "_room",
        "_sending",
        "_timer",
        "_transport",
        "_writer",
        "_written",
        "blamed",
        "close_code",
        "close_reason",
        "draining",
        "on_leaving",
        "reads_while_draining",
        "subprotocol",
    )

    def __init__(self, engine: Any, limits: WebSocketLimits, subprotocol: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._engine = engine  # the engine keeps only weak references to its parser
        self._reader, self._writer = _parts(engine)
        self._transport: asyncio.Transport = self._writer.transport
        self._transport.set_write_buffer_limits(WRITE_BYTES)
        self._limits = limits
        self.reads_while_draining = False
        self._buffer: list[str | bytes] = []  # a deque takes 600 bytes, empty
        self._buffered = 0
        self._arrival: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._sending = asyncio.Lock()
        self._gone = False
        self._close_sent = self._closed_here = False
        self._heard = self._active = self._loop.time()
        self._written = self._flushed = 0
        self.subprotocol = subprotocol
        self.close_code = 0
        self.close_reason = ""
        self.blamed = False
        self.draining = False
        self.on_leaving: Callable[[], object] | None = None
        self._timer = self._loop.call_later(self._period, self._tick)
        self._pump_task = self._loop.create_task(self._pump(), name="websocket")

    @property
    def closed(self) -> bool:
        """Nothing can be sent any more."""
        return self._close_sent or self._gone

    @property
    def closing(self) -> bool:
        """One side has begun to close in form."""
        return self._close_sent

    def __aiter__(self) -> "WebSocket":
        return self

    async def __anext__(self) -> str | bytes:
        while not self._buffer:
            if self.closed or (self.draining and not self.reads_while_draining):
                raise StopAsyncIteration
            self._arrival = self._loop.create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
        message = self._buffer.pop(0)
        self._buffered -= len(message)
        _wake(self._room)
        return message

    async def send(self, message: str | bytes, *, text: bool = False) -> None:
        """Send one message; waits while the peer is slow. Raises WebSocketClosed.

        text: bytes are UTF-8 and go out as a text message. Cancelling it leaves the connection whole; the message may
        have gone out.
        """
        data = message.encode() if isinstance(message, str) else message
        opcode = WSMsgType.TEXT if text or isinstance(message, str) else WSMsgType.BINARY
        async with self._sending:
            if self.closed:
                raise WebSocketClosed(self.close_code, self.close_reason, sent=False)
            self._active = self._loop.time()
            self._written += len(data)
            try:
                if self._transport.get_write_buffer_size() + len(data) < WRITE_BYTES // 2:
                    await self._writer.send_frame(data, opcode)
                else:
                    # The engine's writers share one future to wait on: one that is cancelled would cancel all.
                    await asyncio.shield(self._detach(self._writer.send_frame(data, opcode)))
            except ConnectionError:
                raise WebSocketClosed(self.close_code or ABNORMAL, self.close_reason, sent=True) from None

    async def close(self, code: int = NORMAL, reason: str = "", *, seconds: float = CLOSE_SECONDS) -> None:
        """Close, and return once the peer has agreed or `seconds` are over. What it still sends is dropped.

        reason: cut to 123 bytes. Does nothing but wait where the connection is closed or closing already.
        """
        if not self.closed:
            self._close_sent = self._closed_here = True
            self._buffer.clear()
            self._buffered = 0
            self._wake_all()
            try:
                async with asyncio.timeout(seconds), self._sending:
                    await self._write_close(code, reason)
            except (TimeoutError, ConnectionError):
                self._transport.abort()
        self._wake_all()
        try:
            await asyncio.wait((self._pump_task,), timeout=seconds)
        finally:
            self._hang_up()
        await asyncio.wait((self._pump_task,))

    def close_soon(self, code: int = NORMAL, reason: str = "") -> None:
        """As close(), without waiting."""
        self._detach(self.close(code, reason))

    async def wait_closed(self) -> None:
        """Return once the connection is closed or broken."""
        await asyncio.wait((self._pump_task,))

    def when_closed(self, call: Callable[[], object]) -> None:
        """Have it called once the connection is closed or broken."""
        self._pump_task.add_done_callback(lambda _: call())

    def drain(self) -> None:
        """Give the reader what has arrived, and then no more. Safe at any time."""
        self.draining = True
        _wake(self._arrival)

    def drop(self) -> None:
        """Cut the connection; to the peer it looks broken."""
        self._transport.abort()
        self._end(ABNORMAL, "")

    def _hang_up(self) -> None:
        """What a peer does not read can't be waited for."""
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    # -- frames

    async def _pump(self) -> None:
        """Read to the end; the only reader of the engine."""
        try:
            while not await self._frame():
                pass
            self._transport.close()
        except WebSocketError as error:
            await self._blame(int(error.code), str(error))
        except Exception:  # the engine tells a broken connection in many ways
            self._transport.abort()
            self._end(ABNORMAL, "")
        finally:
            self._end(ABNORMAL, "")
            if isinstance(self._engine, aiohttp.ClientWebSocketResponse):
                self._transport.close()
                await self._engine.close()

    async def _frame(self) -> bool:
        """Take one frame; True after the peer's close."""
        frame = await self._reader.read()
        self._heard = self._loop.time()
        match frame.type:
            case WSMsgType.TEXT | WSMsgType.BINARY:
                if not self._close_sent:
                    await self._arrived(frame.data)
            case WSMsgType.PING:
                if not self._close_sent:
                    await self._writer.send_frame(bytes(frame.data), WSMsgType.PONG)
            case WSMsgType.CLOSE:
                code = int(frame.data)
                if code == ABNORMAL or code >= 5000:
                    raise WebSocketError(PROTOCOL_ERROR, f"invalid close code {code}")
                if not self._close_sent:
                    self._close_sent = True
                    await self._write_close(code, "")
                self._end(code or NO_STATUS, str(frame.extra))
                return True
        return False

    async def _arrived(self, data: str | bytes) -> None:
        size = len(data)
        if size > self._limits.max_message_bytes:
            raise WebSocketError(TOO_BIG, "an inflated message is too large")
        self._active = self._heard
        self._buffer.append(data)
        self._buffered += size
        _wake(self._arrival)
        while len(self._buffer) >= BUFFERED_MESSAGES or self._buffered >= BUFFERED_BYTES:
            self._room = self._loop.create_future()
            try:
                await self._room
            finally:
                self._room = None

    async def _blame(self, code: int, reason: str) -> None:
        """The peer broke the protocol, or sent too much."""
        self.blamed = True
        if code == TOO_BIG:
            reason = f"a message is larger than {self._limits.max_message_bytes} bytes"
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                if not self._close_sent:
                    self._close_sent = True
                    await self._write_close(code, reason)
                self._end(code, reason)
                # Hanging up with unread bytes resets the connection, and a reset may overtake the close frame.
                await asyncio.sleep(LINGER_SECONDS)
        except (TimeoutError, ConnectionError):
            pass
        self._hang_up()

    async def _write_close(self, code: int, reason: str) -> None:
        payload = b"" if not code else code.to_bytes(2, "big") + _cut(reason)
        await self._writer.send_frame(payload, WSMsgType.CLOSE)

    def _end(self, code: int, reason: str) -> None:
        if self._gone:
            return
        self.close_code = self.close_code or code
        self.close_reason = self.close_reason or reason
        self._timer.cancel()
        self._gone = True
        self._wake_all()
        if self.on_leaving is not None and not self._closed_here:
            self.on_leaving()

    def _wake_all(self) -> None:
        _wake(self._arrival)
        if self._close_sent or self._gone:
            _wake(self._room)

    # -- time

    @property
    def _period(self) -> float:
        return self._limits.heartbeat_seconds / 2

    def _tick(self) -> None:
        now = self._loop.time()
        self._timer = self._loop.call_later(self._period, self._tick)
        flushed = self._written - self._transport.get_write_buffer_size()
        if flushed > self._flushed or self._room is not None:
            self._heard = now  # it reads; or it can't be heard, because the reader here is slow
        self._flushed = flushed
        quiet = now - self._heard
        heartbeat = self._limits.heartbeat_seconds
        if now - self._active >= self._limits.idle_seconds and not self.closed:
            self.close_soon(GOING_AWAY, "idle")
        elif quiet >= 2 * heartbeat:
            self.drop()
        elif quiet >= 0.9 * heartbeat and not self.closed:
            self._detach(self._writer.send_frame(b"", WSMsgType.PING))

    def _detach(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = self._loop.create_task(work)
        _background.add(task)
        task.add_done_callback(_settled)
        return task


_background: Final[set[asyncio.Task[Any]]] = set()
"""Detached work, which the event loop itself would not keep."""


def _settled(task: "asyncio.Task[Any]") -> None:
    _background.discard(task)
    if not task.cancelled():
        task.exception()  # the pump finds out by itself that the connection is broken


def _parts(engine: Any) -> tuple[Any, Any]:
    """The engine's queue of parsed frames and its writer."""
    return engine._reader, engine._writer  # noqa: SLF001  there is no public way around its own handling of a close


def _wake(waiter: "asyncio.Future[None] | None") -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _cut(reason: str) -> bytes:
    """At most 123 bytes, ending with a whole character."""
    return reason.encode()[:REASON_BYTES].decode(errors="ignore").encode()
