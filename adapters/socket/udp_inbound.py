"""UDP in: a datagram is a message; a reply goes to where it came from."""

import logging
from collections.abc import Sequence

from adapters.socket.config import UdpEndpoint, UdpSource
from adapters.socket.contract import source_contract
from adapters.socket.serving import Serving
from gateway.codecs.declared_format import Formats
from gateway.message import LEFT
from gateway.net.address import listening
from gateway.net.network import Network
from gateway.net.udp.server import DatagramServer
from gateway.port import Binding, Contract, loaded
from gateway.status import Code, Failure

log = logging.getLogger("gateway.socket")


class UdpInbound:
    """One endpoint has one route.

    Counters: failed (calls), and those of DatagramServer.
    """

    def __init__(self, name: str, endpoint: UdpEndpoint, network: Network) -> None:
        self._endpoint = endpoint
        self._network = network
        self._formats: Formats | None = None
        self._serving: Serving | None = None
        self._failed = network.counters.counter(name, "failed")
        self._rejections = network.counters.rejections(name)
        self._server = DatagramServer(
            name,
            listening(endpoint.listen),
            self._serve,
            network.counters,
            max_bytes=endpoint.max_datagram_bytes,
            max_in_flight=endpoint.max_in_flight,
            receive_buffer=endpoint.receive_buffer_bytes,
        )

    async def load(self) -> None:
        if self._formats is None:
            self._formats = self._endpoint.load(self._network.path)

    def contract(self, address: UdpSource) -> Contract:
        return source_contract(self._endpoint, loaded(self._formats), address.pattern)

    def bind(self, bindings: Sequence[Binding]) -> None:
        self._serving = None
        if bindings and self._formats is not None:
            self._serving = Serving(
                self._endpoint, self._formats, bindings[0], failed=self._failed, rejections=self._rejections
            )

    async def start(self) -> None:
        await self._server.start()

    async def drain(self) -> None:
        await self._server.drain()

    async def stop(self) -> None:
        await self._server.stop()

    @property
    def unready(self) -> str:
        return "" if self._server.listening else "not listening"

    @property
    def port(self) -> int:
        """The one in use, for `listen` with port 0."""
        return self._server.port

    async def _serve(self, data: bytes, peer: str) -> bytes | None:
        if self._serving is None:
            return None
        try:
            return await self._serving.answer(data, _Sender(peer, self._endpoint.max_datagram_bytes))
        except Failure as failure:
            log.info("%s: a failure was not told: %s", self._endpoint.listen, failure)
            return None


class _Sender:
    """Whom a datagram came from."""

    __slots__ = ("_limit", "peer")
    departure = LEFT

    def __init__(self, peer: str, limit: int) -> None:
        self.peer = peer
        self._limit = limit

    def framed(self, message: bytes) -> bytes:
        if len(message) > self._limit:
            raise Failure(Code.INTERNAL, f"the reply of {len(message)} bytes is larger than a datagram may be here")
        return message
