"""TCP out: calls of routes as messages to a target, or to the peers that have connected."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

from adapters.socket.config import TcpEndpoint, TcpTarget
from adapters.socket.contract import target_contract
from gateway.codecs.correlation import FieldCorrelation
from gateway.codecs.declared_format import Formats
from gateway.message import Context, Message
from gateway.net.json_error import told_failure
from gateway.net.network import Network
from gateway.net.tcp.connection import Connection, Connections, TcpOptions
from gateway.net.tcp.endpoint import dial
from gateway.net.tcp.framing import FramingError
from gateway.net.tcp.pool import Pool, unreachable
from gateway.net.tcp.stream import MessageStream
from gateway.pattern import Pattern
from gateway.port import Contract, ContractError, Service, UnaryService
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
        self._streams = Connections()

    async def load(self) -> None:
        if self._pool is not None:
            return
        endpoint = self._endpoint
        base = endpoint.load(self._network.path)
        formats = self._formats = base.correlated(endpoint.field, endpoint.max_in_flight)
        self._pool = Pool(
            self._name,
            endpoint.options(self._network),
            _ByOrder() if formats.correlation is None else _ByField(formats.correlation),
            self._network.counters,
            target=endpoint.target or "",
            listen=endpoint.listen or "",
            size=endpoint.connections if endpoint.listen is None else endpoint.max_connections,
            max_in_flight=endpoint.max_in_flight,
        )

    def contract(self, address: TcpTarget) -> Contract:
        endpoint, formats = self._endpoint, self._formats
        if formats is None:
            raise RuntimeError("contract() is called after load()")
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
        pool, formats = self._pool, self._formats
        if pool is None or formats is None:
            raise RuntimeError("service() is called after load()")
        if pattern is Pattern.BIDI:
            return _Streams(self._endpoint, pool.options, self._streams)
        if pattern is Pattern.REQUEST_REPLY:
            pool.exact = formats.correlation is None
            return _Ask(pool, json=formats.json, field=self._endpoint.field)
        return _Tell(pool, everyone=address.peers == "all")

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


class _Ask(UnaryService):
    """Requests with one reply each."""

    def __init__(self, pool: Pool[bytes, bytes], *, json: bool, field: str) -> None:
        self._ask = pool.ask
        self._json = json
        self._field = field

    async def call(self, request: Message, context: Context) -> Message:
        reply = await self._ask(request.body)
        failure = told_failure(reply, self._field, own=True) if self._json else None
        if failure is not None:
            raise failure
        return Message(reply)


class _Tell(UnaryService):
    """Messages without reply. The call returns when the system has the bytes; no peer confirms them."""

    def __init__(self, pool: Pool[bytes, bytes], *, everyone: bool) -> None:
        self._pool = pool
        self._everyone = everyone

    async def call(self, request: Message, context: Context) -> Message:
        if self._everyone:
            await self._tell_all(request.body)
            return Message(None)
        channel = await self._pool.channel()
        try:
            await channel.tell(channel.connection.framed(request.body))
        finally:
            channel.release()
        return Message(None)

    async def _tell_all(self, message: bytes) -> None:
        peers = self._pool.peers
        if not peers:
            raise Failure(Code.UNAVAILABLE, "no peer is connected", sent=False)
        data = self._pool.options.frame(message)
        for channel in peers:
            channel.reserve()
        try:
            outcomes = await asyncio.gather(*(channel.tell(data) for channel in peers), return_exceptions=True)
        finally:
            for channel in peers:
                channel.release()
        failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
        if len(failures) == len(peers):
            raise failures[0]


class _ByOrder:
    """Replies come in the order of requests."""

    numbers = 0

    def write(self, request: bytes, number: int) -> bytes:
        return request

    def read(self, message: bytes) -> tuple[None, bytes]:
        return None, message


class _ByField:
    """Replies have their request's number in a field."""

    def __init__(self, field: FieldCorrelation) -> None:
        self.numbers = field.numbers
        self.write = field.put_request
        self._number = field.number

    def read(self, message: bytes) -> tuple[int | None, bytes]:
        try:
            return self._number(message), message
        except Failure:
            return None, message


class _Streams:
    """Calls with any number of messages both ways, each over a connection of its own that ends with it."""

    def __init__(self, endpoint: TcpEndpoint, options: TcpOptions, connections: Connections) -> None:
        self._target = endpoint.target or ""
        self._most = endpoint.max_connections
        self._json = endpoint.format == "json"
        self._options = options
        self._connections = connections

    async def call(self, request: Message, context: Context) -> Message:
        raise TypeError("this address is a stream")

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
                failure = told_failure(reply.body, own=True) if self._json else None
                if failure is not None:
                    raise failure
                yield reply
            clean = replies.failure is None
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
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
