"""UDP in: a datagram is a message; a reply goes to where it came from."""

import asyncio
import errno
import logging
import socket
import struct
from collections.abc import Sequence
from typing import Any, Final

from adapters.socket.config import UdpEndpoint, UdpSource
from adapters.socket.contract import source_contract
from adapters.socket.serving import Serving
from gateway.codecs.declared_format import Formats
from gateway.net.address import split_host_port
from gateway.net.network import Network
from gateway.port import Binding, Contract, ContractError
from gateway.status import Code, Failure

BATCH: Final = 64  # datagrams taken from the socket before others get their turn
_DROPS: Final = getattr(socket, "SO_RXQ_OVFL", 40)  # Linux counts what its buffer had no room for
_COUNT: Final = struct.Struct("=I")

log = logging.getLogger("gateway.socket")


class UdpInbound:
    """One endpoint has one route.

    Counters: received, truncated (over max_datagram_bytes, dropped), overflowed (dropped by the system, whose buffer
    was full), failed (calls), replied, unreplied (replies that could not be sent).
    """

    def __init__(self, name: str, endpoint: UdpEndpoint, network: Network) -> None:
        if endpoint.listen is None:
            raise ContractError("a route comes from an endpoint with `listen`; this one has `target`")
        self.port = 0  # the one in use, for `listen` with port 0
        self._listen = endpoint.listen
        self._endpoint = endpoint
        self._network = network
        self._formats: Formats | None = None
        self._serving: Serving | None = None
        self._socket: socket.socket | None = None
        self._reading = False
        self._draining = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._dropped = 0
        counter = network.counters.counter
        self.received, self.truncated, self.overflowed, self.failed, self.replied, self.unreplied = (
            counter(name, label) for label in ("received", "truncated", "overflowed", "failed", "replied", "unreplied")
        )

    async def load(self) -> None:
        if self._formats is None:
            self._formats = self._endpoint.load(self._network.path)

    def contract(self, address: UdpSource) -> Contract:
        if self._formats is None:
            raise RuntimeError("contract() is called after load()")
        return source_contract(self._endpoint, self._formats, address.pattern)

    def bind(self, bindings: Sequence[Binding]) -> None:
        self._serving = None
        if bindings and self._formats is not None:
            self._serving = Serving(
                self._endpoint,
                self._formats,
                bindings[0],
                received=self.received,
                failed=self.failed,
                malformed=self.truncated,
            )

    async def start(self) -> None:
        host, port = split_host_port(self._listen)
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            host or None, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE, family=socket.AF_UNSPEC
        )
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            size = self._endpoint.receive_buffer_bytes
            if size is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
            try:
                sock.setsockopt(socket.SOL_SOCKET, _DROPS, 1)
            except OSError:
                log.info("%s: the system does not tell how many datagrams it drops", self._listen)
            sock.bind(address)
        except OSError:
            sock.close()
            raise
        self._socket = sock
        self._draining = False
        self.port = sock.getsockname()[1]
        self._regulate()

    async def drain(self) -> None:
        self._draining = True
        self._pause()
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def stop(self) -> None:
        self._draining = True
        self._pause()
        sock, self._socket = self._socket, None
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if sock is not None:
            sock.close()

    @property
    def unready(self) -> str:
        return "" if self._socket is not None else "not listening"

    def _pause(self) -> None:
        if self._reading and self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
        self._reading = False

    def _regulate(self) -> None:
        """Read while there is room for what comes."""
        sock = self._socket
        if self._draining:
            return
        if sock is not None and not self._reading and len(self._tasks) < self._endpoint.max_in_flight:
            asyncio.get_running_loop().add_reader(sock, self._readable, sock)
            self._reading = True

    def _readable(self, sock: socket.socket) -> None:
        limit, most = self._endpoint.max_datagram_bytes, self._endpoint.max_in_flight
        for _ in range(BATCH):
            if len(self._tasks) >= most:
                self._pause()
                return
            try:
                data, extra, flags, peer = sock.recvmsg(limit, 64)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.warning("%s: %s", self._listen, error)
                return
            self._overflow(extra)
            self.received.add()
            if flags & socket.MSG_TRUNC:
                self.truncated.add()
            elif self._serving is not None:
                task = asyncio.get_running_loop().create_task(self._serve(self._serving, sock, data, peer))
                self._tasks.add(task)
                task.add_done_callback(self._done)

    def _overflow(self, extra: list[tuple[int, int, bytes]]) -> None:
        for level, kind, content in extra:
            if level == socket.SOL_SOCKET and kind == _DROPS and len(content) >= _COUNT.size:
                (total,) = _COUNT.unpack_from(content)
                self.overflowed.add((total - self._dropped) & 0xFFFFFFFF)
                self._dropped = total

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._regulate()

    async def _serve(self, serving: Serving, sock: socket.socket, data: bytes, address: Any) -> None:
        try:
            reply = await serving.answer(data, _Sender(address, self._endpoint.max_datagram_bytes))
            if reply is None:
                return
            await _send(sock, reply, address)
            self.replied.add()
        except Failure as failure:
            log.info("%s: a failure was not told: %s", self._listen, failure)
        except OSError as error:
            self.unreplied.add()
            log.info("%s: a reply was not sent: %s", self._listen, errno.errorcode.get(error.errno or 0, error))


class _Sender:
    """Whom a datagram came from."""

    __slots__ = ("_limit", "peer")

    def __init__(self, address: Any, limit: int) -> None:
        self.peer = f"{address[0]}:{address[1]}"
        self._limit = limit

    def framed(self, message: bytes) -> bytes:
        if len(message) > self._limit:
            raise Failure(Code.INTERNAL, f"the reply of {len(message)} bytes is larger than a datagram may be here")
        return message


async def _send(sock: socket.socket, data: bytes, peer: Any) -> None:
    """Raises OSError."""
    try:
        sock.sendto(data, peer)
    except (BlockingIOError, InterruptedError):
        await asyncio.get_running_loop().sock_sendto(sock, data, peer)
