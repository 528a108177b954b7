"""Connection: one TCP connection as a line of messages, with backpressure both ways."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Protocol, cast

from gateway.message import Departure
from gateway.net.counters import Counter
from gateway.net.tcp.framing import FrameReader, FramingError
from gateway.net.tcp.keepalive import keep_alive

SWEEP_SECONDS: Final = 0.5
LINGER_SECONDS: Final = 2.0
LINGER_BYTES: Final = 1024 * 1024  # of what is dropped
GOODBYE_SECONDS: Final = 0.5  # TLS says goodbye, and may wait for the peer's
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpOptions:
    """What the connections of one endpoint have in common. Times are in seconds.

    reader: makes what takes a connection's bytes apart.
    frame: puts around a message what the reader takes off; raises Failure for what can't be framed.
    single: a connection carries one message each way, and its end is the message's.
    half_open: a peer that sends nothing more still takes replies. TLS has no such state.
    server_name: that a target's certificate must bear; the target's host where empty.
    keepalive: silence after which the system asks whether the peer is still there; None: never.
    idle_timeout: silence after which a connection without work is closed.
    stall_timeout: how long a message may rest half-way, read or written; then the connection is reset.
    receive_timeout: how long a message may take to come, however it moves; then the peer is told.
    """

    reader: Callable[[], FrameReader]
    frame: Callable[[bytes], bytes]
    single: bool = False
    half_open: bool = False
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    keepalive: float | None = 60.0
    idle_timeout: float
    stall_timeout: float
    receive_timeout: float = float("inf")


class Session(Protocol):
    """What is done with a connection's messages. Every method is called by the event loop and returns at once."""

    @property
    def busy(self) -> bool:
        """Whether it is no idle connection, however quiet."""
        ...

    def opened(self, connection: "Connection") -> None: ...

    def frame(self, message: bytes) -> None:
        """A message. More come until the connection is paused. Raises FramingError, which broken() is then told."""
        ...

    def ended(self) -> None:
        """The peer sends nothing more, and all its messages were whole."""
        ...

    def broken(self, error: FramingError) -> None:
        """The peer's bytes break the rules; nothing more is read."""
        ...

    def lost(self) -> None:
        """The connection is gone; called once. Messages that came before and were held back may still follow."""
        ...


