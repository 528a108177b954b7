"""Inbound: consumes queues."""

import asyncio
from collections.abc import Sequence
from typing import Final

from adapters.amqp.config import Endpoint, Source, identity
from adapters.amqp.connection import Connection
from adapters.amqp.consumer import Consumer
from adapters.amqp.delivery import METADATA, UNCERTAIN
from gateway.codecs.format import Unknown
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Binding, Contract

PATTERNS: Final = frozenset({Pattern.ONE_WAY, Pattern.REQUEST_REPLY})


class AmqpInbound:
    """One consumer per route; one connection to consume, another to publish dead letters and replies.

    Counters: dead_letters, undeliverable_replies (their callers had left).
    """

    def __init__(self, name: str, endpoint: Endpoint, network: Network) -> None:
        self._endpoint = endpoint
        self._buried = network.counters.counter(name, "dead_letters")
        self._undeliverable = network.counters.counter(name, "undeliverable_replies")
        self._consuming = Connection(endpoint, network, f"consumers of {name}")
        self._publishing = Connection(endpoint, network, f"replies and dead letters of {name}")
        self._consumers: dict[str, Consumer] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._started = False

    async def load(self) -> None:
        await self._consuming.load()
        await self._publishing.load()

    def contract(self, address: Source) -> Contract:
        letters = address.letters
        asks = address.replies == "one"
        where = f"exchange {letters.exchange}" if letters.exchange else f"queue {letters.routing_key}"
        return Contract(
            patterns=frozenset({Pattern.REQUEST_REPLY if asks else Pattern.ONE_WAY}),
            format=self._endpoint.format,
            unknown=Unknown(self._endpoint.unknown_fields),
            metadata=METADATA,
            uncertain=UNCERTAIN,
            headers=frozenset(name.lower() for name in self._endpoint.forward_headers),
            claim=f"queue {address.queue} of {self._endpoint.place}",
            describe=f"consumes queue {address.queue} of {self._endpoint.place}, {address.prefetch} at once"
            f"{', and replies' if asks else ''}; dead letters go to {where}",
        )

    def bind(self, bindings: Sequence[Binding]) -> None:
        """A route whose address stays goes on consuming."""
        consumers: dict[str, Consumer] = {}
        for binding in bindings:
            key = identity(binding.address)
            consumer = self._consumers.pop(key, None)
            if consumer is None:
                consumer = Consumer(
                    self._consuming, self._publishing, self._endpoint, binding, self._buried, self._undeliverable
                )
                if self._started:
                    consumer.start()
            consumer.binding = binding
            consumers[key] = consumer
        for consumer in self._consumers.values():
            task = asyncio.get_running_loop().create_task(_retire(consumer), name="amqp consumer retires")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        self._consumers = consumers

    async def start(self) -> None:
        self._started = True
        self._consuming.start()
        self._publishing.start()
        for consumer in self._consumers.values():
            consumer.start()

    async def drain(self) -> None:
        await asyncio.gather(*(consumer.drain() for consumer in self._consumers.values()), *self._leaving)

    async def stop(self) -> None:
        self._started = False
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers.values()))
        await asyncio.gather(self._consuming.stop(), self._publishing.stop())

    @property
    def unready(self) -> str:
        whys = [consumer.unready for consumer in self._consumers.values()]
        return "; ".join(dict.fromkeys(why for why in whys if why))


async def _retire(consumer: Consumer) -> None:
    try:
        await consumer.drain()
    finally:
        await consumer.stop()
