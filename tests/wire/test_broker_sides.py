"""Sides: what the Inbounds and Outbounds of all brokers do alike."""

from pathlib import Path
from typing import ClassVar

import pytest

from gateway.broker.endpoint import BrokerEndpoint, BrokerSource, BrokerTarget
from gateway.broker.follow import Follow
from gateway.broker.sides import BrokerInbound, BrokerOutbound
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Address, Binding, Contract, ContractError, Service, UnaryService


class Source(BrokerSource):
    name: str = ""


class Target(BrokerTarget):
    streamed: ClassVar = ("name",)
    name: str = ""


class Worker:
    """A client, or a consumer."""

    def __init__(self, log: list[str], name: str, trouble: str = "") -> None:
        self.unready = f"{name} is away"
        self.binding: object = None
        self._log = log
        self._name = name
        self._trouble = trouble

    async def load(self) -> None:
        if self._trouble:
            raise ContractError(self._trouble)
        self._log.append(f"{self._name} loads")

    def start(self) -> None:
        self._log.append(f"{self._name} starts")

    async def drain(self) -> None:
        self._log.append(f"{self._name} drains")

    async def stop(self) -> None:
        self._log.append(f"{self._name} stops")


class Toy(BrokerInbound[Worker]):
    def __init__(self, name: str, endpoint: BrokerEndpoint, network: Network) -> None:
        self.log: list[str] = []
        self.made: dict[str, Worker] = {}
        super().__init__(endpoint, network, Worker(self.log, "reader"), Worker(self.log, "writer"))

    def contract(self, address: Source) -> Contract:
        return self.consuming("toys", address.replies, letters="", claim="", metadata={})

    def consumer(self, binding: Binding) -> Worker:
        worker = self.made[binding.address.name] = Worker(self.log, binding.address.name)
        return worker


class Echo(UnaryService):
    async def call(self, request: Message, context: Context) -> Message:
        return request


class Out(BrokerOutbound[Target]):
    def __init__(self, trouble: str = "") -> None:
        self.log: list[str] = []
        super().__init__(Toy, "toy", BrokerEndpoint(), Network(Path()), Worker(self.log, "client", trouble))

    def contract(self, address: Target) -> Contract:
        raise NotImplementedError

    def live(self, address: Target) -> Address:
        return Source(name=address.name)

    def publisher(self, address: Target, contract: Contract) -> Service:
        self.worker(address.name, lambda: Worker(self.log, "reader"))
        return Echo()


def binding(side: Toy, address: Source) -> Binding:
    return Binding("test", address, side.contract(address), Pattern.ONE_WAY, Echo(), frozenset())


async def test_an_inbound_has_one_consumer_per_address_over_its_clients() -> None:
    side = Toy("toy", BrokerEndpoint(), Network(Path()))
    await side.load()
    assert side.log == ["reader loads", "writer loads"]
    assert side.unready == "", "without routes nothing is amiss"
    side.bind([binding(side, Source(name="a"))])
    first = side.made["a"]
    after = binding(side, Source(name="a"))
    side.bind([after])
    assert (side.made, first.binding) == ({"a": first}, after)
    assert side.unready == "reader is away; writer is away; a is away"
    side.log.clear()
    await side.start()
    await side.drain()
    await side.stop()
    assert side.log == [
        "reader starts",
        "writer starts",
        "a starts",
        "a drains",
        "a stops",
        "reader stops",
        "writer stops",
    ]


async def test_an_outbound_streams_an_address_once_and_publishes_to_the_others() -> None:
    side = Out()
    await side.load()
    contract = Contract(patterns=frozenset(), format=BrokerEndpoint().json_format)
    streamed = Target(name="a", mode="subscribe")
    follow = side.service(streamed, contract, Pattern.SERVER_STREAM)
    assert side.unready == "", "a stream does not need what publishes"
    assert isinstance(follow, Follow)
    assert side.service(streamed.model_copy(), contract, Pattern.SUBSCRIBE) is follow
    assert side.service(Target(name="b", mode="subscribe"), contract, Pattern.SUBSCRIBE) is not follow
    for mode in ("accepted", "reply"):
        assert isinstance(side.service(Target(name="a", mode=mode), contract, Pattern.ONE_WAY), Echo)
    assert side.unready == "client is away; reader is away"
    await side.start()
    await side.stop()
    assert side.log == ["client loads", "client starts", "reader starts", "reader stops", "client stops"]


async def test_an_outbound_connects_when_it_is_given_something_to_publish() -> None:
    side = Out()
    await side.load()
    await side.start()
    assert side.log == ["client loads"]
    contract = Contract(patterns=frozenset(), format=BrokerEndpoint().json_format)
    for name in ("a", "b"):
        side.service(Target(name=name), contract, Pattern.ONE_WAY)
    await side.stop()
    assert side.log[1:] == ["client starts", *["reader starts"] * 2, *["reader stops"] * 2, "client stops"]


async def test_clients_that_no_consumer_needs_do_not_begin() -> None:
    log: list[str] = []

    class Idle(Toy):
        def __init__(self) -> None:
            self.log, self.made = log, {}
            BrokerInbound.__init__(self, BrokerEndpoint(), Network(Path()), Worker(log, "writer"), idle=True)

    side = Idle()
    await side.load()
    side.bind([binding(side, Source(name="a"))])
    await side.start()
    assert side.unready == "a is away"
    await side.stop()
    assert log == ["writer loads", "a starts", "a stops"]


async def test_what_a_client_can_not_read_is_told() -> None:
    with pytest.raises(ContractError, match="no such file"):
        await Out("no such file").load()
