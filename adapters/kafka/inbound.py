"""Inbound: consumes topics."""

from adapters.kafka.config import Endpoint, Source
from adapters.kafka.connection import Connection
from adapters.kafka.consumer import Consumer
from adapters.kafka.producer import Producer
from adapters.kafka.record import METADATA
from gateway.broker.sides import BrokerInbound
from gateway.net.broker.settlement import UNLIMITED, counts_of
from gateway.net.network import Network
from gateway.port import Binding, Contract


class KafkaInbound(BrokerInbound[Consumer]):
    """One consumer per route, and a producer for the dead letters and replies of all.

    follows: there will be none, so that a user who may only read will do.
    Counters: as Counts has them.
    """

    def __init__(self, name: str, endpoint: Endpoint, network: Network, *, follows: bool = False) -> None:
        self._name = name
        self._counts = counts_of(network.counters, name)
        self._producer = Producer(Connection(endpoint, network), UNLIMITED)
        super().__init__(endpoint, network, self._producer, idle=follows)

    def contract(self, address: Source) -> Contract:
        topics = ", ".join(address.topic)
        group = self._group(address)
        letters = ", ".join(dict.fromkeys(address.dead_letter_topic(topic) for topic in address.topic))
        return self.consuming(
            f"topic {topics} as group {group} from {address.start}",
            address.replies,
            letters=letters,
            claim=f"consumer group {group} of topic {topics}",
            metadata=METADATA,
        )

    def consumer(self, binding: Binding) -> Consumer:
        """As BrokerInbound.consumer."""
        return Consumer(self._group(binding.address), binding, self._producer, self._counts)

    def _group(self, address: Source) -> str:
        return address.group or ".".join((self._name, *address.topic))
