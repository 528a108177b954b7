"""HTTP requests as calls of routes."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, Final

from adapters.http.config import BODYLESS, HttpEndpoint, HttpSource
from adapters.http.openapi import DOCUMENT_PATH, Api, Wire, document_handler
from adapters.http.problem import UnsupportedMediaType, body_of, reply_of
from adapters.http.wire import JSON, NDJSON, SSE, LineReader, array_items, one_line, sse
from gateway.codecs.form import FormFormat, parse_form
from gateway.codecs.format import Unknown
from gateway.codecs.json import JsonFormat
from gateway.codecs.operation import HttpCall, OperationFormat
from gateway.message import NO_PARAMS, Context, Header, Message
from gateway.net.http_router import PathTemplate
from gateway.net.http_server import Handler, HttpReply, HttpRequest, HttpRoute, PayloadTooLarge
from gateway.net.network import Network
from gateway.pattern import Count, Pattern
from gateway.port import Binding, Contract, ContractError, Service
from gateway.schema.types import STRING, Operation
from gateway.status import Failure

HEARTBEAT_SECONDS: Final = 15.0
FIRST_REPLY_SECONDS: Final = 0.2
"""How long a stream's first reply, or its failure, may hold back the status line."""

_TRACEPARENT: Final = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-[ -~]{1,200})?")
_JSON_HEADERS: Final = (("Content-Type", JSON),)


