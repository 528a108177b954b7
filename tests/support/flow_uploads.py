"""Callers that upload messages as fast as they are taken, and listen meanwhile for what they are told."""

import asyncio
import json
from contextlib import suppress
from typing import Protocol

import grpc
from websockets.exceptions import ConnectionClosed

from support.flow_backend import MESSAGE_BYTES
from support.flow_callers import (
    ORDERS,
    OWN_FAILURE,
    UNHEARD,
    Caller,
    GrpcCaller,
    HttpCaller,
    Ports,
    TcpCaller,
    WebSocketCaller,
)
from support.grpc_orders import pb2

PADDING = "e" * MESSAGE_BYTES


class Upload(Caller, Protocol):
    """open() sends no message."""

    async def send(self, name: str, padding: str = PADDING) -> None:
        """One message; returns once there is room for the next one."""
        ...


def _json(field: str, name: str, padding: str) -> bytes:
    """A message of ImportOrders where the field is customerId, else of Negotiate, or one of no type."""
    more = {"channel": padding} if field == "customerId" else {}
    return json.dumps({field: name if more else name + padding, **more}).encode()


class HttpUpload(HttpCaller):
    """field: of each message, to begin with the name."""

    def __init__(self, path: str, field: str, accept: str) -> None:
        super().__init__(path, accept)
        self._field = field

    async def open(self, ports: Ports, mode: str) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", ports.web)
        self._writer.write(
            f"POST {self._path.replace('{mode}', mode)} HTTP/1.1\r\nHost: test\r\nAccept: {self._accept}\r\n"
            "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        )

    async def send(self, name: str, padding: str = PADDING) -> None:
        line = _json(self._field, name, padding) + b"\n"
        self._writer.write(b"%x\r\n%b\r\n" % (len(line), line))
        await self._writer.drain()


class GrpcUpload(GrpcCaller):
    async def open(self, ports: Ports, mode: str) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{ports.grpc}", [("grpc.use_local_subchannel_pool", 1)])
        path, serialize = f"/{ORDERS}/{self._method}", lambda message: message.SerializeToString()
        if self._method == "Negotiate":
            self._call = self._channel.stream_stream(path, serialize, pb2.Offer.FromString)()
        else:
            self._call = self._channel.stream_unary(path, serialize, pb2.ImportSummary.FromString)()

    async def send(self, name: str, padding: str = PADDING) -> None:
        if self._method == "Negotiate":
            await self._call.write(pb2.Offer(sku=name + padding))
        else:
            await self._call.write(pb2.PlaceOrderRequest(customer_id=name, channel=padding))

    async def ending(self) -> str:
        if self._method == "Negotiate":
            return await super().ending()
        code, details = await self._call.code(), await self._call.details()
        await self._channel.close()
        return UNHEARD if details == OWN_FAILURE else str(code.name)


class WebSocketUpload(WebSocketCaller):
    """field: as HttpUpload."""

    def __init__(self, path: str, field: str) -> None:
        super().__init__(path)
        self._field = field

    async def send(self, name: str, padding: str = PADDING) -> None:
        await self._socket.send(_json(self._field, name, padding), text=True)


class TcpUpload(TcpCaller):
    async def open(self, ports: Ports, mode: str) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", ports.tcp)
        self._tail = b""

    async def send(self, name: str, padding: str = PADDING) -> None:
        self._writer.write(_json("sku", name, padding) + b"\n")
        await self._writer.drain()


class Pushing:
    """An upload that goes on until it is stopped or refused. sent: bytes that the caller got rid of."""

    def __init__(self, upload: Upload, name: str) -> None:
        self.sent = 0
        self._task = asyncio.create_task(self._push(upload, name))

    async def _push(self, upload: Upload, name: str) -> None:
        with suppress(ConnectionError, ConnectionClosed, grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await upload.send(name)
                self.sent += MESSAGE_BYTES
                await asyncio.sleep(0)  # where there is room at once, nothing else would run

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
