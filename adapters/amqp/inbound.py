"""Inbound: consumes queues."""

import asyncio
from collections.abc import Sequence

from adapters.amqp.config import Endpoint, Source
from adapters.amqp.connection import Connection
from adapters.amqp.consumer import Consumer
from adapters.amqp.delivery import METADATA
from gateway.codecs.amqp_properties import UNCERTAIN
from gateway.net.broker.settlement import counts_of
from gateway.net.broker.workers import Consumers
from gateway.net.network import Network
from gateway.port import Binding, Contract


class AmqpInbound:
    """One consumer per route; one connection to consume, another to publish dead letters and replies.

    Counters: as Counts has them.
    """

    def __init__(self, name: str, endpoint: Endpoint, network: Network) -> None:
        self._endpoint = endpoint
        self._counts = counts_of(network.counters, name)
        self._consuming = Connection(endpoint, network, f"consumers of {name}")
        self._publishing = Connection(endpoint, network, f"replies and dead letters of {name}")
        self._consumers: Consumers[str, Consumer] = Consumers()

    async def load(self) -> None:
        await self._consuming.load()
        await self._publishing.load()

    def contract(self, address: Source) -> Contract:
        letters = address.letters
        where = f"exchange {letters.exchange}" if letters.exchange else f"queue {letters.routing_key}"
        return self._endpoint.consuming(
            f"queue {address.queue} of {self._endpoint.place}, {address.prefetch} at once",
            address.replies,
            letters=where,
            claim=f"queue {address.queue} of {self._endpoint.place}",
            metadata=METADATA,
            uncertain=UNCERTAIN,
        )

    def bind(self, bindings: Sequence[Binding]) -> None:
        """A route whose address stays goes on consuming."""
        self._consumers.bind({binding.address.identity: binding for binding in bindings}, self._consumer)

    async def start(self) -> None:
        self._consuming.start()
        self._publishing.start()
        self._consumers.start()

    async def drain(self) -> None:
        await self._consumers.drain()

    async def stop(self) -> None:
        await self._consumers.stop()
        await asyncio.gather(self._consuming.stop(), self._publishing.stop())

    @property
    def unready(self) -> str:
        return self._consumers.unready

    def _consumer(self, binding: Binding) -> Consumer:
        return Consumer(self._consuming, self._publishing, self._endpoint, binding, self._counts)
