"""HTTPS and mutual TLS both ways, for every protocol over HTTP, against aiohttp and Python's own ssl.

Certificates are made by openssl.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support.certificates import own
from support.pairs import running, write_routes
from support.ports import free_port

from gateway import config as configuration
from gateway.compile import compile_plan
from gateway.document import parse
from gateway.net.network import Network
from gateway.observe import Metrics
from gateway.problem import ConfigError

SCHEMAS = Path(__file__).parents[2] / "schemas"
CATALOG = str(SCHEMAS / "catalog.graphql")
CALLED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "http": ("/echo", {"protocol": "http"}, {"path": "/echo"}),
    "soap": ("/soap", {"protocol": "soap", "wsdl": str(SCHEMAS / "orders.wsdl")}, {"operation": "GetOrder"}),
    "graphql": (
        "/graphql",
        {"protocol": "graphql", "sdl": CATALOG},
        {"field": "Query.product"},
    ),
    "introspection": ("/graphql", {"protocol": "graphql", "introspection": True}, {"field": "Query.product"}),
    "thrift": (
        "/rpc",
        {"protocol": "thrift", "thrift": str(SCHEMAS / "pricing.thrift"), "transport": "http"},
        {"function": "quote"},
    ),
    "websocket": ("/chat", {"protocol": "websocket"}, {"path": "/chat", "mode": "request-reply"}),
}


class Peer:
    """An HTTPS server that demands a certificate and keeps who called which path; it answers nothing sensible."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        self.port = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        shown = dict(entry[0] for entry in request.transport.get_extra_info("peercert")["subject"])
        self.seen.append((request.path, shown["commonName"]))
        return web.Response(status=418)


