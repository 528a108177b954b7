"""HTTP dialogues, byte for byte, with a gateway in front of an aiohttp upstream."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web
from support.http_gateway import Gateway, Upstream, gateway, upstream

from gateway.net.http import connection as http_connection
from gateway.net.http import server as http_server
from gateway.net.http import stream_writer as http_stream_writer

LIMIT = 1000
HEAD = b"Host: x\r\nConnection: close\r\n"
JSON = b"Content-Type: application/json\r\n"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Behaviour:
    """What the upstream does with a request, by its path."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        match request.path:
            case "/echo":
                return web.Response(body=await request.read(), content_type="application/json")
            case "/stream":
                return await self._stream(request)
            case "/fail":
                problem = {"detail": "out of stock", "code": "FAILED_PRECONDITION", "path": "$.sku"}
                response = web.json_response(problem, status=400, content_type="application/problem+json")
                response.headers["Retry-After"] = "7"
                return response
            case "/empty":
                return web.Response(status=204)
            case "/hang":
                await self._hang()
        return web.json_response({"path": request.path, "query": request.query_string})

    async def _hang(self) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            self.left.set()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        for number in range(int(request.query.get("n", "2"))):
            await response.write(b'{"i":%d}\n' % number)
        match request.query.get("end", ""):
            case "error":
                await response.write(b'{"error":{"status":503,"detail":"down","code":"UNAVAILABLE"}}\n')
            case "cut":
                await asyncio.sleep(0.05)
                assert request.transport is not None
                request.transport.abort()
            case "hang":
                await self._hang()
        return response


def route(method: str, path: str, target: str, **more: Any) -> dict[str, Any]:
    return {
        "from": {"endpoint": "web", "method": method, "path": path},
        "to": {"endpoint": "up", "method": method, "path": target, **more},
    }


@pytest.fixture
async def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
async def up(behaviour: Behaviour) -> AsyncIterator[Upstream]:
    async with upstream(behaviour) as serving:
        yield serving


@pytest.fixture
async def http(up: Upstream) -> AsyncIterator[Gateway]:
    config = {
        "endpoints": {
            "web": {"protocol": "http", "listen": "127.0.0.1:0", "max_body_bytes": LIMIT},
            "up": {"protocol": "http", "target": up.url},
        },
        "routes": {
            "echo": route("POST", "/echo", "/echo"),
            "patch": route("PATCH", "/things/{id}", "/things/{id}"),
            "get": route("GET", "/things/{id}", "/things/{id}"),
            "stream": route("GET", "/stream", "/stream", replies="many"),
            "upload": route("POST", "/upload", "/echo", requests="many"),
            "fail": route("POST", "/fail", "/fail"),
            "empty": route("POST", "/empty", "/empty"),
            "hang": route("POST", "/hang", "/hang"),
        },
    }
    async with gateway(config) as serving:
        yield serving


def split(reply: bytes) -> tuple[int, dict[str, str], bytes]:
    head, _, body = reply.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines), body


def post(path: bytes, body: bytes, headers: bytes = JSON) -> bytes:
    return b"POST %b HTTP/1.1\r\n%b%bContent-Length: %d\r\n\r\n%b" % (path, HEAD, headers, len(body), body)