class HttpInbound:
    """One endpoint's routes on a shared HTTP server."""

    def __init__(self, name: str, endpoint: HttpEndpoint, network: Network) -> None:
        if endpoint.listen is None:
            raise ContractError("a route comes from an endpoint with `listen`; this one has `target`")
        self._name = name
        self._endpoint = endpoint
        self._server = network.http_server(endpoint.listen)
        self._json = JsonFormat(endpoint.int64, endpoint.decimal, declared=endpoint.openapi is not None)
        self._api = Api(endpoint, None if endpoint.openapi is None else network.path(endpoint.openapi))

    async def load(self) -> None:
        """Read the OpenAPI document. Without one the contract is the upstream's."""
        await self._api.load()

    def contract(self, address: HttpSource) -> Contract:
        wire = self._api.resolve(address)
        if wire.operation is not None:
            return self._operation(wire, wire.operation)
        bodyless = wire.method in BODYLESS
        return Contract(
            patterns=_patterns(address, bodyless),
            format=FormFormat() if bodyless else self._json,
            reply_format=self._json,
            unknown=Unknown(self._endpoint.unknown_fields),
            params=wire.template.names,
            open_params=not bodyless,
            **self._common(wire),
        )

    def _operation(self, wire: Wire, operation: Operation) -> Contract:
        patterns = {operation.pattern}
        if operation.pattern is Pattern.REQUEST_REPLY:
            patterns.add(Pattern.ONE_WAY)
        return Contract(
            patterns=frozenset(patterns),
            format=OperationFormat(operation, self._json),
            reply_format=self._json,
            request=operation.request,
            reply=operation.reply,
            unknown=Unknown(self._endpoint.unknown_fields),
            metadata=dict.fromkeys(wire.template.names, STRING),
            **self._common(wire),
        )

    def _common(self, wire: Wire) -> dict[str, Any]:
        listen = self._server.listen
        named = f" ({wire.operation.name})" if wire.operation is not None else ""
        return {
            "headers": frozenset(name.lower() for name in self._endpoint.forward_headers),
            "claim": f"{wire.method} {wire.template.shape} on {listen}",
            "describe": f"HTTP {wire.method} {wire.template.text} on {listen}{named}",
            "wire": wire,
        }

    def bind(self, bindings: Sequence[Binding]) -> None:
        routes = [
            HttpRoute(binding.contract.wire.method, binding.contract.wire.template, self._handler(binding))
            for binding in bindings
        ]
        if self._endpoint.serve_openapi and not any(
            route.method == "GET" and route.template.match(DOCUMENT_PATH) is not None for route in routes
        ):
            document = document_handler(self._name, self._endpoint, self._api, tuple(bindings))
            routes.append(HttpRoute("GET", PathTemplate(DOCUMENT_PATH), document))
        self._server.mount(self._name, routes)

    async def start(self) -> None:
        await self._server.start()

    async def drain(self) -> None:
        await self._server.drain()

    async def stop(self) -> None:
        await self._server.stop()

    @property
    def unready(self) -> str:
        return ""

    def _handler(self, binding: Binding) -> Handler:
        if binding.pattern.unary:
            return self._unary(binding)
        if binding.pattern.requests is Count.MANY:
            return self._streamed(binding)
        return self._server_stream(binding)

    def _unary(self, binding: Binding) -> Handler:
        read = self._reader(binding)
        call = binding.service.call
        wire: Wire = binding.contract.wire
        status = wire.binding.status if wire.binding else 202 if binding.accepted else 200

        async def handle(request: HttpRequest) -> HttpReply:
            try:
                message = await read(request)
                reply = await call(message, _context(request))
            except Failure as failure:
                return reply_of(failure)
            if reply.body is None or status == 204:
                return HttpReply(204, _reply_headers(reply, ()))
            return HttpReply(status, _reply_headers(reply, _JSON_HEADERS), reply.body)

        return handle

    def _server_stream(self, binding: Binding) -> Handler:
        read = self._reader(binding)
        service: Service = binding.service

        async def handle(request: HttpRequest) -> HttpReply:
            try:
                message = await read(request)
                return await _replies(request, service.stream(message, None, _context(request)))
            except Failure as failure:
                return reply_of(failure)

        return handle

    def _streamed(self, binding: Binding) -> Handler:
        """Many requests: the body is NDJSON, or a JSON array."""
        service: Service = binding.service
        wanted = tuple(binding.headers)
        limit = self._endpoint.max_body_bytes
        one_reply = binding.pattern.replies is Count.ONE
        status = 202 if binding.accepted else 200
        wrap = _whole_call if binding.contract.wire.operation is not None else None

        async def handle(request: HttpRequest) -> HttpReply:
            try:
                more = _requests(request, limit, wrap)
                head = Message(None, _headers(request, wanted), request.params)
                replies = service.stream(head, more, _context(request))
                if not one_reply:
                    return await _replies(request, replies)
                try:
                    reply = await anext(replies)
                finally:
                    await replies.aclose()
            except Failure as failure:
                return reply_of(failure)
            return HttpReply(status, _reply_headers(reply, _JSON_HEADERS), reply.body)

        return handle

    def _reader(self, binding: Binding) -> Callable[[HttpRequest], Any]:
        """Reads one request message."""
        wanted = tuple(binding.headers)
        limit = self._endpoint.max_body_bytes
        if binding.contract.wire.operation is not None:

            async def read_call(request: HttpRequest) -> Message:
                body = await request.body(limit)
                if body:
                    _check_media_type(request.headers.get("content-type", ""), (JSON,))
                return Message(_whole_call(request, body), _headers(request, wanted), request.params)

            return read_call
        if binding.contract.wire.method in BODYLESS:

            async def read_query(request: HttpRequest) -> Message:
                return Message(request.query.encode(), _headers(request, wanted), request.params)

            return read_query

        async def read(request: HttpRequest) -> Message:
            body = await request.body(limit)
            if body:
                content_type = request.headers.get("content-type", "")
                if content_type != JSON:
                    _check_media_type(content_type, (JSON,))
            params: Any = request.params or NO_PARAMS
            if request.query:
                params = {**parse_form(request.query.encode()), **request.params}
            return Message(body, _headers(request, wanted) if wanted else (), params)

        return read


def _whole_call(request: HttpRequest, body: bytes) -> HttpCall:
    return HttpCall(request.params, request.query, request.headers, body)


def _patterns(address: HttpSource, bodyless: bool) -> frozenset[Pattern]:
    """All that the address leaves open."""
    patterns = {Pattern.REQUEST_REPLY, Pattern.SERVER_STREAM}
    if not bodyless:
        patterns |= {Pattern.CLIENT_STREAM, Pattern.BIDI}
    return frozenset(
        pattern
        for pattern in patterns
        if address.requests in (None, pattern.requests.value) and address.replies in (None, pattern.replies.value)
    )


def _context(request: HttpRequest) -> Context:
    trace = request.headers.get("traceparent", "")
    # What is no traceparent would be passed on to all that believe it is one.
    return Context(peer=request.peer, trace=trace if not trace or _TRACEPARENT.fullmatch(trace) else "")


def _headers(request: HttpRequest, wanted: Sequence[str]) -> list[Header]:
    headers = request.headers
    return [(name, value) for name in wanted if (value := headers.get(name)) is not None]


