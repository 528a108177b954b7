"""HTTP requests as calls of routes."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Container, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from adapters.http.config import BODYLESS, HttpEndpoint, HttpSource
from adapters.http.openapi import DOCUMENT_PATH, Api, Wire, document_handler
from gateway.codecs.form import FormFormat, parse_form
from gateway.codecs.format import Format
from gateway.codecs.operation import HttpCall, OperationFormat
from gateway.codecs.protobuf.field_mask import UpdateMask
from gateway.message import NO_PARAMS, Message
from gateway.net.http.call import crossing
from gateway.net.http.cors import CorsPolicy
from gateway.net.http.failure import HttpRefusal, PayloadTooLarge
from gateway.net.http.json_stream import NDJSON, LineReader, array_items
from gateway.net.http.media_type import JSON, check_media_type, parse_media_type
from gateway.net.http.mounted import Mounted
from gateway.net.http.negotiation import ANYTHING, MEDIA_TYPES, POSTED_BY_PAGES, WRITTEN, Negotiation, format_named
from gateway.net.http.problem import problem_reply
from gateway.net.http.router import PathTemplate
from gateway.net.http.server import Handler, HttpReply, HttpRequest, HttpRoute
from gateway.net.http.stream_writer import framing_of, stream_reply
from gateway.net.network import Network
from gateway.pattern import Count, Pattern
from gateway.port import Binding, Contract, Service
from gateway.schema.types import STRING, Operation
from gateway.status import Code, Failure

_JSON_HEADERS: Final = (("Content-Type", JSON),)


class HttpInbound(Mounted):
    """One endpoint's routes on a shared HTTP server."""

    def __init__(self, name: str, endpoint: HttpEndpoint, network: Network) -> None:
        super().__init__(name, endpoint.listen, network, endpoint.tls)
        self._endpoint = endpoint
        self._json = endpoint.format
        self._cors = None if endpoint.cors is None else CorsPolicy(endpoint.cors, endpoint.forward_headers)
        self._api = Api(endpoint, None if endpoint.openapi is None else network.path(endpoint.openapi))

    async def load(self) -> None:
        """Read the OpenAPI document. Without one the contract is the upstream's."""
        await super().load()
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
            formats=() if bodyless else self._others(self._endpoint.formats),
            reply_formats=self._others(self._endpoint.formats, WRITTEN),
            unknown=self._endpoint.unknown,
            params=wire.template.names,
            open_params=not bodyless,
            **self._common(wire),
        )

    def _others(self, names: Iterable[str], among: Container[str] = MEDIA_TYPES) -> tuple[Format, ...]:
        """The formats of these names, once each, besides JSON."""
        chosen = dict.fromkeys(name for name in names if name in among and name != "json")
        return tuple(format_named(name, self._json) for name in chosen)

    def _operation(self, wire: Wire, operation: Operation) -> Contract:
        patterns = {operation.pattern}
        if operation.pattern is Pattern.REQUEST_REPLY:
            patterns.add(Pattern.ONE_WAY)
        return Contract(
            patterns=frozenset(patterns),
            format=OperationFormat(operation, self._json),
            reply_format=self._json,
            formats=tuple(
                OperationFormat(operation, other) for other in self._others((*self._endpoint.formats, wire.body))
            ),
            reply_formats=self._others((*self._endpoint.formats, wire.reply), WRITTEN),
            request=operation.request,
            reply=operation.reply,
            unknown=self._endpoint.unknown,
            metadata=dict.fromkeys(wire.template.names, STRING),
            **self._common(wire),
        )

    def _common(self, wire: Wire) -> dict[str, Any]:
        listen = self._server.listen
        named = f" ({wire.operation.name})" if wire.operation is not None else ""
        return {
            "headers": self._endpoint.forwarded,
            "link": _link(wire),
            "claim": f"{wire.method} {wire.template.shape} on {listen}",
            "describe": f"HTTP {wire.method} {wire.template.text} on {listen}{named}",
            "wire": wire,
        }

    def bind(self, bindings: Sequence[Binding]) -> None:
        cors = self._cors
        routes = [
            HttpRoute(binding.contract.wire.method, binding.contract.wire.template, self._handler(binding), cors)
            for binding in bindings
        ]
        if self._endpoint.serve_openapi and not any(
            route.method == "GET" and route.template.match(DOCUMENT_PATH) is not None for route in routes
        ):
            document = document_handler(self._name, self._endpoint, self._api, tuple(bindings))
            routes.append(HttpRoute("GET", PathTemplate(DOCUMENT_PATH), document, cors))
        self._server.mount(self._name, routes)

    def _handler(self, binding: Binding) -> Handler:
        if binding.pattern.unary:
            return self._unary(binding)
        if binding.pattern.requests is Count.MANY:
            return self._streamed(binding)
        return self._server_stream(binding)

    def _unary(self, binding: Binding) -> Handler:
        negotiation = self._negotiation(binding)
        read = self._reader(binding, negotiation)
        link = binding.link
        wire: Wire = binding.contract.wire
        status = wire.binding.status if wire.binding else 202 if binding.accepted else 200
        default = negotiation.default

        async def handle(request: HttpRequest) -> HttpReply:
            try:
                accept = request.headers.get("accept", "")
                told = default if accept in ANYTHING or status == 204 else negotiation.reply(accept)
                asked, message = await read(request)
                reply = await told.services[asked].call(message, request.context())
            except Failure as failure:
                return problem_reply(failure)
            if reply.body is None or status == 204:
                return HttpReply(204, _reply_headers(reply, ()))
            own = (*told.headers, ("Location", reply.params[link])) if link else told.headers
            return HttpReply(status, _reply_headers(reply, own), reply.body)

        return handle

    def _server_stream(self, binding: Binding) -> Handler:
        negotiation = self._negotiation(binding)
        read = self._reader(binding, negotiation)
        services = negotiation.default.services

        async def handle(request: HttpRequest) -> HttpReply:
            try:
                asked, message = await read(request)
                return await _streamed(request, services[asked].stream(message, None, request.context()))
            except Failure as failure:
                return problem_reply(failure)

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
                head = Message(None, request.wanted(wanted), request.params)
                replies = service.stream(head, more, request.context())
                if not one_reply:
                    return await _streamed(request, replies)
                try:
                    reply = await anext(replies)
                finally:
                    await replies.aclose()
            except Failure as failure:
                return problem_reply(failure)
            return HttpReply(status, _reply_headers(reply, _JSON_HEADERS), reply.body)

        return handle

    def _negotiation(self, binding: Binding) -> Negotiation[Service]:
        contract = binding.contract
        formats = [contract.format, *contract.formats]
        requests = {form.name: form.body.name if isinstance(form, OperationFormat) else form.name for form in formats}
        replies = {form.name: form.name for form in (contract.replies, *contract.reply_formats)}
        default = (contract.format.name, contract.replies.name)
        return Negotiation(requests, replies, {default: binding.service, **binding.variants})

    def _received(
        self, request: HttpRequest, negotiation: Negotiation[Service], content_type: str, body: bytes
    ) -> tuple[str, Any]:
        """(name of the body's format, what its decoder takes)"""
        received = negotiation.request(content_type, body)
        origin = request.origin
        if origin and parse_media_type(content_type)[0] in POSTED_BY_PAGES:
            own = origin.partition("//")[2].lower() == request.host.lower()
            if not own and (self._cors is None or not self._cors.admits(origin)):
                told = "pages of this origin may not post forms here"
                raise HttpRefusal(403, told, code=Code.PERMISSION_DENIED)
        return received

    def _reader(
        self, binding: Binding, negotiation: Negotiation[Service]
    ) -> Callable[[HttpRequest], Awaitable[tuple[str, Message]]]:
        """Reads one request message; with the name of its format."""
        wanted = tuple(binding.headers)
        limit = self._endpoint.max_body_bytes
        plain = binding.contract.format.name
        if binding.contract.wire.operation is not None:

            async def read_call(request: HttpRequest) -> tuple[str, Message]:
                asked, body = plain, await request.body(limit)
                if body:
                    asked, body = self._received(request, negotiation, request.headers.get("content-type", ""), body)
                return asked, Message(_whole_call(request, body), request.wanted(wanted), request.params)

            return read_call
        if binding.contract.wire.method in BODYLESS:

            async def read_query(request: HttpRequest) -> tuple[str, Message]:
                return plain, Message(request.query.encode(), request.wanted(wanted), request.params)

            return read_query

        masks = _masks(binding) if binding.contract.wire.method == "PATCH" else None

        async def read(request: HttpRequest) -> tuple[str, Message]:
            asked, body = plain, await request.body(limit)
            if body:
                content_type = request.headers.get("content-type", "")
                if content_type != JSON:
                    asked, body = self._received(request, negotiation, content_type, body)
            params: Any = request.params or NO_PARAMS
            if request.query:
                params = {**parse_form(request.query.encode()), **request.params}
            if masks is not None:
                params = masks(asked, body, params)
            return asked, Message(body, request.wanted(wanted) if wanted else (), params)

        return read


