"""Inbound: consumes topics."""

from collections.abc import Sequence

from adapters.kafka.config import Endpoint, Source
from adapters.kafka.connection import Connection
from adapters.kafka.consumer import Consumer
from adapters.kafka.producer import Producer
from adapters.kafka.record import METADATA
from gateway.net.broker.settlement import UNLIMITED, counts_of
from gateway.net.broker.workers import Consumers
from gateway.net.network import Network
from gateway.port import Binding, Contract


class KafkaInbound:
    """One consumer per route, and a producer for the dead letters and replies of all.

    Counters: as Counts has them.
    """

    def __init__(self, name: str, endpoint: Endpoint, network: Network) -> None:
        self._name = name
        self._endpoint = endpoint
        self._connection = Connection(endpoint, network)
        self._producer = Producer(self._connection, endpoint, UNLIMITED)
        self._counts = counts_of(network.counters, name)
        self._consumers: Consumers[Source, Consumer] = Consumers()

    async def load(self) -> None:
        await self._connection.load()

    def contract(self, address: Source) -> Contract:
        topics = ", ".join(address.topic)
        group = self._group(address)
        letters = ", ".join(dict.fromkeys(address.dead_letter_topic(topic) for topic in address.topic))
        return self._endpoint.consuming(
            f"topic {topics} as group {group} from {address.start}",
            address.replies,
            letters=letters,
            claim=f"consumer group {group} of topic {topics}",
            metadata=METADATA,
        )

    def bind(self, bindings: Sequence[Binding]) -> None:
        """A route whose address stays keeps its place in the group."""
        self._consumers.bind({binding.address: binding for binding in bindings}, self._consumer)

    async def start(self) -> None:
        self._producer.start()
        self._consumers.start()

    async def drain(self) -> None:
        await self._consumers.drain()

    async def stop(self) -> None:
        await self._consumers.stop()
        await self._producer.stop()

    @property
    def unready(self) -> str:
        if not len(self._consumers):
            return ""
        publishing = self._producer.unready and f"dead letters and replies: {self._producer.unready}"
        return "; ".join(why for why in (self._consumers.unready, publishing) if why)

    def _group(self, address: Source) -> str:
        return address.group or ".".join((self._name, *address.topic))

    def _consumer(self, binding: Binding) -> Consumer:
        group = self._group(binding.address)
        return Consumer(self._connection, self._endpoint, group, binding, self._producer, self._counts)
