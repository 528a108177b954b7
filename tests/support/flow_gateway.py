"""A gateway between callers of all kinds and a backend that streams without end (support.flow_backend)."""

import asyncio
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from support.flow_backend import ORDERS, SDL, FlowBackend
from support.flow_callers import Ports
from support.gateway_process import ROOT, GatewayProcess, running_gateway
from support.ports import free_port

STALL_SECONDS = 10.0  # of the HTTP server; other endpoints have 5
UNARY = ("place", "publish")
PROTO = str(ROOT / "schemas/orders.proto")


def routes(ports: Ports, backend: FlowBackend, folder: Path, bounds: Mapping[str, str]) -> Mapping[str, Any]:
    (folder / "flow.graphql").write_text(SDL)
    listen = f"127.0.0.1:{ports.web}"
    to = {
        method: {"endpoint": "shop", "method": f"{ORDERS}/{method}"}
        for method in ("PlaceOrder", "WatchOrder", "ImportOrders", "Negotiate")
    }
    many = {"method": "GET", "replies": "many"}
    found: dict[str, Any] = {
        "watch": ({"endpoint": "web", "method": "GET", "path": "/watch/{order_id}"}, to["WatchOrder"]),
        "talk": ({"endpoint": "web", "path": "/talk"}, to["Negotiate"]),
        "import": ({"endpoint": "web", "path": "/import"}, to["ImportOrders"]),
        "place": ({"endpoint": "web", "path": "/orders"}, to["PlaceOrder"]),
        **{f"grpc-{method}": ({"endpoint": "calls", "method": f"{ORDERS}/{method}"}, to[method])
           for method in ("WatchOrder", "ImportOrders", "Negotiate")},
        "ws-watch": ({"endpoint": "live", "path": "/ws-watch", "mode": "stream"}, to["WatchOrder"]),
        "ws-query": ({"endpoint": "live", "path": "/ws-query/{order_id}", "mode": "stream", "requests": "query"},
                     to["WatchOrder"]),
        "ws-talk": ({"endpoint": "live", "path": "/ws-talk", "mode": "stream"}, to["Negotiate"]),
        "ws-import": ({"endpoint": "live", "path": "/ws-import", "mode": "stream"}, to["ImportOrders"]),
        "graphql": ({"endpoint": "graph", "field": "Subscription.watchOrder"}, to["WatchOrder"]),
        "tcp": ({"endpoint": "tills", "pattern": "stream"}, to["Negotiate"]),
        "up-ndjson": ({"endpoint": "web", "method": "GET", "path": "/up/ndjson/{mode}", "replies": "many"},
                      {"endpoint": "rest", "path": "/ndjson/{mode}", **many}),
        "up-sse": ({"endpoint": "web", "method": "GET", "path": "/up/sse/{mode}", "replies": "many"},
                   {"endpoint": "rest", "path": "/sse/{mode}", **many}),
        "up-ws": ({"endpoint": "web", "method": "GET", "path": "/up/ws/{mode}", "replies": "many"},
                  {"endpoint": "sockets", "path": "/push/{mode}", "mode": "stream", "requests": "query"}),
        "up-graphql": ({"endpoint": "web", "method": "GET", "path": "/up/graphql/{mode}", "replies": "many"},
                       {"endpoint": "graphs", "field": "Subscription.events"}),
        "up-tcp": ({"endpoint": "web", "method": "GET", "path": "/up/tcp", "replies": "many"},
                   {"endpoint": "lines", "pattern": "stream"}),
        "take-http": ({"endpoint": "web", "path": "/take/http", "requests": "many"},
                      {"endpoint": "rest", "path": "/take/tick-http-to-http", "requests": "many"}),
        "take-ws": ({"endpoint": "web", "path": "/take/ws", "requests": "many"},
                    {"endpoint": "sockets", "path": "/take/tick-http-to-websocket", "mode": "stream",
                     "requests": "many", "replies": "one"}),
        "take-tcp": ({"endpoint": "web", "path": "/take/tcp", "requests": "many", "replies": "many"},
                     {"endpoint": "lines", "pattern": "stream"}),
        "publish": ({"endpoint": "web", "path": "/events"}, {"endpoint": "events", "topic": "flood"}),
        "events": ({"endpoint": "web", "method": "GET", "path": "/events/{topic}"},
                   {"endpoint": "events", "topic": "{$params.topic}", "mode": "subscribe", "start": "earliest"}),
        "ws-events": ({"endpoint": "live", "path": "/ws-events/{topic}", "mode": "stream", "requests": "none"},
                      {"endpoint": "events", "topic": "{$params.topic}", "mode": "subscribe", "start": "earliest"}),
    }  # fmt: skip
    return {
        "gateway": {"drain": "100ms"},
        "endpoints": {
            "web": {"protocol": "http", "listen": listen},
            "calls": {"protocol": "grpc", "listen": f"127.0.0.1:{ports.grpc}", "proto": PROTO, "stall_timeout": "5s"},
            "live": {"protocol": "websocket", "listen": listen},
            "graph": {"protocol": "graphql", "listen": listen},
            "tills": {"protocol": "tcp", "listen": f"127.0.0.1:{ports.tcp}", "stall_timeout": "5s"},
            "shop": {"protocol": "grpc", "target": f"127.0.0.1:{backend.grpc}", "proto": PROTO},
            "rest": {"protocol": "http", "target": f"http://127.0.0.1:{backend.http}"},
            "sockets": {"protocol": "websocket", "target": f"ws://127.0.0.1:{backend.ws}"},
            "graphs": {
                "protocol": "graphql",
                "target": f"http://127.0.0.1:{backend.ws}/graphql",
                "sdl": "flow.graphql",
            },
            "lines": {"protocol": "tcp", "target": f"127.0.0.1:{backend.tcp}"},
            "events": {"protocol": "events", "store": "events.db"},
        },
        "routes": {
            name: {"from": source, "to": target, **({} if name in UNARY else bounds)}
            for name, (source, target) in found.items()
        },
    }


class Scene:
    """A gateway and the backend behind it."""

    def __init__(self, gateway: GatewayProcess, ports: Ports, backend: FlowBackend) -> None:
        self.gateway = gateway
        self.ports = ports
        self.backend = backend

    @property
    def memory(self) -> int:
        """The gateway's resident bytes."""
        pages = int(Path(f"/proc/{self.gateway.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def mend(self) -> None:
        """Return when the backend runs and the gateway has found it."""
        await self.backend.start()
        for _ in range(100):
            try:
                await self.place()
                return
            except urllib.error.HTTPError:
                await asyncio.sleep(0.1)
        raise AssertionError("the gateway does not find the backend")

    async def stats(self, label: str) -> dict[str, int]:
        return (await self.backend.stats())[label]

    async def place(self) -> float:
        """Seconds that a call of another route takes."""

        def post() -> None:
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.ports.web}/orders",
                b'{"customerId":"ada"}',
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert json.load(answer)["customerId"] == "ada"

        start = time.monotonic()
        await asyncio.to_thread(post)
        return time.monotonic() - start


async def scene(folder: Path, backend: FlowBackend, bounds: Mapping[str, str]) -> AsyncIterator[Scene]:
    """bounds: of every route that streams, as `deadline`; without one streams may last for ever."""
    await backend.start()
    ports = Ports(free_port(), free_port(), free_port())
    async with running_gateway(folder, routes(ports, backend, folder, bounds)) as gateway:
        yield Scene(gateway, ports, backend)
