"""The HTTP/1.1 server that endpoints share. aiohttp is the engine behind it and does not leak past this file."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from aiohttp import hdrs, web
from aiohttp.web_protocol import RequestHandler

from gateway.net.address import split_host_port
from gateway.net.http_router import HttpRouter, PathTemplate
from gateway.net.problem_json import PROBLEM_JSON, problem_json
from gateway.status import Code, Failure, invalid

HEADER_BYTES: Final = 32 * 1024  # for one header line; there may be HEADERS of them
HEADERS: Final = 100
IDLE_SECONDS: Final = 3600.0
STOP_SECONDS: Final = 0.1  # aiohttp waits for ever on 0

log = logging.getLogger("gateway.http")


class PayloadTooLarge(Failure):
    """A body over the limit: no retry will help, and HTTP has a status of its own for it (413)."""

    def __init__(self, limit: int) -> None:
        super().__init__(Code.INVALID_ARGUMENT, f"the message is larger than the limit of {limit} bytes", sent=False)


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
    def host(self) -> str:
        """What the caller called this server (Host)."""
        return self.headers.get("host", "")

    async def body(self, limit: int) -> bytes:
        """The whole body, inflated. Raises PayloadTooLarge once it is over the limit, in bytes."""
        request = self._request
        length = request.content_length
        if length is not None and length > limit:
            raise PayloadTooLarge(limit)
        if not request.body_exists:
            return b""
        data = b""
        try:
            async for chunk in request.content.iter_any():
                data = data + chunk if data else chunk
                if len(data) > limit:
                    raise PayloadTooLarge(limit)
        except (web.RequestPayloadError, ValueError) as error:
            raise invalid(f"the request body is broken: {_first_line(str(error))}") from error
        return data

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives, inflated."""
        try:
            async for chunk in self._request.content.iter_any():
                yield chunk
        except (web.RequestPayloadError, ValueError) as error:
            raise invalid(f"the request body is broken: {_first_line(str(error))}") from error


class HttpReply(msgspec.Struct):
    """body: bytes, or a generator whose chunks are sent as they come; if it raises, the connection is cut, so that
    what was sent can't be taken for the whole."""

    status: int
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | AsyncGenerator[bytes, None] = b""


Handler = Callable[[HttpRequest], Awaitable[HttpReply]]


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
        """Stop accepting and return when the last request is answered."""
        self._draining = True
        site, self._site = self._site, None
        if site is not None:
            await site.stop()
        await self._idle.wait()

    async def stop(self) -> None:
        async with self._lock:
            runner, self._runner, self._site = self._runner, None, None
            if runner is not None:
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
            if handler is None:
                return _not_found(request.method, path, allowed)
            if captures is not None:
                exchange.params = captures
            reply = await handler(exchange)
            body = reply.body
            if isinstance(body, bytes):
                response = web.Response(status=reply.status, headers=reply.headers, body=body)
                if self._draining:
                    response.force_close()
                return response
            return await _stream(request, reply, body)
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()


async def _stream(request: web.BaseRequest, reply: HttpReply, body: AsyncGenerator[bytes, None]) -> web.StreamResponse:
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
    if not allowed:
        return _problem(404, Code.NOT_FOUND, f"nothing is served at {path}")
    response = _problem(405, Code.UNIMPLEMENTED, f"{method} is not served at {path}; {', '.join(allowed)} is")
    response.headers[hdrs.ALLOW] = ", ".join(allowed)
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

    __slots__ = ()

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
            response = _problem(status, Code.INVALID_ARGUMENT, f"malformed HTTP: {_first_line(message)}")
        response.force_close()
        return response


def _first_line(text: str | None) -> str:
    return text.strip().splitlines()[0].rstrip(":") if text and text.strip() else "it can't be parsed"