@asynccontextmanager
async def demanding(pki: Path) -> AsyncIterator[Peer]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.pem"))
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    peer = Peer()
    runner = web.ServerRunner(web.Server(peer.answer), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        peer.port = runner.addresses[0][1]
        yield peer
    finally:
        await runner.cleanup()


async def post(url: str, body: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as reply:
        return reply.status, await reply.json(content_type=None)


@pytest.mark.parametrize("protocol", CALLED)
async def test_a_target_is_trusted_and_shown_a_certificate(protocol: str, pki: Path, tmp_path: Path) -> None:
    path, endpoint, address = CALLED[protocol]
    trusted = {"ca": str(pki / "ca.pem"), **own(pki, "client")}
    tried: dict[str, dict[str, Any]] = {
        "trusted": trusted,
        "by-name": {**trusted, "server_name": "server.example"},
        "system": own(pki, "client"),
        "other-authority": {**trusted, "ca": str(pki / "other.pem")},
        "other-name": {**trusted, "server_name": "other.example"},
        "without-certificate": {"ca": trusted["ca"]},
    }
    scheme = "wss" if protocol == "websocket" else "https"
    web_port = free_port()
    async with demanding(pki) as peer:
        target = f"{scheme}://127.0.0.1:{peer.port}{'' if 'path' in address else path}"
        endpoints: dict[str, Any] = {name: {**endpoint, "target": target, "tls": tls} for name, tls in tried.items()}
        endpoints["web"] = {"protocol": "http", "listen": f"127.0.0.1:{web_port}"}
        routes = {
            name: {"from": {"endpoint": "web", "path": f"/{name}"}, "to": {"endpoint": name, **address}}
            for name in tried
        }
        if protocol == "introspection":
            with pytest.raises(ConfigError):
                await _compiled(tmp_path, endpoints, routes)
            assert set(peer.seen) == {(path, "client")} and len(peer.seen) >= 2
            return
        async with running(write_routes(tmp_path, endpoints, routes)):
            for name in tried:
                body = {"order_id": "1"} if protocol == "soap" else {"sku": "tea"}
                status, problem = await post(f"http://127.0.0.1:{web_port}/{name}", body)
                assert status >= 400
                if name in ("trusted", "by-name"):
                    assert peer.seen.pop() == (path, "client"), problem
                else:
                    assert (status, peer.seen) == (503, [])
                    assert "127.0.0.1" not in problem["detail"]
                    assert ("certificate is not trusted" in problem["detail"]) == (name != "without-certificate")


async def _compiled(folder: Path, endpoints: dict[str, Any], routes: dict[str, Any]) -> None:
    text = json.dumps({"endpoints": endpoints, "routes": routes}).encode()
    await compile_plan(configuration.read(parse(text, "routes.yaml", {})), Network(folder), Metrics(), None)


def listeners(port: int, tls: dict[str, str]) -> dict[str, Any]:
    here = {"listen": f"127.0.0.1:{port}", "tls": tls}
    return {
        "web": {"protocol": "http", **here},
        "shop-soap": {"protocol": "soap", "path": "/soap", "wsdl": str(SCHEMAS / "orders.wsdl"), **here},
        "shop-graphql": {"protocol": "graphql", "path": "/graphql", "sdl": CATALOG, **here},
        "chat": {"protocol": "websocket", **here},
        "rpc": {
            "protocol": "thrift",
            "transport": "http",
            "path": "/rpc",
            "thrift": str(SCHEMAS / "pricing.thrift"),
            **here,
        },
        "hub": {"protocol": "events", "store": "memory", **here},
    }


ROUTES = {
    "web": {"from": {"endpoint": "web", "path": "/orders"}, "to": {"endpoint": "hub", "topic": "orders"}},
    "soap": {"from": {"endpoint": "shop-soap", "operation": "RegisterEvent"}, "to": {"endpoint": "hub", "topic": "a"}},
    "graphql": {
        "from": {"endpoint": "shop-graphql", "field": "Query.product"},
        "to": {"endpoint": "back", "path": "/p"},
    },
    "chat": {"from": {"endpoint": "chat", "path": "/chat", "mode": "one-way"}, "to": {"endpoint": "hub", "topic": "b"}},
    "rpc": {"from": {"endpoint": "rpc", "function": "quote"}, "to": {"endpoint": "back", "path": "/q"}},
}


async def test_listeners_share_a_port_and_demand_certificates(pki: Path, tmp_path: Path) -> None:
    port = free_port()
    endpoints = listeners(port, {**own(pki, "server"), "ca": str(pki / "ca.pem")})
    endpoints["back"] = {"protocol": "http", "target": "http://127.0.0.1:1"}
    known = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    known.load_cert_chain(pki / "client.pem", pki / "client.key")
    unknown = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    base = f"https://127.0.0.1:{port}"
    async with running(write_routes(tmp_path, endpoints, ROUTES)), aiohttp.ClientSession() as session:
        async with session.post(f"{base}/orders", json={"n": 1}, ssl=known) as reply:
            assert reply.status == 202
        async with session.get(f"{base}/soap?wsdl", ssl=known) as reply:
            assert f'location="{base}/soap"' in await reply.text()
        async with session.post(f"{base}/graphql", json={"query": "{ __typename }"}, ssl=known) as reply:
            assert await reply.json(content_type=None) == {"data": {"__typename": "Query"}}
        async with session.ws_connect(f"wss://127.0.0.1:{port}/chat", ssl=known) as socket:
            await socket.send_str('{"n": 1}')
        async with session.post(f"{base}/rpc", data=b"?", ssl=known) as reply:
            assert (reply.status, reply.content_type) == (400, "application/x-thrift")
        event = {"ce-id": "1", "ce-source": "/test", "ce-type": "t", "ce-specversion": "1.0"}
        async with session.post(f"{base}/events/orders", json={}, headers=event, ssl=known) as reply:
            assert reply.status == 202
        with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
            await session.get(f"{base}/orders", ssl=unknown)
        with pytest.raises(aiohttp.ClientError):
            await session.get(f"http://127.0.0.1:{port}/orders")
        async with session.post(f"{base}/orders", json={"n": 1}, ssl=known) as reply:
            assert reply.status == 202, "others are served all the same"


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        ({"protocol": "http", "target": "http://x", "tls": {}}, "tls goes with a target of https:// or wss://"),
        ({"protocol": "http", "listen": ":1", "tls": {}}, "listen with tls needs certificate and key"),
        ({"protocol": "http", "listen": ":1", "tls": {"certificate": "no.pem", "key": "no.key"}}, "can't read"),
        ({"protocol": "websocket", "target": "ws://x", "tls": {}}, "tls goes with a target of https:// or wss://"),
        ({"protocol": "http", "target": "https://x", "tls": {"ca": "no.pem"}}, "can't read authorities from no.pem"),
        ({"protocol": "http", "listen": "127.0.0.1:8080"}, "endpoints that share 127.0.0.1:8080 need the same tls"),
    ],
)
async def test_what_can_not_be(endpoint: dict[str, Any], told: str, pki: Path, tmp_path: Path) -> None:
    endpoints = {
        "here": {"protocol": "http", "listen": "127.0.0.1:8080", "tls": own(pki, "server")},
        "there": {"protocol": "http", "target": "http://127.0.0.1:1"},
        "it": endpoint,
    }
    one, other = ("it", "there") if "listen" in endpoint else ("here", "it")
    routes = {
        "first": {"from": {"endpoint": "here", "path": "/a"}, "to": {"endpoint": "there", "path": "/a"}},
        "second": {"from": {"endpoint": one, "path": "/b"}, "to": {"endpoint": other, "path": "/b"}},
    }
    if endpoint["protocol"] == "websocket":
        routes["second"]["to"] = {"endpoint": "it", "path": "/b", "mode": "one-way"}  # type: ignore[dict-item]
    with pytest.raises(ConfigError) as refused:
        await _compiled(tmp_path, endpoints, routes)
    assert [problem.message for problem in refused.value.problems if told in problem.message]


async def test_a_handshake_that_rests_is_ended(pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.net.tcp.endpoint.HANDSHAKE_SECONDS", 0.3)
    port = free_port()
    endpoints = {
        "web": {"protocol": "http", "listen": f"127.0.0.1:{port}", "tls": own(pki, "server")},
        "hub": {"protocol": "events", "store": "memory"},
    }
    async with running(write_routes(tmp_path, endpoints, {"web": ROUTES["web"]})):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
