"""The AMQP adapter's two sides with a test's own route between them."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.amqp.config import Endpoint, Source, Target
from adapters.amqp.inbound import AmqpInbound
from adapters.amqp.outbound import AmqpOutbound, Publish
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.port import Binding
from gateway.status import Code, Failure
from support.handler import Handler
from support.until import until


def name(kind: str = "q") -> str:
    """A queue's or exchange's name of a test's own."""
    return f"{kind}-{uuid.uuid4().hex[:12]}"


def endpoint(url: str, **settings: Any) -> Endpoint:
    return Endpoint.model_validate({"url": url, **settings})


def source(queue: str, **settings: Any) -> Source:
    """A source that declares a classic queue and redelivers fast."""
    defaults = {"declare": {"type": "classic"}, "backoff": "10ms", "max_backoff": "50ms"}
    return Source.model_validate({"queue": queue, **defaults, **settings})


def binding(inbound: AmqpInbound, address: Source, handler: Handler) -> Binding:
    contract = inbound.contract(address)
    (pattern,) = contract.patterns
    return Binding("test", address, contract, pattern, handler, contract.headers)


@asynccontextmanager
async def consuming(
    config: Endpoint, address: Source, handler: Handler, *, ready: bool = True, network: Network | None = None
) -> AsyncGenerator[AmqpInbound, None]:
    """An inbound that serves one source; one that consumes if `ready`."""
    side = AmqpInbound("rabbit", config, network or Network(Path()))
    await side.load()
    side.bind([binding(side, address, handler)])
    await side.start()
    try:
        if ready:
            await until(lambda: not side.unready, lambda: side.unready, seconds=20)
        yield side
    finally:
        await side.stop()


@asynccontextmanager
async def publishing(
    config: Endpoint, *addresses: Target, ready: bool = True, network: Network | None = None
) -> AsyncGenerator[tuple[AmqpOutbound, list[Publish]], None]:
    """An outbound and the services of the addresses; open ones if `ready`."""
    side = AmqpOutbound("rabbit", config, network or Network(Path()))
    await side.load()
    services = [publisher(side, address) for address in addresses]
    await side.start()
    try:
        if ready:
            await until(lambda: not side.unready, lambda: side.unready, seconds=20)
        yield side, services
    finally:
        await side.stop()


def publisher(side: AmqpOutbound, address: Target) -> Publish:
    contract = side.contract(address)
    (pattern,) = contract.patterns
    return side.service(address, contract, pattern)


def target(**settings: Any) -> Target:
    return Target.model_validate(settings)


async def until_published(publish: Publish, message: Message, seconds: float = 15) -> Message:
    """Publish, again while the answer is UNAVAILABLE."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await publish.call(message, Context())
        except Failure as failure:
            if failure.code is not Code.UNAVAILABLE or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.02)
