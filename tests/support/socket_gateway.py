"""The socket adapter's sides with a test's own route between them, and plain sockets to talk to them."""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from adapters.socket import TCP, UDP
from adapters.socket.inbound import TcpInbound
from adapters.socket.outbound import TcpOutbound
from adapters.socket.udp_inbound import UdpInbound
from adapters.socket.udp_outbound import UdpOutbound
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Binding, Service
from gateway.status import Failure

__all__ = ["Line", "Route", "calling", "counted", "line", "serving"]

Answer = Callable[[bytes], Awaitable[bytes | None]]


async def echo(body: bytes) -> bytes | None:
    return body


class Route:
    """A route: keeps what came and answers with what `answer` makes of it; a Failure may be raised."""

    def __init__(self, answer: Answer = echo, *, after: Failure | None = None) -> None:
        """after: how a stream ends, once all its requests are answered."""
        self.requests: list[bytes] = []
        self.peers: list[str] = []
        self.running = 0
        self.most = 0
        self.cancelled = 0
        self._answer = answer
        self._after = after

    async def call(self, request: Message, context: Context) -> Message:
        self.requests.append(request.body)
        self.peers.append(context.peer)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            return Message(await self._answer(request.body))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        assert more is not None
        try:
            async for message in more:
                self.requests.append(message.body)
                yield Message(await self._answer(message.body))
            if self._after is not None:
                raise self._after
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def counted(network: Network) -> dict[str, int]:
    """The counters that are not zero."""
    return {name: value for _, name, value in network.counters if value}


@asynccontextmanager
async def serving(
    route: Route, pattern: str = "request-reply", *, network: Network | None = None, udp: bool = False, **settings: Any
) -> AsyncIterator[Any]:
    """An inbound, listening on a free port unless it has a target."""
    adapter = UDP if udp else TCP
    if "target" not in settings:
        settings.setdefault("listen", "127.0.0.1:0")
    side_type = UdpInbound if udp else TcpInbound
    side: Any = side_type("in", adapter.endpoint.model_validate(settings), network or Network(Path()))  # type: ignore[arg-type]
    assert adapter.inbound is not None
    address = adapter.inbound.address.model_validate({"pattern": pattern})
    await side.load()
    contract = side.contract(address)
    (found,) = contract.patterns
    side.bind([Binding("test", address, contract, found, route, frozenset())])
    await side.start()
    try:
        yield side
    finally:
        await side.stop()


@asynccontextmanager
async def calling(
    pattern: str = "request-reply",
    *,
    network: Network | None = None,
    udp: bool = False,
    address: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Any, Service]]:
    """An outbound and its service."""
    adapter = UDP if udp else TCP
    side_type = UdpOutbound if udp else TcpOutbound
    side: Any = side_type("out", adapter.endpoint.model_validate(settings), network or Network(Path()))  # type: ignore[arg-type]
    assert adapter.outbound is not None
    target = adapter.outbound.address.model_validate({"pattern": pattern, **(address or {})})
    await side.load()
    contract = side.contract(target)
    (found,) = contract.patterns
    assert isinstance(found, Pattern)
    service: Service = side.service(target, contract, found)
    await side.start()
    try:
        yield side, service
    finally:
        await side.stop()


class Line:
    """A plain TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def hear(self, count: int, seconds: float = 5) -> bytes:
        """So many bytes."""
        return await asyncio.wait_for(self.reader.readexactly(count), seconds)

    async def line(self, seconds: float = 5) -> bytes:
        return await asyncio.wait_for(self.reader.readline(), seconds)

    async def rest(self, seconds: float = 5) -> bytes:
        """All until the other side ends."""
        return await asyncio.wait_for(self.reader.read(), seconds)

    def end(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        """Break it off."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()  # type: ignore[attr-defined]

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


@asynccontextmanager
async def line(port: int, **options: Any) -> AsyncIterator[Line]:
    """A connection to a port of loopback."""
    found = Line(*await asyncio.open_connection("127.0.0.1", port, **options))
    try:
        yield found
    finally:
        await found.close()


@asynccontextmanager
async def listening(talk: Callable[[Line], Awaitable[None]]) -> AsyncIterator[int]:
    """A server that talks to each connection so; its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = Line(reader, writer)
        try:
            await talk(found)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            await found.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
