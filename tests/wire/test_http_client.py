"""The HTTP client against a real server: what every way to fail becomes."""

import asyncio
import gzip
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.net.http.client import HttpClient
from gateway.net.http.router import PathTemplate
from gateway.net.http.server import HttpReply, HttpRequest, HttpRoute, HttpServer
from gateway.status import Code, Failure

LIMIT = 10_000


async def answer(request: HttpRequest) -> HttpReply:
    body = await request.body(LIMIT)
    match request.path:
        case "/slow":
            await asyncio.sleep(5)
        case "/bomb":
            return HttpReply(200, [("Content-Encoding", "gzip")], gzip.compress(b"a" * 10_000_000))
        case "/moved":
            return HttpReply(302, [("Location", "/echo"), ("Set-Cookie", "a=b")])
        case "/cut":
            return HttpReply(200, [], cut())
        case _:
            pass
    names = ",".join(sorted(name.lower() for name in request.headers))
    return HttpReply(200, [("X-Names", names), ("X-Cookie", request.headers.get("cookie", "none"))], body)


async def cut() -> AsyncGenerator[bytes, None]:
    yield b"some"
    raise RuntimeError("the rest is lost")


@asynccontextmanager
async def client() -> AsyncIterator[tuple[HttpClient, str]]:
    server = HttpServer("127.0.0.1:0")
    paths = ("/echo", "/slow", "/bomb", "/moved", "/cut")
    server.mount("peer", [HttpRoute("POST", PathTemplate(path), answer) for path in paths])
    await server.start()
    one = HttpClient(LIMIT)
    try:
        yield one, f"http://127.0.0.1:{server.port}"
    finally:
        await one.close()
        await server.stop()


async def test_nothing_is_added_followed_or_kept() -> None:
    async with client() as (http, url):
        reply = await http.request("POST", url + "/echo", [("A", "b")], b"hi")
        assert (reply.status, reply.body) == (200, b"hi")
        assert reply.headers["x-names"] == "a,accept,accept-encoding,content-length,host"
        assert (await http.request("POST", url + "/moved")).status == 302
        assert (await http.request("POST", url + "/echo")).headers["x-cookie"] == "none"


@pytest.mark.parametrize(
    ("path", "code", "sent"),
    [
        ("/slow", Code.DEADLINE_EXCEEDED, True),
        ("/bomb", Code.INTERNAL, True),
        ("/cut", Code.UNAVAILABLE, True),
    ],
)
async def test_failures_after_the_request_was_sent(path: str, code: Code, sent: bool) -> None:
    async with client() as (http, url):
        with pytest.raises(Failure) as caught:
            await http.request("POST", url + path, [], b"", 0.5)
        assert (caught.value.code, caught.value.sent) == (code, sent)
        assert "127.0.0.1" not in caught.value.text
        # The connection is not used again with the rest of that reply in it.
        assert (await http.request("POST", url + "/echo", [], b"next")).body == b"next"


@pytest.mark.parametrize(
    ("url", "timeout", "code"),
    [
        ("http://127.0.0.1:1/", 5.0, Code.UNAVAILABLE),
        ("http://name.invalid/", 5.0, Code.UNAVAILABLE),
        ("not a url", 5.0, Code.INVALID_ARGUMENT),
        ("http://127.0.0.1:1/", 0.0, Code.DEADLINE_EXCEEDED),
    ],
)
async def test_failures_before_anything_was_sent(url: str, timeout: float, code: Code) -> None:
    http = HttpClient(LIMIT)
    try:
        with pytest.raises(Failure) as caught:
            await http.request("POST", url, [], b"", timeout)
        assert (caught.value.code, caught.value.sent) == (code, False)
    finally:
        await http.close()


async def test_a_header_that_would_smuggle_another_is_refused() -> None:
    async with client() as (http, url):
        with pytest.raises(Failure) as caught:
            await http.request("POST", url + "/echo", [("A", "b\r\nC: d")])
        assert (caught.value.code, caught.value.sent) == (Code.INVALID_ARGUMENT, False)


async def test_a_stream_is_read_as_it_comes() -> None:
    async with client() as (http, url), http.stream("POST", url + "/cut") as reply:
        chunks = reply.chunks()
        assert (reply.status, await anext(chunks)) == (200, b"some")
        with pytest.raises(Failure):
            await anext(chunks)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux tells the timers of connections")
async def test_a_silent_peer_is_asked_whether_it_is_there() -> None:
    async with client() as (http, url):
        assert (await http.request("POST", url + "/echo")).status == 200
        port = f":{int(url.rpartition(':')[2]):04X}"
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
        timers = [line[5].partition(":")[0] for line in lines if line[2].endswith(port) and line[3] == "01"]
        assert timers == ["02"], "the timer of keepalive"
