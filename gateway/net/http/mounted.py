"""Mounted: an inbound whose routes are on a shared HTTP server."""

from gateway.net.address import listening
from gateway.net.network import Network
from gateway.net.tls import Tls


class Mounted:
    """Base of an Inbound that mounts its routes as `_name` on `_server`, whose life is its own."""

    def __init__(self, name: str, listen: str | None, network: Network, tls: Tls | None) -> None:
        """Raises ContractError for an endpoint that does not listen."""
        self._name = name
        self._network = network
        self._server = network.http_server(listening(listen), tls)

    async def load(self) -> None:
        self._server.load(self._network.path)

    async def start(self) -> None:
        await self._server.start()

    async def drain(self) -> None:
        await self._server.drain()

    async def stop(self) -> None:
        await self._server.stop()

    @property
    def unready(self) -> str:
        return ""