async def problem(http: Gateway, request: bytes, **options: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
    status, headers, body = split(await http.raw(request, **options))
    assert headers["content-type"] == "application/problem+json"
    told = json.loads(body)
    assert told["status"] == status
    return status, told, headers


async def test_a_request_and_its_reply(http: Gateway, up: Upstream) -> None:
    status, headers, body = split(await http.raw(post(b"/echo", b'{"a": 1}')))
    assert (status, body) == (200, b'{"a": 1}')
    assert headers["content-type"] == "application/json"
    assert headers["server"] == "protocol-gateway", "no version is told to strangers"
    assert up.requests[0].headers["Content-Type"] == "application/json"


async def test_head_is_get_without_a_body(http: Gateway) -> None:
    status, headers, body = split(await http.raw(b"HEAD /things/1 HTTP/1.1\r\n" + HEAD + b"\r\n"))
    assert (status, body) == (200, b"") and int(headers["content-length"]) > 0
    status, _, body = split(await http.raw(b"HEAD /stream?end=hang HTTP/1.1\r\n" + HEAD + b"\r\n"))
    assert (status, body) == (200, b"")


async def test_unknown_paths_and_methods(http: Gateway) -> None:
    status, told, _ = await problem(http, b"GET /nowhere HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert (status, told["code"], told["detail"]) == (404, "NOT_FOUND", "nothing is served at /nowhere")
    status, told, headers = await problem(http, b"PUT /things/1 HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert (status, told["code"]) == (405, "UNIMPLEMENTED")
    assert set(headers["allow"].split(", ")) == {"patch", "get", "head", "options"}
    for path, allowed in ((b"/things/1", "get, patch, head, options"), (b"*", "options")):
        status, headers, _ = split(await http.raw(b"OPTIONS " + path + b" HTTP/1.1\r\n" + HEAD + b"\r\n"))
        assert (status, sorted(headers["allow"].split(", "))) == (204, sorted(allowed.split(", ")))


async def test_the_absolute_form_and_percent_encoding(http: Gateway, up: Upstream) -> None:
    status, _, body = split(await http.raw(b"GET http://x/things/a%2Fb%20c?d=1%262 HTTP/1.1\r\n" + HEAD + b"\r\n"))
    assert (status, json.loads(body)) == (200, {"path": "/things/a/b c", "query": "d=1%262"})
    assert up.requests[0].raw_path == "/things/a%2Fb%20c?d=1%262"
    status, told, _ = await problem(http, b"GET /things/%ff HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert (status, told["detail"]) == (400, "the path is not valid UTF-8")


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (b"application/json", 200),
        (b"application/json; charset=utf-8", 200),
        (b'Application/JSON; charset="UTF-8"', 200),
        (b"application/merge-patch+json", 200),
        (b"application/json; charset=latin-1", 415),
        (b"text/plain", 415),
        (b"application/x-www-form-urlencoded", 415),
        (b"", 415),
    ],
)
async def test_media_types(http: Gateway, content_type: bytes, status: int) -> None:
    header = b"Content-Type: %b\r\n" % content_type if content_type else b""
    got, _, body = split(await http.raw(post(b"/echo", b"{}", header)))
    assert got == status
    if status == 415:
        assert "application/json is" in json.loads(body)["detail"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "x-raw-deflate", "identity"])
async def test_inflated_bodies(http: Gateway, up: Upstream, coding: str) -> None:
    body = b'{"a": 1}'
    packed = {"gzip": gzip.compress(body), "deflate": zlib.compress(body)}.get(coding, body)
    if coding == "x-raw-deflate":
        raw = zlib.compressobj(wbits=-15)
        packed, coding = raw.compress(body) + raw.flush(), "deflate"
    status, _, _ = split(await http.raw(post(b"/echo", packed, JSON + f"Content-Encoding: {coding}\r\n".encode())))
    assert (status, up.bodies) == (200, [body])


@pytest.mark.parametrize("coding", [b"lzw", b"gzip, gzip"])
async def test_unknown_codings_are_told_which_are_known(http: Gateway, coding: bytes) -> None:
    status, told, headers = await problem(http, post(b"/echo", b"12345", JSON + b"Content-Encoding: %b\r\n" % coding))
    assert (status, told["code"]) == (415, "INVALID_ARGUMENT")
    assert headers["accept-encoding"].startswith("gzip, deflate")


async def test_a_broken_coding_is_the_callers_fault(http: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    status, told, _ = await problem(http, post(b"/echo", b"12345", JSON + b"Content-Encoding: gzip\r\n"))
    assert status == 400 and told["detail"].startswith("the request body is broken: it is no gzip")
    assert not caplog.records


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(b"/echo", b"x" * (LIMIT + 1)),
        b"POST /echo HTTP/1.1\r\n" + HEAD + JSON + b"Content-Length: 9000000000\r\n\r\n",
        b"POST /echo HTTP/1.1\r\n"
        + HEAD
        + JSON
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + (b"9\r\n123456789\r\n" * 200),
        post(b"/echo", gzip.compress(b"0" * 10_000_000)[:900], JSON + b"Content-Encoding: gzip\r\n"),
        post(b"/upload", b"x" * (LIMIT + 1), b"Content-Type: application/x-ndjson\r\n"),
    ],
    ids=["sent", "claimed", "chunked", "inflated", "streamed"],
)
async def test_large_bodies_are_refused(http: Gateway, up: Upstream, request_bytes: bytes) -> None:
    status, told, headers = await problem(http, request_bytes, until=b"}")
    assert (status, told["detail"]) == (413, f"the message is larger than the limit of {LIMIT} bytes")
    assert headers["connection"] == "close"
    assert not any(up.bodies), "nothing of it reached the upstream"