def _masks(binding: Binding) -> Callable[[str, Any, Mapping[str, Any]], Mapping[str, Any]] | None:
    """(name of the request's format, body, params) -> params with the FieldMask of what the body has."""
    mask = UpdateMask.of(binding.request, binding.params)
    if mask is None:
        return None
    formats = (binding.contract.format, *binding.contract.formats)
    readers = {format_.name: reader for format_ in formats if (reader := mask.reader(format_)) is not None}

    def fill(asked: str, body: Any, params: Mapping[str, Any]) -> Mapping[str, Any]:
        if asked not in readers or mask.given(params):
            return params
        told = readers[asked](body)
        return {**params, mask.name: told} if told else params

    return fill


def _link(wire: Wire) -> Callable[[Mapping[str, str]], str] | None:
    """The URL, relative to the server's. None for what is no GET, since a URL alone does not say how to call it."""
    if wire.method != "GET":
        return None
    binding, names = wire.binding, frozenset(wire.template.names)
    asked = None if binding is None else {p.field.name for p in binding.parameters if p.location == "query"}

    def link(params: Mapping[str, str]) -> str:
        query = {name: value for name, value in params.items() if name not in names}
        for name in query:
            if asked is not None and name not in asked:
                raise KeyError(name)
        path = wire.template.fill(params)
        return f"{path}?{urlencode(query)}" if query else path

    return link


def _whole_call(request: HttpRequest, body: Any) -> HttpCall:
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


def _reply_headers(reply: Message, base: Sequence[tuple[str, str]]) -> Sequence[tuple[str, str]]:
    if not reply.headers:
        return base
    return [*base, *crossing(reply.headers)]


async def _streamed(request: HttpRequest, replies: AsyncGenerator[Message, None]) -> HttpReply:
    return await stream_reply(replies, framing_of(request.headers.get("accept", "")))


async def _requests(
    request: HttpRequest, limit: int, wrap: Callable[[HttpRequest, bytes], HttpCall] | None
) -> AsyncIterator[Message]:
    """The messages of a body, as they arrive."""
    media_type = check_media_type(request.headers.get("content-type", NDJSON), (NDJSON, JSON), suffixes=True)
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
