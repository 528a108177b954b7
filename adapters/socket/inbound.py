"""TCP in: messages of connections that come in, or of a peer that is dialled, as calls of a route."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final

from adapters.socket.config import TcpEndpoint, TcpSource
from adapters.socket.connection import Connection, Discarding
from adapters.socket.conversation import Conversation
from adapters.socket.endpoints import Dialler, listen, tls_context
from adapters.socket.exchange import Exchange
from adapters.socket.formats import Formats, failure_message, load_formats
from adapters.socket.serving import Serving
from gateway.codecs.format import Unknown
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Binding, Contract, ContractError
from gateway.schema.types import STRING

PATTERNS: Final = {
    "one-way": Pattern.ONE_WAY,
    "request-reply": Pattern.REQUEST_REPLY,
    "stream": Pattern.BIDI,
}


class TcpInbound:
    """One endpoint has one route: a connection has no address that could tell several apart."""

    def __init__(self, name: str, endpoint: TcpEndpoint, network: Network) -> None:
        self.port = 0  # the one in use, for `listen` with port 0
        self._name = name
        self._endpoint = endpoint
        self._network = network
        self._formats: Formats | None = None
        self._tls: ssl.SSLContext | None = None
        self._serving: Serving | None = None
        self._server: asyncio.Server | None = None
        self._dialler = Dialler(name, endpoint, self._make) if endpoint.target else None

    async def load(self) -> None:
        if self._formats is not None:
            return
        self._tls = tls_context(self._endpoint, self._network)
        self._formats = load_formats(self._endpoint, self._network)

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
        if known is not None and known is not self._serving:
            for connection in known.connections:
                connection.close()

    async def start(self) -> None:
        if self._dialler is not None:
            self._dialler.start(self._tls)
            return
        server = await listen(self._endpoint, self._tls, self._make)
        self._server = server
        self.port = server.sockets[0].getsockname()[1]

    async def drain(self) -> None:
        await self._refuse()
        serving = self._serving
        if serving is None:
            return
        serving.draining = True
        sessions = [connection.session for connection in serving.connections]
        for session in sessions:
            if isinstance(session, Exchange | Conversation):
                session.drain()
        for session in sessions:
            if isinstance(session, Exchange | Conversation):
                await session.finished()
        for connection in serving.connections:
            await connection.gone()

    async def stop(self) -> None:
        await self._refuse()
        if self._serving is not None:
            await self._serving.connections.close()

    @property
    def unready(self) -> str:
        if self._dialler is not None:
            return self._dialler.unready
        return "" if self._server is not None else "not listening"

    async def _refuse(self) -> None:
        """Take and make no more connections."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        if self._dialler is not None:
            await self._dialler.stop()

    def _make(self) -> Connection:
        serving = self._serving
        if serving is None:
            return Connection(self._endpoint, Discarding(), inbound=True)
        if len(serving.connections) >= self._endpoint.max_connections:
            serving.refused.add()
            return Connection(self._endpoint, Discarding(), inbound=True)
        unary = serving.binding.pattern.unary
        return Connection(self._endpoint, Exchange(serving) if unary else Conversation(serving), inbound=True)


def check_stream(endpoint: TcpEndpoint, pattern: str) -> None:
    """Raises ContractError where connections of the endpoint can't be streams."""
    if pattern == "stream" and endpoint.tls is not None:
        raise ContractError("a stream needs a half-close, which TLS connections don't have", field=("pattern",))
    if pattern == "stream" and endpoint.framing.single:
        raise ContractError("with framing until-close a connection carries one message each way", field=("pattern",))