async def test_little_more_of_a_refused_body_is_read(http: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\n" + JSON + b"Content-Length: 9000000000\r\n\r\n")
    sent = 0
    async with asyncio.timeout(20):
        answer = asyncio.create_task(reader.readuntil(b"}"))
        with suppress(ConnectionError):
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536
        assert split(await answer)[0] == 413
    # Beyond what is read, systems buffer some megabytes; in two seconds a hundred times as much could be sent.
    assert sent < 32 * 1024 * 1024


async def test_a_body_of_exactly_the_limit_passes(http: Gateway) -> None:
    body = b'"%b"' % (b"x" * (LIMIT - 2))
    assert split(await http.raw(post(b"/echo", body)))[0] == 200


async def test_the_caller_that_waits_for_it_is_told_to_continue(http: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    writer.write(b"POST /echo HTTP/1.1\r\n" + HEAD + JSON + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"{}")
        assert split(await reader.read())[0] == 200
    writer.close()
    refused = b"POST /echo HTTP/1.1\r\n" + HEAD + JSON + b"Content-Length: 9999\r\nExpect: 100-continue\r\n\r\n"
    assert (await problem(http, refused, until=b"}"))[0] == 413, "without the body being asked for"


async def test_a_body_that_does_not_move_is_given_up(http: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "STALL_SECONDS", 0.1)
    stalled = b"POST /echo HTTP/1.1\r\n" + HEAD + JSON + b'Content-Length: 20\r\n\r\n{"a'
    status, told, _ = await problem(http, stalled)  # returns once the gateway has closed
    assert (status, told["code"]) == (408, "DEADLINE_EXCEEDED")
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    writer.write(b"POST /echo HTTP/1.1\r\n" + HEAD + JSON + b"Content-Length: 8\r\n\r\n")
    for byte in b'{"a": 1}':
        await asyncio.sleep(0.03)
        writer.write(bytes([byte]))
    assert split(await reader.read())[0] == 200, "slower than that in all, but moving"
    writer.close()


async def test_headers_must_come_in_time(up: Upstream, monkeypatch: pytest.MonkeyPatch, http: Gateway) -> None:
    monkeypatch.setattr(http_connection, "HEADER_SECONDS", 0.1)
    assert await http.raw(b"") == b"", "a connection without a request is closed"
    status, told, _ = await problem(http, b"GET /things/1 HTTP/1.1\r\nHost: x\r\nX: ")
    assert (status, told["detail"]) == (408, "the headers were not there within 0.1 seconds")
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    keep = b"GET /things/1 HTTP/1.1\r\nHost: x\r\n\r\n"
    writer.write(keep)
    await reader.readuntil(b"}")
    await asyncio.sleep(0.2)
    writer.write(keep)
    await reader.readuntil(b"}")
    writer.write(keep[:10])
    assert split(await reader.read())[0] == 408, "later requests too; between them a connection may rest"
    writer.close()


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        (b"X: " + b"a" * 40_000 + b"\r\n", "longer than 32768 bytes"),
        (b"".join(b"X%d: %b\r\n" % (i, b"a" * 20_000) for i in range(3)), "longer than 32768 bytes"),
        (b"X: a\r\n" * 101, "more than 100 headers"),
    ],
)
@pytest.mark.parametrize("pieces", [1, 3])
async def test_headers_have_limits(http: Gateway, up: Upstream, headers: bytes, detail: str, pieces: int) -> None:
    request = b"GET /things/1 HTTP/1.1\r\n" + HEAD + headers + b"\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    size = len(request) // pieces + 1
    for start in range(0, len(request), size):
        writer.write(request[start : start + size])
        await writer.drain()
        await asyncio.sleep(0.01)
    status, _, body = split(await asyncio.wait_for(reader.read(), 5))
    writer.close()
    assert status == 431 and detail in json.loads(body)["detail"]
    assert not up.requests


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET /things/1 HTTP/1.1\r\nNo colon\r\n\r\n",
        b"GET /things/1 HTTP/1.1\r\n\r\n",
        b"GET /things/1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /things/1 HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /things/1 HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n{}",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_malformed_http_is_refused(
    http: Gateway, up: Upstream, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    status, told, _ = await problem(http, request_bytes)
    assert status == 400 and told["detail"].startswith("malformed HTTP: ")
    assert not up.requests
    assert not caplog.records, "a stranger's malformed request is no news"


async def test_pipelined_requests_are_answered_in_order(http: Gateway) -> None:
    one = b"GET /things/1 HTTP/1.1\r\nHost: x\r\n\r\n"
    reply = await http.raw(one + one.replace(b"things/1", b"things/2").replace(b"Host: x", HEAD.strip()))
    assert reply.index(b"/things/1") < reply.index(b"/things/2")


@pytest.mark.parametrize(
    ("trace", "passed"),
    [
        (TRACE, TRACE),
        ("zzz", ""),
        (TRACE[:-3], ""),
        ("01" + TRACE[2:] + "-what-comes", "01" + TRACE[2:] + "-what-comes"),
    ],
)
async def test_the_trace_goes_on_if_it_is_one(http: Gateway, up: Upstream, trace: str, passed: str) -> None:
    await http.request("GET", "/things/1", headers={"traceparent": trace})
    assert up.requests[0].headers.get("traceparent", "") == passed


async def test_an_upstreams_problem_is_the_callers(http: Gateway) -> None:
    status, headers, told = await http.request("POST", "/fail", json={})
    assert (status, headers["Retry-After"]) == (400, "7")
    assert told["detail"] == "out of stock at $.sku" and told["path"] == "$.sku"
    assert told["code"] == "FAILED_PRECONDITION"


async def test_an_upstream_that_is_down_is_503(http: Gateway, up: Upstream) -> None:
    config = {
        "endpoints": {
            "web": {"protocol": "http", "listen": "127.0.0.1:0"},
            "up": {"protocol": "http", "target": "http://127.0.0.1:1"},
        },
        "routes": {"echo": route("POST", "/echo", "/echo")},
    }
    async with gateway(config) as serving:
        status, _, told = await serving.request("POST", "/echo", json={})
    assert (status, told["code"], told["detail"]) == (503, "UNAVAILABLE", "the upstream can't be reached")


async def test_an_empty_reply_is_an_empty_object(http: Gateway) -> None:
    assert (await http.request("POST", "/empty", json={}))[2] == {}


async def test_a_caller_that_leaves_cancels_upstream(http: Gateway, behaviour: Behaviour) -> None:
    await http.raw(post(b"/hang", b"{}"), seconds=0.1)
    await asyncio.wait_for(behaviour.left.wait(), 5)


# -- streams


async def stream(http: Gateway, accept: bytes, query: bytes = b"", **options: Any) -> tuple[int, dict[str, str], bytes]:
    request = b"GET /stream%b HTTP/1.1\r\n%bAccept: %b\r\n\r\n" % (query, HEAD, accept)
    return split(await http.raw(request, **options))


def chunks(body: bytes) -> tuple[list[bytes], bool]:
    """The chunks, and whether the last one says that the body is whole."""
    found = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        if int(size, 16) == 0:
            return found, True
        found.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
    return found, False


@pytest.mark.parametrize(
    ("accept", "media_type", "wanted"),
    [
        (b"*/*", "application/json", b'[{"i":0},{"i":1}]'),
        (b"application/x-ndjson", "application/x-ndjson", b'{"i":0}\n{"i":1}\n'),
        (b"application/jsonl", "application/x-ndjson", b'{"i":0}\n{"i":1}\n'),
        (b"text/event-stream", "text/event-stream", b'data: {"i":0}\n\ndata: {"i":1}\n\nevent: end\ndata: {}\n\n'),
    ],
)
async def test_the_caller_chooses_the_framing(http: Gateway, accept: bytes, media_type: str, wanted: bytes) -> None:
    status, headers, body = await stream(http, accept)
    assert (status, headers["content-type"]) == (200, media_type)
    assert (b"".join(chunks(body)[0]), chunks(body)[1]) == (wanted, True)


@pytest.mark.parametrize("end", ["cut", "error"])
@pytest.mark.parametrize(
    ("accept", "whole"), [(b"*/*", False), (b"application/x-ndjson", False), (b"text/event-stream", True)]
)
async def test_a_broken_stream_never_looks_whole(http: Gateway, accept: bytes, whole: bool, end: str) -> None:
    status, _, body = await stream(http, accept, b"?end=" + end.encode())
    found, ended = chunks(body)
    assert status == 200 and ended is whole
    if accept == b"*/*":
        assert b"".join(found) == b'[{"i":0},{"i":1}'
    else:
        assert b'"code":"UNAVAILABLE"' in found[-1], "the last word is the failure"
        assert (b"event: error\n" if whole else b'{"error":') in found[-1]


@pytest.mark.parametrize("accept", [b"*/*", b"application/x-ndjson", b"text/event-stream"])
async def test_a_failure_before_the_first_reply_has_its_status(http: Gateway, accept: bytes) -> None:
    for query in (b"?n=0&end=error", b"?n=0&end=cut"):
        status, headers, _ = await stream(http, accept, query)
        assert (status, headers["content-type"]) == (503, "application/problem+json")


async def test_an_empty_stream_is_whole(http: Gateway) -> None:
    assert chunks((await stream(http, b"*/*", b"?n=0"))[2]) == ([b"[", b"]"], True)


async def test_a_quiet_stream_has_a_heartbeat(http: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_stream_writer, "HEARTBEAT_SECONDS", 0.05)
    for accept, beat in ((b"*/*", b" "), (b"application/x-ndjson", b"\n"), (b"text/event-stream", b":\n\n")):
        _, _, body = await stream(http, accept, b"?end=hang", until=b"1\r\n" + beat if len(beat) == 1 else beat)
        assert beat in chunks(body)[0]


async def test_headers_go_out_before_the_first_reply(http: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_stream_writer, "FIRST_REPLY_SECONDS", 0.01)
    status, headers, _ = await stream(http, b"text/event-stream", b"?n=0&end=hang", until=b"\r\n\r\n")
    assert (status, headers["content-type"], headers["cache-control"]) == (200, "text/event-stream", "no-cache")


@pytest.mark.parametrize("until", [b"HTTP/1.1 200", b'{"i":1}'])
async def test_leaving_a_stream_cancels_upstream(http: Gateway, behaviour: Behaviour, until: bytes) -> None:
    await stream(http, b"application/x-ndjson", b"?end=hang", until=until)
    await asyncio.wait_for(behaviour.left.wait(), 5)


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (b"application/x-ndjson", b'{"a":1}\n\r\n{"a":2}\n{"a":3}'),
        (b"application/json", b'[{"a":1}, {"a":2},\n{"a":\n3}]'),
    ],
)
async def test_many_requests_in_one_body(http: Gateway, up: Upstream, media_type: bytes, body: bytes) -> None:
    await http.raw(post(b"/upload", body, b"Content-Type: %b\r\n" % media_type))
    assert [json.loads(line) for line in up.bodies[0].splitlines()] == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert up.requests[0].headers["Content-Type"] == "application/x-ndjson"


