"""Inbound: consumes queues."""

from adapters.amqp.config import Endpoint, Source
from adapters.amqp.connection import Connection
from adapters.amqp.consumer import Consumer
from adapters.amqp.delivery import METADATA
from gateway.broker.sides import BrokerInbound
from gateway.codecs.amqp_properties import UNCERTAIN
from gateway.net.broker.settlement import counts_of
from gateway.net.network import Network
from gateway.port import Binding, Contract


class AmqpInbound(BrokerInbound[Consumer]):
    """One consumer per route; one connection to consume, another to publish dead letters and replies.

    Counters: as Counts has them.
    """

    def __init__(self, name: str, endpoint: Endpoint, network: Network) -> None:
        self._endpoint = endpoint
        self._counts = counts_of(network.counters, name)
        self._consuming = Connection(endpoint, network, f"consumers of {name}")
        self._publishing = Connection(endpoint, network, f"replies and dead letters of {name}")
        super().__init__(endpoint, network, self._consuming, self._publishing)

    def contract(self, address: Source) -> Contract:
        queue = f"queue {address.queue} of {self._endpoint.place}"
        return self.consuming(
            f"{queue}, {address.prefetch} at once",
            address.replies,
            letters=address.letters.place,
            claim=queue,
            metadata=METADATA,
            uncertain=UNCERTAIN,
        )

    def consumer(self, binding: Binding) -> Consumer:
        """As BrokerInbound.consumer."""
        return Consumer(self._consuming, self._publishing, binding, self._counts)
