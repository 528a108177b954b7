"""The HTTP/1.1 server that endpoints share. aiohttp is the engine behind it; it leaks neither past
this file nor past http_connection."""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final, cast

import msgspec
from aiohttp import StreamReader, hdrs, web

from gateway.message import REQUEST_ID, TRACEPARENT, Context, Header, request_id_of, trace_of
from gateway.net.address import split_host_port
from gateway.net.counters import STALLED_PEERS, Counter, Counters, Rejections
from gateway.net.http.connection import HttpConnection, HttpEngine, problem
from gateway.net.http.cors import CorsPolicy
from gateway.net.http.failure import HttpRefusal, PayloadTooLarge, RequestTimeout, UnsupportedEncoding
from gateway.net.http.inflate import Inflater, inflater_of
from gateway.net.http.response import HttpResponse
from gateway.net.http.router import HttpRouter, PathTemplate
from gateway.net.tcp.endpoint import bound_port, listen
from gateway.net.tls import Tls, server_context
from gateway.net.websocket.server import HttpUpgrade, WebSocketServer, wants_upgrade
from gateway.status import Code, Failure, invalid

SLACK_BYTES: Final = 4096  # what a coding may add to a body that it does not shrink
STALL_SECONDS: Final = 10.0  # how long a request's body may not move
STOP_SECONDS: Final = 0.1

log = logging.getLogger("gateway.http")


