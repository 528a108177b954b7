"""TCP out: calls of routes as messages to a target, or to the peers that have connected."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from adapters.socket.call import Ask, Tell, told
from adapters.socket.config import TcpEndpoint, TcpTarget
from adapters.socket.contract import target_contract
from gateway.codecs.declared_format import Formats
from gateway.message import Context, Message
from gateway.net.counters import STALLED_PEERS
from gateway.net.network import Network
from gateway.net.tasks import end
from gateway.net.tcp.connection import Connection, Connections, TcpOptions
from gateway.net.tcp.endpoint import dial
from gateway.net.tcp.framing import FramingError
from gateway.net.tcp.pool import ByOrder, Pool, unreachable
from gateway.net.tcp.stream import MessageStream
from gateway.pattern import Pattern
from gateway.port import Contract, ContractError, Service, StreamService, loaded
from gateway.status import Code, Failure


class TcpOutbound:
    """All routes of an endpoint share its connections, save streams, of which each has one of its own.

    Counters: unmatched_replies (that nobody waits for), malformed (connections that broke the framing),
    refused_connections (of peers over the limit).
    """

    def __init__(self, name: str, endpoint: TcpEndpoint, network: Network) -> None:
        self._name = name
        self._endpoint = endpoint
        self._network = network
        self._formats: Formats | None = None
        self._pool: Pool[bytes, bytes] | None = None
        self._streams = Connections(network.counters.counter(name, STALLED_PEERS))

    async def load(self) -> None:
        if self._pool is not None:
            return
        endpoint = self._endpoint
        base = endpoint.load(self._network.path)
        formats = self._formats = base.correlated(endpoint.field, endpoint.max_in_flight)
        self._pool = Pool(
            self._name,
            endpoint.options(self._network),
            formats.correlation or ByOrder(),
            self._network.counters,
            target=endpoint.target or "",
            listen=endpoint.listen or "",
            size=endpoint.connections if endpoint.listen is None else endpoint.max_connections,
            max_in_flight=endpoint.max_in_flight,
        )

    def contract(self, address: TcpTarget) -> Contract:
        endpoint, formats = self._endpoint, loaded(self._formats)
        if endpoint.listen is not None and address.pattern == "stream":
            raise ContractError("a stream needs a connection of its own, so a target to dial", field=("pattern",))
        if endpoint.target is not None and address.peers == "all":
            raise ContractError("peers are those that connect to `listen`", field=("peers",))
        if endpoint.listen is not None:
            where = f"to {'all peers' if address.peers == 'all' else 'a peer'} on {endpoint.listen}"
        else:
            where = f"to {endpoint.target}"
        return target_contract(endpoint, formats, address.pattern, where)

    def service(self, address: TcpTarget, contract: Contract, pattern: Pattern) -> Service:
        pool, formats = loaded(self._pool), loaded(self._formats)
        if pattern is Pattern.BIDI:
            return _Streams(self._endpoint, pool.options, formats, self._streams)
        if pattern is Pattern.REQUEST_REPLY:
            pool.exact = formats.correlation is None
            return Ask(pool.ask, formats)
        return Tell(pool.tell_all if address.peers == "all" else pool.tell)

    async def start(self) -> None:
        if self._pool is not None:
            await self._pool.start()

    async def stop(self) -> None:
        await self._streams.close()
        if self._pool is not None:
            await self._pool.stop()

    @property
    def port(self) -> int:
        """The port that was bound, listening."""
        return 0 if self._pool is None else self._pool.port

    @property
    def unready(self) -> str:
        return "not loaded" if self._pool is None else self._pool.unready


class _Streams(StreamService):
    """Calls with any number of messages both ways, each over a connection of its own that ends with it."""

    def __init__(self, endpoint: TcpEndpoint, options: TcpOptions, formats: Formats, connections: Connections) -> None:
        self._target = endpoint.target or ""
        self._most = endpoint.max_connections
        self._formats = formats
        self._options = options
        self._connections = connections

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        if len(self._connections) >= self._most:
            raise Failure(Code.RESOURCE_EXHAUSTED, "too many streams are open", sent=False)
        replies = MessageStream(_misread)
        connection = Connection(self._options, replies, self._connections, inbound=False)
        try:
            await dial(self._target, self._options, lambda: connection)
        except OSError as error:
            raise unreachable(error) from None
        writing = asyncio.create_task(self._write(replies, connection, request, more))
        clean = False
        try:
            async for reply in replies:
                failure = told(reply.body, self._formats)
                if failure is not None:
                    raise failure
                yield reply
            clean = replies.failure is None
        finally:
            await end([writing])
            if clean:
                connection.close()
            else:
                connection.reset()

    async def _write(
        self, replies: MessageStream, connection: Connection, request: Message, more: AsyncIterator[Message] | None
    ) -> None:
        try:
            if more is None:
                connection.send(connection.framed(request.body))
            else:
                async for message in more:
                    connection.send(connection.framed(message.body))
                    await connection.drained()
            connection.finish()
        except Failure as failure:
            replies.fail(failure)


def _misread(error: FramingError) -> Failure:
    return Failure(Code.INTERNAL, f"the upstream's stream can't be read: {error}")