@pytest.mark.parametrize(
    ("media_type", "body", "status"),
    [
        (b"application/x-ndjson", b"{}\n{bad}\n", 400),
        (b"application/json", b"{}", 400),
        (b"text/csv", b"a,b", 415),
    ],
)
async def test_many_requests_that_can_not_be_read(http: Gateway, media_type: bytes, body: bytes, status: int) -> None:
    got, _, _ = await problem(http, post(b"/upload", body, b"Content-Type: %b\r\n" % media_type))
    assert got == status


async def test_a_bug_in_a_handler_is_told_to_nobody(http: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    async def bug(request: http_server.HttpRequest) -> http_server.HttpReply:
        raise RuntimeError("secret")

    web_inbound: Any = http.plan.inbounds["web"]
    template = http_server.PathTemplate("/bug")
    web_inbound._server.mount("bug", [http_server.HttpRoute("GET", template, bug)])
    status, told, _ = await problem(http, b"GET /bug HTTP/1.1\r\n" + HEAD + b"\r\n")
    assert (status, told["detail"]) == (500, "internal error")
    assert "secret" in caplog.text


async def test_draining_answers_what_is_there_and_closes(http: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", http.port)
    keep = b"GET /things/1 HTTP/1.1\r\nHost: x\r\n\r\n"
    writer.write(keep)
    assert b"connection: close" not in (await reader.readuntil(b"}")).lower()
    await asyncio.wait_for(http.plan.inbounds["web"].drain(), 5)
    writer.write(keep)
    status, headers, _ = split(await asyncio.wait_for(reader.read(), 5))
    assert (status, headers["connection"]) == (200, "close")
    writer.close()
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", http.port)
