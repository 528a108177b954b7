"""A Thrift inbound whose routes are functions of the test, and a Thrift outbound to call with plain values."""

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from adapters.thrift.config import ThriftEndpoint, ThriftSource, ThriftTarget
from adapters.thrift.inbound import ThriftInbound
from adapters.thrift.outbound import ThriftOutbound
from gateway.codecs.format import Unknown
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.port import Binding, Contract

ROOT = Path(__file__).parents[2]
ORDERS = "schemas/orders.thrift"
EVERYTHING = "tests/schemas/everything.thrift"


class Handler:
    """A Service that decodes, calls the test's function with the plain value, and encodes what it returns."""

    def __init__(self, contract: Contract, function: Callable[..., Any]) -> None:
        self.contract = contract
        self._function = function
        assert contract.request is not None
        self._decode = contract.format.decoder(contract.request, contract.unknown)
        self._encode = None if contract.reply is None else contract.replies.encoder(contract.reply)
        self.calls: list[tuple[Any, Message, Context]] = []

    async def call(self, request: Message, context: Context) -> Message:
        value = self._decode(request.body)
        self.calls.append((value, request, context))
        result = self._function(value)
        if inspect.isawaitable(result):
            result = await result
        return Message(None if self._encode is None else self._encode(result))

    def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        raise AssertionError("Thrift is unary")


@asynccontextmanager
async def served(
    functions: dict[str, Callable[..., Any]], headers: frozenset[str] = frozenset(), **endpoint: Any
) -> AsyncIterator[SimpleNamespace]:
    """The inbound with these functions, each by its name or as Service:name: .port, .url, .handlers, .inbound."""
    config = ThriftEndpoint(**{"thrift": ORDERS, "listen": "127.0.0.1:0", **endpoint})
    inbound = ThriftInbound("orders", config, Network(ROOT))
    await inbound.load()
    handlers: dict[str, Handler] = {}
    bindings = []
    for name, function in functions.items():
        service, _, called = name.rpartition(":")
        source = ThriftSource(function=called, service=service)
        contract = inbound.contract(source)
        handler = handlers[name] = Handler(contract, function)
        (pattern,) = contract.patterns
        bindings.append(Binding(name, source, contract, pattern, handler, headers))
    inbound.bind(bindings)
    await inbound.start()
    try:
        yield SimpleNamespace(
            port=inbound.port,
            url=f"http://127.0.0.1:{inbound.port}{config.path}",
            handlers=handlers,
            inbound=inbound,
            types={name: handler.contract for name, handler in handlers.items()},
        )
    finally:
        await inbound.drain()
        await inbound.stop()


class Caller:
    """A Thrift outbound, called with plain values."""

    def __init__(self, **endpoint: Any) -> None:
        self.outbound = ThriftOutbound("warehouse", ThriftEndpoint(**{"thrift": ORDERS, **endpoint}), Network(ROOT))
        self._services: dict[str, Any] = {}

    async def __aenter__(self) -> "Caller":
        await self.outbound.load()
        await self.outbound.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.outbound.stop()

    def contract(self, function: str) -> Contract:
        service, _, called = function.rpartition(":")
        return self.outbound.contract(ThriftTarget(function=called, service=service))

    async def call(self, function: str, value: Any, context: Context | None = None, headers: Any = ()) -> Any:
        contract = self.contract(function)
        if function not in self._services:
            (pattern,) = contract.patterns
            self._services[function] = self.outbound.service(ThriftTarget(function="x"), contract, pattern)
        assert contract.request is not None
        body = contract.format.encoder(contract.request)(value)
        reply = await self._services[function].call(Message(body, headers), context or Context())
        if contract.reply is None:
            assert reply.body is None
            return None
        return contract.replies.decoder(contract.reply, Unknown.DROP)(reply.body)