class HttpRequest:
    """A request whose body may still be on its way.

    path: raw, still percent-encoded. query: raw, without the question mark. headers: case-insensitive.
    params: what the path template captured, decoded. request_id: the caller's, or a new one.
    """

    __slots__ = ("_request", "headers", "method", "params", "path", "query", "request_id")

    def __init__(self, request: web.BaseRequest, path: str, query: str) -> None:
        self._request = request
        self.method: str = request.method
        self.path = path
        self.query = query
        self.headers: Mapping[str, str] = request.headers
        self.request_id = request_id_of(self.headers.get(REQUEST_ID))
        self.params: dict[str, str] = {}

    def context(self) -> Context:
        """Of a call that this request makes. Its peer is the nearest hop: no header is believed."""
        trace = self.headers.get(TRACEPARENT)
        return Context(
            peer=self._request.remote or "",
            trace=trace_of(trace) if trace else "",
            request_id=self.request_id,
            departure=cast(HttpConnection, self._request.protocol).departure,
        )

    def wanted(self, names: Collection[str]) -> list[Header]:
        """Those of these headers that are there; names in lower case. The request's id always is."""
        headers = self.headers
        found: list[Header] = [(name, value) for name in names if (value := headers.get(name)) is not None]
        if REQUEST_ID in names:
            found = [*(header for header in found if header[0] != REQUEST_ID), (REQUEST_ID, self.request_id)]
        return found

    @property
    def host(self) -> str:
        """What the caller called this server (Host)."""
        return self.headers.get("host", "")

    @property
    def origin(self) -> str:
        """Of the page that a browser calls for, or empty."""
        return self.headers.get("origin", "")

    @property
    def upgrades(self) -> bool:
        """The caller asks for a WebSocket: the handler may answer with HttpUpgrade."""
        return wants_upgrade(self.headers.get("connection", ""), self.headers.get("upgrade", ""))

    async def body(self, limit: int) -> bytes:
        """The whole body, inflated. limit: in bytes.

        Raises PayloadTooLarge once it is over the limit, UnsupportedEncoding, RequestTimeout, and
        Failure(INVALID_ARGUMENT) for a broken one.
        """
        request = self._request
        if not request.body_exists:
            return b""
        length = request.content_length
        if length is not None and length > limit:
            raise PayloadTooLarge(limit)
        inflater = self._inflater()
        content = request.content
        if inflater is not None:
            return await self._inflated(content, inflater, limit)
        data = b""
        try:
            if content.is_eof():
                data = content.read_nowait()
            else:
                await self._continue()
                # A timer only where there is something to wait for.
                while not content.at_eof():
                    async with asyncio.timeout(STALL_SECONDS):
                        chunk = await content.readany()
                    data = data + chunk if data else chunk
                    if len(data) > limit:
                        break
        except TimeoutError:
            raise RequestTimeout(STALL_SECONDS) from None
        except (web.RequestPayloadError, ValueError) as error:
            raise _broken(error) from error
        if len(data) > limit:
            raise PayloadTooLarge(limit)
        return data

    async def _inflated(self, content: StreamReader, inflater: Inflater, limit: int) -> bytes:
        await self._continue()
        pieces: list[bytes] = []
        inflated = received = 0
        try:
            while not content.at_eof():
                async with asyncio.timeout(STALL_SECONDS):
                    chunk = await content.readany()
                received += len(chunk)
                for piece in inflater.feed(chunk):
                    inflated += len(piece)
                    if inflated > limit:
                        raise PayloadTooLarge(limit)
                    pieces.append(piece)
                if received > limit + SLACK_BYTES:
                    raise PayloadTooLarge(limit)  # a coding may go on for ever and stand for nothing
            inflater.end()
        except TimeoutError:
            raise RequestTimeout(STALL_SECONDS) from None
        except (web.RequestPayloadError, ValueError) as error:
            raise _broken(error) from error
        return b"".join(pieces)

    def _inflater(self) -> Inflater | None:
        encoding = self.headers.get(hdrs.CONTENT_ENCODING)
        if encoding is None:
            return None
        try:
            return inflater_of(encoding)
        except ValueError:
            raise UnsupportedEncoding(encoding) from None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, inflated; it may rest as long as it likes. Raises as body(), without a limit."""
        inflater = self._inflater()
        await self._continue()
        try:
            async for chunk in self._request.content.iter_any():
                if inflater is None:
                    yield chunk
                else:
                    for piece in inflater.feed(chunk):
                        yield piece
            if inflater is not None:
                inflater.end()
        except (web.RequestPayloadError, ValueError) as error:
            raise _broken(error) from error

    async def _continue(self) -> None:
        """Tell a caller that waits for it to send the body (RFC 9110, 10.1.1)."""
        request = self._request
        if self.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and not request.content.total_raw_bytes:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0


def _reason(text: str) -> str:
    """The last line of what aiohttp says, which is the reason."""
    return text.strip().splitlines()[-1].strip() if text.strip() else "it ends too early"


def _broken(error: Exception) -> Failure:
    return invalid(f"the request body is broken: {_reason(str(error))}")


class HttpReply(msgspec.Struct):
    """body: bytes, or a generator whose chunks are sent as they come; if it raises, the connection is cut, so that
    what was sent can't be taken for the whole. failure: what the reply tells, to be counted where no route has."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | AsyncGenerator[bytes, None] = b""
    failure: Failure | None = None


Handler = Callable[[HttpRequest], Awaitable[HttpReply | HttpUpgrade]]


class HttpRoute(msgspec.Struct, frozen=True):
    """cors: what pages of other origins may do; None for nothing."""

    method: str
    template: PathTemplate
    handler: Handler
    cors: CorsPolicy | None = None


def _open_to_pages(handler: Handler, cors: CorsPolicy) -> Handler:
    async def handle(request: HttpRequest) -> HttpReply | HttpUpgrade:
        reply = await handler(request)
        if isinstance(reply, HttpReply):
            headers = (*reply.headers, *cors.reply(request.origin))
            reply = HttpReply(reply.status, headers, reply.body, reply.failure)
        return reply

    return handle


class _Owner(msgspec.Struct, frozen=True):
    """What is counted of one."""

    stalled: Counter
    rejections: Rejections


