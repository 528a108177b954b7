"""The HTTP/1.1 server that endpoints share. aiohttp is the engine behind it and does not leak past this file."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, cast

import msgspec
from aiohttp import hdrs, web, web_response
from aiohttp.http_exceptions import ContentEncodingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from gateway.message import TRACEPARENT, Context, Header, trace_of
from gateway.net.address import split_host_port
from gateway.net.http_failure import ENCODINGS, PayloadTooLarge, RequestTimeout, UnsupportedEncoding
from gateway.net.http_response import SERVER, HttpResponse
from gateway.net.http_router import HttpRouter, PathTemplate
from gateway.net.problem_json import PROBLEM_JSON, problem_json
from gateway.net.stall import TransportStall
from gateway.net.websocket import HttpUpgrade, WebSocketServer, wants_upgrade
from gateway.status import Code, Failure, invalid

HEADER_BYTES: Final = 32 * 1024  # of all headers together, the request line included
HEADERS: Final = 100
HEADER_SECONDS: Final = 10.0  # from the first byte of a request, or from the connection's start, to its last header
STALL_SECONDS: Final = 10.0  # how long a request's body may not move, and how long a caller may take nothing
IDLE_SECONDS: Final = 3600.0
LINGER_SECONDS: Final = 2.0  # how long what is left of a refused body is read, so that the caller sees the refusal
CONNECTIONS: Final = 10_000
STOP_SECONDS: Final = 0.1  # aiohttp waits for ever on 0


# The engine has no switch for this header, and a stranger need not know the engine's version.
web_response.SERVER_SOFTWARE = SERVER  # type: ignore[attr-defined]

log = logging.getLogger("gateway.http")


class HttpRequest:
    """A request whose body may still be on its way.

    path: raw, still percent-encoded. query: raw, without the question mark. headers: case-insensitive.
    params: what the path template captured, decoded.
    """

    __slots__ = ("_request", "headers", "method", "params", "path", "query")

    def __init__(self, request: web.BaseRequest, path: str, query: str) -> None:
        self._request = request
        self.method: str = request.method
        self.path = path
        self.query = query
        self.headers: Mapping[str, str] = request.headers
        self.params: dict[str, str] = {}

    @property
    def peer(self) -> str:
        """The address of the nearest hop; no header is believed."""
        return self._request.remote or ""

    @property
    def trace(self) -> str:
        """The caller's W3C traceparent, or empty."""
        return trace_of(self.headers.get(TRACEPARENT))

    def context(self) -> Context:
        """Of a call that this request makes."""
        return Context(peer=self.peer, trace=self.trace)

    def wanted(self, names: Iterable[str]) -> list[Header]:
        """Those of these headers that are there; names in lower case."""
        headers = self.headers
        return [(name, value) for name in names if (value := headers.get(name)) is not None]

    @property
    def host(self) -> str:
        """What the caller called this server (Host)."""
        return self.headers.get("host", "")

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
        if hdrs.CONTENT_ENCODING in self.headers:
            _check_encoding(self.headers[hdrs.CONTENT_ENCODING])
        content = request.content
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

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, inflated; it may rest as long as it likes. Raises as body(), without a limit."""
        if hdrs.CONTENT_ENCODING in self.headers:
            _check_encoding(self.headers[hdrs.CONTENT_ENCODING])
        await self._continue()
        try:
            async for chunk in self._request.content.iter_any():
                yield chunk
        except (web.RequestPayloadError, ValueError) as error:
            raise _broken(error) from error

    async def _continue(self) -> None:
        """Tell a caller that waits for it to send the body (RFC 9110, 10.1.1)."""
        request = self._request
        if self.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and not request.content.total_raw_bytes:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0


def _check_encoding(encoding: str) -> None:
    if encoding.strip().lower() not in (*ENCODINGS, "identity", ""):
        raise UnsupportedEncoding(encoding)


def _broken(error: Exception) -> Failure:
    return invalid(f"the request body is broken: {_reason(str(error))}")


class HttpReply(msgspec.Struct):
    """body: bytes, or a generator whose chunks are sent as they come; if it raises, the connection is cut, so that
    what was sent can't be taken for the whole."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | AsyncGenerator[bytes, None] = b""


Handler = Callable[[HttpRequest], Awaitable[HttpReply | HttpUpgrade]]


class HttpRoute(msgspec.Struct, frozen=True):
    method: str
    template: PathTemplate
    handler: Handler


