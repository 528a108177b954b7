"""WebSocket client. aiohttp's handshake is the engine."""

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Final

import aiohttp
from aiohttp import ClientTimeout
from yarl import URL

from gateway.net.tls import Trust, untrusted
from gateway.net.websocket.connection import GOING_AWAY, STOP_SECONDS, WebSocket, WebSocketLimits
from gateway.status import Code, Failure

CONNECT_SECONDS: Final = 5.0
HANDSHAKE_SECONDS: Final = 10.0
CONNECTIONS: Final = 256
HEADER_BYTES: Final = 32 * 1024
HEADERS: Final = 100

_REFUSED: Final = {
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    429: Code.RESOURCE_EXHAUSTED,
}


class WebSocketClient:
    """Opens connections; wss:// means TLS with a verified certificate.

    connections: open at a time; further ones wait.
    trust: of wss://; set before the first connection.

    No redirect is followed, no cookie kept, no proxy taken from the environment. Error texts name no host.
    """

    def __init__(self, limits: WebSocketLimits, *, connections: int = CONNECTIONS) -> None:
        self._limits = limits
        self.trust = Trust()
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None
        self._open: set[WebSocket] = set()

    async def connect(
        self, url: str, headers: Sequence[tuple[str, str]] = (), subprotocols: Sequence[str] = ()
    ) -> WebSocket:
        """A new connection; whoever asked closes it. url: ws:// or wss://, percent-encoded already. subprotocols: those
        offered, of which the peer must choose one.

        Raises Failure, always with sent=False: UNAVAILABLE for a peer that can't be reached or speaks no WebSocket,
        or by the status that it refuses with; UNIMPLEMENTED for one that speaks none of the subprotocols;
        INVALID_ARGUMENT for a header that HTTP can't carry.
        """
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                engine = await self._opened().ws_connect(
                    URL(url, encoded=True),
                    headers=headers,
                    protocols=subprotocols,
                    compress=15 if self._limits.compression else 0,
                    max_msg_size=self._limits.max_message_bytes + 1,
                    autoping=False,
                    autoclose=False,
                    server_hostname=self.trust.name,
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(error) from error
        socket = WebSocket(engine, self._limits, engine.protocol or "")
        self._open.add(socket)
        socket.when_closed(lambda: self._open.discard(socket))
        if subprotocols and not socket.subprotocol:
            socket.close_soon()
            text = f"the upstream does not speak {' or '.join(subprotocols)}"
            raise Failure(Code.UNIMPLEMENTED, text, sent=False)
        return socket

    async def close(self) -> None:
        """Close all connections with 1001. Safe at any time."""
        await asyncio.gather(*(socket.close(GOING_AWAY, seconds=STOP_SECONDS) for socket in list(self._open)))
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        session = self._session
        if session is None:
            session = self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, ssl=self.trust.context or True),
                timeout=ClientTimeout(sock_connect=CONNECT_SECONDS, ceil_threshold=float("inf")),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent",),
                trust_env=False,
                trace_configs=[_no_redirects()],
                max_line_size=HEADER_BYTES,
                max_field_size=HEADER_BYTES,
                max_headers=HEADERS,
            )
        return session


def _no_redirects() -> aiohttp.TraceConfig:
    """The engine's handshake follows redirects and has no switch for it."""

    async def refuse(_: aiohttp.ClientSession, __: SimpleNamespace, seen: aiohttp.TraceRequestRedirectParams) -> None:
        response = seen.response
        response.close()
        raise aiohttp.WSServerHandshakeError(response.request_info, response.history, status=response.status)

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return trace


def _failure(error: Exception) -> Failure:
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=reason):
            return untrusted(reason)
        case aiohttp.WSServerHandshakeError(status=101):
            return Failure(Code.UNAVAILABLE, "the upstream's WebSocket handshake is malformed", sent=False)
        case aiohttp.WSServerHandshakeError(status=status):
            text = f"the upstream refused the WebSocket with HTTP status {status}"
            return Failure(_REFUSED.get(status, Code.UNAVAILABLE), text, sent=False)
        case aiohttp.InvalidURL():
            return Failure(Code.INVALID_ARGUMENT, "the request makes no valid URL", sent=False)
        case aiohttp.ClientError() | OSError():
            return Failure(Code.UNAVAILABLE, "the upstream can't be reached", sent=False)
        case _:
            return Failure(Code.INVALID_ARGUMENT, "a header has characters that HTTP can't carry", sent=False)