class HttpServer:
    """One listener. Endpoints mount their routes on it; each of them may call start, drain and stop.

    counters: where each owner's stalled peers and rejected requests are counted; those that are no owner's are under
        the names of all.
    tls: load() must then have been called before start().
    """

    def __init__(self, listen: str, counters: Counters | None = None, tls: Tls | None = None) -> None:
        self.listen = listen
        self.tls = tls
        self._context: ssl.SSLContext | None = None
        self._counters = counters or Counters()
        self.port = split_host_port(listen)[1]
        self._mounted: dict[str, Sequence[HttpRoute]] = {}
        self._router: HttpRouter[Handler] = HttpRouter(())
        self._policies: dict[Handler, CorsPolicy] = {}
        self._owners: dict[Handler, _Owner] = {}
        self._everybody = Rejections()
        self._engine: HttpEngine | None = None
        self._listener: asyncio.Server | None = None
        self._lock = asyncio.Lock()
        self._sockets = WebSocketServer()
        self._draining = False
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def scheme(self) -> str:
        return "http" if self.tls is None else "https"

    def load(self, path: Callable[[str], Path]) -> None:
        """Read the certificates. path: as Network.path. Raises ContractError where a file is not as it should be."""
        if self.tls is not None and self._context is None:
            self._context = server_context(self.tls, path)
            self._context.set_alpn_protocols(["http/1.1"])

    def mount(self, owner: str, routes: Sequence[HttpRoute]) -> None:
        """Replace all routes of this owner, atomically."""
        self._mounted[owner] = routes
        served: list[tuple[str, PathTemplate, Handler]] = []
        self._policies = {}
        self._owners = {}
        everybody = sorted(name for name, mounted in self._mounted.items() if mounted)
        self._everybody = self._counters.rejections(",".join(everybody))
        for name, mounted in self._mounted.items():
            owned = _Owner(self._counters.counter(name, STALLED_PEERS), self._counters.rejections(name))
            for route in mounted:
                handler = route.handler
                if route.cors is not None:
                    handler = _open_to_pages(handler, route.cors)
                    self._policies[handler] = route.cors
                self._owners[handler] = owned
                served.append((route.method, route.template, handler))
        self._router = HttpRouter(served)

    async def start(self) -> None:
        """Listen. A port of 0 becomes the one that was bound. Raises OSError when the port is taken."""
        async with self._lock:
            if self._engine is not None:
                return
            engine = HttpEngine(self._answer, self._stalled, lambda refusal: self._everybody.add(refusal))
            self._listener = await listen(self.listen, self._context, engine)
            self.port = bound_port(self._listener)
            self._engine = engine
            self._draining = False

    async def drain(self) -> None:
        """Stop accepting and return when the last request is answered and the last WebSocket closed."""
        self._draining = True
        self._sockets.drain()
        self._accept_nothing()
        await self._idle.wait()

    async def stop(self) -> None:
        async with self._lock:
            engine, self._engine = self._engine, None
            self._accept_nothing()
            if engine is not None:
                await self._sockets.stop()
                # What is still running had its time in drain().
                engine.pre_shutdown()
                await engine.shutdown(STOP_SECONDS)

    def _accept_nothing(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._busy += 1
        self._idle.clear()
        try:
            path, _, query = request.raw_path.partition("?")
            exchange = HttpRequest(request, path, query)
            cast(HttpConnection, request.protocol).request_id = exchange.request_id
            try:
                handler, captures, allowed = self._router.find(request.method, path)
            except ValueError:
                return self._refuse(HttpRefusal(400, "the path is not valid UTF-8"))
            if handler is None and path.startswith("http://"):
                # The absolute form, which proxies are sent, must be accepted too (RFC 9112, 3.2.2).
                exchange.path = path = "/" + path.removeprefix("http://").partition("/")[2]
                handler, captures, allowed = self._router.find(request.method, path)
            if handler is None:
                refusal = _not_found(request.method, path, allowed)
                if refusal is not None:
                    return self._refuse(refusal)
                told = web.Response(status=204)
                told.headers.extend(((hdrs.ALLOW, _allow(allowed)), *self._preflight(exchange)))
                return told
            if captures is not None:
                exchange.params = captures
            reply = await handler(exchange)
            if isinstance(reply, HttpUpgrade):
                return await self._sockets.serve(request, reply, self._rejections(handler), exchange.request_id)
            if reply.failure is not None:
                self._rejections(handler).add(reply.failure)
            body = reply.body
            if isinstance(body, bytes):
                response = HttpResponse(reply.status, reply.headers, body, exchange.request_id)
                if reply.status >= 400 and not request.content.is_eof():
                    response.force_close()  # the rest of the body is not worth reading
                    if reply.status == HTTPStatus.REQUEST_TIMEOUT:
                        await _hang_up(request, response)
                elif self._draining:
                    response.force_close()
                return cast(web.StreamResponse, response)
            streamed = await _stream(request, reply, body, exchange.request_id)
            if self._draining:
                streamed.force_close()  # its caller comes back, elsewhere
            return streamed
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()

    def _refuse(self, refusal: HttpRefusal) -> web.Response:
        """What is no owner's."""
        self._everybody.add(refusal)
        return problem(refusal)

    def _rejections(self, handler: Handler) -> Rejections:
        owner = self._owners.get(handler)
        return self._everybody if owner is None else owner.rejections

    def _stalled(self, request: web.BaseRequest) -> None:
        handler, _, _ = self._router.find(request.method, request.raw_path.partition("?")[0])
        owner = None if handler is None else self._owners.get(handler)
        if owner is not None:
            owner.stalled.add()

    def _preflight(self, request: HttpRequest) -> Sequence[tuple[str, str]]:
        """What a browser is told that asks, on behalf of a page, whether it may call."""
        method = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD, "")
        if request.method != hdrs.METH_OPTIONS or not method:
            return ()
        handler, _, _ = self._router.find(method, request.path)
        cors = None if handler is None else self._policies.get(handler)
        return () if cors is None else cors.preflight(request.origin, method)