class HttpServer:
    """One listener. Endpoints mount their routes on it; each of them may call start, drain and stop."""

    def __init__(self, listen: str) -> None:
        self.listen = listen
        self.host, self.port = split_host_port(listen)
        self._mounted: dict[str, Sequence[HttpRoute]] = {}
        self._router: HttpRouter[Handler] = HttpRouter(())
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None
        self._lock = asyncio.Lock()
        self._sockets = WebSocketServer()
        self._draining = False
        self._busy = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def mount(self, owner: str, routes: Sequence[HttpRoute]) -> None:
        """Replace all routes of this owner, atomically."""
        self._mounted[owner] = routes
        self._router = HttpRouter(
            (route.method, route.template, route.handler) for mounted in self._mounted.values() for route in mounted
        )

    async def start(self) -> None:
        """Listen. A port of 0 becomes the one that was bound. Raises OSError when the port is taken."""
        async with self._lock:
            if self._runner is not None:
                return
            engine = _Engine(
                self._answer,
                access_log=None,
                keepalive_timeout=IDLE_SECONDS,
                max_line_size=HEADER_BYTES,
                max_field_size=HEADER_BYTES,
                max_headers=HEADERS,
                lingering_time=LINGER_SECONDS,
            )
            # What is still running at stop() had its time in drain().
            runner = web.ServerRunner(engine, handle_signals=False, shutdown_timeout=STOP_SECONDS)
            await runner.setup()
            site = web.TCPSite(runner, self.host or None, self.port, backlog=1024)
            try:
                await site.start()
            except OSError:
                await runner.cleanup()
                raise
            self._runner, self._site = runner, site
            self._draining = False
            self.port = runner.addresses[0][1]

    async def drain(self) -> None:
        """Stop accepting and return when the last request is answered and the last WebSocket closed."""
        self._draining = True
        self._sockets.drain()
        site, self._site = self._site, None
        if site is not None:
            await site.stop()
        await self._idle.wait()

    async def stop(self) -> None:
        async with self._lock:
            runner, self._runner, self._site = self._runner, None, None
            if runner is not None:
                await self._sockets.stop()
                await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._busy += 1
        self._idle.clear()
        try:
            path, _, query = request.raw_path.partition("?")
            exchange = HttpRequest(request, path, query)
            try:
                handler, captures, allowed = self._router.find(request.method, path)
            except ValueError:
                return _problem(400, Code.INVALID_ARGUMENT, "the path is not valid UTF-8")
            if handler is None and path.startswith("http://"):
                # The absolute form, which proxies are sent, must be accepted too (RFC 9112, 3.2.2).
                exchange.path = path = "/" + path.removeprefix("http://").partition("/")[2]
                handler, captures, allowed = self._router.find(request.method, path)
            if handler is None:
                return _not_found(request.method, path, allowed)
            if captures is not None:
                exchange.params = captures
            reply = await handler(exchange)
            if isinstance(reply, HttpUpgrade):
                return await self._sockets.serve(request, reply)
            body = reply.body
            if isinstance(body, bytes):
                response = HttpResponse(reply.status, reply.headers, body)
                if reply.status >= 400 and not request.content.is_eof():
                    response.force_close()  # the rest of the body is not worth reading
                    if reply.status == HTTPStatus.REQUEST_TIMEOUT:
                        await _hang_up(request, response)
                elif self._draining:
                    response.force_close()
                return cast(web.StreamResponse, response)
            return await _stream(request, reply, body)
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()


async def _hang_up(request: web.BaseRequest, response: HttpResponse) -> None:
    """Send the response and close, without waiting for the rest of the request."""
    await response.prepare(request)
    await response.write_eof()
    if request.transport is not None:
        request.transport.close()


async def _stream(request: web.BaseRequest, reply: HttpReply, body: AsyncGenerator[bytes, None]) -> web.StreamResponse:
    if request.method == hdrs.METH_HEAD:
        await body.aclose()
        return web.Response(status=reply.status, headers=reply.headers)
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
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


