"""TCP in: messages of connections that come in, or of a peer that is dialled, as calls of a route."""

from collections.abc import Sequence
from typing import Final

from adapters.socket.config import TcpEndpoint, TcpSource
from adapters.socket.conversation import Conversation
from adapters.socket.formats import Formats, failure_message, load_formats
from adapters.socket.serving import Serving
from gateway.codecs.format import Unknown
from gateway.net.network import Network
from gateway.net.tcp.endpoint import Dialler
from gateway.net.tcp.exchange import Exchange
from gateway.net.tcp.server import ServedSession, Server
from gateway.pattern import Pattern
from gateway.port import Binding, Contract, ContractError
from gateway.schema.types import STRING

PATTERNS: Final = {
    "one-way": Pattern.ONE_WAY,
    "request-reply": Pattern.REQUEST_REPLY,
    "stream": Pattern.BIDI,
}


class TcpInbound:
    """One endpoint has one route: a connection has no address that could tell several apart.

    Counters: received (messages), failed (those whose call failed), malformed (connections that broke the framing),
    refused_connections (over the limit).
    """

    def __init__(self, name: str, endpoint: TcpEndpoint, network: Network) -> None:
        self._name = name
        self._endpoint = endpoint
        self._network = network
        self._formats: Formats | None = None
        self._server: Server | None = None
        self._serving: Serving | None = None
        self._dialler: Dialler | None = None
        if endpoint.target is not None:
            self._dialler = Dialler(name, endpoint.target, backoff=endpoint.backoff, longest=endpoint.max_backoff)

    async def load(self) -> None:
        if self._server is not None:
            return
        endpoint = self._endpoint
        self._formats = load_formats(endpoint, self._network)
        refused = self._network.counters.counter(self._name, "refused_connections")
        options = endpoint.options(self._network)
        self._server = Server(options, self._session, limit=endpoint.max_connections, refused=refused)

    def contract(self, address: TcpSource) -> Contract:
        endpoint, formats = self._endpoint, self._formats
        if formats is None:
            raise RuntimeError("contract() is called after load()")
        check_stream(endpoint, address.pattern)
        if address.pattern == "request-reply" and endpoint.on_failure == "drop" and formats.correlation is None:
            raise ContractError(
                "a failure that is not answered would put all later replies in the wrong place",
                field=("pattern",),
                hint="correlate by a field, or choose another on_failure",
            )
        try:
            failure_message(endpoint.on_failure, formats)
        except ContractError as error:
            raise ContractError(f"on_failure of the endpoint: {error.message}") from None
        where = f"on {endpoint.listen}" if endpoint.listen else f"from {endpoint.target}"
        return Contract(
            patterns=frozenset({PATTERNS[address.pattern]}),
            format=formats.request,
            reply_format=formats.reply,
            request=formats.request_type,
            reply=formats.reply_type,
            unknown=Unknown(endpoint.unknown_fields),
            metadata={"peer": STRING},
            claim=f"TCP {where}",
            holds=(f"TCP {where}",),
            describe=f"TCP {address.pattern} {where}, {formats.request.name} by {endpoint.framing.kind}",
        )

    def bind(self, bindings: Sequence[Binding]) -> None:
        binding = bindings[0] if bindings else None
        known = self._serving
        if binding is None or self._formats is None:
            self._serving = None
        elif known is not None and known.binding.pattern is binding.pattern:
            known.binding = binding
        else:
            self._serving = Serving(self._name, self._endpoint, self._formats, self._network.counters, binding)
        if self._server is not None and known is not self._serving:
            for connection in self._server.connections:
                connection.close()

    async def start(self) -> None:
        server = self._server
        if server is None:
            raise RuntimeError("start() is called after load()")
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
        serving, server = self._serving, self._server
        if serving is None or server is None:
            return None
        return Exchange(server, serving) if serving.binding.pattern.unary else Conversation(server, serving)


def check_stream(endpoint: TcpEndpoint, pattern: str) -> None:
    """Raises ContractError where connections of the endpoint can't be streams."""
    if pattern == "stream" and endpoint.tls is not None:
        raise ContractError("a stream needs a half-close, which TLS connections don't have", field=("pattern",))
    if pattern == "stream" and endpoint.framing.single:
        raise ContractError("with framing until-close a connection carries one message each way", field=("pattern",))