def _reply_headers(reply: Message, base: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    if not reply.headers:
        return base
    return [*base, *((name, value) for name, value in reply.headers if isinstance(value, str))]


def _check_media_type(content_type: str, expected: Sequence[str]) -> str:
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    if media_type.endswith("+json") and JSON in expected:
        media_type = JSON
    if media_type not in expected or charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType(content_type, " or ".join(expected))
    return media_type


async def _requests(
    request: HttpRequest, limit: int, wrap: Callable[[HttpRequest, bytes], HttpCall] | None
) -> AsyncIterator[Message]:
    """The messages of a body, as they arrive."""
    media_type = _check_media_type(request.headers.get("content-type", NDJSON), (NDJSON, JSON))
    if media_type == JSON:
        for item in array_items(await request.body(limit)):
            yield Message(wrap(request, item) if wrap else item)
        return
    lines = LineReader(limit, lambda: PayloadTooLarge(limit))
    async for chunk in request.chunks():
        for line in lines.feed(chunk):
            yield Message(wrap(request, line) if wrap else line)
    for line in lines.end():
        yield Message(wrap(request, line) if wrap else line)


async def _replies(request: HttpRequest, replies: AsyncGenerator[Message, None]) -> HttpReply:
    """The reply in the framing that the caller accepts. A failure before the first reply has its own status."""
    first = asyncio.ensure_future(anext(replies, None))
    try:
        await asyncio.wait({first}, timeout=FIRST_REPLY_SECONDS)
        if first.done() and first.exception() is not None:
            await first
    except BaseException:
        await _abandon(first, replies)
        raise
    headers, framing = _framing(request.headers.get("accept", ""))
    body = _framed(first, replies, framing)
    # Started, its aclose() lets go of the upstream, however early the caller leaves.
    await anext(body)
    return HttpReply(200, headers, body)


def _framing(accept: str) -> "tuple[Sequence[tuple[str, str]], _Sse | _Ndjson | _Array]":
    if SSE in accept:
        return (("Content-Type", SSE), ("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no")), _Sse()
    if any(media_type in accept for media_type in (NDJSON, "application/ndjson", "application/jsonl")):
        return (("Content-Type", NDJSON),), _Ndjson()
    return _JSON_HEADERS, _Array()


class _Sse:
    start = b""
    heartbeat = b":\n\n"
    cut = False

    def message(self, reply: Message) -> bytes:
        return sse(reply.body, identity=reply.key)

    def end(self) -> bytes:
        return sse(b"{}", "end")

    def failure(self, failure: Failure) -> bytes:
        return sse(body_of(failure), "error")


class _Ndjson:
    start = b""
    heartbeat = b"\n"
    cut = True

    def message(self, reply: Message) -> bytes:
        return one_line(reply.body) + b"\n"

    def end(self) -> bytes:
        return b""

    def failure(self, failure: Failure) -> bytes:
        return b'{"error":%b}\n' % body_of(failure)


class _Array:
    start = b"["
    heartbeat = b" "
    cut = True

    def __init__(self) -> None:
        self._separator = b""

    def message(self, reply: Message) -> bytes:
        separator, self._separator = self._separator, b","
        return b"%b%b" % (separator, reply.body)

    def end(self) -> bytes:
        return b"]"

    def failure(self, failure: Failure) -> bytes:
        return b""


async def _framed(
    first: "asyncio.Future[Message | None]",
    replies: AsyncGenerator[Message, None],
    framing: _Sse | _Ndjson | _Array,
) -> AsyncGenerator[bytes, None]:
    """The body. After a failure an NDJSON or array body is cut off, so that it can't be taken for the whole."""
    coming = first
    try:
        yield b""
        if framing.start:
            yield framing.start
        while True:
            done, _ = await asyncio.wait({coming}, timeout=HEARTBEAT_SECONDS)
            if not done:
                yield framing.heartbeat
                continue
            reply = coming.result()
            if reply is None:
                yield framing.end()
                return
            yield framing.message(reply)
            coming = asyncio.ensure_future(anext(replies, None))
    except Failure as failure:
        yield framing.failure(failure)
        if framing.cut:
            raise
    finally:
        await _abandon(coming, replies)


async def _abandon(coming: "asyncio.Future[Message | None]", replies: AsyncGenerator[Message, None]) -> None:
    """The caller left or the stream is over: upstream is cancelled before this returns."""
    if not coming.done():
        coming.cancel()
        await asyncio.wait({coming})
    await replies.aclose()
