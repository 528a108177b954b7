"""The Kafka adapter's two sides with a test's own route between them."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.kafka.config import Endpoint, Source, Target
from adapters.kafka.inbound import KafkaInbound
from adapters.kafka.outbound import KafkaOutbound, Publish
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Binding
from gateway.status import Code, Failure
from support.handler import Handler
from support.kafka_brokers import Bootstrap
from support.until import until

SESSION_SECONDS = 6.0


def endpoint(bootstrap: str, **settings: Any) -> Endpoint:
    idempotent = bootstrap.idempotent if isinstance(bootstrap, Bootstrap) else True
    return Endpoint.model_validate({"bootstrap_servers": str(bootstrap), "idempotent": idempotent, **settings})


def source(topic: str, **settings: Any) -> Source:
    """A source that redelivers fast and, should its consumer die, is given up fast."""
    defaults = {"session_timeout": f"{SESSION_SECONDS:g}s", "backoff": "10ms", "max_backoff": "50ms"}
    return Source.model_validate({"topic": topic, **defaults, **settings})


def binding(inbound: KafkaInbound, address: Source, handler: Handler) -> Binding:
    contract = inbound.contract(address)
    return Binding("test", address, contract, Pattern.ONE_WAY, handler, contract.headers)


def inbound(config: Endpoint) -> KafkaInbound:
    return KafkaInbound("events", config, Network(Path()))


@asynccontextmanager
async def consuming(
    config: Endpoint, address: Source, handler: Handler, *, ready: bool = True
) -> AsyncGenerator[KafkaInbound, None]:
    """An inbound that serves one source; one that has joined its group if `ready`."""
    side = inbound(config)
    await side.load()
    side.bind([binding(side, address, handler)])
    await side.start()
    try:
        if ready:
            await until(lambda: not side.unready, lambda: side.unready, seconds=30)
        yield side
    finally:
        await side.stop()


@asynccontextmanager
async def publishing(config: Endpoint, *, ready: bool = True) -> AsyncGenerator[KafkaOutbound, None]:
    """An outbound; one that has connected if `ready`."""
    side = KafkaOutbound("events", config, Network(Path()))
    await side.load()
    publisher(side, "any")  # without a route that publishes it would not connect
    await side.start()
    try:
        if ready:
            await until(lambda: not side.unready, lambda: side.unready, seconds=30)
        yield side
    finally:
        await side.stop()


def publisher(side: KafkaOutbound, topic: str, **settings: Any) -> Publish:
    address = Target.model_validate({"topic": topic, **settings})
    return side.service(address, side.contract(address), Pattern.ONE_WAY)


async def until_published(publish: Publish, message: Message, seconds: float = 10) -> Message:
    """Publish, again while the answer is UNAVAILABLE."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await publish.call(message, Context())
        except Failure as failure:
            if failure.code is not Code.UNAVAILABLE or asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.02)
