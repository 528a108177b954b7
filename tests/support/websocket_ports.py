"""WebSocket endpoints behind the port: an inbound in front of functions, an outbound before a server of the test's."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve

from adapters.websocket.config import WebSocketEndpoint, WebSocketSource, WebSocketTarget
from adapters.websocket.inbound import WebSocketInbound
from adapters.websocket.outbound import WebSocketOutbound
from gateway.message import Context, Message
from gateway.net.http.server import HttpServer
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Binding, Service

Unary = Callable[[Message, Context], Awaitable[Message]]
Streaming = Callable[[Message, AsyncIterator[Message] | None, Context], AsyncGenerator[Message, None]]


class FunctionService:
    """A Service of two functions."""

    def __init__(self, unary: Unary | None = None, streaming: Streaming | None = None) -> None:
        self._unary = unary
        self._streaming = streaming

    async def call(self, request: Message, context: Context) -> Message:
        assert self._unary is not None
        return await self._unary(request, context)

    def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        assert self._streaming is not None
        return self._streaming(request, more, context)


class Serving:
    """url: of the path /ws."""

    def __init__(self, inbound: WebSocketInbound, server: HttpServer) -> None:
        self.inbound = inbound
        self.server = server
        self.port = server.port
        self.url = f"ws://127.0.0.1:{server.port}/ws"


@asynccontextmanager
async def serving(
    service: Unary | Streaming,
    address: dict[str, Any] | None = None,
    pattern: Pattern | None = None,
    headers: frozenset[str] = frozenset(),
    **options: Any,
) -> AsyncIterator[Serving]:
    """An inbound whose messages go to this function. pattern: where the address leaves several."""
    endpoint = WebSocketEndpoint(listen="127.0.0.1:0", **options)
    network = Network(Path())
    inbound = WebSocketInbound("in", endpoint, network)
    source = WebSocketSource.model_validate({"path": "/ws", **(address or {})})
    await inbound.load()
    contract = inbound.contract(source)
    if pattern is None:
        (pattern,) = contract.patterns
    assert pattern in contract.patterns
    function: Any = service
    made = FunctionService(function) if pattern.unary else FunctionService(None, function)
    inbound.bind([Binding("test", source, contract, pattern, made, headers)])
    await inbound.start()
    try:
        yield Serving(inbound, network.http_server(endpoint.listen or ""))
    finally:
        await inbound.stop()


class Peer:
    """A server of the websockets package.

    links: all its connections so far. closed: (code, reason) of those that ended, in their order.
    """

    def __init__(self) -> None:
        self.port = 0
        self.links: list[ServerConnection] = []
        self.closed: list[tuple[int | None, str | None]] = []

    async def ended(self, count: int = 1) -> None:
        """Return once so many connections have ended."""
        async with asyncio.timeout(5):
            while len(self.closed) < count:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def peer(handle: Callable[[ServerConnection], Awaitable[None]], **options: Any) -> AsyncIterator[Peer]:
    found = Peer()

    async def kept(link: ServerConnection) -> None:
        found.links.append(link)
        try:
            await handle(link)
        finally:
            await link.wait_closed() if link.close_code is not None else await link.close()
            found.closed.append((link.close_code, link.close_reason))

    async with serve(kept, "127.0.0.1", 0, close_timeout=1, **options) as server:
        found.port = next(iter(server.sockets)).getsockname()[1]
        yield found


@asynccontextmanager
async def calling(port: int, address: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[Service]:
    """A Service of the address at a server of the loopback."""
    endpoint = WebSocketEndpoint(target=f"ws://127.0.0.1:{port}", **options)
    outbound = WebSocketOutbound("out", endpoint, Network(Path()))
    await outbound.load()
    target = WebSocketTarget.model_validate({"path": "/ws", **(address or {})})
    contract = outbound.contract(target)
    (pattern,) = contract.patterns
    await outbound.start()
    try:
        yield outbound.service(target, contract, pattern)
    finally:
        await outbound.stop()
