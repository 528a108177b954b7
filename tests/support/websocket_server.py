"""WebSockets on the shared HTTP server, and a raw client that can break every rule."""

import asyncio
import base64
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

from gateway.net.http.router import PathTemplate
from gateway.net.http.server import HttpRequest, HttpRoute, HttpServer
from gateway.net.websocket.connection import WebSocket
from gateway.net.websocket.server import HttpUpgrade

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@asynccontextmanager
async def serving(serve: Callable[[WebSocket], Awaitable[None]], **options: Any) -> AsyncIterator[HttpServer]:
    """An HTTP server whose /ws is this handler's. options: of HttpUpgrade."""

    async def handle(request: HttpRequest) -> HttpUpgrade:
        return HttpUpgrade(serve, **options)

    server = HttpServer("127.0.0.1:0")
    server.mount("test", [HttpRoute("GET", PathTemplate("/ws"), handle)])
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def url(server: HttpServer) -> str:
    return f"ws://127.0.0.1:{server.port}/ws"


async def echo(socket: WebSocket) -> None:
    async for message in socket:
        await socket.send(message)


class RawClient:
    """A handshake, and then frames as the test writes them.

    head: what the server answered to the handshake.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = b""

    @classmethod
    async def connect(cls, port: int, path: str = "/ws", *headers: str, drop: str = "") -> Self:
        """headers: besides the handshake's own, of which `drop` is left out."""
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        key = base64.b64encode(os.urandom(16)).decode()
        own = [
            "Host: gateway.example",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
        ]
        lines = [line for line in own if not drop or not line.startswith(drop)]
        client.writer.write("\r\n".join([f"GET {path} HTTP/1.1", *lines, *headers, "", ""]).encode())
        async with asyncio.timeout(5):
            client.head = await client.reader.readuntil(b"\r\n\r\n")
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    def send(self, opcode: int, payload: bytes, *, flags: int = 0x80, claim: int | None = None) -> None:
        """One frame. flags: 0x80 for the last of a message, 0x40 for a compressed one. claim: another length."""
        length = len(payload) if claim is None else claim
        if length < 126:
            head = struct.pack("!BB", flags | opcode, 0x80 | length)
        elif length < 65536:
            head = struct.pack("!BBH", flags | opcode, 0xFE, length)
        else:
            head = struct.pack("!BBQ", flags | opcode, 0xFF, length)
        self.writer.write(head + bytes(4) + payload)  # a mask of zeros masks nothing

    async def receive(self) -> tuple[int, bytes]:
        """(opcode, payload) of the next frame. Raises IncompleteReadError at the end."""
        async with asyncio.timeout(5):
            first, second = await self.reader.readexactly(2)
            length = second & 0x7F
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return first & 0x0F, await self.reader.readexactly(length)

    async def close_code(self) -> tuple[int, str]:
        """(code, reason) of the server's close frame, whatever comes before it."""
        while True:
            opcode, payload = await self.receive()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big"), payload[2:].decode()
