"""Inbound: consumes topics."""

import asyncio
from collections.abc import Sequence
from typing import Final

from adapters.kafka.config import Endpoint, Source
from adapters.kafka.connection import Connection
from adapters.kafka.consumer import Consumer, Counts
from adapters.kafka.producer import Producer
from gateway.codecs.format import Unknown
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Binding, Contract
from gateway.schema.types import INT32, INT64, STRING, TIMESTAMP, Scalar

PATTERNS: Final = frozenset({Pattern.ONE_WAY, Pattern.REQUEST_REPLY})
METADATA: Final[dict[str, Scalar]] = {"topic": STRING, "partition": INT32, "offset": INT64, "timestamp": TIMESTAMP}
# The brokers have already taken a record that is to be dead-lettered: they are to judge its size.
UNLIMITED: Final = 2**31 - 1


class KafkaInbound:
    """One consumer per route, and a producer for the dead letters and replies of all.

    Counters: as Counts has them.
    """

    def __init__(self, name: str, endpoint: Endpoint, network: Network) -> None:
        self._name = name
        self._endpoint = endpoint
        self._connection = Connection(endpoint, network)
        self._producer = Producer(self._connection, endpoint, UNLIMITED)
        self._counts = Counts(*(network.counters.counter(name, event) for event in Counts.__struct_fields__))
        self._consumers: dict[Source, Consumer] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._started = False

    async def load(self) -> None:
        await self._connection.load()

    def contract(self, address: Source) -> Contract:
        topics = ", ".join(address.topic)
        group = self._group(address)
        asks = address.replies == "one"
        letters = ", ".join(dict.fromkeys(address.dead_letter_topic(topic) for topic in address.topic))
        return Contract(
            patterns=frozenset({Pattern.REQUEST_REPLY if asks else Pattern.ONE_WAY}),
            format=self._endpoint.format,
            unknown=Unknown(self._endpoint.unknown_fields),
            metadata=METADATA,
            headers=frozenset(name.lower() for name in self._endpoint.forward_headers),
            claim=f"consumer group {group} of topic {topics}",
            describe=f"consumes topic {topics} as group {group} from {address.start}"
            f"{', and replies' if asks else ''}; dead letters go to {letters}",
        )

    def bind(self, bindings: Sequence[Binding]) -> None:
        """A route whose address stays keeps its place in the group."""
        consumers: dict[Source, Consumer] = {}
        for binding in bindings:
            consumer = self._consumers.pop(binding.address, None)
            if consumer is None:
                group = self._group(binding.address)
                consumer = Consumer(self._connection, self._endpoint, group, binding, self._producer, self._counts)
                if self._started:
                    consumer.start()
            consumer.binding = binding
            consumers[binding.address] = consumer
        for consumer in self._consumers.values():
            task = asyncio.get_running_loop().create_task(_retire(consumer), name="kafka consumer retires")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        self._consumers = consumers

    async def start(self) -> None:
        self._started = True
        self._producer.start()
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
        await self._producer.stop()

    @property
    def unready(self) -> str:
        if not self._consumers:
            return ""
        whys = [consumer.unready for consumer in self._consumers.values()]
        if self._producer.unready:
            whys.append(f"dead letters and replies: {self._producer.unready}")
        return "; ".join(why for why in whys if why)

    def _group(self, address: Source) -> str:
        return address.group or ".".join((self._name, *address.topic))


async def _retire(consumer: Consumer) -> None:
    try:
        await consumer.drain()
    finally:
        await consumer.stop()
