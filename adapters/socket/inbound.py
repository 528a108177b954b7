"""TCP in: messages of connections that come in, or of a peer that is dialled, as calls of a route."""

from collections.abc import Sequence

from adapters.socket.config import TcpEndpoint, TcpSource
from adapters.socket.contract import source_contract
from adapters.socket.conversation import Conversation
from adapters.socket.handler import Handler
from gateway.codecs.declared_format import Formats
from gateway.net.counters import STALLED_PEERS
from gateway.net.network import Network
from gateway.net.tcp.endpoint import Dialler
from gateway.net.tcp.exchange import Exchange
from gateway.net.tcp.server import ServedSession, Server
from gateway.port import Binding, Contract, loaded


class TcpInbound:
    """One endpoint has one route: a connection has no address that could tell several apart.

    Counters: received (messages), failed (those whose call failed), malformed (connections that broke the framing),
    refused_connections (over the limit), stalled_peers (that took nothing).
    """

    def __init__(self, name: str, endpoint: TcpEndpoint, network: Network) -> None:
        self._endpoint = endpoint
        self._network = network
        self._formats: Formats | None = None
        self._server: Server | None = None
        self._handler: Handler | None = None
        self._dialler: Dialler | None = None
        self._received, self._failed, self._malformed, self._refused, self._stalled = (
            network.counters.counter(name, label)
            for label in ("received", "failed", "malformed", "refused_connections", STALLED_PEERS)
        )
        self._rejections = network.counters.rejections(name)
        if endpoint.target is not None:
            self._dialler = Dialler(name, endpoint.target, backoff=endpoint.backoff, longest=endpoint.max_backoff)

    async def load(self) -> None:
        if self._server is not None:
            return
        endpoint = self._endpoint
        self._formats = endpoint.load(self._network.path).correlated(endpoint.field)
        options = endpoint.options(self._network)
        self._server = Server(
            options,
            self._session,
            limit=endpoint.max_connections,
            refused=self._refused,
            stalled=self._stalled,
        )

    def contract(self, address: TcpSource) -> Contract:
        return source_contract(self._endpoint, loaded(self._formats), address.pattern)

    def bind(self, bindings: Sequence[Binding]) -> None:
        binding = bindings[0] if bindings else None
        known = self._handler
        if binding is None or self._formats is None:
            self._handler = None
        elif known is not None and known.binding.pattern is binding.pattern:
            known.binding = binding
        else:
            self._handler = Handler(
                self._endpoint,
                self._formats,
                binding,
                received=self._received,
                failed=self._failed,
                rejections=self._rejections,
                malformed=self._malformed,
            )
        if self._server is not None and known is not self._handler:
            for connection in self._server.connections:
                connection.close()

    async def start(self) -> None:
        server = loaded(self._server)
        if self._dialler is not None:
            self._dialler.start(server.options, server.connection)
        else:
            await server.listen(str(self._endpoint.listen))

    async def drain(self) -> None:
        if self._dialler is not None:
            await self._dialler.stop()
        if self._server is not None:
            await self._server.drain()

    async def stop(self) -> None:
        if self._dialler is not None:
            await self._dialler.stop()
        if self._server is not None:
            await self._server.stop()

    @property
    def unready(self) -> str:
        if self._dialler is not None:
            return self._dialler.unready
        return "" if self.port else "not listening"

    @property
    def port(self) -> int:
        """The one in use, for `listen` with port 0."""
        return 0 if self._server is None else self._server.port

    def _session(self) -> ServedSession | None:
        handler, server = self._handler, self._server
        if handler is None or server is None:
            return None
        return Exchange(server, handler) if handler.binding.pattern.unary else Conversation(server, handler)
