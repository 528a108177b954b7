"""A backend in a process of its own that streams without end in every protocol: to be frozen, killed and watched.

A request names a mode and a label, "flood-LABEL". flood: messages of 64 KiB as fast as they are taken. tick: small
ones, twenty a second. short: as tick, and an end after SHORT of them. What the label's streams did is told at GET
/stats. Orders are noted by their message-id, and told at GET /orders.
"""

import asyncio
import json
import signal
import sys
import urllib.request
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
from aiohttp import web
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

MESSAGE_BYTES = 64 * 1024
SHORT = 40
ORDERS = "shop.orders.v1.Orders"
SDL = (
    "type Query { ready: Boolean } type Subscription { events(mode: String!): Event! } type Event { orderId: String! }"
)
_FLOOD = "e" * MESSAGE_BYTES
_servers: list[Any] = []  # which nobody else keeps


class FlowBackend:
    """The process. Its ports stay over a restart."""

    def __init__(self, ports: list[int], log: Path) -> None:
        self.grpc, self.http, self.ws, self.tcp = ports
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Return once it serves; does nothing where it runs."""
        if self._process is not None:
            return
        ports = map(str, (self.grpc, self.http, self.ws, self.tcp))
        with self._log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, __file__, *ports, stdout=output, stderr=asyncio.subprocess.STDOUT
            )
        for _ in range(300):
            with suppress(OSError):
                await self.stats()
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"the backend did not come up\n{self._log.read_text()}")

    async def stats(self) -> dict[str, dict[str, int]]:
        """By label: opened, sent and received messages, ended streams."""

        found: dict[str, dict[str, int]] = await self._get("stats")
        return found

    async def orders(self) -> dict[str, int]:
        """How often PlaceOrder was called with which message-id."""
        found: dict[str, int] = await self._get("orders")
        return found

    async def _get(self, page: str) -> Any:
        def fetch() -> Any:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/{page}", timeout=5) as answer:
                return json.load(answer)

        return await asyncio.to_thread(fetch)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    async def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            await process.wait()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)


# -- in the process


class _Streams:
    def __init__(self) -> None:
        self.stats: dict[str, dict[str, int]] = {}
        self.orders: Counter[str] = Counter()

    def of(self, request: str) -> tuple[str, dict[str, int]]:
        mode, _, label = request.partition("-")
        return mode, self.stats.setdefault(label, {"opened": 0, "sent": 0, "received": 0, "ended": 0})

    async def texts(self, request: str) -> AsyncGenerator[str, None]:
        """A message counts as sent once the next one is asked for."""
        mode, stats = self.of(request)
        stats["opened"] += 1
        try:
            while mode != "short" or stats["sent"] < SHORT:
                yield _FLOOD if mode == "flood" else "tick"
                stats["sent"] += 1
                await asyncio.sleep(0 if mode == "flood" else 0.05)
        finally:
            stats["ended"] += 1


async def _serve_grpc(streams: _Streams, port: int) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from support.grpc_orders import pb2

    async def place(request: Any, context: Any) -> Any:
        streams.orders[dict(context.invocation_metadata()).get("message-id", "")] += 1
        return pb2.Order(order_id="o-1", customer_id=request.customer_id)

    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        texts = streams.texts(request.order_id)
        try:
            async for text in texts:
                yield pb2.OrderEvent(order_id=text)
        finally:
            await texts.aclose()

    async def take(requests: AsyncIterator[Any], context: Any) -> Any:
        stats: dict[str, int] = {}
        try:
            async for request in requests:
                if not stats:
                    stats = streams.of(request.customer_id)[1]
                    stats["opened"] += 1
                stats["received"] += 1
        finally:
            if stats:
                stats["ended"] += 1
        return pb2.ImportSummary(placed=stats.get("received", 0))

    async def talk(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        first = await anext(requests)
        texts = streams.texts(first.sku)
        try:
            async for text in texts:
                yield pb2.Offer(sku=text)
        finally:
            await texts.aclose()

    def handler(kind: Any, function: Any, request: Any) -> Any:
        return kind(function, request.FromString, lambda reply: reply.SerializeToString())

    server = grpc.aio.server()
    handlers = {
        "PlaceOrder": handler(grpc.unary_unary_rpc_method_handler, place, pb2.PlaceOrderRequest),
        "WatchOrder": handler(grpc.unary_stream_rpc_method_handler, watch, pb2.WatchOrderRequest),
        "ImportOrders": handler(grpc.stream_unary_rpc_method_handler, take, pb2.PlaceOrderRequest),
        "Negotiate": handler(grpc.stream_stream_rpc_method_handler, talk, pb2.Offer),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(ORDERS, handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    _servers.append(server)


async def _serve_http(streams: _Streams, port: int) -> None:
    async def stats(request: web.Request) -> web.Response:
        return web.json_response(streams.stats)

    async def orders(request: web.Request) -> web.Response:
        return web.json_response(streams.orders)

    async def stream(request: web.Request) -> web.StreamResponse:
        sse = request.match_info["kind"] == "sse"
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream" if sse else "application/x-ndjson"})
        await response.prepare(request)
        texts = streams.texts(request.match_info["mode"])
        try:
            async for text in texts:
                line = json.dumps({"orderId": text})
                await response.write((f"data: {line}\n\n" if sse else f"{line}\n").encode())
        finally:
            await texts.aclose()
        return response

    async def take(request: web.Request) -> web.Response:
        _, stats = streams.of(request.match_info["mode"])
        stats["opened"] += 1
        try:
            async for line in request.content:
                stats["received"] += bool(line)
        finally:
            stats["ended"] += 1
        return web.json_response({"placed": stats["received"]})

    application = web.Application(client_max_size=2**40)
    application.router.add_get("/stats", stats)
    application.router.add_get("/orders", orders)
    application.router.add_get("/{kind:sse|ndjson}/{mode}", stream)
    application.router.add_post("/take/{mode}", take)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()


async def _serve_websocket(streams: _Streams, port: int) -> None:
    async def take(connection: ServerConnection, mode: str) -> None:
        _, stats = streams.of(mode)
        stats["opened"] += 1
        try:
            async for message in connection:
                if not message:
                    await connection.send(json.dumps({"placed": stats["received"]}))
                    return
                stats["received"] += 1
        finally:
            stats["ended"] += 1

    async def push(connection: ServerConnection, mode: str, key: str = "") -> None:
        texts = streams.texts(mode)
        try:
            async for text in texts:
                event: Any = {"orderId": text}
                if key:
                    event = {"type": "next", "id": key, "payload": {"data": {"events": event}}}
                await connection.send(json.dumps(event))
        finally:
            await texts.aclose()

    async def graphql(connection: ServerConnection) -> None:
        assert json.loads(await connection.recv())["type"] == "connection_init"
        await connection.send('{"type":"connection_ack"}')
        subscribe = json.loads(await connection.recv())
        pushing = asyncio.create_task(push(connection, subscribe["payload"]["variables"]["mode"], subscribe["id"]))
        try:
            async for _ in connection:
                return
        finally:
            pushing.cancel()

    async def handle(connection: ServerConnection) -> None:
        assert connection.request is not None
        kind, _, mode = connection.request.path.lstrip("/").partition("/")
        with suppress(ConnectionClosed):
            match kind:
                case "graphql":
                    await graphql(connection)
                case "take":
                    await take(connection, mode)
                case _:
                    await push(connection, mode)

    server = await serve(
        handle,
        "127.0.0.1",
        port,
        subprotocols=["graphql-transport-ws"],  # type: ignore[list-item]
        compression=None,
        select_subprotocol=lambda _, offered: offered[0] if offered else None,
        max_size=None,
        ping_interval=None,
    )
    _servers.append(server)


async def _serve_tcp(streams: _Streams, port: int) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        texts = streams.texts(json.loads(await reader.readline())["orderId"])
        try:
            async for text in texts:
                writer.write(json.dumps({"orderId": text}).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            await texts.aclose()
            writer.close()

    _servers.append(await asyncio.start_server(handle, "127.0.0.1", port))


async def _main(ports: list[int]) -> None:
    streams = _Streams()
    for serve_one, port in zip(
        (_serve_grpc, _serve_websocket, _serve_tcp), (ports[0], ports[2], ports[3]), strict=True
    ):
        await serve_one(streams, port)
    await _serve_http(streams, ports[1])
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main([int(port) for port in sys.argv[1:]]))
