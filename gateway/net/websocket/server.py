"""WebSockets of an HTTP server: the handshake, and handlers. aiohttp's handshake is the engine."""

import asyncio
import base64
import binascii
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec
from aiohttp import hdrs, web

from gateway.message import REQUEST_ID
from gateway.net.counters import Rejections
from gateway.net.http.connection import problem
from gateway.net.http.failure import HttpRefusal
from gateway.net.tasks import end
from gateway.net.websocket.connection import (
    GOING_AWAY,
    INTERNAL,
    NORMAL,
    STOP_SECONDS,
    CloseWebSocket,
    WebSocket,
    WebSocketClosed,
    WebSocketLimits,
)
from gateway.status import Code

WEBSOCKET: Final = "websocket"
VERSION: Final = "13"

log = logging.getLogger("gateway.websocket")


class HttpUpgrade(msgspec.Struct):
    """What a handler of the HTTP server answers to make a WebSocket of the connection (see HttpRequest.upgrades).

    serve: has the connection until it returns, which closes it with 1000, or with 1001 on a draining server. Cancelled
        when the connection breaks, but not when one side closes it in form: the iteration then ends. An exception but
        CloseWebSocket is a bug, and closes with 1011.
    leaving_cancels: `serve` is cancelled when the peer closes in form, too.
    subprotocols: those that can be agreed on; the caller's preference counts, a caller that offers only others is
        refused, one that offers none is let in.
    origins: web origins (https://shop.example) whose pages may connect besides those of this host; "*" is any.
        Callers that are no browsers send no origin and are let in.
    headers: of the 101 response.
    outlives: `serve` is not cancelled when the connection breaks either: what has arrived is worth finishing.
    """

    serve: Callable[[WebSocket], Awaitable[None]]
    subprotocols: Sequence[str] = ()
    origins: Sequence[str] = ()
    limits: WebSocketLimits = WebSocketLimits()
    headers: Sequence[tuple[str, str]] = ()
    outlives: bool = False
    leaving_cancels: bool = False


class WebSocketServer:
    """The open connections of an HTTP server."""

    def __init__(self) -> None:
        self._sockets: dict[WebSocket, asyncio.Task[None]] = {}
        self._draining = False

    def __len__(self) -> int:
        return len(self._sockets)

    async def serve(
        self, request: web.BaseRequest, upgrade: HttpUpgrade, rejections: Rejections, request_id: str
    ) -> web.StreamResponse:
        """Shake hands and serve; or the response that says why not.

        rejections: counts handshakes and connections that are refused. request_id: told where it is accepted.
        """
        try:
            subprotocol = _judge(request, upgrade)
        except HttpRefusal as refusal:
            rejections.add(refusal)
            return problem(refusal)
        response = web.WebSocketResponse(
            protocols=(subprotocol,) if subprotocol else (),
            compress=upgrade.limits.compression,
            max_msg_size=upgrade.limits.max_message_bytes + 1,  # the engine refuses what is just as large
            heartbeat=None,
            autoping=False,
            autoclose=False,
            timeout=STOP_SECONDS,
        )
        response.headers.extend(upgrade.headers)
        response.headers[REQUEST_ID] = request_id
        await response.prepare(request)
        socket = WebSocket(response, upgrade.limits, subprotocol)
        if self._draining:
            socket.drain()
        running = _run(upgrade.serve, socket, rejections)
        task = asyncio.get_running_loop().create_task(running, name="websocket handler")
        if upgrade.leaving_cancels:
            socket.on_leaving = task.cancel
        self._sockets[socket] = task
        try:
            await _finish(task, socket, upgrade.outlives)
        finally:
            del self._sockets[socket]
            if socket.blamed:
                rejections.count(Code.INVALID_ARGUMENT)
        return response

    def drain(self) -> None:
        """Ask all handlers to come to an end."""
        self._draining = True
        for socket in self._sockets:
            socket.drain()

    async def stop(self) -> None:
        """Close what is open with 1001, and cancel what still runs."""
        if self._sockets:
            going = [socket.close(GOING_AWAY, "the server stops", seconds=STOP_SECONDS) for socket in self._sockets]
            await asyncio.gather(*going)
            await end(self._sockets.values())
        self._draining = False


async def _run(serve: Callable[[WebSocket], Awaitable[None]], socket: WebSocket, rejections: Rejections) -> None:
    try:
        await serve(socket)
    except WebSocketClosed:
        pass
    except CloseWebSocket as closing:
        rejections.count(Code.INVALID_ARGUMENT)
        await socket.close(closing.code, closing.reason)
    except Exception:
        log.exception("bug behind a WebSocket")
        await socket.close(INTERNAL, "internal error")
    await socket.close(GOING_AWAY if socket.draining else NORMAL)


async def _finish(task: "asyncio.Task[None]", socket: WebSocket, outlives: bool) -> None:
    """Wait for the handler. The engine cancels when the connection ends; after a close in form that is no reason to
    give up what arrived before it."""
    try:
        await asyncio.wait((task,))
    except asyncio.CancelledError:
        current = asyncio.current_task()
        if current is None or not (socket.closing or outlives):
            task.cancel()
            await asyncio.wait((task,))
            socket.drop()
            raise
        current.uncancel()
        await asyncio.wait((task,))


def _judge(request: web.BaseRequest, upgrade: HttpUpgrade) -> str:
    """The subprotocol, or empty. Raises HttpRefusal. RFC 6455, 4.2."""
    headers = request.headers
    asked = wants_upgrade(headers.get(hdrs.CONNECTION, ""), headers.get(hdrs.UPGRADE, ""))
    if request.method != hdrs.METH_GET or not asked:
        wanted = ((hdrs.UPGRADE, WEBSOCKET), (hdrs.CONNECTION, "Upgrade"))
        raise HttpRefusal(426, "a WebSocket handshake is expected here", headers=wanted)
    if headers.get(hdrs.SEC_WEBSOCKET_VERSION) != VERSION:
        text = f"WebSocket version {VERSION} is spoken here"
        raise HttpRefusal(426, text, headers=((hdrs.SEC_WEBSOCKET_VERSION, VERSION),))
    if not _is_key(headers.get(hdrs.SEC_WEBSOCKET_KEY, "")):
        raise HttpRefusal(400, "Sec-WebSocket-Key is not 16 bytes in base64")
    origin = headers.get(hdrs.ORIGIN)
    if origin is not None and not _admits(upgrade.origins, origin, headers.get(hdrs.HOST, "")):
        raise HttpRefusal(403, "pages of this origin may not connect", code=Code.PERMISSION_DENIED)
    offered = [name.strip() for name in ",".join(headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, ())).split(",")]
    offered = [name for name in offered if name]
    if not upgrade.subprotocols or not offered:
        return ""
    for name in offered:
        if name in upgrade.subprotocols:
            return name
    raise HttpRefusal(400, f"of the subprotocols, {', '.join(upgrade.subprotocols)} are spoken here")


def wants_upgrade(connection: str, upgrade: str) -> bool:
    """Whether these two headers ask for a WebSocket."""
    return upgrade.strip().lower() == WEBSOCKET and "upgrade" in (
        token.strip().lower() for token in connection.split(",")
    )


def _is_key(key: str) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _admits(origins: Sequence[str], origin: str, host: str) -> bool:
    """Where TLS ends before the gateway the scheme is not known; the host and port tell."""
    same = bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    return same or "*" in origins or origin.lower() in origins
