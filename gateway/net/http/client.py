"""The HTTP/1.1 client that endpoints share. aiohttp is the engine behind it and does not leak past this file."""

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from types import TracebackType
from typing import Final

import aiohttp
import msgspec
from aiohttp import ClientTimeout
from yarl import URL

from gateway.net.http.inflate import inflater_of
from gateway.net.tcp.keepalive import KEEPALIVE_SECONDS, keep_alive
from gateway.net.tls import Trust, untrusted
from gateway.status import Code, Failure

CONNECT_SECONDS: Final = 5.0
CONNECTIONS: Final = 256
HEADER_BYTES: Final = 32 * 1024  # for one header line; there may be HEADERS of them
HEADERS: Final = 100
_MALFORMED: Final = "the upstream answered with malformed HTTP"


class HttpAnswer(msgspec.Struct, frozen=True):
    """headers: case-insensitive. body: whole and inflated."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Keep-alive connections to any number of servers; https:// means TLS with a verified certificate.

    limit: of a reply's inflated body, in bytes; a larger one is an INTERNAL failure. In a stream, of nothing.
    connections: open at a time; further calls wait for one.
    trust: of https://; set before the first call.

    No redirect is followed, no cookie kept, no proxy taken from the environment. Error texts name no host.
    """

    def __init__(self, limit: int, *, connections: int = CONNECTIONS) -> None:
        self._limit = limit
        self.trust = Trust()
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        timeout_seconds: float | None = None,
    ) -> HttpAnswer:
        """One exchange; any status is an answer. url: percent-encoded already.

        Raises Failure: UNAVAILABLE for a connection that can't be made (sent=False) or breaks,
        DEADLINE_EXCEEDED after timeout_seconds, INTERNAL for a reply that is not HTTP or is over the limit,
        INVALID_ARGUMENT for a header that HTTP can't carry.
        """
        async with self.stream(method, url, headers, body, timeout_seconds) as answer:
            return HttpAnswer(answer.status, answer.headers, await answer.body(self._limit))

    def stream(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | AsyncIterable[bytes] = b"",
        timeout_seconds: float | None = None,
    ) -> "HttpStream":
        """As request(), with the reply's body as it comes: `async with client.stream(...) as answer`.

        body: sent as it comes where it is iterated. Leaving the block before the reply's end closes the connection.
        timeout_seconds: for all of it.
        """
        return HttpStream(self, method, url, headers, body, timeout_seconds)

    async def close(self) -> None:
        """Close all connections. Safe at any time."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        session = self._session
        if session is None:
            session = self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections, socket_factory=_socket, ssl=self.trust.context or True
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Content-Type"),
                trust_env=False,
                max_line_size=HEADER_BYTES,
                max_field_size=HEADER_BYTES,
                max_headers=HEADERS,
            )
        return session


class HttpStream:
    """An answer whose body is still on its way. Its attributes are there inside the `async with` block."""

    __slots__ = ("_arguments", "_client", "_deadline", "_response", "_timeout", "headers", "status")

    def __init__(
        self,
        client: HttpClient,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]],
        body: bytes | AsyncIterable[bytes],
        timeout_seconds: float | None,
    ) -> None:
        self._client = client
        self._arguments = (method, url, headers, body)
        self._timeout = None if timeout_seconds is None or timeout_seconds == float("inf") else timeout_seconds
        self._deadline = float("inf")
        self._response: aiohttp.ClientResponse | None = None
        self.status = 0
        self.headers: Mapping[str, str] = {}

    async def __aenter__(self) -> "HttpStream":
        method, url, headers, body = self._arguments
        if self._timeout is not None:
            if self._timeout <= 0:
                raise Failure(Code.DEADLINE_EXCEEDED, "the deadline passed before the upstream was called", sent=False)
            self._deadline = asyncio.get_running_loop().time() + self._timeout
        try:
            response = await self._client._open().request(  # noqa: SLF001  its own file's other half
                method,
                URL(url, encoded=True),
                headers=headers,
                data=body or None,
                allow_redirects=False,
                server_hostname=self._client.trust.name,
                # aiohttp rounds timeouts above the threshold up to whole seconds.
                timeout=ClientTimeout(self._timeout, sock_connect=CONNECT_SECONDS, ceil_threshold=float("inf")),
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._failure(error) from error
        self._response = response
        self.status = response.status
        self.headers = response.headers
        return self

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives, inflated. Raises Failure as request() does."""
        response = self._response
        if response is None:
            raise RuntimeError("chunks() is called inside `async with`")
        try:
            inflater = inflater_of(response.headers.get("content-encoding", ""))
            async for chunk in response.content.iter_any():
                if inflater is None:
                    yield chunk
                else:
                    for piece in inflater.feed(chunk):
                        yield piece
            if inflater is not None:
                inflater.end()
        except (aiohttp.ClientError, OSError) as error:
            raise self._failure(error) from error
        except ValueError as error:
            raise Failure(Code.INTERNAL, f"the upstream's reply is broken: {error}") from error

    async def body(self, limit: int) -> bytes:
        """All of the body. limit: in bytes; a larger one is an INTERNAL failure."""
        data = b""
        async for chunk in self.chunks():
            data = data + chunk if data else chunk
            if len(data) > limit:
                raise Failure(Code.INTERNAL, f"the upstream's reply is larger than {limit} bytes")
        return data

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        response, self._response = self._response, None
        if response is not None:
            # Keeps the connection where the body was read to its end, and closes it otherwise.
            response.release()

    def _failure(self, error: Exception) -> Failure:
        match error:
            case aiohttp.ClientConnectorCertificateError(certificate_error=reason):
                return untrusted(reason)
            case aiohttp.ClientConnectorError():
                return Failure(Code.UNAVAILABLE, "the upstream can't be reached", sent=False)
            case aiohttp.ConnectionTimeoutError():
                if asyncio.get_running_loop().time() >= self._deadline:
                    return Failure(
                        Code.DEADLINE_EXCEEDED, "the upstream did not accept a connection in time", sent=False
                    )
                return Failure(Code.UNAVAILABLE, "the upstream can't be reached", sent=False)
            case TimeoutError():
                return Failure(Code.DEADLINE_EXCEEDED, "the upstream did not answer in time")
            case aiohttp.InvalidURL():
                return Failure(Code.INVALID_ARGUMENT, "the request makes no valid URL", sent=False)
            case aiohttp.ClientResponseError():
                return Failure(Code.INTERNAL, _MALFORMED)
            case aiohttp.ClientError() | OSError():
                return Failure(
                    Code.UNAVAILABLE, "the connection to the upstream broke before the whole reply was there"
                )
            case _:
                return Failure(Code.INVALID_ARGUMENT, "a header has characters that HTTP can't carry", sent=False)


def _socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """For a stream that is quiet, of a server that may have vanished."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    keep_alive(made, KEEPALIVE_SECONDS)
    return made
