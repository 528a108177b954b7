"""The id of a request: the caller's or a new one, in every reply, in the access log, and on its way upstream."""

import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support.http_gateway import Gateway, Upstream, gateway, upstream

from gateway.compile import compile_plan
from gateway.config import read
from gateway.document import parse
from gateway.net.network import Network
from gateway.observe import AccessLog, Metrics

MADE = re.compile("[0-9a-f]{32}")


async def answer(request: web.Request) -> web.StreamResponse:
    if request.path == "/fail":
        return web.json_response({"detail": "no"}, status=409, headers={"X-Request-Id": "theirs"})
    if request.path == "/many":
        return web.Response(text='{"a":1}\n', content_type="application/x-ndjson")
    return web.json_response({}, headers={"X-Request-Id": "theirs"})


def config(target: str, *forwarded: str) -> dict[str, Any]:
    def route(method: str, path: str, **more: Any) -> dict[str, Any]:
        return {
            "from": {"endpoint": "web", "method": method, "path": path},
            "to": {"endpoint": "up", "method": method, "path": path, **more},
        }

    return {
        "endpoints": {
            "web": {"protocol": "http", "listen": "127.0.0.1:0", "forward_headers": list(forwarded)},
            "up": {"protocol": "http", "target": target, "forward_headers": list(forwarded)},
        },
        "routes": {
            "ok": route("POST", "/ok"),
            "fail": route("POST", "/fail"),
            "many": route("GET", "/many", replies="many"),
        },
    }


@asynccontextmanager
async def served(*forwarded: str) -> AsyncIterator[tuple[Gateway, Upstream]]:
    async with upstream(answer) as up, gateway(config(up.url, *forwarded)) as http:
        yield http, up


def told(headers: Any) -> str:
    values = headers.getall("X-Request-Id")
    assert len(values) == 1
    return str(values[0])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/ok", 200),
        ("POST", "/fail", 409),
        ("GET", "/many", 200),
        ("HEAD", "/many", 200),
        ("GET", "/nowhere", 404),
        ("PUT", "/ok", 405),
        ("OPTIONS", "/ok", 204),
        ("GET", "/openapi.json", 200),
    ],
)
@pytest.mark.parametrize("forwarded", [(), ("X-Request-Id",)])
async def test_every_reply_tells_it(method: str, path: str, status: int, forwarded: tuple[str, ...]) -> None:
    async with served(*forwarded) as (http, _):
        options: dict[str, Any] = {"json": {}} if method == "POST" else {}
        url = aiohttp.client.URL(http.url + path, encoded=True)
        for given in ("abc-123", ""):
            headers = {"X-Request-Id": given} if given else {}
            async with http.session.request(method, url, headers=headers, **options) as response:
                await response.read()
                assert response.status == status
                found = told(response.headers)
                assert found == given if given else MADE.fullmatch(found)


@pytest.mark.parametrize("given", ["a b", "x" * 129, "a\x7f", "ä", "<script>", '"', "a,b"])
async def test_what_is_no_id_is_replaced(given: str) -> None:
    async with served("x-request-id") as (http, up):
        raw = f"POST /ok HTTP/1.1\r\nHost: x\r\nX-Request-Id: {given}\r\nContent-Type: application/json\r\n"
        reply = await http.raw(f"{raw}Connection: close\r\nContent-Length: 2\r\n\r\n{{}}".encode("latin-1"))
        found = re.search(rb"(?im)^x-request-id: (.*)\r$", reply)
        assert found is not None and MADE.fullmatch(found[1].decode()), reply
        if up.requests:
            assert up.requests[0].headers["X-Request-Id"] == found[1].decode()


async def test_what_can_not_be_read_has_a_new_one() -> None:
    async with served() as (http, _):
        fine = b"GET /many HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n\r\n"
        for sent in (b"nonsense\r\n\r\n", fine.replace(b"mine\r\n", b"mine\r\nContent-Length: x\r\n")):
            reply = await http.raw(sent)
            ids = re.findall(rb"(?im)^x-request-id: (.*)\r$", reply)
            assert len(ids) == 1 and MADE.fullmatch(ids[0].decode())


async def test_a_handshake_tells_it_too() -> None:
    routes = config("http://127.0.0.1:1")
    routes["endpoints"]["ws"] = {"protocol": "websocket", "listen": "127.0.0.1:0"}
    routes["endpoints"]["web"] = {"protocol": "http", "listen": "127.0.0.1:0"}
    routes["routes"]["talk"] = {
        "from": {"endpoint": "ws", "path": "/talk"},
        "to": {"endpoint": "up", "method": "POST", "path": "/ok"},
    }
    async with (
        gateway(routes) as http,
        http.session.ws_connect(f"{http.url}/talk", headers={"X-Request-Id": "w"}) as ws,
    ):
        assert told(ws._response.headers) == "w"


async def test_it_goes_upstream_where_the_endpoints_forward_it() -> None:
    async with served("X-Request-Id") as (http, up):
        _, headers, _ = await http.request("POST", "/ok", json={}, headers={"x-request-id": "mine"})
        assert (told(headers), up.requests[0].headers["X-Request-Id"]) == ("mine", "mine")
        _, headers, _ = await http.request("POST", "/ok", json={})
        assert told(headers) == up.requests[1].headers["X-Request-Id"]
    async with served() as (http, up):
        await http.request("POST", "/ok", json={}, headers={"x-request-id": "mine"})
        assert "X-Request-Id" not in up.requests[0].headers


async def test_the_access_log_tells_it() -> None:
    lines = io.StringIO()
    async with upstream(answer) as up:
        document = read(parse(json.dumps(config(up.url)).encode(), "routes.yaml", {}))
        plan = await compile_plan(document, Network(Path()), Metrics(), AccessLog(lines))
        web_inbound: Any = plan.inbounds["web"]
        for outbound in plan.outbounds.values():
            await outbound.start()
        web_inbound.bind(plan.bindings["web"])
        await web_inbound.start()
        try:
            async with aiohttp.ClientSession() as session:
                url = f"http://127.0.0.1:{web_inbound._server.port}"
                async with session.post(f"{url}/ok", json={}, headers={"X-Request-Id": "mine"}) as response:
                    assert response.status == 200
                async with session.post(f"{url}/fail", json={}) as response:
                    made = told(response.headers)
                async with session.get(f"{url}/many", headers={"X-Request-Id": "stream"}) as response:
                    await response.read()
        finally:
            await web_inbound.stop()
            for outbound in plan.outbounds.values():
                await outbound.stop()
    assert [json.loads(line)["request_id"] for line in lines.getvalue().splitlines()] == ["mine", made, "stream"]
