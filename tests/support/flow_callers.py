"""Callers of streams, one kind for each protocol and framing, that can stop reading, leave, and tell how one ended.

They speak through grpcio, websockets and plain sockets, and read ahead by no more than a few messages.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from support.grpc_orders import pb2

ORDERS = "shop.orders.v1.Orders"
MARKS = (b'"orderId"', b'"sku"')
CLEAN = "a clean end"
CUT = "cut off"
UNHEARD = "lost by the caller's own library"
OWN_FAILURE = "Internal error from Core"
"""What grpc.aio makes of a write that the end of its call overtakes; it forgets the status then."""
_TAIL = 256 * 1024


@dataclass(frozen=True)
class Ports:
    """Of the gateway."""

    web: int
    grpc: int
    tcp: int


class Caller(Protocol):
    async def open(self, ports: Ports, mode: str) -> None: ...

    async def take(self) -> None:
        """Wait for one message more."""
        ...

    async def ending(self) -> str:
        """Read to the end: the code of the failure that was told, CUT where none can be, CLEAN."""
        ...

    async def leave(self) -> None:
        """Hang up, whatever is on its way."""
        ...


class HttpCaller:
    """One HTTP request with a streamed reply.

    cut: a failure is no more than that the body is cut off.
    """

    def __init__(self, path: str, accept: str, *, body: Callable[[str], str] | None = None, cut: bool = False) -> None:
        self._path = path
        self._accept = accept
        self._body = body
        self._cut = cut
        self._tail = b""

    async def open(self, ports: Ports, mode: str) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", ports.web)
        path = self._path.replace("{mode}", mode)
        head = f"Host: test\r\nAccept: {self._accept}\r\n"
        if self._body is None:
            self._writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        else:
            data = self._body(mode).encode()
            kind = "application/json" if data.startswith(b'{"query"') else "application/x-ndjson"
            head += f"Content-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
            self._writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + data)

    async def take(self) -> None:
        found = b""
        while not any(mark in found for mark in MARKS):
            chunk = await self._reader.read(16 * 1024)
            assert chunk, f"ended early: {self._tail!r}"
            found = found[-16:] + chunk
            self._keep(chunk)

    def _keep(self, chunk: bytes) -> None:
        self._tail = (self._tail + chunk)[-_TAIL:]

    async def ending(self) -> str:
        with suppress(ConnectionError):
            while chunk := await self._reader.read(64 * 1024):
                self._keep(chunk)
                if self._tail.endswith(b"\r\n0\r\n\r\n"):
                    break
        self._writer.close()
        clean = self._tail.endswith(b"\r\n0\r\n\r\n")
        code = _code_in(self._tail)
        if self._cut:
            return CLEAN if clean or b"]" in self._tail[-16:] else CUT
        return code or (CLEAN if clean else CUT)

    async def leave(self) -> None:
        self._writer.transport.abort()

    async def swallow(self, size: int) -> None:
        """Read so many bytes."""
        while size > 0:
            chunk = await self._reader.read(256 * 1024)
            assert chunk, "ended early"
            size -= len(chunk)


def _code_in(tail: bytes) -> str:
    """The code of the last failure that the text tells."""
    _, found, rest = tail.rpartition(b'"code":"')
    return rest.partition(b'"')[0].decode() if found else ""


class GrpcCaller:
    def __init__(self, method: str) -> None:
        self._method = method

    async def open(self, ports: Ports, mode: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            f"127.0.0.1:{ports.grpc}", [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        )
        path = f"/{ORDERS}/{self._method}"
        if self._method == "WatchOrder":
            self._call: Any = self._channel.unary_stream(
                path, pb2.WatchOrderRequest.SerializeToString, pb2.OrderEvent.FromString
            )(pb2.WatchOrderRequest(order_id=mode))
        else:
            self._call = self._channel.stream_stream(path, pb2.Offer.SerializeToString, pb2.Offer.FromString)()
            await self._call.write(pb2.Offer(sku=mode))

    async def take(self) -> None:
        assert await self._call.read() is not grpc.aio.EOF  # type: ignore[attr-defined]

    async def ending(self) -> str:
        try:
            while await self._call.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]
                pass
            code = await self._call.code()
        except grpc.aio.AioRpcError as error:
            code = error.code()
            if error.details() == OWN_FAILURE:
                code = None
        await self._channel.close()
        return CLEAN if code is grpc.StatusCode.OK else UNHEARD if code is None else str(code.name)

    async def leave(self) -> None:
        await self._channel.close()


class WebSocketCaller:
    def __init__(self, path: str, first: Callable[[str], str] | None = None) -> None:
        self._path = path
        self._first = first
        self._last: str | bytes = ""

    async def open(self, ports: Ports, mode: str) -> None:
        url = f"ws://127.0.0.1:{ports.web}{self._path.replace('{mode}', mode)}"
        self._socket = await _websocket(url)
        if self._first is not None:
            await self._socket.send(self._first(mode))

    async def take(self) -> None:
        await self._socket.recv()

    async def ending(self) -> str:
        try:
            while True:
                self._last = await self._socket.recv()
        except ConnectionClosed as closed:
            told = closed.rcvd
        if told is None:
            return CUT
        if told.code == 1000:
            return CLEAN
        code = _code_in(self._last if isinstance(self._last, bytes) else self._last.encode())
        assert code, f"closed with {told}, and no failure before it"
        return code

    async def leave(self) -> None:
        self._socket.transport.abort()


async def _websocket(url: str, subprotocol: str = "") -> ClientConnection:
    offered: Any = [subprotocol] if subprotocol else None
    return await connect(
        url, subprotocols=offered, compression=None, max_size=None, max_queue=2, ping_interval=None, proxy=None
    )


class GraphqlCaller:
    """graphql-transport-ws."""

    async def open(self, ports: Ports, mode: str) -> None:
        self._socket = await _websocket(f"ws://127.0.0.1:{ports.web}/graphql", "graphql-transport-ws")
        await self._socket.send('{"type":"connection_init"}')
        assert json.loads(await self._socket.recv())["type"] == "connection_ack"
        await self._socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": json.loads(subscription(mode))}))

    async def take(self) -> None:
        assert json.loads(await self._socket.recv())["type"] == "next"

    async def ending(self) -> str:
        try:
            while (message := json.loads(await self._socket.recv()))["type"] == "next":
                if message["payload"].get("errors"):
                    return str(message["payload"]["errors"][0]["extensions"]["code"])
        except ConnectionClosed:
            return CUT
        finally:
            await self._socket.close()
        return CLEAN if message["type"] == "complete" else str(message["payload"][0]["extensions"]["code"])

    async def leave(self) -> None:
        self._socket.transport.abort()


def subscription(mode: str) -> str:
    """The GraphQL request, as JSON."""
    return json.dumps(
        {
            "query": "subscription($mode: String) { watchOrder(orderId: $mode) { orderId } }",
            "variables": {"mode": mode},
        }
    )


class TcpCaller:
    async def open(self, ports: Ports, mode: str) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", ports.tcp)
        self._writer.write(json.dumps({"sku": mode}).encode() + b"\n")
        self._tail = b""

    async def take(self) -> None:
        found = b""
        while b'"sku"' not in found:
            chunk = await self._reader.read(16 * 1024)
            assert chunk, f"ended early: {self._tail!r}"
            found = found[-5:] + chunk
            self._tail = (self._tail + chunk)[-_TAIL:]

    async def ending(self) -> str:
        try:
            while chunk := await self._reader.read(64 * 1024):
                self._tail = (self._tail + chunk)[-_TAIL:]
        except ConnectionError:
            return CUT
        finally:
            self._writer.close()
        return _code_in(self._tail.rstrip(b"\n").rpartition(b"\n")[2]) or CLEAN

    async def leave(self) -> None:
        self._writer.transport.abort()
