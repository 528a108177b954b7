"""CORS, byte for byte as browsers speak it: preflights, replies, errors and streams for pages of other origins."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from support.http_gateway import Gateway, gateway, upstream

from gateway.net.http.cors import Cors

SHOP = b"https://shop.example"
OTHER = b"https://evil.example"
GRANT = "access-control-allow-origin"


async def answer(request: web.Request) -> web.StreamResponse:
    match request.path:
        case "/fail":
            return web.json_response({"detail": "out of stock"}, status=400, headers={"Retry-After": "7"})
        case "/stream":
            return web.Response(body=b'{"i":0}\n{"i":1}\n', content_type="application/x-ndjson")
    return web.json_response({}, headers={"X-Stock": "3"})


@asynccontextmanager
async def serving(cors: dict[str, Any] | None) -> AsyncIterator[Gateway]:
    """`web` has the policy; `closed` shares its port and the path /orders, and has none."""
    web_ = {"protocol": "http", "listen": "127.0.0.1:0", "forward_headers": ["X-Tenant"]}
    async with upstream(answer) as up:
        target = {"protocol": "http", "target": up.url, "forward_headers": ["X-Stock"]}
        places = {
            "post": ("web", "POST", "/orders"),
            "delete": ("closed", "DELETE", "/orders"),
            "get": ("web", "GET", "/orders/{id}"),
            "fail": ("web", "POST", "/fail"),
            "stream": ("web", "GET", "/stream"),
        }
        config = {
            "endpoints": {
                "web": {**web_, "cors": cors} if cors is not None else web_,
                "closed": {"protocol": "http", "listen": "127.0.0.1:0", "serve_openapi": False},
                "up": target,
            },
            "routes": {
                name: {
                    "from": {"endpoint": endpoint, "method": method, "path": path},
                    "to": {"endpoint": "up", "method": method, "path": path}
                    | ({"replies": "many"} if name == "stream" else {}),
                }
                for name, (endpoint, method, path) in places.items()
            },
        }
        async with gateway(config) as made:
            yield made


async def ask(
    http: Gateway, method: bytes, path: bytes, origin: bytes | None, headers: bytes = b"", body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    lines = b"%b %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%b" % (method, path, headers)
    if origin is not None:
        lines += b"Origin: %b\r\n" % origin
    if body:
        lines += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    head, _, rest = (await http.raw(lines + b"\r\n" + body)).partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    found: dict[str, str] = {}
    for field in fields:
        name, _, value = field.partition(": ")
        assert name.lower() not in found, f"{name} stands twice"
        found[name.lower()] = value
    return int(status.split()[1]), found, rest


def asked(method: bytes, *names: bytes) -> bytes:
    fields = b"Access-Control-Request-Method: %b\r\n" % method
    return fields + (b"Access-Control-Request-Headers: %b\r\n" % b",".join(names) if names else b"")


def granted(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


async def test_preflight_of_a_known_origin() -> None:
    cors = {"origins": ["https://shop.example"], "headers": ["X-Csrf"], "credentials": True, "max_age": "1h"}
    async with serving(cors) as http:
        preflight = asked(b"POST", b"content-type", b"x-tenant")
        status, headers, body = await ask(http, b"OPTIONS", b"/orders", SHOP, preflight)
        assert (status, body, headers["vary"]) == (204, b"", "Origin")
        assert granted(headers) == {
            GRANT: "https://shop.example",
            "access-control-allow-methods": "POST",
            "access-control-allow-headers": "Content-Type, Last-Event-ID, traceparent, X-Tenant, X-Csrf",
            "access-control-allow-credentials": "true",
            "access-control-max-age": "3600",
        }


@pytest.mark.parametrize(
    ("path", "origin", "method"),
    [
        (b"/orders", OTHER, b"POST"),
        (b"/orders", b"null", b"POST"),
        (b"/orders", b"https://shop.example.evil.example", b"POST"),
        (b"/orders", b"http://shop.example", b"POST"),
        (b"/orders", SHOP, b"PATCH"),
        (b"/orders", SHOP, b"DELETE"),
        (b"/nowhere", SHOP, b"POST"),
    ],
)
async def test_preflights_that_are_not_granted(path: bytes, origin: bytes, method: bytes) -> None:
    async with serving({"origins": ["https://shop.example"]}) as http:
        _, headers, _ = await ask(http, b"OPTIONS", path, origin, asked(method))
        assert granted(headers) == {}


async def test_replies_and_errors_can_be_read() -> None:
    async with serving({"origins": ["https://shop.example"], "expose": ["X-Stock"]}) as http:
        told = {GRANT: "https://shop.example", "access-control-expose-headers": "Retry-After, Location, X-Stock"}
        status, headers, _ = await ask(http, b"POST", b"/orders", SHOP, body=b"{}")
        assert (status, granted(headers), headers["vary"]) == (200, told, "Origin")
        status, headers, _ = await ask(http, b"POST", b"/fail", SHOP, body=b"{}")
        assert (status, granted(headers), headers["retry-after"]) == (400, told, "7")
        status, headers, _ = await ask(http, b"POST", b"/orders", SHOP, body=b"nonsense")
        assert (status, granted(headers)) == (400, told)
        status, headers, body = await ask(http, b"GET", b"/stream", SHOP, b"Accept: text/event-stream\r\n")
        assert (status, granted(headers)) == (200, told)
        assert b"event: end" in body
        status, headers, _ = await ask(http, b"GET", b"/openapi.json", SHOP)
        assert (status, granted(headers)) == (200, told)


async def test_other_pages_and_programs() -> None:
    async with serving({"origins": ["https://shop.example"]}) as http:
        for origin in (OTHER, None):
            status, headers, _ = await ask(http, b"POST", b"/orders", origin, body=b"{}")
            assert (status, granted(headers), headers["vary"]) == (200, {}, "Origin")


async def test_any_origin() -> None:
    async with serving({"origins": ["*"]}) as http:
        _, headers, _ = await ask(http, b"OPTIONS", b"/orders/7", OTHER, asked(b"GET"))
        assert (headers[GRANT], headers["access-control-allow-methods"]) == ("*", "GET")
        _, headers, _ = await ask(http, b"GET", b"/orders/7", OTHER)
        assert headers[GRANT] == "*"
        assert "access-control-allow-credentials" not in headers
        assert "vary" not in headers


async def test_without_a_policy_nothing_is_said() -> None:
    async with serving(None) as http:
        status, headers, _ = await ask(http, b"OPTIONS", b"/orders", SHOP, asked(b"POST"))
        assert (status, granted(headers)) == (204, {})
        status, headers, _ = await ask(http, b"POST", b"/orders", SHOP, body=b"{}")
        assert (status, granted(headers)) == (200, {})
        assert "vary" not in headers


@pytest.mark.parametrize(
    ("cors", "text"),
    [
        ({"origins": []}, "at least 1 item"),
        ({"origins": ["shop.example"]}, "not an origin"),
        ({"origins": ["https://shop.example/"]}, "not an origin"),
        ({"origins": ["*"], "credentials": True}, "must be named"),
        ({"origins": ["*"], "headers": ["X\r\nY"]}, "match pattern"),
    ],
)
def test_policies_that_make_no_sense(cors: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Cors.model_validate(cors)
