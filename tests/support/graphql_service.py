"""A GraphQL inbound whose routes are functions of the test, and a GraphQL outbound to call with plain values."""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from adapters.graphql.config import Endpoint, Source, Target
from adapters.graphql.inbound import GraphqlInbound
from adapters.graphql.outbound import GraphqlOutbound
from gateway.codecs.format import Unknown
from gateway.message import Context, Header, Message
from gateway.net.network import Network
from gateway.pattern import Count, Pattern
from gateway.port import Binding, Contract
from gateway.schema.idl.graphql.reader import ROOTS, pattern_of
from gateway.schema.types import Type
from support.plain import plain, shown

ROOT = Path(__file__).parents[2]
SHAPES = str(ROOT / "tests" / "schemas" / "shapes.graphql")


class Handler:
    """A Service that decodes, calls the test's function with a dict, and encodes the dict or dicts that it returns.

    ended: how many streams have ended, for whatever reason.
    """

    def __init__(self, contract: Contract, request: Type, reply: Type, function: Callable[..., Any]) -> None:
        self._function = function
        self._types = request, reply
        self._decode = contract.format.decoder(request, contract.unknown)
        self._encode = contract.replies.encoder(reply)
        self.values: list[Any] = []
        self.calls: list[tuple[Message, Context]] = []
        self.ended = 0
        self.reply_headers: list[Header] = []

    async def call(self, request: Message, context: Context) -> Message:
        result = self._function(self._value(request, context))
        if inspect.isawaitable(result):
            result = await result
        return Message(self._encode(plain(self._types[1], result)), self.reply_headers)

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        try:
            async with aclosing(self._function(self._value(request, context))) as results:
                async for result in results:
                    yield Message(self._encode(plain(self._types[1], result)))
        finally:
            self.ended += 1

    def _value(self, request: Message, context: Context) -> Any:
        value = shown(self._types[0], self._decode(request.body))
        self.values.append(value)
        self.calls.append((request, context))
        return value


class Service:
    """The running inbound, and a client for it."""

    def __init__(self, url: str, handlers: dict[str, Handler], inbound: GraphqlInbound, session: Any) -> None:
        self.url = url
        self.handlers = handlers
        self.inbound = inbound
        self.session: aiohttp.ClientSession = session

    async def post(
        self, query: str, variables: Any = None, *, accept: str = "application/json", **more: Any
    ) -> tuple[int, Any]:
        """(status, JSON)"""
        body = {"query": query, **({"variables": variables} if variables is not None else {}), **more}
        async with self.session.post(self.url, json=body, headers={"Accept": accept}) as answer:
            return answer.status, await answer.json(content_type=None)

    async def data(self, query: str, variables: Any = None) -> Any:
        status, answer = await self.post(query, variables)
        assert status == 200, answer
        assert "errors" not in answer, answer
        return answer["data"]

    async def errors(self, query: str, variables: Any = None) -> Any:
        _, answer = await self.post(query, variables)
        return answer["errors"]


@asynccontextmanager
async def served(
    functions: Mapping[str, Callable[..., Any]],
    *,
    types: Mapping[str, tuple[Type, Type]] | None = None,
    headers: frozenset[str] = frozenset(),
    **endpoint: Any,
) -> AsyncIterator[Service]:
    """The inbound with these fields. types: request and reply of each, where no schema is given."""
    given = {"listen": "127.0.0.1:0", **({} if types is not None else {"sdl": SHAPES}), **endpoint}
    config = Endpoint(**given)
    network = Network(ROOT)
    inbound = GraphqlInbound("shop", config, network)
    await inbound.load()
    handlers: dict[str, Handler] = {}
    bindings = []
    for field, function in functions.items():
        source = Source(field=field)
        contract = inbound.contract(source)
        pair = (contract.request, contract.reply) if types is None else types[field]
        request, reply = pair
        assert request is not None and reply is not None
        handler = handlers[field] = Handler(contract, request, reply, function)
        pattern = pattern_of(ROOTS[field.partition(".")[0]])
        bindings.append(Binding(field, source, contract, pattern, handler, headers, request=request, reply=reply))
    inbound.bind(bindings)
    await inbound.start()
    server = network.http_server(config.listen or "")
    async with aiohttp.ClientSession() as session:
        try:
            yield Service(f"http://127.0.0.1:{server.port}{config.path}", handlers, inbound, session)
        finally:
            await inbound.stop()


class Caller:
    """A GraphQL outbound, called with dicts."""

    def __init__(self, **endpoint: Any) -> None:
        sdl = {} if endpoint.get("introspection") else {"sdl": SHAPES}
        self.outbound = GraphqlOutbound("catalog", Endpoint(**{**sdl, **endpoint}), Network(ROOT))

    async def __aenter__(self) -> "Caller":
        await self.outbound.load()
        await self.outbound.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.outbound.stop()

    async def call(self, value: Any, *, headers: Any = (), context: Context | None = None, **target: Any) -> Any:
        contract, service = self._service(target)
        reply = await service.call(self._request(contract, value, headers), context or Context())
        assert contract.reply is not None
        return shown(contract.reply, contract.replies.decoder(contract.reply, Unknown.DROP)(reply.body))

    async def stream(self, value: Any, *, headers: Any = (), **target: Any) -> AsyncGenerator[Any, None]:
        contract, service = self._service(target)
        assert contract.patterns == {Pattern.SERVER_STREAM}
        assert contract.reply is not None
        decode = contract.replies.decoder(contract.reply, Unknown.DROP)
        async with aclosing(service.stream(self._request(contract, value, headers), None, Context())) as replies:
            async for reply in replies:
                yield shown(contract.reply, decode(reply.body))

    def contract(self, **target: Any) -> Contract:
        return self.outbound.contract(Target(**target))

    def _service(self, target: Any) -> tuple[Contract, Any]:
        address = Target(**target)
        contract = self.outbound.contract(address)
        (pattern,) = contract.patterns
        assert pattern.requests is Count.ONE
        return contract, self.outbound.service(address, contract, pattern)

    def _request(self, contract: Contract, value: Any, headers: Any) -> Message:
        assert contract.request is not None
        return Message(contract.format.encoder(contract.request)(plain(contract.request, value)), headers)
