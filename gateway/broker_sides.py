"""Sides: what the Inbounds and Outbounds of all brokers' adapters do alike."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from gateway.broker import BrokerEndpoint, BrokerTarget
from gateway.follow import Follow
from gateway.net.broker.workers import Consumer, Consumers, Worker, Workers
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Address, Binding, Contract, Inbound, Service

C = TypeVar("C", bound=Consumer)
A = TypeVar("A", bound=BrokerTarget)
W = TypeVar("W", bound=Worker)


class Client(Worker, Protocol):
    """What a side's consumers or services reach the broker with."""

    async def load(self) -> None:
        """Read what it connects with. Raises ContractError."""
        ...


class BrokerInbound(ABC, Generic[C]):
    """Base of an Inbound with one consumer per address, which has `contract` besides.

    clients: of all consumers; they begin before them and end after them.
    idle: no consumer will need them, so that they need not begin.
    """

    def __init__(self, *clients: Client, idle: bool = False) -> None:
        self._clients = clients
        self._consumers: Consumers[str, C] = Consumers(*(() if idle else clients))

    @abstractmethod
    def consumer(self, binding: Binding) -> C:
        """A new one, not started yet."""

    async def load(self) -> None:
        for client in self._clients:
            await client.load()

    def bind(self, bindings: Sequence[Binding]) -> None:
        """A route whose address stays goes on consuming."""
        self._consumers.bind({binding.address.identity: binding for binding in bindings}, self.consumer)

    async def start(self) -> None:
        self._consumers.start()

    async def drain(self) -> None:
        await self._consumers.drain()

    async def stop(self) -> None:
        await self._consumers.stop()

    @property
    def unready(self) -> str:
        return self._consumers.unready if len(self._consumers) else ""


class BrokerOutbound(ABC, Generic[A]):
    """Base of an Outbound whose addresses may have mode subscribe, which has `contract` besides.

    inbound: of the same adapter, as Side.open has it. name, endpoint, network: as it is given them.
    client: of all services but those with mode subscribe; it begins before what works for them, and ends after it.
    """

    def __init__(
        self,
        inbound: Callable[[str, Any, Network], Inbound],
        name: str,
        endpoint: BrokerEndpoint,
        network: Network,
        client: Client,
    ) -> None:
        self._client = client
        self._workers: Workers[Hashable, Any] = Workers()
        self._follow = partial(Follow, inbound, name, endpoint, network)

    @abstractmethod
    def live(self, address: A) -> Address:
        """The source of an address with mode subscribe, where messages from now on come to this process alone."""

    @abstractmethod
    def publisher(self, address: A, contract: Contract) -> Service:
        """The Service of an address with another mode."""

    def worker(self, key: Hashable, make: Callable[[], W]) -> W:
        """What works for a service in the background: the one for this key, made where it is not there."""
        worker: W = self._workers.obtain(key, make)
        return worker

    async def load(self) -> None:
        await self._client.load()

    def service(self, address: A, contract: Contract, pattern: Pattern) -> Service:
        if address.mode == "subscribe":
            return self.worker(address.identity, lambda: self._follow(self.live(address)))
        self._workers.rest_on(self._client)
        return self.publisher(address, contract)

    async def start(self) -> None:
        self._workers.start()

    async def stop(self) -> None:
        await self._workers.stop()

    @property
    def unready(self) -> str:
        return self._workers.unready
