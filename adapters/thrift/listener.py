"""The TCP side of an inbound: connections, and the calls on each."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Final, cast

from adapters.thrift.processor import Processor
from adapters.thrift.status import write_failure
from gateway.codecs.thrift import Protocol
from gateway.codecs.thrift_message import Envelope, MessageType, read_message
from gateway.message import Context
from gateway.net.framing import FrameReader, FramingError
from gateway.net.stall import TransportStall
from gateway.status import Failure, invalid

MAX_IN_FLIGHT: Final = 64
"""Calls at a time on one connection; more must wait."""
LINGER_SECONDS: Final = 1.0

log = logging.getLogger("gateway.thrift")


class Listener:
    """One listening socket. frame: puts around a reply what its transport wants."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        protocol: Protocol,
        processor: Processor,
        reader: Callable[[], FrameReader],
        frame: Callable[[bytes], bytes],
        tls: ssl.SSLContext | None,
        max_connections: int,
        ordered: bool,
        idle_seconds: float,
        receive_seconds: float,
    ) -> None:
        self.host = host
        self.port = port
        self.protocol = protocol
        self.processor = processor
        self.reader = reader
        self.frame = frame
        self.max_connections = max_connections
        self.ordered = ordered
        self.idle_seconds = idle_seconds
        self.receive_seconds = receive_seconds
        self.draining = False
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self) -> None:
        """Listen. A port of 0 becomes the one that was bound. Raises OSError when the port is taken."""
        if self._server is not None:
            return
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), self.host or None, self.port, ssl=self._tls, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def drain(self) -> None:
        """Accept nothing new, and return when the last call is answered."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.drain()
        await self._empty.wait()

    async def stop(self) -> None:
        self.draining = True
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for connection in tuple(self._connections):
            connection.abort()
        await self._empty.wait()

    def opened(self, connection: "_Connection") -> bool:
        """Whether there is room for it."""
        if self.draining or len(self._connections) >= self.max_connections:
            return False
        self._connections.add(connection)
        self._empty.clear()
        return True

    def closed(self, connection: "_Connection") -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()


class _Connection(asyncio.Protocol):
    """One caller. Calls with different sequence ids are served at a time, and answered as they are done; one with an
    id that is still in use waits, so that a caller that does not number its calls gets its answers in order.

    Whoever leaves cancels the calls that would be answered. Oneway calls are served to their end: their callers do not
    wait, and mostly leave at once.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._reader = listener.reader()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._oneways: set[int] = set()
        self._waiting: Envelope | None = None
        self._refusal: Failure | None = None  # why nothing more is read, still to be told
        self._reading = True
        self._blocked = False  # replies wait to be read
        self._gone = False  # the caller is
        self._ending = False  # no more calls are taken
        self._lost = False
        self._peer = ""
        self._active = self._loop.time()
        self._idle: asyncio.TimerHandle | None = None
        self._receiving: asyncio.TimerHandle | None = None
        self._stall: TransportStall | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses.
        self._transport = cast(asyncio.Transport, transport)
        if not self._listener.opened(self):
            self._ending = True
            self._transport.abort()
            return
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        self._idle = self._loop.call_later(self._listener.idle_seconds, self._check_idle)

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        self._active = self._loop.time()
        self._reader.feed(data)
        self._take()

    def eof_received(self) -> bool:
        self._leave()
        return bool(self._calls)

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        for timer in (self._idle, self._receiving):
            if timer is not None:
                timer.cancel()
        if self._stall is not None:
            self._stall.end()
        self._blocked = False
        self._leave()

    def pause_writing(self) -> None:
        self._blocked = True
        if self._transport is not None:
            self._stall = TransportStall(self._transport, self._listener.receive_seconds)
        self._throttle()

    def resume_writing(self) -> None:
        self._blocked = False
        if self._stall is not None:
            self._stall.end()
            self._stall = None
        self._take()

    # -- calls

    def _take(self) -> None:
        """Begin all calls that may begin now."""
        try:
            while not self._blocked and not self._ending:
                call = self._waiting
                if call is None:
                    message = self._reader.next()
                    if message is None:
                        break
                    call = read_message(self._listener.protocol, message)
                if self._gone and not self._listener.processor.oneway(call):
                    self._waiting = None
                    continue
                if not self._may_begin(call):
                    self._waiting = call
                    break
                self._waiting = None
                self._calls[call.seqid] = self._loop.create_task(self._serve(call))
                if self._listener.processor.oneway(call):
                    self._oneways.add(call.seqid)
        except FramingError as error:
            self._refuse(invalid(str(error)))
        except Failure as failure:
            self._refuse(failure)
        self._throttle()

    def _may_begin(self, call: Envelope) -> bool:
        calls = self._calls
        if not calls:
            return True
        return not self._listener.ordered and call.seqid not in calls and len(calls) < MAX_IN_FLIGHT

    def _throttle(self) -> None:
        """Read on or not, and watch over a message that has begun."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._ending:
            return
        self._read(not self._blocked and self._waiting is None)
        partial = self._reader.partial and self._waiting is None
        if partial and self._receiving is None:
            self._receiving = self._loop.call_later(self._listener.receive_seconds, self._stalled)
        elif not partial and self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def _read(self, reading: bool) -> None:
        if self._transport is not None and reading is not self._reading:
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    async def _serve(self, call: Envelope) -> None:
        listener = self._listener
        try:
            reply = await listener.processor.answer(call, Context(peer=self._peer))
            if reply is not None and self._transport is not None:
                self._transport.write(listener.frame(reply))
        except Failure as failure:
            log.info("the oneway call of %s failed: %s", call.name, failure)
        finally:
            del self._calls[call.seqid]
            self._oneways.discard(call.seqid)
            self._active = self._loop.time()
            self._take()
            self._close_when_done()

    # -- ends

    def _leave(self) -> None:
        """The caller is gone."""
        self._gone = True
        for seqid, task in self._calls.items():
            if seqid not in self._oneways:
                task.cancel()
        self._take()
        self._close_when_done()

    def _refuse(self, failure: Failure) -> None:
        """What follows can't be understood."""
        log.info("a Thrift connection is closed: %s", failure)
        self._ending = True
        self._refusal = failure
        self._read(False)
        self._close_when_done()

    def _stalled(self) -> None:
        self._receiving = None
        self._refuse(invalid(f"the message was not there whole within {self._listener.receive_seconds:g} s"))

    def _check_idle(self) -> None:
        rest = self._active + self._listener.idle_seconds - self._loop.time()
        if self._calls:
            rest = self._listener.idle_seconds
        if rest > 0:
            self._idle = self._loop.call_later(rest, self._check_idle)
        else:
            self._ending = True
            self._close_when_done()

    def _close_when_done(self) -> None:
        transport = self._transport
        if self._calls or (self._waiting is not None and not self._ending) or transport is None:
            return
        if self._lost:
            self._listener.closed(self)
        elif self._refusal is not None:
            self._tell(transport, self._refusal)
        elif self._gone or self._ending or self._listener.draining:
            transport.close()

    def _tell(self, transport: asyncio.Transport, refusal: Failure) -> None:
        self._refusal = None
        unknown = Envelope("", MessageType.CALL, 0, b"")
        transport.write(self._listener.frame(write_failure(self._listener.protocol, unknown, refusal)))
        if self._gone or not transport.can_write_eof():
            transport.close()
            return
        # Closing at once, with bytes unread, could take the answer away from the caller.
        transport.write_eof()
        self._read(True)
        self._loop.call_later(LINGER_SECONDS, transport.close)

    def drain(self) -> None:
        """Take no more calls than have come, and close once the last is answered."""
        self._ending = self._waiting is None
        self._close_when_done()

    def abort(self) -> None:
        self._ending = True
        for task in self._calls.values():
            task.cancel()
        if self._transport is not None:
            self._transport.abort()
