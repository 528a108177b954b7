"""A whole gateway with an events endpoint, in this process, and what its tests talk to it with."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.runtime import Runtime
from support.ports import free_port
from support.until import until

PATIENCE_SECONDS = 15.0


class Places:
    """Free loopback addresses for one gateway."""

    def __init__(self) -> None:
        self.web = f"127.0.0.1:{free_port()}"
        self.events = f"127.0.0.1:{free_port()}"

    def endpoints(self, **settings: Any) -> dict[str, Any]:
        """An HTTP endpoint `web`, and an endpoint `events` with these settings."""
        return {
            "web": {"protocol": "http", "listen": self.web},
            "events": {"protocol": "events", "store": "memory", "listen": self.events, **settings},
        }


@asynccontextmanager
async def serving(folder: Path, endpoints: dict[str, Any], routes: dict[str, Any]) -> AsyncIterator[Runtime]:
    """A gateway on these routes that is ready."""
    file = folder / "routes.yaml"
    quiet = {"admin": {"enabled": False}, "access_log": False, "deadline": "10s"}
    file.write_text(json.dumps({"gateway": quiet, "endpoints": endpoints, "routes": routes}))
    runtime = Runtime(file)
    try:
        await runtime.start()
        await until(lambda: not any(runtime.unready().values()), lambda: f"not ready: {runtime.unready()}")
        yield runtime
    finally:
        await runtime.stop()


class Receiver:
    """An HTTP server that keeps what it is sent.

    answers: statuses (with headers) of the next answers, 204 when they are used up.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str]]] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.requests.append((headers, await request.read()))
        status, extra = self.answers.pop(0) if self.answers else (204, {})
        return web.Response(status=status, headers=extra)

    async def wait(self, count: int) -> None:
        """Return when so many requests came."""
        await until(lambda: len(self.requests) >= count, lambda: f"{len(self.requests)} of {count} requests came")


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver of webhooks on a free port."""
    receiver = Receiver("")
    runner = web.ServerRunner(web.Server(receiver.handle), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield receiver
    finally:
        await runner.cleanup()


class SseClient:
    """Reads server-sent events of one response."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> tuple[str, str, Any]:
        """(id, event, data) of the next event."""
        identity = kind = data = ""
        async with asyncio.timeout(PATIENCE_SECONDS):
            async for raw in self.response.content:
                line = raw.decode().rstrip("\n")
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                match name:
                    case "id":
                        identity = value
                    case "event":
                        kind = value
                    case "data":
                        data = value
                    case "" if data and not line:
                        return identity, kind, json.loads(data)
        raise AssertionError("the stream ended")


@asynccontextmanager
async def sse(session: aiohttp.ClientSession, url: str, last: str = "") -> AsyncIterator[SseClient]:
    """Subscribe as an EventSource does, from after the event of id `last`."""
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
    async with session.get(url, headers=headers) as response:
        assert response.status == 200, await response.text()
        yield SseClient(response)
