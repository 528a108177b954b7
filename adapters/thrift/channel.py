"""The client's side of TCP connections: calls side by side, told apart by their sequence ids."""

import asyncio
import logging
import ssl
from collections.abc import Callable
from typing import Final, cast

from gateway.codecs.thrift import Protocol
from gateway.codecs.thrift_message import Envelope, MessageType, read_message, write_message
from gateway.net.framing import FrameReader, FramingError
from gateway.status import Code, Failure

CONNECT_SECONDS: Final = 5.0
MAX_PIPELINED: Final = 256
"""Calls at a time on one connection."""

log = logging.getLogger("gateway.thrift")


class Channel(asyncio.Protocol):
    """One connection. protocol, reader and frame: how messages are read and framed."""

    def __init__(
        self, protocol: Protocol, reader: FrameReader, frame: Callable[[bytes], bytes], *, strict: bool
    ) -> None:
        self._protocol = protocol
        self._reader = reader
        self._frame = frame
        self._strict = strict
        self._transport: asyncio.Transport | None = None
        self._pending: dict[int, asyncio.Future[Envelope]] = {}
        self._last = 0
        self._writable = asyncio.Event()
        self._writable.set()
        self.usable = False

    @property
    def load(self) -> int:
        """Calls in flight."""
        return len(self._pending)

    async def call(self, name: str, body: bytes) -> Envelope:
        """The reply. A cancelled call leaves the connection to the others that wait on it, and to no new ones."""
        seqid = self._next()
        future = asyncio.get_running_loop().create_future()
        self._pending[seqid] = future
        self._write(name, MessageType.CALL, seqid, body)
        try:
            reply: Envelope = await future
            return reply
        except asyncio.CancelledError:
            # Its answer may still come, and a server that is stuck shall not get the next call.
            self._retire()
            raise
        finally:
            self._pending.pop(seqid, None)
            self._close_retired()

    async def send(self, name: str, body: bytes) -> None:
        """A oneway call: returns when the bytes are on their way."""
        self._write(name, MessageType.ONEWAY, self._next(), body)
        await self._writable.wait()
        if not self.usable:
            raise _broken()

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.close()

    def _next(self) -> int:
        while True:
            self._last = self._last % (2**31 - 1) + 1
            if self._last not in self._pending:
                return self._last

    def _write(self, name: str, type_: MessageType, seqid: int, body: bytes) -> None:
        assert self._transport is not None  # noqa: S101  the pool gives connected ones
        message = write_message(self._protocol, Envelope(name, type_, seqid, body, self._strict))
        self._transport.write(self._frame(message))

    def _retire(self) -> None:
        self.usable = False

    def _close_retired(self) -> None:
        if not self.usable and not self._pending and self._transport is not None:
            self._transport.close()

    def _fail(self, failure: Failure) -> None:
        self.usable = False
        for future in self._pending.values():
            if not future.done():
                future.set_exception(failure)
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses.
        self._transport = cast(asyncio.Transport, transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (message := self._reader.next()) is not None:
                self._receive(read_message(self._protocol, message))
        except (FramingError, Failure) as error:
            log.warning("a Thrift connection to an upstream is closed: %s", error)
            self._fail(Failure(Code.INTERNAL, "the upstream's answer is not Thrift as its endpoint says"))

    def _receive(self, reply: Envelope) -> None:
        future = self._pending.get(reply.seqid)
        if future is None:
            if self.usable:
                self._fail(Failure(Code.INTERNAL, "the upstream answered out of sequence"))
            return  # the answer to a call that was given up
        if not future.done():
            future.set_result(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self._writable.set()
        self._fail(_broken())

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()


def _broken() -> Failure:
    return Failure(Code.UNAVAILABLE, "the connection to the upstream broke before it answered")


class Pool:
    """Connections to one server. make: a Channel that is not connected yet; size: how many there are at most."""

    def __init__(
        self,
        host: str,
        port: int,
        make: Callable[[], Channel],
        *,
        size: int,
        tls: ssl.SSLContext | None,
        server_name: str,
    ) -> None:
        self._address = host, port
        self._make = make
        self._size = size
        self._tls = tls
        self._server_name = (server_name or host) if tls is not None else None
        self._channels: set[Channel] = set()
        self._opening = 0
        self._opened = asyncio.Event()

    async def channel(self) -> Channel:
        """One with few calls on it: an idle one, else a new one, else the least busy.

        Raises Failure: UNAVAILABLE where none can be connected, RESOURCE_EXHAUSTED where all are full.
        """
        while True:
            self._channels = {channel for channel in self._channels if channel.usable}
            best = min(self._channels, key=lambda channel: channel.load, default=None)
            room = len(self._channels) + self._opening < self._size
            if best is not None and (best.load == 0 or not room):
                if best.load >= MAX_PIPELINED:
                    raise Failure(Code.RESOURCE_EXHAUSTED, "too many calls wait for the upstream", sent=False)
                return best
            if room:
                return await self._open()
            await self._opened.wait()

    async def _open(self) -> Channel:
        self._opening += 1
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, channel = await loop.create_connection(
                    self._make, *self._address, ssl=self._tls, server_hostname=self._server_name
                )
        except ssl.SSLError:
            raise Failure(Code.UNAVAILABLE, "the upstream's certificate is not trusted", sent=False) from None
        except OSError:
            raise Failure(Code.UNAVAILABLE, "the upstream can't be reached", sent=False) from None
        finally:
            self._opening -= 1
            self._opened.set()
            self._opened = asyncio.Event()
        self._channels.add(channel)
        return channel

    def close(self) -> None:
        """Close all connections. Safe at any time."""
        channels, self._channels = self._channels, set()
        for channel in channels:
            channel.close()
