"""gRPC endpoints behind the port: an inbound in front of a function, an outbound before any server."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.grpc.config import Endpoint, Source, Target
from adapters.grpc.inbound import GrpcInbound
from adapters.grpc.outbound import GrpcOutbound
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.port import Binding, Contract, Service

ROOT = Path(__file__).parents[2]
ORDERS = "shop.orders.v1.Orders"
Unary = Callable[[Message, Context], Awaitable[Message]]
Streaming = Callable[[Message, AsyncIterator[Message] | None, Context], AsyncGenerator[Message, None]]


class FunctionService:
    """A Service of two functions."""

    def __init__(self, unary: Unary | None = None, streaming: Streaming | None = None) -> None:
        self._unary = unary
        self._streaming = streaming

    async def call(self, request: Message, context: Context) -> Message:
        assert self._unary is not None
        return await self._unary(request, context)

    def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        assert self._streaming is not None
        return self._streaming(request, more, context)


def bindings(
    inbound: GrpcInbound, services: Mapping[str, Service], headers: frozenset[str] = frozenset()
) -> list[Binding]:
    made = []
    for method, service in services.items():
        address = Source(method=method)
        contract = inbound.contract(address)
        (pattern,) = contract.patterns
        made.append(Binding(method, address, contract, pattern, service, headers))
    return made


@asynccontextmanager
async def serving(
    services: Mapping[str, Service], *, headers: frozenset[str] = frozenset(), **options: Any
) -> AsyncIterator[GrpcInbound]:
    """An inbound that listens on a free port (inbound.port) of the loopback."""
    options.setdefault("proto", "schemas/orders.proto")
    endpoint = Endpoint(listen="127.0.0.1:0", **options)
    inbound = GrpcInbound("in", endpoint, Network(ROOT))
    await inbound.load()
    inbound.bind(bindings(inbound, services, headers))
    await inbound.start()
    try:
        yield inbound
    finally:
        await inbound.stop()


@asynccontextmanager
async def calling(*ports: int, host: str = "127.0.0.1", **options: Any) -> AsyncIterator[GrpcOutbound]:
    """An outbound to servers of the loopback."""
    if not options.get("reflection") and "descriptor_set" not in options:
        options.setdefault("proto", "schemas/orders.proto")
    endpoint = Endpoint(target=tuple(f"{host}:{port}" for port in ports), **options)
    outbound = GrpcOutbound("out", endpoint, Network(ROOT))
    try:
        await outbound.load()
        await outbound.start()
        yield outbound
    finally:
        await outbound.stop()


def service_of(outbound: GrpcOutbound, method: str) -> tuple[Service, Contract]:
    address = Target(method=method)
    contract = outbound.contract(address)
    (pattern,) = contract.patterns
    return outbound.service(address, contract, pattern), contract
