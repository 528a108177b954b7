"""UDP out: calls of routes as datagrams."""

from adapters.socket.call import Ask, Tell
from adapters.socket.config import UdpEndpoint, UdpTarget
from adapters.socket.contract import target_contract
from gateway.codecs.declared_format import Formats
from gateway.net.address import calling
from gateway.net.network import Network
from gateway.net.udp.client import DatagramClient
from gateway.pattern import Pattern
from gateway.port import Contract, Service, loaded


class UdpOutbound:
    """Counters: those of DatagramClient."""

    def __init__(self, name: str, endpoint: UdpEndpoint, network: Network) -> None:
        self._endpoint = endpoint
        self._network = network
        self._formats: Formats | None = None
        self._client = DatagramClient(
            name,
            calling(endpoint.target),
            network.counters,
            max_bytes=endpoint.max_datagram_bytes,
            max_in_flight=endpoint.max_in_flight,
        )

    async def load(self) -> None:
        if self._formats is None:
            self._formats = self._endpoint.load(self._network.path)

    def contract(self, address: UdpTarget) -> Contract:
        return target_contract(self._endpoint, loaded(self._formats), address.pattern, f"to {self._endpoint.target}")

    def service(self, address: UdpTarget, contract: Contract, pattern: Pattern) -> Service:
        asks = pattern is Pattern.REQUEST_REPLY
        return Ask(self._client.ask, loaded(self._formats)) if asks else Tell(self._client.tell)

    async def start(self) -> None:
        """Names are looked up when they are needed."""

    async def stop(self) -> None:
        self._client.close()

    @property
    def unready(self) -> str:
        return ""
