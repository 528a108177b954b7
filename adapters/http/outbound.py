"""Calls of routes as HTTP requests."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from typing import Any

from adapters.http.config import BODYLESS, HttpEndpoint, HttpTarget
from adapters.http.openapi import Api, Wire
from adapters.http.status import code_of
from gateway.codecs.form import FormFormat
from gateway.codecs.format import Unknown
from gateway.codecs.operation import HttpCall, OperationFormat
from gateway.codecs.several import InFormat, SeveralFormat
from gateway.message import Context, Message
from gateway.net.deadlines import remaining
from gateway.net.http.call import reply_headers, request_headers
from gateway.net.http.client import HttpAnswer, HttpClient, HttpStream
from gateway.net.http.json_stream import NDJSON, one_line
from gateway.net.http.media_type import JSON, parse_media_type
from gateway.net.http.negotiation import MEDIA_TYPES, WRITTEN, format_named, format_of, received
from gateway.net.http.problem import answered_failure
from gateway.net.http.problem_json import failure_of, title
from gateway.net.http.stream_reader import ACCEPT, read_replies
from gateway.net.http.targeted import Targeted
from gateway.net.network import Network
from gateway.pattern import Count, Pattern
from gateway.port import Contract, ContractError, Service
from gateway.status import Code, Failure

_PATTERNS: Mapping[tuple[str, str], Pattern] = {
    ("one", "one"): Pattern.REQUEST_REPLY,
    ("one", "many"): Pattern.SERVER_STREAM,
    ("many", "one"): Pattern.CLIENT_STREAM,
    ("many", "many"): Pattern.BIDI,
}


class HttpOutbound(Targeted[HttpClient]):
    """One HTTP service."""

    def __init__(self, name: str, endpoint: HttpEndpoint, network: Network) -> None:
        super().__init__(endpoint.target, HttpClient(endpoint.max_body_bytes), network, endpoint.tls)
        self._endpoint = endpoint
        self._json = endpoint.format
        self._api = Api(endpoint, None if endpoint.openapi is None else network.path(endpoint.openapi))

    async def load(self) -> None:
        """Read the OpenAPI document. Without one the contract is the caller's."""
        await super().load()
        await self._api.load()

    def contract(self, address: HttpTarget) -> Contract:
        wire = self._api.resolve(address)
        described = f"HTTP {wire.method} {self._target}{wire.template.text}"
        headers = self._endpoint.forwarded
        operation = wire.operation
        body = address.body or wire.body
        named = dict.fromkeys(name for name in (body, wire.reply, *self._endpoint.formats) if name in WRITTEN)
        others = tuple(format_named(name, self._json) for name in named if name != "json")
        reply = SeveralFormat((self._json, *others)) if others else self._json
        written = format_named(body, self._json)
        if operation is not None:
            if operation.pattern.requests is Count.MANY and operation.wire.parameters:
                raise ContractError("a stream of requests has no place for the operation's parameters")
            return Contract(
                patterns=frozenset({operation.pattern}),
                format=OperationFormat(operation, written),
                reply_format=reply,
                request=operation.request,
                reply=operation.reply,
                unknown=Unknown.DROP,
                headers=headers,
                describe=f"{described} ({operation.name})",
                wire=wire,
            )
        return Contract(
            patterns=frozenset({_PATTERNS[address.requests, address.replies]}),
            format=FormFormat() if wire.method in BODYLESS else written,
            reply_format=reply,
            unknown=Unknown.DROP,
            params=wire.template.names,
            headers=headers,
            describe=described,
            wire=wire,
        )

    def service(self, address: HttpTarget, contract: Contract, pattern: Pattern) -> Service:
        return _HttpService(self._client, self._target, contract, pattern, self._endpoint.max_body_bytes)


