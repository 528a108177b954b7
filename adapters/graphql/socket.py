"""GraphQL over WebSocket, the server's side: several operations at a time on one connection."""

import asyncio
import logging
import re
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any, Final

from adapters.graphql.config import Endpoint
from adapters.graphql.resolver import Caller
from gateway.codecs.graphql.engine import Engine
from gateway.codecs.graphql.error import LIMIT_EXCEEDED, error, errors_of
from gateway.codecs.graphql.request import request_of
from gateway.codecs.graphql.transport_ws import (
    INIT_TIMEOUT,
    INVALID_MESSAGE,
    NO_SUBPROTOCOL,
    SUBPROTOCOL,
    ClientFrame,
    frame,
    read_client_frame,
)
from gateway.net.counters import Rejections
from gateway.net.http.server import HttpRequest
from gateway.net.tasks import end, first
from gateway.net.websocket.connection import CloseWebSocket, WebSocket, WebSocketClosed, WebSocketLimits
from gateway.net.websocket.server import HttpUpgrade
from gateway.status import Code, as_failure

INIT_SECONDS: Final = 10.0
_HEADER_VALUE: Final = re.compile(r"[^\r\n\0]{0,8192}")

log = logging.getLogger("gateway.graphql")


class SocketHandler:
    """Makes sessions of WebSocket handshakes."""

    def __init__(self, engine: Engine, endpoint: Endpoint, rejections: Rejections) -> None:
        self.engine = engine
        self.rejections = rejections
        self.operations = endpoint.max_operations
        self.forwarded = endpoint.forwarded
        self._origins = endpoint.origins
        self._limits = WebSocketLimits(max_message_bytes=endpoint.max_body_bytes)

    def upgrade(self, request: HttpRequest) -> HttpUpgrade:
        async def serve(socket: WebSocket) -> None:
            await _Session(self, socket, request).serve()

        return HttpUpgrade(serve, subprotocols=(SUBPROTOCOL,), origins=self._origins, limits=self._limits)


def _headers(given: Mapping[str, str], payload: Any, forwarded: frozenset[str]) -> Mapping[str, str]:
    """Browsers can't send headers with a handshake: what may cross is taken from connection_init too. Raises
    CloseWebSocket for a value that is no header's."""
    headers = {name: value for name in forwarded if (value := given.get(name)) is not None}
    for name, value in payload.items() if isinstance(payload, dict) else ():
        if name.lower() in forwarded and name.lower() not in headers and isinstance(value, str):
            if not _HEADER_VALUE.fullmatch(value):
                raise CloseWebSocket(INVALID_MESSAGE, f"{name} is no header")
            headers[name.lower()] = value
    return headers


class _Session:
    """One connection. request: its handshake."""

    def __init__(self, handler: SocketHandler, socket: WebSocket, request: HttpRequest) -> None:
        self._handler = handler
        self._socket = socket
        self._request = request
        self._caller: Caller | None = None
        self._running: dict[str, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        init = asyncio.get_running_loop().call_later(INIT_SECONDS, self._late)
        try:
            if self._socket.subprotocol != SUBPROTOCOL:
                raise CloseWebSocket(*NO_SUBPROTOCOL)
            async for message in self._socket:
                await self._take(read_client_frame(message, opened=self._caller is not None, running=self._running))
            if self._socket.draining and self._running and not self._socket.closed:
                # What runs comes to its end, while the peer is there for it.
                await first(self._socket.wait_closed(), asyncio.wait(list(self._running.values())))
        finally:
            init.cancel()
            await end(self._running.values())

    def _late(self) -> None:
        if self._caller is None:
            self._socket.close_soon(*INIT_TIMEOUT)

    async def _take(self, received: ClientFrame) -> None:
        match received.type:
            case "connection_init":
                headers = _headers(self._request.headers, received.payload, self._handler.forwarded)
                self._caller = Caller(headers, self._request.context)
                await self._socket.send(frame("connection_ack"), text=True)
            case "ping":
                await self._socket.send(frame("pong", payload=received.payload), text=True)
            case "complete":
                task = self._running.pop(received.id, None)
                if task is not None:
                    task.cancel()
            case "subscribe" if len(self._running) >= self._handler.operations:
                text = f"a connection may have {self._handler.operations} operations at a time"
                self._handler.rejections.count(Code.RESOURCE_EXHAUSTED)
                await self._socket.send(frame("error", received.id, [error(text, LIMIT_EXCEEDED)]), text=True)
            case "subscribe":
                self._start(received.id, received.payload)

    def _start(self, key: str, payload: Any) -> None:
        task = asyncio.create_task(self._run(key, payload), name="graphql operation")
        self._running[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: str, task: "asyncio.Task[None]") -> None:
        if self._running.get(key) is task:
            del self._running[key]

    async def _run(self, key: str, payload: Any) -> None:
        send, engine = self._socket.send, self._handler.engine
        try:
            try:
                operation = engine.prepare(request_of(payload))
                if operation.subscribes:
                    async with aclosing(engine.subscribe(operation, self._caller)) as responses:
                        async for response in responses:
                            await send(frame("next", key, response), text=True)
                else:
                    await send(frame("next", key, await engine.execute(operation, self._caller)), text=True)
                last = frame("complete", key)
            except WebSocketClosed:
                raise
            except Exception as error:
                failure = as_failure(error, "behind a GraphQL operation", log)
                self._handler.rejections.add(failure)
                last = frame("error", key, errors_of(failure))
            # The id is free before the peer can know that it is.
            self._running.pop(key, None)
            await send(last, text=True)
        except WebSocketClosed:
            pass
