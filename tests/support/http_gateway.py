"""The http adapter's two sides: a whole gateway between a raw socket and an aiohttp upstream, all in this process."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web

from gateway.compile import Plan, compile_plan
from gateway.config import read
from gateway.document import parse
from gateway.net.network import Network
from gateway.observe import Metrics

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Upstream:
    """An HTTP server that keeps its requests."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[web.Request] = []
        self.bodies: list[bytes] = []


@asynccontextmanager
async def upstream(handler: Handler) -> AsyncIterator[Upstream]:
    """Serve all paths with the handler; the request's body is read before it is called."""
    kept = Upstream("")

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.Request)
        kept.requests.append(request)
        kept.bodies.append(await request.read())
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        kept.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield kept
    finally:
        await runner.cleanup()


class Gateway:
    """A gateway that serves, and clients for it."""

    def __init__(self, plan: Plan, session: aiohttp.ClientSession, port: int) -> None:
        self.plan = plan
        self.session = session
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    async def request(self, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        """(status, headers, JSON body or bytes)"""
        async with self.session.request(method, self.url + path, **options) as response:
            content = await response.read()
            parsed = json.loads(content) if "json" in response.content_type and content else content
            return response.status, response.headers, parsed

    async def raw(self, data: bytes, *, until: bytes = b"", seconds: float = 5) -> bytes:
        """Send bytes on a new connection; what comes back until the server closes, these bytes came,
        or the time is up."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            received = b""
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(seconds):
                    while not (until and until in received):
                        chunk = await reader.read(65536)
                        if not chunk:
                            break
                        received += chunk
            return received
        finally:
            writer.close()


@asynccontextmanager
async def gateway(routes: dict[str, Any] | str, base: Path | None = None) -> AsyncIterator[Gateway]:
    """Serve routes.yaml, given as data or text; the endpoint `web` listens on a free port."""
    content = routes if isinstance(routes, str) else yaml.safe_dump(routes)
    plan = await planned(content, base)
    for outbound in plan.outbounds.values():
        await outbound.start()
    for name, inbound in plan.inbounds.items():
        inbound.bind(plan.bindings.get(name, []))
        await inbound.start()
    web_inbound: Any = plan.inbounds["web"]
    async with aiohttp.ClientSession(auto_decompress=True) as session:
        try:
            yield Gateway(plan, session, web_inbound._server.port)
        finally:
            for inbound in plan.inbounds.values():
                await inbound.stop()
            for outbound in plan.outbounds.values():
                await outbound.stop()


async def planned(routes: dict[str, Any] | str, base: Path | None = None) -> Plan:
    """Compile routes.yaml. Raises ConfigError."""
    content = routes if isinstance(routes, str) else yaml.safe_dump(routes)
    config = read(parse(content.encode(), "routes.yaml", {}))
    return await compile_plan(config, Network(base or Path()), Metrics(), None)