async def _hang_up(request: web.BaseRequest, response: HttpResponse) -> None:
    """Send the response and close, without waiting for the rest of the request."""
    await response.prepare(request)
    await response.write_eof()
    if request.transport is not None:
        request.transport.close()


async def _stream(
    request: web.BaseRequest, reply: HttpReply, body: AsyncGenerator[bytes, None], request_id: str
) -> web.StreamResponse:
    if request.method == hdrs.METH_HEAD:
        await body.aclose()
        return web.Response(status=reply.status, headers=reply.headers)
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.headers[REQUEST_ID] = request_id
    try:
        # Headers go out at once: the caller learns that the call was taken before the first message is there.
        await response.prepare(request)
        async for chunk in body:
            await response.write(chunk)
        await response.write_eof()
    except ConnectionError:
        raise  # the caller left
    except Exception as error:
        # A clean end would make the part that was sent look like the whole.
        log.info("stream cut: %s", error)
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("stream cut") from error
    finally:
        await body.aclose()
    return response


def _not_found(method: str, path: str, allowed: Sequence[str]) -> HttpRefusal | None:
    """None where somebody asks what may be asked."""
    if not allowed and not (method == hdrs.METH_OPTIONS and path == "*"):
        return HttpRefusal(404, f"nothing is served at {path[:200]}", code=Code.NOT_FOUND)
    if method == hdrs.METH_OPTIONS:
        return None
    allow = _allow(allowed)
    text = f"{method} is not served at {path[:200]}; {allow.removesuffix(', OPTIONS')} is"
    return HttpRefusal(405, text, code=Code.UNIMPLEMENTED, headers=((hdrs.ALLOW, allow),))


def _allow(allowed: Sequence[str]) -> str:
    methods = dict.fromkeys(name for name in allowed if name != hdrs.METH_OPTIONS)
    if hdrs.METH_GET in methods:
        methods[hdrs.METH_HEAD] = None
    return ", ".join([*methods, hdrs.METH_OPTIONS])
