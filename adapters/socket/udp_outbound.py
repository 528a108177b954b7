"""UDP out: calls of routes as datagrams."""

from adapters.socket.call import Ask, Tell
from adapters.socket.config import UdpEndpoint, UdpTarget
from adapters.socket.contract import target_contract
from gateway.codecs.declared_format import Formats
from gateway.net.network import Network
from gateway.net.udp.client import DatagramClient
from gateway.pattern import Pattern
from gateway.port import Contract, ContractError, Service


class UdpOutbound:
    """Counters: those of DatagramClient."""

    def __init__(self, name: str, endpoint: UdpEndpoint, network: Network) -> None:
        if endpoint.target is None:
            raise ContractError("a route goes to an endpoint with `target`; this one has `listen`")
        self._endpoint = endpoint
        self._network = network
        self._formats: Formats | None = None
        self._client = DatagramClient(
            name,
            endpoint.target,
            network.counters,
            max_bytes=endpoint.max_datagram_bytes,
            max_in_flight=endpoint.max_in_flight,
        )

    async def load(self) -> None:
        if self._formats is None:
            self._formats = self._endpoint.load(self._network.path)

    def contract(self, address: UdpTarget) -> Contract:
        if self._formats is None:
            raise RuntimeError("contract() is called after load()")
        return target_contract(self._endpoint, self._formats, address.pattern, f"to {self._endpoint.target}")

    def service(self, address: UdpTarget, contract: Contract, pattern: Pattern) -> Service:
        if self._formats is None:
            raise RuntimeError("service() is called after load()")
        return Ask(self._client.ask, self._formats) if pattern is Pattern.REQUEST_REPLY else Tell(self._client.tell)

    async def start(self) -> None:
        """Names are looked up when they are needed."""

    async def stop(self) -> None:
        self._client.close()

    @property
    def unready(self) -> str:
        return ""
