"""A SOAP inbound whose routes are functions of the test, and a SOAP outbound to call with plain values."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from adapters.soap.config import SoapEndpoint, SoapSource, SoapTarget
from adapters.soap.inbound import SoapInbound
from adapters.soap.outbound import SoapOutbound
from gateway.codecs.format import Unknown
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.port import Binding, Contract

ROOT = Path(__file__).parent.parent.parent
ORDERS = str(ROOT / "schemas" / "orders.wsdl")
SCHEMAS = ROOT / "tests" / "schemas"


class Handler:
    """A Service that decodes, calls the test's function with the plain value, and encodes what it returns."""

    def __init__(self, contract: Contract, function: Callable[..., Any]) -> None:
        self.contract = contract
        self._function = function
        self._decode = contract.format.decoder(contract.request, contract.unknown)
        self._encode = None if contract.reply is None else contract.format.encoder(contract.reply)
        self.calls: list[tuple[Any, Message, Context]] = []

    async def call(self, request: Message, context: Context) -> Message:
        value = self._decode(request.body)
        self.calls.append((value, request, context))
        result = self._function(value)
        if hasattr(result, "__await__"):
            result = await result
        return Message(None if self._encode is None else self._encode(result))

    def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        raise AssertionError("SOAP is unary")


@asynccontextmanager
async def served(
    functions: dict[str, Callable[..., Any]], headers: frozenset[str] = frozenset(), **endpoint: Any
) -> AsyncIterator[SimpleNamespace]:
    """The inbound with these operations: .url, .handlers by operation, .types by name of a message."""
    config = SoapEndpoint(**{"wsdl": ORDERS, "listen": "127.0.0.1:0", "path": "/soap", **endpoint})
    network = Network(ROOT)
    inbound = SoapInbound("legacy", config, network)
    await inbound.load()
    handlers: dict[str, Handler] = {}
    bindings = []
    for operation, function in functions.items():
        source = SoapSource(operation=operation)
        contract = inbound.contract(source)
        handler = handlers[operation] = Handler(contract, function)
        (pattern,) = contract.patterns
        bindings.append(Binding(operation, source, contract, pattern, handler, headers))
    inbound.bind(bindings)
    await inbound.start()
    server = network.http_server(config.listen or "")
    try:
        yield SimpleNamespace(url=f"http://127.0.0.1:{server.port}/soap", handlers=handlers, inbound=inbound)
    finally:
        await inbound.drain()
        await inbound.stop()


class Caller:
    """A SOAP outbound, called with plain values."""

    def __init__(self, **endpoint: Any) -> None:
        self.outbound = SoapOutbound("warehouse", SoapEndpoint(**{"wsdl": ORDERS, **endpoint}), Network(ROOT))

    async def __aenter__(self) -> "Caller":
        await self.outbound.load()
        await self.outbound.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.outbound.stop()

    def contract(self, operation: str) -> Contract:
        return self.outbound.contract(SoapTarget(operation=operation))

    async def call(self, operation: str, value: Any, context: Context | None = None, headers: Any = ()) -> Any:
        target = SoapTarget(operation=operation)
        contract = self.outbound.contract(target)
        (pattern,) = contract.patterns
        service = self.outbound.service(target, contract, pattern)
        assert contract.request is not None
        body = contract.format.encoder(contract.request)(value)
        reply = await service.call(Message(body, headers), context or Context())
        if contract.reply is None:
            assert reply.body is None
            return None
        return contract.format.decoder(contract.reply, Unknown.DROP)(reply.body)
