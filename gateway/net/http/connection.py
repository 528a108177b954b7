"""Connections of the HTTP/1.1 server: limits on a request's head, and answers before there is a request."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from aiohttp import web, web_response
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from gateway.message import REQUEST_ID, Departure, request_id_of
from gateway.net.http.failure import HttpRefusal
from gateway.net.http.problem_json import PROBLEM_JSON, problem_json
from gateway.net.http.response import SERVER
from gateway.net.stall import TransportStall
from gateway.status import Code, Failure

HEADER_BYTES: Final = 32 * 1024  # of all headers together, the request line included
HEADERS: Final = 100
HEADER_SECONDS: Final = 10.0  # from the first byte of a request, or from the connection's start, to its last header
STALL_SECONDS: Final = 10.0  # how long a caller may take nothing of its reply
IDLE_SECONDS: Final = 3600.0
LINGER_SECONDS: Final = 2.0  # how long what is left of a refused body is read, so that the caller sees the refusal
LINGER_BYTES: Final = 1024 * 1024  # how much of it, inflated
CONNECTIONS: Final = 10_000

# The engine has no switch for this header, and a stranger need not know the engine's version.
web_response.SERVER_SOFTWARE = SERVER  # type: ignore[attr-defined]

_OPTIONS: Final[dict[str, Any]] = {
    "access_log": None,
    "auto_decompress": False,
    "keepalive_timeout": IDLE_SECONDS,
    "max_line_size": HEADER_BYTES,
    "max_field_size": HEADER_BYTES,
    "max_headers": HEADERS,
    "lingering_time": 0,  # the engine's own reads any number of bytes
}

log = logging.getLogger("gateway.http")


def problem(refusal: HttpRefusal) -> web.Response:
    """A reply to what reaches no handler."""
    body = problem_json(refusal.status, refusal.code, refusal.message)
    response = web.Response(status=refusal.status, body=body, content_type=PROBLEM_JSON)
    response.headers.extend(refusal.headers)
    return response


class HttpEngine(web.Server):
    """Makes connections whose requests this handler answers.

    stalled: told the request whose caller took nothing of the reply, and is cut off.
    rejected: told why a request is none.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        stalled: Callable[[web.BaseRequest], None],
        rejected: Callable[[Failure], None],
    ) -> None:
        self.stalled = stalled
        self.rejected = rejected
        # A caller that leaves cancels its handler, and through it the upstream call.
        super().__init__(handler, handler_cancellation=True)

    def __call__(self) -> RequestHandler:
        return HttpConnection(self, loop=asyncio.get_running_loop(), **_OPTIONS)


class HttpConnection(RequestHandler):
    """aiohttp's own errors (malformed HTTP, a bug in a handler) as problem+json, without a traceback for the former."""

    __slots__ = ("_head_bytes", "_head_timer", "_replying", "_stall", "departure", "request_id")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall: TransportStall | None = None
        self._replying: web.BaseRequest | None = None
        self.departure = Departure()
        self.request_id = ""  # of the request that is answered; none for one that can't be read
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
            self._stall = TransportStall(self.transport, STALL_SECONDS, self._stalled)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.end()
            self._stall = None

    def _stalled(self) -> None:
        self.departure.stalled(STALL_SECONDS)
        request = self._current_request or self._replying
        if request is not None and isinstance(self._manager, HttpEngine):
            self._manager.stalled(request)

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

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        self._replying = request
        request_id, self.request_id = self.request_id, ""
        if isinstance(resp, web.Response):
            resp.headers[REQUEST_ID] = request_id or request_id_of(None)
        try:
            finished = await super().finish_response(request, resp, start_time)
        finally:
            self._replying = None
        if not request.content.is_eof():
            await self._linger(request.content)
        return finished

    async def _linger(self, content: StreamReader) -> None:
        """Read on for a while: closed with bytes unread, the connection would lose what the caller has not taken."""
        left = LINGER_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                while self.transport is not None and not self.transport.is_closing() and not content.is_eof():
                    if left <= 0:
                        self.transport.pause_reading()
                        await asyncio.sleep(LINGER_SECONDS)
                    left -= len(await content.readany())

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
            refusal = HttpRefusal(status, "internal error", code=Code.INTERNAL)
        else:
            refusal = _malformed(exc, message or "")
        if isinstance(self._manager, HttpEngine):
            self._manager.rejected(refusal)
        response = problem(refusal)
        response.force_close()
        return response


def _malformed(error: BaseException | None, message: str) -> HttpRefusal:
    match error:
        case LineTooLong():
            return HttpRefusal(431, f"the headers are longer than {HEADER_BYTES} bytes")
        case TimeoutError():
            text = f"the headers were not there within {HEADER_SECONDS:g} seconds"
            return HttpRefusal(408, text, code=Code.DEADLINE_EXCEEDED)
    if "Too many headers" in message:
        return HttpRefusal(431, f"there are more than {HEADERS} headers")
    return HttpRefusal(400, f"malformed HTTP: {_first_line(message)}")


def _first_line(text: str | None) -> str:
    return text.strip().splitlines()[0].rstrip(":") if text and text.strip() else "it can't be parsed"
