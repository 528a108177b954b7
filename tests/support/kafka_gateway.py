"""The Kafka adapter's two sides with a test's own route between them."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
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
from support.kafka_brokers import Bootstrap

SESSION_SECONDS = 6.0


class Handler:
    """A route: keeps what came, and answers as `outcome` says (a Failure to raise, or None)."""

    def __init__(self, outcome: Callable[[Message], Awaitable[Failure | None]] | None = None) -> None:
        self.requests: list[Message] = []
        self.contexts: list[Context] = []
        self._outcome = outcome

    async def call(self, request: Message, context: Context) -> Message:
        self.requests.append(request)
        self.contexts.append(context)
        failure = await self._outcome(request) if self._outcome else None
        if failure is not None:
            raise failure
        return Message(None)

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        raise AssertionError("a record is a unary call")
        yield request

    @property
    def bodies(self) -> list[bytes | None]:
        return [request.body for request in self.requests]

    async def wait(self, count: int, seconds: float = 20) -> None:
        """Return when so many calls came."""
        await until(lambda: len(self.requests) >= count, seconds, lambda: f"{len(self.requests)} of {count} calls came")


async def until(
    condition: Callable[[], bool], seconds: float = 20, what: Callable[[], str] = lambda: "it did not happen"
) -> None:
    """Poll until the condition holds; fails with `what` after so many seconds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, what()
        await asyncio.sleep(0.01)


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
            await until(lambda: not side.unready, 30, lambda: side.unready)
        yield side
    finally:
        await side.stop()


@asynccontextmanager
async def publishing(config: Endpoint, *, ready: bool = True) -> AsyncGenerator[KafkaOutbound, None]:
    """An outbound; one that has connected if `ready`."""
    side = KafkaOutbound("events", config, Network(Path()))
    await side.load()
    await side.start()
    try:
        if ready:
            await until(lambda: not side.unready, 30, lambda: side.unready)
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