class Connection(asyncio.Protocol):
    """Reads messages for a session and writes those that it sends. While it is open it is one of `connections`.

    inbound: while the peer does not take what is written, nothing more is read from it. Otherwise its replies are read
    all the same, lest both wait for each other, and drained() waits for the last byte to be with the system.
    framed: makes of a message what goes over the wire; raises Failure for what the framing can't carry.
    """

    def __init__(self, options: TcpOptions, session: Session, connections: "Connections", *, inbound: bool) -> None:
        self.session = session
        self.framed = options.frame
        self.peer = ""
        self.ended = False
        self.departure = Departure()
        self._options = options
        self._connections = connections
        self._inbound = inbound
        self._reader = options.reader()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._moved = 0.0  # when bytes last went either way
        self._began = 0.0  # when the message that is being read did, at the earliest
        self._paused = False  # by the session
        self._blocked: asyncio.Future[None] | None = None  # by the peer
        self._pulling = False
        self._deaf = False  # nothing more is read
        self._closing = False
        self._unsent = 0
        self._dropped = 0
        self._gone: asyncio.Future[None] = self._loop.create_future()

    # -- what sessions do

    @property
    def open(self) -> bool:
        """Whether something may be written."""
        return self._transport is not None and not self._closing and not self._transport.is_closing()

    def send(self, data: bytes) -> None:
        """Send what framed() made; nothing is sent on a connection that is closed."""
        transport = self._transport
        if transport is not None and not self._closing and not transport.is_closing():
            transport.write(data)

    async def drained(self) -> None:
        """Return once more may be written, or the connection is gone."""
        while self._blocked is not None and not self._gone.done():
            await asyncio.wait((self._blocked, self._gone), return_when=asyncio.FIRST_COMPLETED)

    def pause(self) -> None:
        """No more messages until resume()."""
        self._paused = True
        self._regulate()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._restart()

    def ignore(self) -> None:
        """No more messages at all; what comes is dropped, so that it is seen when the peer leaves. After LINGER_BYTES
        nothing more is read."""
        self._deaf = True
        self._paused = False
        self._regulate()

    def finish(self) -> None:
        """Send nothing more; what was written still goes out, and what comes is read on."""
        transport = self._transport
        if transport is not None and self.open and transport.can_write_eof():
            transport.write_eof()

    def close(self) -> None:
        """Close once what was written has gone out, and the peer has ended its side or had time to.

        Closed at once, with bytes of the peer unread, the system would drop what the peer has not taken yet.
        """
        transport = self._transport
        if transport is None or self._closing:
            return
        self.finish()
        self._closing = True
        self.ignore()
        if self.ended or not transport.can_write_eof():
            transport.close()
        else:
            self._loop.call_later(LINGER_SECONDS, transport.close)

    def reset(self) -> None:
        """Break the connection, so that the peer can't take what it got for the whole."""
        transport = self._transport
        if transport is None:
            return
        self._closing = self._deaf = True
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with suppress(OSError):  # it is closed already
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()

    def hang_up(self) -> None:
        """End it at once: in order where nothing is under way, else as reset() does."""
        transport = self._transport
        if transport is None:
            return
        if self.session.busy or self._reader.partial or transport.get_write_buffer_size():
            self.reset()
        else:
            self._closing = self._deaf = True
            transport.close()

    async def gone(self) -> None:
        """Return when the connection is lost."""
        await asyncio.wait((self._gone,))

    def check(self, now: float) -> None:
        """Cut off a peer that lets a message rest for too long, and close a connection that has nothing to do."""
        transport, options = self._transport, self._options
        if transport is None:
            return
        unsent = transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._moved = unsent, now
        rested = now - self._moved
        if self._blocked is not None or (self._closing and unsent):
            if rested > options.stall_timeout:
                self.departure.stalled(options.stall_timeout)
                self._connections.stalled.add()
                self.reset()
        elif self._reader.partial and not (self._paused or self._deaf or options.single):
            if now - self._began > options.receive_timeout:
                self._break(FramingError(f"the message was not there whole within {options.receive_timeout:g} s"))
            elif rested > options.stall_timeout:
                self.reset()
        elif rested > options.idle_timeout and not self.session.busy:
            self.close()

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)  # uvloop's are no subclasses
        self._moved = self._loop.time()
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""
        sock = transport.get_extra_info("socket")
        if sock is not None:
            keep_alive(sock, self._options.keepalive)
        if not self._inbound:
            transport.set_write_buffer_limits(high=0)
        self._connections.add(self)
        self.session.opened(self)

    def data_received(self, data: bytes) -> None:
        self._moved = self._loop.time()
        if not self._deaf:
            if not self._reader.partial:
                self._began = self._moved
            self._reader.feed(data)
            self._pull()
        else:
            self._dropped += len(data)
            if self._dropped > LINGER_BYTES:
                self._regulate()

    def eof_received(self) -> bool:
        self.ended = True
        if self._closing:
            return False
        self._pull()
        return self._options.half_open

    def pause_writing(self) -> None:
        if self._blocked is None:
            self._blocked = self._loop.create_future()
            self._regulate()

    def resume_writing(self) -> None:
        blocked, self._blocked = self._blocked, None
        if blocked is not None:
            blocked.set_result(None)
            self._restart()

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = True
        self._blocked = self._transport = None
        self._gone.set_result(None)
        self._connections.discard(self)
        self.session.lost()
        self._pull()

    # -- within

    @property
    def _held(self) -> bool:
        return self._paused or (self._inbound and self._blocked is not None)

    def _restart(self) -> None:
        self._moved = self._began = self._loop.time()  # until now it was not the peer who let it rest
        self._regulate()
        self._pull()

    def _regulate(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._dropped > LINGER_BYTES or (self._held and not self._closing):
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _pull(self) -> None:
        """Hand over the messages that are there."""
        if self._pulling:
            return
        self._pulling = True
        try:
            while not (self._held or self._deaf):
                message = self._reader.next()
                if message is not None:
                    self._began = self._moved
                    self.session.frame(message)
                    continue
                if self.ended:
                    self._end()
                return
        except FramingError as error:
            self._break(error)
        finally:
            self._pulling = False

    def _break(self, error: FramingError) -> None:
        self._deaf = True
        self.session.broken(error)

    def _end(self) -> None:
        last = self._reader.end()
        self._deaf = True
        if last is not None:
            self.session.frame(last)
        self.session.ended()


class Connections:
    """The open connections of an endpoint. Those that rest too long are cut off.

    stalled: counts those whose peer took nothing.
    """

    def __init__(self, stalled: Counter) -> None:
        self.stalled = stalled
        self._open: set[Connection] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._open))

    def add(self, connection: Connection) -> None:
        self._open.add(connection)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def discard(self, connection: Connection) -> None:
        self._open.discard(connection)

    async def close(self) -> None:
        """Hang up on all, and return when they are gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connections = list(self)
        for connection in connections:
            connection.hang_up()
        late = asyncio.get_running_loop().call_later(GOODBYE_SECONDS, _reset, connections)
        try:
            for connection in connections:
                await connection.gone()
        finally:
            late.cancel()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SWEEP_SECONDS, self._sweep) if self._open else None
        now = loop.time()
        for connection in self:
            connection.check(now)


def _reset(connections: Sequence[Connection]) -> None:
    for connection in connections:
        connection.reset()
