"""SIGTERM while streams are open, for every protocol that streams: those without an end are ended at once and in form,
those that have one come to it, and those of which nobody knows are ended in form before the time is up."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from aiohttp import web
from support.events_gateway import sse
from support.flow_backend import ORDERS, FlowBackend
from support.flow_callers import (
    CLEAN,
    CUT,
    Caller,
    GraphqlCaller,
    GrpcCaller,
    HttpCaller,
    Ports,
    TcpCaller,
    WebSocketCaller,
    subscription,
)
from support.flow_gateway import PROTO, routes
from support.gateway_process import GatewayProcess, running_gateway
from support.grpc_orders import pb2
from support.ports import free_port, free_ports
from support.until import until

SSE, NDJSON, JSON = "text/event-stream", "application/x-ndjson", "application/json"
DRAIN_SECONDS = 20.0
SHORT_DRAIN_SECONDS = 5.0
SDL = (
    "type Query { ready: Boolean } type Subscription { watchOrder(orderId: String): Event } type Event { orderId: ID }"
)


@dataclass(frozen=True)
class Ended:
    """told: what each caller was told, and how many seconds after SIGTERM. exited: when the process was gone."""

    told: Mapping[str, tuple[str, float]]
    exited: float
    log: str


async def ended(gateway: GatewayProcess, everybody: Mapping[str, Caller]) -> Ended:
    """SIGTERM, and what becomes of them all."""
    start = time.monotonic()

    async def one(caller: Caller) -> tuple[str, float]:
        async with asyncio.timeout(30):
            return await caller.ending(), time.monotonic() - start

    ending = asyncio.create_task(gateway.terminate())
    told = await asyncio.gather(*(one(caller) for caller in everybody.values()))
    assert await ending == 0
    exited = time.monotonic() - start
    return Ended(dict(zip(everybody, told, strict=True)), exited, gateway.log.read_text())


# -- streams without an end


def subscribers() -> dict[str, Caller]:
    return {
        "http-sse": HttpCaller("/feed", SSE),
        "http-ndjson": HttpCaller("/feed", NDJSON),
        "http-array": HttpCaller("/feed", JSON, cut=True),
        "http-converse": HttpCaller("/talk", NDJSON, body=lambda mode: json.dumps({"orderId": mode}) + "\n"),
        "websocket": WebSocketCaller("/ws-feed"),
        "websocket-query": WebSocketCaller("/ws-query"),
        "websocket-converse": WebSocketCaller("/ws-talk", lambda mode: json.dumps({"orderId": mode})),
        "graphql-ws": GraphqlCaller(),
        "graphql-sse": HttpCaller("/graphql", SSE, body=subscription),
        "grpc": GrpcCaller("WatchOrder"),
        "tcp-converse": TcpCaller(),
    }


def subscriptions(ports: Ports, folder: Path) -> dict[str, Any]:
    """All to one topic of an event store."""
    (folder / "events.graphql").write_text(SDL)
    listen = f"127.0.0.1:{ports.web}"
    feed = {"endpoint": "news", "topic": "orders", "mode": "subscribe", "start": "earliest"}
    talk = {"endpoint": "news", "topic": "orders", "mode": "converse", "subscribe": "orders", "start": "earliest"}
    found = {
        "publish": ({"endpoint": "web", "path": "/orders"}, {"endpoint": "news", "topic": "orders"}),
        "feed": ({"endpoint": "web", "method": "GET", "path": "/feed", "replies": "many"}, feed),
        "talk": ({"endpoint": "web", "path": "/talk"}, talk),
        "ws-feed": ({"endpoint": "live", "path": "/ws-feed", "mode": "stream", "requests": "none"}, feed),
        "ws-query": ({"endpoint": "live", "path": "/ws-query", "mode": "stream", "requests": "query"}, feed),
        "ws-talk": ({"endpoint": "live", "path": "/ws-talk", "mode": "stream"}, talk),
        "graphql": ({"endpoint": "graph", "field": "Subscription.watchOrder"}, feed),
        "grpc": ({"endpoint": "calls", "method": f"{ORDERS}/WatchOrder"}, feed),
        "tcp": ({"endpoint": "tills", "pattern": "stream"}, talk),
        "next": ({"endpoint": "web", "method": "GET", "path": "/next", "replies": "one"}, {**feed, "start": "latest"}),
    }
    return {
        "gateway": {"drain": f"{DRAIN_SECONDS:g}s"},
        "endpoints": {
            "web": {"protocol": "http", "listen": listen},
            "live": {"protocol": "websocket", "listen": listen},
            "graph": {"protocol": "graphql", "listen": listen, "sdl": "events.graphql"},
            "calls": {"protocol": "grpc", "listen": f"127.0.0.1:{ports.grpc}", "proto": PROTO},
            "tills": {"protocol": "tcp", "listen": f"127.0.0.1:{ports.tcp}"},
            "news": {"protocol": "events", "store": "news.db", "unknown_fields": "drop"},
        },
        "routes": {
            name: {"from": source, "to": target, **({"replies": "first"} if name == "next" else {})}
            for name, (source, target) in found.items()
        },
    }


async def publish(client: aiohttp.ClientSession, ports: Ports, number: int) -> None:
    url = f"http://127.0.0.1:{ports.web}/orders"
    for _ in range(100):
        async with client.post(url, json={"orderId": f"o-{number}"}) as response:
            if response.status == 202:
                return
            assert response.status == 503, await response.text()  # the store is not open yet
        await asyncio.sleep(0.05)
    raise AssertionError("nothing can be published")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unending(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    folder = tmp_path_factory.mktemp("unending")
    ports = Ports(*free_ports(3))
    async with running_gateway(folder, subscriptions(ports, folder)) as gateway, aiohttp.ClientSession() as client:
        await publish(client, ports, 1)
        everybody = subscribers()
        for caller in everybody.values():
            async with asyncio.timeout(10):
                await caller.open(ports, "o-2")
                await caller.take()
        return await ended(gateway, everybody)


@pytest.mark.parametrize("name", subscribers())
@pytest.mark.asyncio(loop_scope="module")
async def test_a_stream_without_an_end_is_ended_at_once(unending: Ended, name: str) -> None:
    told, seconds = unending.told[name]
    assert told == (CUT if name == "http-array" else "UNAVAILABLE")
    assert seconds < DRAIN_SECONDS / 2
    assert unending.exited < DRAIN_SECONDS / 2
    assert "in flight" not in unending.log
    assert unending.log.count('"message": "the gateway is stopping"') == len(subscribers())


@pytest.mark.asyncio(loop_scope="module")
async def test_a_call_that_waits_for_an_event_is_ended_at_once(tmp_path: Path) -> None:
    ports = Ports(*free_ports(3))
    async with running_gateway(tmp_path, subscriptions(ports, tmp_path)) as gateway, aiohttp.ClientSession() as client:
        await publish(client, ports, 1)
        waiting = asyncio.create_task(client.get(f"http://127.0.0.1:{ports.web}/next"))
        async with asyncio.timeout(10):
            while b'gateway_calls_in_flight{route="next"} 1.0' not in (await gateway.get("/metrics"))[1]:
                await asyncio.sleep(0.02)
        start = time.monotonic()
        ending = asyncio.create_task(gateway.terminate())
        answer = await waiting
        assert (answer.status, (await answer.json())["detail"]) == (503, "the gateway is stopping")
        assert await ending == 0
        assert time.monotonic() - start < DRAIN_SECONDS / 2


@pytest.mark.asyncio(loop_scope="module")
async def test_what_was_published_comes_once_over_a_restart(tmp_path: Path) -> None:
    """A reader that goes on elsewhere from where it was told to end."""
    ports = Ports(*free_ports(3))
    url = f"http://127.0.0.1:{ports.web}/feed"
    config = subscriptions(ports, tmp_path)
    found: list[str] = []
    last = ""
    async with aiohttp.ClientSession() as client:
        for count in (3, 6):
            async with AsyncExitStack() as stack:
                gateway = await stack.enter_async_context(running_gateway(tmp_path, config))
                stream = await stack.enter_async_context(sse(client, url, last))
                for number in range(len(found), count):
                    await publish(client, ports, number)
                while len(found) < count - 1:
                    last, _, event = await stream.next()
                    found.append(event["orderId"])
                ending = asyncio.create_task(gateway.terminate())
                identity, kind, event = await stream.next()
                while kind != "error":
                    last = identity
                    found.append(event["orderId"])
                    identity, kind, event = await stream.next()
                assert (event["code"], event["detail"]) == ("UNAVAILABLE", "the gateway is stopping")
                assert await ending == 0
    assert found == [f"o-{number}" for number in range(6)]


@pytest.mark.parametrize("answered", [True, False])
@pytest.mark.asyncio(loop_scope="module")
async def test_an_event_that_is_being_handled(answered: bool, tmp_path: Path) -> None:
    """Of a durable subscription: handled in time, it does not come again; else it does, once."""
    received: list[Any] = []
    answer = asyncio.Event()

    async def handle(request: web.BaseRequest) -> web.Response:
        received.append(json.loads(await request.read())["orderId"])
        await answer.wait()
        return web.Response(status=204)

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ports = Ports(*free_ports(3))
    config = subscriptions(ports, tmp_path)
    config["gateway"] = {"drain": f"{DRAIN_SECONDS if answered else 1:g}s"}
    config["endpoints"]["back"] = {"protocol": "http", "target": f"http://127.0.0.1:{runner.addresses[0][1]}"}
    config["routes"]["handle"] = {
        "from": {"endpoint": "news", "topic": "orders", "subscription": "handling"},
        "to": {"endpoint": "back", "path": "/"},
    }
    try:
        async with running_gateway(tmp_path, config) as gateway, aiohttp.ClientSession() as client:
            await publish(client, ports, 1)
            await until(lambda: len(received) == 1)
            ending = asyncio.create_task(gateway.terminate())
            await until(lambda: "draining" in gateway.log.read_text())
            if answered:
                answer.set()
            assert await ending == 0
        answer.set()
        async with running_gateway(tmp_path, config), aiohttp.ClientSession() as client:
            await publish(client, ports, 2)
            await until(lambda: "o-2" in received)
            assert received == (["o-1", "o-2"] if answered else ["o-1", "o-1", "o-2"])
    finally:
        await runner.cleanup()


# -- streams that may have one


def callers() -> dict[str, Caller]:
    """Of a gRPC backend, and by HTTP of backends of other kinds."""
    return {
        "http-sse": HttpCaller("/watch/{mode}", SSE),
        "http-ndjson": HttpCaller("/watch/{mode}", NDJSON),
        "http-array": HttpCaller("/watch/{mode}", JSON, cut=True),
        "grpc-server-stream": GrpcCaller("WatchOrder"),
        "grpc-bidi": GrpcCaller("Negotiate"),
        "websocket": WebSocketCaller("/ws-watch", lambda mode: json.dumps({"orderId": mode})),
        "websocket-bidi": WebSocketCaller("/ws-talk", lambda mode: json.dumps({"sku": mode})),
        "graphql-ws": GraphqlCaller(),
        "graphql-sse": HttpCaller("/graphql", SSE, body=subscription),
        "tcp": TcpCaller(),
        "to-sse": HttpCaller("/up/sse/{mode}", NDJSON),
        "to-ws": HttpCaller("/up/ws/{mode}", NDJSON),
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FlowBackend]:
    backend = FlowBackend(free_ports(4), tmp_path_factory.mktemp("backend") / "backend.log")
    await backend.start()
    yield backend
    await backend.kill()


async def _drained(folder: Path, backend: FlowBackend, mode: str, everybody: Mapping[str, Caller]) -> Ended:
    ports = Ports(free_port(), free_port(), free_port())
    config = {**routes(ports, backend, folder, {}), "gateway": {"drain": f"{SHORT_DRAIN_SECONDS:g}s"}}
    async with running_gateway(folder, config) as gateway:
        for name, caller in everybody.items():
            async with asyncio.timeout(10):
                await caller.open(ports, f"{mode}-{mode}-{name}")
                await caller.take()
        return await ended(gateway, everybody)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def finite(backend: FlowBackend, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return await _drained(tmp_path_factory.mktemp("finite"), backend, "short", callers())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unknown(backend: FlowBackend, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return await _drained(tmp_path_factory.mktemp("unknown"), backend, "tick", callers())


@pytest.mark.parametrize("name", callers())
@pytest.mark.asyncio(loop_scope="module")
async def test_a_stream_with_an_end_comes_to_it(finite: Ended, name: str) -> None:
    assert finite.told[name][0] == CLEAN
    assert finite.exited < SHORT_DRAIN_SECONDS
    assert "in flight" not in finite.log


@pytest.mark.parametrize("name", callers())
@pytest.mark.asyncio(loop_scope="module")
async def test_a_stream_that_does_not_end_in_time_is_ended_in_form(unknown: Ended, name: str) -> None:
    told, seconds = unknown.told[name]
    assert told == (CUT if name == "http-array" else "UNAVAILABLE")
    assert SHORT_DRAIN_SECONDS / 2 < seconds < SHORT_DRAIN_SECONDS + 2
    assert unknown.exited < SHORT_DRAIN_SECONDS + 5
    assert "in flight" in unknown.log
    assert "they are cut" not in unknown.log


@pytest.mark.asyncio(loop_scope="module")
async def test_a_reader_that_is_told_to_end_comes_back_by_another_connection(
    backend: FlowBackend, tmp_path: Path
) -> None:
    """While the process still serves others: browsers would ask again on the same connection."""
    ports = Ports(free_port(), free_port(), free_port())
    config = {**routes(ports, backend, tmp_path, {}), "gateway": {"drain": f"{SHORT_DRAIN_SECONDS:g}s"}}
    async with running_gateway(tmp_path, config) as gateway:
        other = GrpcCaller("WatchOrder")
        await other.open(ports, "tick-other")
        await other.take()
        reader, writer = await asyncio.open_connection("127.0.0.1", ports.web)
        writer.write(f"GET /events/flood HTTP/1.1\r\nHost: test\r\nAccept: {SSE}\r\n\r\n".encode())
        assert b" 200 " in await reader.readline()
        start = time.monotonic()
        ending = asyncio.create_task(gateway.terminate())
        assert b"event: error" in await reader.read()
        assert time.monotonic() - start < SHORT_DRAIN_SECONDS / 2
        assert not ending.done()
        writer.close()
        assert await other.ending() == "UNAVAILABLE"
        assert await ending == 0


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.asyncio(loop_scope="module")
async def test_an_upload_is_taken_to_its_end(protocol: str, backend: FlowBackend, tmp_path: Path) -> None:
    ports = Ports(free_port(), free_port(), free_port())
    config = {**routes(ports, backend, tmp_path, {}), "gateway": {"drain": f"{DRAIN_SECONDS:g}s"}}
    label = f"upload-{protocol}"
    draining = asyncio.Event()

    async def orders(write: Callable[[str], Any]) -> AsyncIterator[Any]:
        yield write(f"short-{label}")
        await draining.wait()
        yield write("two")

    def line(customer: str) -> bytes:
        return json.dumps({"customerId": customer}).encode() + b"\n"

    async def upload() -> int:
        if protocol == "http":
            headers = {"Content-Type": NDJSON}
            url = f"http://127.0.0.1:{ports.web}/import"
            async with aiohttp.ClientSession() as client, client.post(url, data=orders(line), headers=headers) as reply:
                return int((await reply.json())["placed"])
        async with grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
            method = channel.stream_unary(
                f"/{ORDERS}/ImportOrders", pb2.PlaceOrderRequest.SerializeToString, pb2.ImportSummary.FromString
            )
            return int((await method(orders(lambda customer: pb2.PlaceOrderRequest(customer_id=customer)))).placed)

    async with running_gateway(tmp_path, config) as gateway:
        uploading = asyncio.create_task(upload())
        async with asyncio.timeout(10):
            while (await backend.stats()).get(label, {}).get("received") != 1:
                await asyncio.sleep(0.02)
        ending = asyncio.create_task(gateway.terminate())
        await until(lambda: "draining" in gateway.log.read_text())
        draining.set()
        assert await uploading == 2
        assert await ending == 0
        assert "in flight" not in gateway.log.read_text()
