"""The bytes of a whole reply."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.net.http.response import HttpResponse
from gateway.net.http.router import PathTemplate
from gateway.net.http.server import HttpReply, HttpRequest, HttpRoute, HttpServer

JSON = (("Content-Type", "application/json"),)


async def exchange(reply: HttpReply, request: bytes) -> bytes:
    """All that a server which answers so sends until it closes, or falls silent."""

    async def handler(_: HttpRequest) -> HttpReply:
        return reply

    server = HttpServer("127.0.0.1:0")
    server.mount("test", [HttpRoute(method, PathTemplate("/"), handler) for method in ("GET", "POST")])
    await server.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request)
        received = b""
        try:
            async with asyncio.timeout(0.3):
                while chunk := await reader.read(65536):
                    received += chunk
            received += b"<closed>"
        except TimeoutError:
            pass
        writer.close()
    finally:
        await server.stop()
    return received


def head(received: bytes) -> tuple[str, Sequence[str], bytes]:
    start, _, body = received.partition(b"\r\n\r\n")
    line, *headers = start.decode().split("\r\n")
    return line, sorted(header for header in headers if not header.startswith("Date: ")), body


@pytest.mark.parametrize(
    ("reply", "request_", "expected"),
    [
        (
            HttpReply(200, JSON, b"{}"),
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            ("200 OK", ["Content-Length: 2", "Content-Type: application/json"], b"{}"),
        ),
        (
            HttpReply(200, [("Content-Type", "application/json"), ("X-A", "b")], b"{}"),
            b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
            ("200 OK", ["Content-Length: 2", "Content-Type: application/json", "X-A: b"], b""),
        ),
        (HttpReply(204), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", ("204 No Content", [], b"")),
        (HttpReply(202), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", ("202 Accepted", ["Content-Length: 0"], b"")),
        (
            HttpReply(200, JSON, b"{}"),
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            (
                "200 OK",
                ["Connection: close", "Content-Length: 2", "Content-Type: application/json"],
                b"{}<closed>",
            ),
        ),
        (
            HttpReply(200, JSON, b"{}"),
            b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            (
                "200 OK",
                ["Connection: keep-alive", "Content-Length: 2", "Content-Type: application/json"],
                b"{}",
            ),
        ),
        (
            HttpReply(200, JSON, b"{}"),
            b"GET / HTTP/1.0\r\n\r\n",
            (
                "200 OK",
                ["Connection: close", "Content-Length: 2", "Content-Type: application/json"],
                b"{}<closed>",
            ),
        ),
    ],
)
async def test_replies(reply: HttpReply, request_: bytes, expected: tuple[str, list[str], bytes]) -> None:
    line, headers, body = head(await exchange(reply, request_.replace(b"\r\n\r\n", b"\r\nX-Request-Id: r-1\r\n\r\n")))
    status, wanted, content = expected
    every = [*wanted, "Server: protocol-gateway", "X-Request-Id: r-1"]
    assert (line, headers, body) == (f"HTTP/1.1 {status}", sorted(every), content)


async def test_pipelined_requests_are_answered_in_order() -> None:
    received = await exchange(HttpReply(200, JSON, b"{}"), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 3


@pytest.mark.parametrize("header", [("X-A", "b\r\nX-C: d"), ("X-A\n", "b"), ("X-A", "b\0")])
def test_control_characters_never_become_headers(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="control character"):
        HttpResponse(200, [header], b"", "id")
