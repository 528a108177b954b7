"""Connection: one TCP connection as a line of messages, with backpressure both ways."""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final, Protocol, cast

from adapters.socket.config import TcpEndpoint
from gateway.net.framing import FrameReader, FramingError

SWEEP_SECONDS: Final = 0.5
LINGER_SECONDS: Final = 2.0
_RESET: Final = struct.pack("ii", 1, 0)


class Session(Protocol):
    """What is done with a connection's messages. Every method is called by the event loop and returns at once."""

    @property
    def busy(self) -> bool:
        """Whether it is no idle connection, however quiet."""
        ...

    def opened(self, connection: "Connection") -> None: ...

    def frame(self, body: bytes) -> None:
        """A message. More come until the connection is paused."""
        ...

    def ended(self) -> None:
        """The peer sends nothing more, and all its messages were whole."""
        ...

    def broken(self, error: FramingError) -> None:
        """The peer's bytes break the framing; nothing more is read."""
        ...

    def lost(self) -> None:
        """The connection is gone; called once, last."""
        ...


class Connection(asyncio.Protocol):
    """Reads messages for a session and writes those that it sends.

    inbound: while the peer does not take what is written, nothing more is read from it. Otherwise its replies are read
    all the same, lest both wait for each other, and drained() waits for the last byte to be with the system.
    """

    def __init__(self, endpoint: TcpEndpoint, session: Session, *, inbound: bool) -> None:
        self.session = session
        self.peer = ""
        self.ended = False
        self.moved = 0.0
        self._endpoint = endpoint
        self._inbound = inbound
        self._reader: FrameReader = endpoint.framing.reader(endpoint.max_frame_bytes)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._paused = False  # by the session
        self._blocked: asyncio.Future[None] | None = None  # by the peer
        self._pulling = False
        self._deaf = False  # nothing more is read
        self._closing = False
        self._unsent = 0
        self._gone: asyncio.Future[None] = self._loop.create_future()

    # -- what sessions do

    @property
    def open(self) -> bool:
        """Whether something may be written."""
        return self._transport is not None and not self._closing and not self._transport.is_closing()

    def framed(self, body: bytes) -> bytes:
        """A message as it goes over the wire. Raises Failure for what the framing can't carry."""
        return self._endpoint.framing.frame(body, self._endpoint.max_frame_bytes)

    def send(self, data: bytes) -> None:
        """Send what framed() made; nothing is sent on a connection that is closed."""
        if self._transport is not None and self.open:
            self._transport.write(data)

    async def drained(self) -> None:
        """Return once more may be written, or the connection is gone."""
        while self._blocked is not None and not self._gone.done():
            await asyncio.wait((self._blocked, self._gone), return_when=asyncio.FIRST_COMPLETED)

    def pause(self) -> None:
        """No more messages until resume()."""
        self._paused = True
        self._regulate()

    def resume(self) -> None:
        self._paused = False
        self._regulate()
        self._pull()

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
        self._closing = self._deaf = True
        self._paused = False
        if self.ended or not transport.can_write_eof():
            transport.close()
        else:
            self._regulate()
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

    async def gone(self) -> None:
        """Return when the connection is lost."""
        await asyncio.wait((self._gone,))

    def stale(self, now: float) -> bool:
        """Whether the peer has let a message, or an idle connection, rest for too long."""
        transport = self._transport
        if transport is None:
            return False
        unsent = transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self.moved = unsent, now
        rested = now - self.moved
        if self._blocked is not None or (self._closing and unsent):
            return rested > self._endpoint.stall_timeout
        if self._reader.partial and not self._paused and not self._deaf and not self._endpoint.framing.single:
            return rested > self._endpoint.stall_timeout
        return rested > self._endpoint.idle_timeout and not self.session.busy

    # -- what the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        self.moved = self._loop.time()
        peer = transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else ""
        sock = transport.get_extra_info("socket")
        if sock is not None:
            keep_alive(sock, self._endpoint.keepalive)
        if not self._inbound:
            transport.set_write_buffer_limits(high=0)
        self.session.opened(self)

    def data_received(self, data: bytes) -> None:
        self.moved = self._loop.time()
        if not self._deaf:
            self._reader.feed(data)
            self._pull()

    def eof_received(self) -> bool:
        self.ended = True
        if self._closing:
            return False
        self._pull()
        # A half-open connection still takes replies. TLS has no such state.
        return self._endpoint.tls is None

    def pause_writing(self) -> None:
        if self._blocked is None:
            self._blocked = self._loop.create_future()
            self._regulate()

    def resume_writing(self) -> None:
        blocked, self._blocked = self._blocked, None
        if blocked is not None:
            self.moved = self._loop.time()
            blocked.set_result(None)
            self._regulate()
            self._pull()

    def connection_lost(self, error: Exception | None) -> None:
        self._closing = self._deaf = True
        self._transport = None
        if not self._gone.done():
            self._gone.set_result(None)
        self.session.lost()

    # -- within

    @property
    def _held(self) -> bool:
        return self._paused or (self._inbound and self._blocked is not None)

    def _regulate(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._held and not self._closing:
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
                frame = self._reader.next()
                if frame is not None:
                    self.session.frame(frame)
                    continue
                if self.ended:
                    self._end()
                return
        except FramingError as error:
            self._deaf = True
            self.session.broken(error)
        finally:
            self._pulling = False

    def _end(self) -> None:
        last = self._reader.end()
        self._deaf = True
        if last is not None:
            self.session.frame(last)
        self.session.ended()


class Connections:
    """The open connections of an endpoint; those that rest too long are reset."""

    def __init__(self) -> None:
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
        """Reset all, and return when they are gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        connections = list(self)
        for connection in connections:
            connection.reset()
        for connection in connections:
            await connection.gone()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SWEEP_SECONDS, self._sweep) if self._open else None
        now = loop.time()
        for connection in self:
            if connection.stale(now):
                connection.reset()


def keep_alive(sock: Any, seconds: float | None) -> None:
    """Have the system ask a silent peer after so many seconds whether it is there; it gives up after three times."""
    if seconds is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", int(seconds)),
        ("TCP_KEEPINTVL", max(1, int(seconds / 3))),
        ("TCP_KEEPCNT", 3),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class Discarding:
    """The session of a connection that is refused: nothing of it is left, however many come."""

    busy = False

    def opened(self, connection: Connection) -> None:
        connection.reset()

    def frame(self, body: bytes) -> None:
        """Not looked at."""

    def ended(self) -> None:
        """Nothing is left to do."""

    def broken(self, error: FramingError) -> None:
        """Nothing is left to do."""

    def lost(self) -> None:
        """Nothing is left to do."""
