"""Datagrams that come to an address, each served by a task."""

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Final

from gateway.net.counters import Counters
from gateway.net.tasks import end
from gateway.net.udp.endpoint import bound

BATCH: Final = 64  # datagrams taken from the socket before others get their turn
_DROPS: Final = getattr(socket, "SO_RXQ_OVFL", 40)  # Linux counts what its buffer had no room for
_COUNT: Final = struct.Struct("=I")

log = logging.getLogger("gateway.udp")


class DatagramServer:
    """Serves so many datagrams at a time; meanwhile others wait in the system's buffer.

    serve: makes the reply to (a datagram, "host:port" that it came from); None for none.
    max_bytes: of a datagram; larger ones are dropped. receive_buffer: bytes of the system's buffer; its own where None.

    Counters: received, truncated (too large), overflowed (dropped by the system, whose buffer was full), replied,
    unreplied (replies that could not be sent).
    """

    def __init__(
        self,
        name: str,
        listen: str,
        serve: Callable[[bytes, str], Awaitable[bytes | None]],
        counters: Counters,
        *,
        max_bytes: int,
        max_in_flight: int,
        receive_buffer: int | None,
    ) -> None:
        self.port = 0
        self._listen = listen
        self._serve = serve
        self._max_bytes = max_bytes
        self._max_in_flight = max_in_flight
        self._receive_buffer = receive_buffer
        self._socket: socket.socket | None = None
        self._reading = False
        self._draining = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._dropped = 0
        self._received, self._truncated, self._overflowed, self._replied, self._unreplied = (
            counters.counter(name, label) for label in ("received", "truncated", "overflowed", "replied", "unreplied")
        )

    @property
    def listening(self) -> bool:
        return self._socket is not None

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        sock = self._socket = await bound(self._listen, self._prepare)
        self._draining = False
        self.port = sock.getsockname()[1]
        self._regulate()

    async def drain(self) -> None:
        """Take nothing new; return when all that was taken is answered."""
        self._draining = True
        self._pause()
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def stop(self) -> None:
        """End all. Safe at any time."""
        self._draining = True
        self._pause()
        sock, self._socket = self._socket, None
        await end(self._tasks)
        if sock is not None:
            sock.close()

    def _prepare(self, sock: socket.socket) -> None:
        if self._receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _DROPS, 1)
        except OSError:
            log.info("%s: the system does not tell how many datagrams it drops", self._listen)

    def _pause(self) -> None:
        if self._reading and self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
        self._reading = False

    def _regulate(self) -> None:
        """Read while there is room for what comes."""
        sock = self._socket
        if self._draining:
            return
        if sock is not None and not self._reading and len(self._tasks) < self._max_in_flight:
            asyncio.get_running_loop().add_reader(sock, self._readable, sock)
            self._reading = True

    def _readable(self, sock: socket.socket) -> None:
        for _ in range(BATCH):
            if len(self._tasks) >= self._max_in_flight:
                self._pause()
                return
            try:
                data, extra, flags, address = sock.recvmsg(self._max_bytes, 64)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.warning("%s: %s", self._listen, error)
                return
            self._overflow(extra)
            self._received.add()
            if flags & socket.MSG_TRUNC:
                self._truncated.add()
                continue
            task = asyncio.get_running_loop().create_task(self._answer(sock, data, address))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _overflow(self, extra: list[tuple[int, int, bytes]]) -> None:
        for level, kind, content in extra:
            if level == socket.SOL_SOCKET and kind == _DROPS and len(content) >= _COUNT.size:
                (total,) = _COUNT.unpack_from(content)
                self._overflowed.add((total - self._dropped) & 0xFFFFFFFF)
                self._dropped = total

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._regulate()

    async def _answer(self, sock: socket.socket, data: bytes, address: Any) -> None:
        reply = await self._serve(data, f"{address[0]}:{address[1]}")
        if reply is None:
            return
        try:
            try:
                sock.sendto(reply, address)
            except (BlockingIOError, InterruptedError):
                await asyncio.get_running_loop().sock_sendto(sock, reply, address)
            self._replied.add()
        except OSError as error:
            self._unreplied.add()
            log.info("%s: a reply was not sent: %s", self._listen, errno.errorcode.get(error.errno or 0, error))
