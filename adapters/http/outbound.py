"""Calls of routes as HTTP requests."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping

import msgspec

from adapters.http.config import BODYLESS, HttpEndpoint, HttpTarget
from adapters.http.openapi import Api, Wire
from adapters.http.problem import failure_of, failure_of_problem
from adapters.http.wire import JSON, NDJSON, SSE, LineReader, SseReader, array_items, one_line
from gateway.codecs.form import FormFormat
from gateway.codecs.format import Unknown
from gateway.codecs.json import JsonFormat
from gateway.codecs.operation import HttpCall, OperationFormat
from gateway.message import Context, Message
from gateway.net.http_client import HttpAnswer, HttpClient, HttpStream
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


class HttpOutbound:
    """One HTTP service."""

    def __init__(self, name: str, endpoint: HttpEndpoint, network: Network) -> None:
        if endpoint.target is None:
            raise ContractError("a route goes to an endpoint with `target`; this one has `listen`")
        self._endpoint = endpoint
        self._target = endpoint.target
        self._client = HttpClient(endpoint.max_body_bytes)
        self._json = JsonFormat(endpoint.int64, endpoint.decimal, declared=endpoint.openapi is not None)
        self._api = Api(endpoint, None if endpoint.openapi is None else network.path(endpoint.openapi))

    async def load(self) -> None:
        """Read the OpenAPI document. Without one the contract is the caller's."""
        await self._api.load()

    def contract(self, address: HttpTarget) -> Contract:
        wire = self._api.resolve(address)
        described = f"HTTP {wire.method} {self._target}{wire.template.text}"
        headers = frozenset(name.lower() for name in self._endpoint.forward_headers)
        operation = wire.operation
        if operation is not None:
            if operation.pattern.requests is Count.MANY and operation.wire.parameters:
                raise ContractError("a stream of requests has no place for the operation's parameters")
            return Contract(
                patterns=frozenset({operation.pattern}),
                format=OperationFormat(operation, self._json),
                reply_format=self._json,
                request=operation.request,
                reply=operation.reply,
                unknown=Unknown.DROP,
                headers=headers,
                describe=f"{described} ({operation.name})",
                wire=wire,
            )
        return Contract(
            patterns=frozenset({_PATTERNS[address.requests, address.replies]}),
            format=FormFormat() if wire.method in BODYLESS else self._json,
            reply_format=self._json,
            unknown=Unknown.DROP,
            params=wire.template.names,
            headers=headers,
            describe=described,
            wire=wire,
        )

    def service(self, address: HttpTarget, contract: Contract, pattern: Pattern) -> Service:
        return _HttpService(self._client, self._target, contract, pattern, self._endpoint.max_body_bytes)

    async def start(self) -> None:
        """Connections are made when they are needed."""

    async def stop(self) -> None:
        await self._client.close()

    @property
    def unready(self) -> str:
        return ""


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

    async def call(self, request: Message, context: Context) -> Message:
        url, body, own = self._address(request)
        headers = [*self._headers(request, context, JSON, JSON), *own]
        answer = await self._client.request(self._method, url, headers, body, _remaining(context))
        return self._reply(answer)

    def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        url, body, own = self._address(request)
        accept = f"{NDJSON}, {SSE}, {JSON};q=0.5" if self._many else JSON
        headers = [*self._headers(request, context, JSON if more is None else NDJSON, accept), *own]
        content = body if more is None else _lines(more)
        return self._exchange(self._client.stream(self._method, url, headers, content, None))

    async def _exchange(self, exchange: HttpStream) -> AsyncGenerator[Message, None]:
        async with exchange as answer:
            if not 200 <= answer.status < 300:
                body = b"".join([chunk async for chunk in self._limited(answer)])
                raise failure_of(answer.status, answer.headers, body)
            if not self._many:
                body = b"".join([chunk async for chunk in self._limited(answer)])
                yield self._reply(HttpAnswer(answer.status, answer.headers, body))
                return
            async for body in self._messages(answer):
                yield Message(body)

    async def _messages(self, answer: HttpStream) -> AsyncIterator[bytes]:
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        match media_type:
            case "text/event-stream":
                events = SseReader(self._max_bytes, self._too_large)
                async for chunk in answer.chunks():
                    for event in events.feed(chunk):
                        if event.event == "error":
                            raise _in_band(event.data)
                        if event.event == "end":
                            return
                        yield event.data
            case "application/x-ndjson" | "application/ndjson" | "application/jsonl":
                lines = LineReader(self._max_bytes, self._too_large)
                async for chunk in answer.chunks():
                    for line in lines.feed(chunk):
                        yield _line(line)
                for line in lines.end():
                    yield _line(line)
            case "application/json":
                body = b"".join([chunk async for chunk in self._limited(answer)])
                try:
                    items = array_items(body)
                except Failure as failure:
                    raise Failure(Code.INTERNAL, f"the upstream's stream: {failure.message}") from failure
                for item in items:
                    yield item
            case other:
                raise Failure(Code.INTERNAL, f"the upstream answered with {other or 'no content type'}, not a stream")

    def _too_large(self) -> Failure:
        return Failure(Code.INTERNAL, f"the upstream's reply is larger than {self._max_bytes} bytes")

    async def _limited(self, answer: HttpStream) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in answer.chunks():
            size += len(chunk)
            if size > self._max_bytes:
                raise self._too_large()
            yield chunk

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
        headers = [("Accept", accept)]
        if not self._bodyless:
            headers.append(("Content-Type", content))
        if context.trace:
            headers.append(("traceparent", context.trace))
        headers.extend((name, value) for name, value in request.headers if isinstance(value, str))
        return headers

    def _reply(self, answer: HttpAnswer) -> Message:
        if not 200 <= answer.status < 300:
            raise failure_of(answer.status, answer.headers, answer.body)
        headers = [(name, value) for name in self._wanted if (value := answer.headers.get(name)) is not None]
        if not answer.body:
            # An empty 2xx says that all went well; as JSON that is an object without members.
            return Message(b"{}", headers)
        media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != JSON and not media_type.endswith("+json"):
            raise Failure(Code.INTERNAL, f"the upstream answered with {media_type or 'no content type'}, not JSON")
        return Message(answer.body, headers)


def _remaining(context: Context) -> float | None:
    if context.deadline == float("inf"):
        return None
    return max(0.001, context.deadline - asyncio.get_running_loop().time())


async def _lines(more: AsyncIterator[Message]) -> AsyncGenerator[bytes, None]:
    async for message in more:
        body = message.body
        yield one_line(body.body if isinstance(body, HttpCall) else body) + b"\n"


def _in_band(data: bytes) -> Failure:
    try:
        problem = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        problem = {}
    problem = problem if isinstance(problem, dict) else {}
    status = problem.get("status")
    return failure_of_problem(status if isinstance(status, int) else 500, problem)


def _line(line: bytes) -> bytes:
    """The message, unless it is the error that ends a broken stream."""
    if line.startswith(b'{"error":'):
        for item in _errors(line):
            raise item
    return line


def _errors(line: bytes) -> Iterator[Failure]:
    try:
        parsed = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    error = parsed.get("error") if isinstance(parsed, dict) and len(parsed) == 1 else None
    if isinstance(error, dict) and ("code" in error or "status" in error):
        status = error.get("status")
        yield failure_of_problem(status if isinstance(status, int) else 500, error)
