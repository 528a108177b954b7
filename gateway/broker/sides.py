"""Sides: what the Inbounds and Outbounds of all brokers' adapters do alike."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from gateway.broker.endpoint import AFTER, STREAMED, Answers, BrokerEndpoint, BrokerTarget, Mode
from gateway.broker.follow import Follow
from gateway.codecs.declared_format import Formats
from gateway.codecs.format import Unknown
from gateway.declared_charset import CONTENT_TYPE, RepliesInCharset, RequestsInCharset
from gateway.net.broker.workers import Consumer, Consumers, Worker, Workers
from gateway.net.network import Network
from gateway.pattern import Ends, Pattern
from gateway.port import Address, Binding, Contract, Inbound, Service
from gateway.schema.types import STRING, Type

C = TypeVar("C", bound=Consumer)
A = TypeVar("A", bound=BrokerTarget)
W = TypeVar("W", bound=Worker)


class Client(Worker, Protocol):
    """What a side's consumers or services reach the broker with."""

    async def load(self) -> None:
        """Read what it connects with. Raises ContractError."""
        ...


class _Side:
    """clients: what the side reaches the broker with."""

    def __init__(self, endpoint: BrokerEndpoint, network: Network, *clients: Client) -> None:
        self._declared = endpoint
        self._network = network
        self._clients = clients

    @cached_property
    def formats(self) -> Formats:
        """What the endpoint's messages are. A backbone asks for a contract before anything is loaded. Raises
        ContractError."""
        return self._declared.load(self._network.path)

    async def load(self) -> None:
        self.formats  # noqa: B018  so that it is known to be right
        for client in self._clients:
            await client.load()

    def _spoken(self, *, asks: bool) -> Contract:
        """What messages are, either way, for a contract that says the rest."""
        endpoint, formats = self._declared, self.formats
        return Contract(
            patterns=frozenset({Pattern.REQUEST_REPLY if asks else Pattern.ONE_WAY}),
            format=formats.request,
            reply_format=formats.reply,
            request=formats.request_type,
            reply=formats.reply_type if asks else None,
            nulls=endpoint.nulls,
            headers=endpoint.forwarded,
        )

    @property
    def _charset(self) -> str:
        """Of texts; empty where messages are something else."""
        return self._declared.charset if self._declared.format == "text" else ""


class BrokerInbound(_Side, ABC, Generic[C]):
    """Base of an Inbound with one consumer per address, which has `contract` besides.

    endpoint, network: as it is given them.
    clients: of all consumers; they begin before them and end after them.
    idle: no consumer will need them, so that they need not begin.
    """

    def __init__(self, endpoint: BrokerEndpoint, network: Network, *clients: Client, idle: bool = False) -> None:
        super().__init__(endpoint, network, *clients)
        self._consumers: Consumers[str, C] = Consumers(*(() if idle else clients))

    @abstractmethod
    def consumer(self, binding: Binding) -> C:
        """A new one, not started yet."""

    def consuming(
        self,
        what: str,
        answers: Answers,
        *,
        letters: str,
        claim: str,
        metadata: Mapping[str, Type],
        uncertain: frozenset[str] = frozenset(),
    ) -> Contract:
        """Of a source. what: how it consumes. letters: where its dead letters go."""
        asks = answers == "one"
        return replace(
            self._spoken(asks=asks),
            unknown=self._declared.unknown,
            metadata=metadata,
            uncertain=uncertain,
            claim=claim,
            describe=f"consumes {what}{', and replies' if asks else ''}; dead letters go to {letters}",
        )

    def bind(self, bindings: Sequence[Binding]) -> None:
        """A route whose address stays goes on consuming."""
        self._consumers.bind({binding.address.identity: self._reading(binding) for binding in bindings}, self.consumer)

    def _reading(self, binding: Binding) -> Binding:
        charset, wanted = self._charset, binding.headers
        if not charset:
            return binding
        service = RequestsInCharset(binding.service, charset, wanted)
        return msgspec.structs.replace(binding, service=service, headers=_with_content_type(wanted))

    async def start(self) -> None:
        self._consumers.start()

    async def drain(self) -> None:
        await self._consumers.drain()

    async def stop(self) -> None:
        await self._consumers.stop()

    @property
    def unready(self) -> str:
        return self._consumers.unready if len(self._consumers) else ""


class BrokerOutbound(_Side, ABC, Generic[A]):
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
        super().__init__(endpoint, network, client)
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

    def streaming(self, where: str, metadata: Mapping[str, Type], uncertain: frozenset[str] = frozenset()) -> Contract:
        """Of a target with mode subscribe. metadata: of each message, but for what it may lack."""
        endpoint, formats = self._declared, self.formats
        told = {name: type_ for name, type_ in metadata.items() if name not in uncertain}
        return Contract(
            patterns=STREAMED,
            format=endpoint.json_format,  # of a request that nobody reads
            reply_format=formats.request,
            reply=formats.request_type,
            unknown=endpoint.unknown,
            sources={"after": AFTER},
            ends=Ends.NEVER,
            receipt={**told, "key": STRING},
            headers=endpoint.forwarded,
            describe=f"streams what comes from now on to {where}",
        )

    def publishing(
        self,
        where: str,
        mode: Mode,
        *,
        confirmed: str,
        replied: str,
        sources: Mapping[str, str],
        receipt: Mapping[str, Type],
    ) -> Contract:
        """Of a target. where: to what it publishes. confirmed, replied: when it answers in each mode."""
        asks = mode == "reply"
        return replace(
            self._spoken(asks=asks),
            unknown=Unknown.DROP,
            sources=sources,
            receipt={} if asks else receipt,
            describe=f"publishes to {where}, and answers {replied if asks else confirmed}",
        )

    def service(self, address: A, contract: Contract, pattern: Pattern) -> Service:
        if address.mode == "subscribe":
            return self.worker(address.identity, lambda: self._follow(self.live(address)))
        self._workers.rest_on(self._client)
        charset, wanted = self._charset, contract.headers
        if not charset or address.mode == "accepted":
            return self.publisher(address, contract)
        told = self.publisher(address, replace(contract, headers=_with_content_type(wanted)))
        return RepliesInCharset(told, charset, wanted)

    async def start(self) -> None:
        self._workers.start()

    async def stop(self) -> None:
        await self._workers.stop()

    @property
    def unready(self) -> str:
        return self._workers.unready


def _with_content_type(wanted: frozenset[str]) -> frozenset[str]:
    return wanted if CONTENT_TYPE in wanted else wanted | {CONTENT_TYPE}
