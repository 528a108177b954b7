"""Targeted: an outbound that calls one URL, over HTTP or WebSockets."""

from typing import Generic, Protocol, TypeVar

from gateway.net.address import calling
from gateway.net.network import Network
from gateway.net.tls import Tls, Trust, trust


class Client(Protocol):
    """trust: of the servers that it calls."""

    trust: Trust

    async def close(self) -> None: ...


C = TypeVar("C", bound=Client)


class Targeted(Generic[C]):
    """Base of an Outbound that calls `_target` by its `_client`, which makes connections when they are needed."""

    def __init__(self, target: str | None, client: C, network: Network, tls: Tls | None) -> None:
        """Raises ContractError for an endpoint that does not call."""
        self._target = calling(target)
        self._client = client
        self._network = network
        self._tls = tls

    async def load(self) -> None:
        """Read the certificates of `tls`. Raises ContractError."""
        self._client.trust = trust(self._tls, self._network.path)

    async def start(self) -> None:
        """Nothing is connected before it is called."""

    async def stop(self) -> None:
        await self._client.close()

    @property
    def unready(self) -> str:
        return ""