def _not_found(method: str, path: str, allowed: Sequence[str]) -> web.Response:
    if not allowed and not (method == hdrs.METH_OPTIONS and path == "*"):
        return _problem(404, Code.NOT_FOUND, f"nothing is served at {path[:200]}")
    methods = dict.fromkeys(allowed)
    if hdrs.METH_GET in methods:
        methods[hdrs.METH_HEAD] = None
    allow = ", ".join([*methods, hdrs.METH_OPTIONS])
    if method == hdrs.METH_OPTIONS:
        return web.Response(status=204, headers={hdrs.ALLOW: allow})
    response = _problem(405, Code.UNIMPLEMENTED, f"{method} is not served at {path[:200]}; {', '.join(methods)} is")
    response.headers[hdrs.ALLOW] = allow
    return response


def _problem(status: int, code: Code, detail: str) -> web.Response:
    return web.Response(status=status, body=problem_json(status, code, detail), content_type=PROBLEM_JSON)


class _Engine(web.Server):
    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], **options: Any) -> None:
        # A caller that leaves cancels its handler, and through it the upstream call.
        super().__init__(handler, handler_cancellation=True)
        self._options = options

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **self._options)


class _Connection(RequestHandler):
    """aiohttp's own errors (malformed HTTP, a bug in a handler) as problem+json, without a traceback for the former."""

    __slots__ = ("_head_bytes", "_head_timer", "_stall")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall: TransportStall | None = None
        if self._manager is not None and len(self._manager.connections) > CONNECTIONS:
            self.force_close()
        else:
            self._head_timer = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._late)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        if self._stall is not None:
            self._stall.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.transport is not None:
            self._stall = TransportStall(self.transport, STALL_SECONDS)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.end()
            self._stall = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        size = len(data)
        if self._waiter is not None and not self._waiter.done() and size:
            # A part of a request's head.
            self._head_bytes += size
            if self._head_bytes > HEADER_BYTES:
                self._refuse(LineTooLong(b"", HEADER_BYTES))
            elif self._head_timer is None:
                self._head_timer = asyncio.get_running_loop().call_later(HEADER_SECONDS, self._late)
            return
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if self._head_bytes + size > HEADER_BYTES and self._messages:
            self._refuse_large_heads()
        self._head_bytes = 0

    def _refuse_large_heads(self) -> None:
        """What came in one piece with its body, or with other requests, is measured head by head."""
        for index, (message, _) in enumerate(self._messages):
            if not isinstance(message, _ErrInfo):
                size = sum(len(name) + len(value) + 4 for name, value in message.raw_headers)
                if size + len(message.path) > HEADER_BYTES:
                    error = LineTooLong(b"", HEADER_BYTES)
                    self._messages[index] = (_ErrInfo(431, error, error.message), EMPTY_PAYLOAD)

    def _late(self) -> None:
        self._head_timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._head_bytes:
            self._refuse(TimeoutError())
        else:
            self.force_close()

    def _refuse(self, error: Exception) -> None:
        """Answer the request whose head is not whole, and close."""
        self._messages.append((_ErrInfo(400, error, str(error)), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        # A body that can't be read has been answered; aiohttp meets its error once more when it looks for the rest.
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionResetError("the reply had begun when its handler failed")
        if status >= 500:
            log.error("unhandled error in a request from %s", request.remote, exc_info=exc)
            response = _problem(status, Code.INTERNAL, "internal error")
        else:
            response = _malformed(exc, message or "")
        response.force_close()
        return response


def _malformed(error: BaseException | None, message: str) -> web.Response:
    match error:
        case LineTooLong():
            return _problem(431, Code.INVALID_ARGUMENT, f"the headers are longer than {HEADER_BYTES} bytes")
        case TimeoutError():
            text = f"the headers were not there within {HEADER_SECONDS:g} seconds"
            return _problem(408, Code.DEADLINE_EXCEEDED, text)
        case ContentEncodingError():
            text = f"the content encoding is not read here, {' and '.join(ENCODINGS)} are"
            response = _problem(415, Code.INVALID_ARGUMENT, text)
            response.headers[hdrs.ACCEPT_ENCODING] = ", ".join(ENCODINGS)
            return response
    if "Too many headers" in message:
        return _problem(431, Code.INVALID_ARGUMENT, f"there are more than {HEADERS} headers")
    return _problem(400, Code.INVALID_ARGUMENT, f"malformed HTTP: {_first_line(message)}")


def _reason(text: str) -> str:
    """The last line of what aiohttp says, which is the reason."""
    return text.strip().splitlines()[-1].strip() if text.strip() else "it ends too early"


def _first_line(text: str | None) -> str:
    return text.strip().splitlines()[0].rstrip(":") if text and text.strip() else "it can't be parsed"
