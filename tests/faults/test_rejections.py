"""Requests that fail without a route are counted by endpoint and code, whichever protocol they come by; those that a
route refuses are not counted twice."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
import thriftpy2
from support.gateway_process import ROOT, GatewayProcess, running_gateway
from support.ports import free_port, free_ports
from thriftpy2.rpc import make_client
from thriftpy2.thrift import TApplicationException
from thriftpy2.transport import TFramedTransportFactory
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

LIMIT = 2000
SHARED = "graph,hub,live,soap,web"
SCHEMAS = ROOT / "schemas"
Counts = dict[tuple[str, str], int]


class Scene:
    def __init__(self, gateway: GatewayProcess, web: int, rpc: int, thrift: int, tcp: int) -> None:
        self.gateway = gateway
        self.web = f"127.0.0.1:{web}"
        self.rpc = f"127.0.0.1:{rpc}"
        self.thrift = thrift
        self.tcp = tcp

    async def counts(self) -> Counts:
        """By endpoint and code."""
        metrics = (await self.gateway.get("/metrics"))[1].decode()
        found = re.findall(r'gateway_rejected_requests_total\{code="(\w+)",endpoint="([\w,]+)"\} (\d+)', metrics)
        return {(endpoint, code): int(count) for code, endpoint, count in found}

    async def added(self, before: Counts) -> Counts:
        return {
            key: count - before.get(key, 0) for key, count in (await self.counts()).items() if count != before.get(key)
        }


def routes(web: int, rpc: int, thrift: int, tcp: int) -> dict[str, Any]:
    """All to a backend that is away: no call comes so far."""
    listen = f"127.0.0.1:{web}"
    sources = {
        "web": {"endpoint": "web", "path": "/orders"},
        "rpc": {"endpoint": "rpc", "method": "shop.orders.v1.Orders/PlaceOrder"},
        "graph": {"endpoint": "graph", "field": "Query.ready"},
        "live": {"endpoint": "live", "path": "/live"},
        "soap": {"endpoint": "soap", "operation": "PlaceOrder"},
        "calls": {"endpoint": "calls", "function": "GetOrder"},
        "tills": {"endpoint": "tills"},
        "hub": {"endpoint": "hub", "topic": "orders", "subscription": "away"},
    }
    return {
        "endpoints": {
            "web": {"protocol": "http", "listen": listen, "max_body_bytes": LIMIT},
            "graph": {"protocol": "graphql", "listen": listen, "sdl": "ready.graphql"},
            "live": {"protocol": "websocket", "listen": listen, "max_message_bytes": LIMIT},
            "soap": {"protocol": "soap", "listen": listen, "path": "/soap", "wsdl": str(SCHEMAS / "orders.wsdl")},
            "rpc": {"protocol": "grpc", "listen": f"127.0.0.1:{rpc}", "proto": str(SCHEMAS / "orders.proto")},
            "calls": {"protocol": "thrift", "listen": f"127.0.0.1:{thrift}", "thrift": str(SCHEMAS / "orders.thrift")},
            "tills": {"protocol": "tcp", "listen": f"127.0.0.1:{tcp}", "max_frame_bytes": LIMIT},
            "hub": {"protocol": "events", "store": "memory", "listen": listen},
            "away": {"protocol": "http", "target": f"http://127.0.0.1:{free_port()}"},
        },
        "routes": {name: {"from": source, "to": {"endpoint": "away", "path": "/"}} for name, source in sources.items()},
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    folder: Path = tmp_path_factory.mktemp("rejections")
    (folder / "ready.graphql").write_text("type Query { ready: Boolean }")
    ports = free_ports(4)
    async with running_gateway(folder, routes(*ports)) as gateway:
        yield Scene(gateway, *ports)


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "counted"),
    [
        ("GET", "/nowhere", {}, b"", 404, (SHARED, "NOT_FOUND")),
        ("DELETE", "/orders", {}, b"", 405, (SHARED, "UNIMPLEMENTED")),
        ("POST", "/orders", {"Content-Type": "text/plain"}, b"one", 415, ("web", "INVALID_ARGUMENT")),
        ("POST", "/orders", {"Content-Type": "application/json"}, b"1" * (LIMIT + 1), 413, ("web", "INVALID_ARGUMENT")),
        ("POST", "/soap", {"Content-Type": "application/json"}, b"{}", 415, ("soap", "INVALID_ARGUMENT")),
        ("POST", "/graphql", {"Content-Type": "application/json"}, b'{"query":"{no}"}', 200,
         ("graph", "INVALID_ARGUMENT")),
        ("POST", "/graphql", {"Content-Type": "text/plain"}, b"{ready}", 415, ("graph", "INVALID_ARGUMENT")),
        ("POST", "/events/a..b", {"Content-Type": "application/json"}, b"{}", 404, ("hub", "NOT_FOUND")),
        ("OPTIONS", "/events/a", {"WebHook-Request-Origin": "evil.example"}, b"", 403, ("hub", "PERMISSION_DENIED")),
        ("GET", "/live", {}, b"", 426, ("live", "INVALID_ARGUMENT")),
    ],
)  # fmt: skip
@pytest.mark.asyncio(loop_scope="module")
async def test_over_http(
    scene: Scene, method: str, path: str, headers: dict[str, str], body: bytes, status: int, counted: tuple[str, str]
) -> None:
    before = await scene.counts()
    url = f"http://{scene.web}{path}"
    async with aiohttp.request(method, url, headers=headers, data=body) as reply:
        assert reply.status == status, await reply.text()
    assert await scene.added(before) == {counted: 1}


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_route_refuses_is_its_own(scene: Scene) -> None:
    before = await scene.counts()
    async with aiohttp.ClientSession() as client:
        for body, status in ((b"{", 400), (b"{}", 503)):
            headers = {"Content-Type": "application/json"}
            async with client.post(f"http://{scene.web}/orders", headers=headers, data=body) as reply:
                assert reply.status == status
        async with client.options(f"http://{scene.web}/orders") as reply:
            assert reply.status == 204
    async with connect(f"ws://{scene.web}/live", proxy=None) as socket:
        await socket.send("{")
        assert "INVALID_ARGUMENT" in await socket.recv()
    assert await scene.added(before) == {}


@pytest.mark.asyncio(loop_scope="module")
async def test_malformed_http(scene: Scene) -> None:
    before = await scene.counts()
    reader, writer = await asyncio.open_connection(*scene.web.split(":"))
    writer.write(b"NONSENSE\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    assert await scene.added(before) == {(SHARED, "INVALID_ARGUMENT"): 1}


@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_soap_operation(scene: Scene) -> None:
    before = await scene.counts()
    envelope = (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><Nothing/></e:Body></e:Envelope>'
    )
    headers = {"Content-Type": "text/xml"}
    async with aiohttp.request("POST", f"http://{scene.web}/soap", headers=headers, data=envelope) as reply:
        assert "no operation" in await reply.text()
    assert await scene.added(before) == {("soap", "UNIMPLEMENTED"): 1}


@pytest.mark.asyncio(loop_scope="module")
async def test_an_unknown_grpc_method(scene: Scene) -> None:
    before = await scene.counts()
    async with grpc.aio.insecure_channel(scene.rpc) as channel:
        for call in (channel.unary_unary("/shop.orders.v1.Orders/None"), channel.unary_unary("/None/None")):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call(b"")
            assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert await scene.added(before) == {("rpc", "UNIMPLEMENTED"): 2}


@pytest.mark.asyncio(loop_scope="module")
async def test_graphql_over_websocket(scene: Scene) -> None:
    before = await scene.counts()
    offered: Any = ["graphql-transport-ws"]
    async with connect(f"ws://{scene.web}/graphql", subprotocols=offered, proxy=None) as socket:
        await socket.send('{"type":"connection_init"}')
        await socket.recv()
        await socket.send('{"type":"subscribe","id":"1","payload":{"query":"{no}"}}')
        assert json.loads(await socket.recv())["type"] == "error"
        await socket.send('{"type":"nonsense"}')
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 4400
    assert await scene.added(before) == {("graph", "INVALID_ARGUMENT"): 2}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_websocket_message_that_is_too_large(scene: Scene) -> None:
    before = await scene.counts()
    async with connect(f"ws://{scene.web}/live", proxy=None) as socket:
        await socket.send("x" * (LIMIT + 1))
        with pytest.raises(ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1009
    async with asyncio.timeout(5):
        while not (added := await scene.added(before)):
            await asyncio.sleep(0.02)
    assert added == {("live", "INVALID_ARGUMENT"): 1}


@pytest.mark.asyncio(loop_scope="module")
async def test_thrift(scene: Scene, tmp_path: Path) -> None:
    before = await scene.counts()
    (tmp_path / "other.thrift").write_text("service Other { i32 nothing() }")
    module = thriftpy2.load(str(tmp_path / "other.thrift"), module_name="other_thrift")

    def call() -> None:
        client = make_client(module.Other, "127.0.0.1", scene.thrift, trans_factory=TFramedTransportFactory())
        try:
            client.nothing()
        finally:
            client.close()

    with pytest.raises(TApplicationException, match="no function"):
        await asyncio.to_thread(call)
    assert await scene.added(before) == {("calls", "UNIMPLEMENTED"): 1}
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.thrift)
    writer.write(b"\x7f\xff\xff\xff\x80\x01\x00\x01")  # a frame of 2 GiB
    await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert await scene.added(before) == {("calls", "UNIMPLEMENTED"): 1, ("calls", "INVALID_ARGUMENT"): 1}


@pytest.mark.asyncio(loop_scope="module")
async def test_a_tcp_message_that_is_too_large(scene: Scene) -> None:
    before = await scene.counts()
    reader, writer = await asyncio.open_connection("127.0.0.1", scene.tcp)
    writer.write(b"x" * (LIMIT + 100))
    assert b"INVALID_ARGUMENT" in await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert await scene.added(before) == {("tills", "INVALID_ARGUMENT"): 1}
