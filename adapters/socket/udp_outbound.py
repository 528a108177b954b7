"""UDP out: calls of routes as datagrams."""

import asyncio
import socket
from typing import Final

from adapters.socket.config import UdpEndpoint, UdpTarget
from adapters.socket.contract import target_contract
from gateway.codecs.declared_format import Formats
from gateway.message import Context, Message
from gateway.net.address import split_host_port
from gateway.net.json_error import told_failure
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Contract, ContractError, Service, UnaryService
from gateway.status import Code, Failure

_REFUSED: Final = "nobody listens at the upstream's address"


class UdpOutbound:
    """Counters: sent, received (replies), truncated (replies over max_datagram_bytes), refused (datagrams that the
    peer's system sent back), failed (those that could not be sent)."""

    def __init__(self, name: str, endpoint: UdpEndpoint, network: Network) -> None:
        if endpoint.target is None:
            raise ContractError("a route goes to an endpoint with `target`; this one has `listen`")
        self._target = endpoint.target
        self.endpoint = endpoint
        self._network = network
        self._formats: Formats | None = None
        self._telling: socket.socket | None = None
        self._asking = asyncio.Semaphore(endpoint.max_in_flight)
        counter = network.counters.counter
        self.sent, self.received, self.truncated, self.refused, self.failed = (
            counter(name, label) for label in ("sent", "received", "truncated", "refused", "failed")
        )

    async def load(self) -> None:
        if self._formats is None:
            self._formats = self.endpoint.load(self._network.path)

    def contract(self, address: UdpTarget) -> Contract:
        if self._formats is None:
            raise RuntimeError("contract() is called after load()")
        return target_contract(self.endpoint, self._formats, address.pattern, f"to {self._target}")

    def service(self, address: UdpTarget, contract: Contract, pattern: Pattern) -> Service:
        return _Ask(self) if pattern is Pattern.REQUEST_REPLY else _Tell(self)

    async def start(self) -> None:
        """Names are looked up when they are needed."""

    async def stop(self) -> None:
        sock, self._telling = self._telling, None
        if sock is not None:
            sock.close()

    @property
    def unready(self) -> str:
        return ""

    async def connect(self) -> socket.socket:
        """A socket of its own for the target. Raises Failure."""
        host, port = split_host_port(self._target)
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, address = found[0]
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            try:
                sock.connect(address)
            except OSError:
                sock.close()
                raise
        except OSError:
            self.failed.add()
            raise Failure(Code.UNAVAILABLE, "the upstream's address can't be used", sent=False) from None
        return sock

    async def send(self, sock: socket.socket, data: bytes) -> None:
        """Raises Failure, which means that the datagram was not sent."""
        limit = self.endpoint.max_datagram_bytes
        if len(data) > limit:
            self.failed.add()
            raise Failure(
                Code.INVALID_ARGUMENT, f"the message has {len(data)} bytes, a datagram at most {limit}", sent=False
            )
        try:
            await self._send(sock, data)
        except ConnectionRefusedError:
            # It tells of an earlier datagram on this socket; the error is taken by being told.
            self.refused.add()
            try:
                await self._send(sock, data)
            except OSError:
                self.failed.add()
                raise Failure(Code.UNAVAILABLE, _REFUSED, sent=False) from None
        except OSError:
            self.failed.add()
            raise Failure(Code.UNAVAILABLE, "the datagram could not be sent", sent=False) from None
        self.sent.add()

    async def _send(self, sock: socket.socket, data: bytes) -> None:
        try:
            sock.send(data)
        except (BlockingIOError, InterruptedError):
            await asyncio.get_running_loop().sock_sendall(sock, data)

    async def tell(self, data: bytes) -> None:
        """Send a datagram that has no reply."""
        if self._telling is None:
            sock = await self.connect()
            if self._telling is None:
                self._telling = sock
            else:
                sock.close()
        await self.send(self._telling, data)

    async def ask(self, data: bytes) -> bytes:
        """Send a request and return the datagram that comes back to its own port. Raises Failure."""
        async with self._asking:
            sock = await self.connect()
            try:
                await self.send(sock, data)
                return await self._reply(sock)
            finally:
                sock.close()

    async def _reply(self, sock: socket.socket) -> bytes:
        limit = self.endpoint.max_datagram_bytes
        try:
            data = await asyncio.get_running_loop().sock_recv(sock, limit + 1)
        except ConnectionRefusedError:
            self.refused.add()
            raise Failure(Code.UNAVAILABLE, _REFUSED, sent=False) from None
        except OSError:
            raise Failure(Code.UNAVAILABLE, "the reply could not be received") from None
        self.received.add()
        if len(data) > limit:
            self.truncated.add()
            raise Failure(Code.INTERNAL, f"the upstream's reply is larger than {limit} bytes")
        return data


class _Unary(UnaryService):
    def __init__(self, outbound: UdpOutbound) -> None:
        self._outbound = outbound


class _Tell(_Unary):
    """Datagrams without reply; nobody confirms them."""

    async def call(self, request: Message, context: Context) -> Message:
        await self._outbound.tell(request.body)
        return Message(None)


class _Ask(_Unary):
    """Datagrams with one reply each; where it or the request gets lost, the deadline tells."""

    async def call(self, request: Message, context: Context) -> Message:
        reply = await self._outbound.ask(request.body)
        failure = told_failure(reply, own=True) if self._outbound.endpoint.format == "json" else None
        if failure is not None:
            raise failure
        return Message(reply)