class _HttpService:
    def __init__(self, client: HttpClient, target: str, contract: Contract, pattern: Pattern, max_bytes: int) -> None:
        wire: Wire = contract.wire
        self._client = client
        self._method = wire.method
        self._bodyless = wire.binding.body is None if wire.binding else wire.method in BODYLESS
        self._target = target
        self._template = wire.template
        self._address = self._call_address if wire.operation is not None else self._plain_address
        self._wanted = contract.headers
        self._max_bytes = max_bytes
        self._many = pattern.replies is Count.MANY
        form = contract.format
        self._content_type = MEDIA_TYPES[form.body.name if isinstance(form, OperationFormat) else form.name][0]
        replies = contract.replies
        others = replies.formats[1:] if isinstance(replies, SeveralFormat) else ()
        self._others = frozenset(other.name for other in others)
        accepted = [*(MEDIA_TYPES[other.name][0] for other in others), f"{JSON};q=0.9"]
        self._accept = ", ".join(accepted) if others else JSON

    async def call(self, request: Message, context: Context) -> Message:
        url, body, own = self._address(request)
        headers = [*self._headers(request, context, self._content_type, self._accept), *own]
        answer = await self._client.request(self._method, url, headers, body, remaining(context))
        return self._reply(answer)

    def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        url, body, own = self._address(request)
        accept = ACCEPT if self._many else self._accept
        headers = [*self._headers(request, context, self._content_type if more is None else NDJSON, accept), *own]
        content = body if more is None else _lines(more)
        return self._exchange(self._client.stream(self._method, url, headers, content, None))

    async def _exchange(self, exchange: HttpStream) -> AsyncGenerator[Message, None]:
        async with exchange as answer:
            if not self._many or not 200 <= answer.status < 300:
                body = await answer.body(self._max_bytes)
                yield self._reply(HttpAnswer(answer.status, answer.headers, body))
                return
            async for body in read_replies(answer, self._max_bytes, _ended):
                yield Message(body)

    def _plain_address(self, request: Message) -> tuple[str, bytes, Iterable[tuple[str, str]]]:
        """(URL, body, headers of its own)"""
        url = self._target + self._template.fill(request.params)
        body: bytes = request.body or b""
        if self._bodyless:
            return (f"{url}?{body.decode()}" if body else url), b"", ()
        return url, body, ()

    def _call_address(self, request: Message) -> tuple[str, bytes, Iterable[tuple[str, str]]]:
        call: HttpCall | None = request.body
        if call is None:  # the requests of a stream follow, and there are no parameters
            return self._target + self._template.fill({}), b"", ()
        url = self._target + self._template.fill(call.params)
        return (f"{url}?{call.query}" if call.query else url), call.body, call.headers.items()

    def _headers(self, request: Message, context: Context, content: str, accept: str) -> list[tuple[str, str]]:
        own = (("Accept", accept),) if self._bodyless else (("Accept", accept), ("Content-Type", content))
        return request_headers(own, request, context)

    def _reply(self, answer: HttpAnswer) -> Message:
        if not 200 <= answer.status < 300:
            raise _refused(answer)
        headers = reply_headers(answer.headers, self._wanted)
        if not answer.body:
            # An empty 2xx says that all went well; as JSON that is an object without members.
            return Message(b"{}", headers)
        content_type = answer.headers.get("content-type", "")
        if content_type != JSON:
            media_type, parameters = parse_media_type(content_type)
            name = format_of(media_type)
            if name in self._others:
                try:
                    return Message(InFormat(name, received(name, answer.body, parameters)), headers)
                except Failure as failure:
                    raise Failure(Code.INTERNAL, f"the upstream's reply can't be read: {failure.message}") from failure
            if name != "json":
                told = " or ".join(["JSON", *(MEDIA_TYPES[other][0] for other in sorted(self._others))])
                raise Failure(
                    Code.INTERNAL, f"the upstream answered with {media_type or 'no content type'}, not {told}"
                )
        return Message(answer.body, headers)


async def _lines(more: AsyncIterator[Message]) -> AsyncGenerator[bytes, None]:
    async for message in more:
        body = message.body
        yield one_line(body.body if isinstance(body, HttpCall) else body) + b"\n"


def _refused(answer: HttpAnswer) -> Failure:
    return answered_failure(answer.status, answer.headers, answer.body, code_of(answer.status))


def _ended(problem: Mapping[str, Any]) -> Failure:
    """The failure that ends a stream."""
    status = problem.get("status")
    status = status if isinstance(status, int) else 500
    return failure_of(problem, code_of(status), f"the upstream answered {status} {title(status)}")
