"""TCP out: calls of routes as messages to a target, or to the peers that have connected."""

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator

from adapters.socket.config import TcpEndpoint, TcpTarget
from adapters.socket.connection import Connection, Connections
from adapters.socket.endpoints import dial, tls_context
from adapters.socket.formats import Formats, load_formats
from adapters.socket.inbound import PATTERNS, check_stream
from adapters.socket.pool import Pool, unreachable
from adapters.socket.status import failure_of
from gateway.codecs.format import Unknown
from gateway.message import Context, Message
from gateway.net.framing import FramingError
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Contract, ContractError, Service
from gateway.status import Code, Failure

WAITING = 16  # replies of a stream read ahead of the caller


class TcpOutbound:
    """All routes of an endpoint share its connections, save streams, of which each has one of its own."""

    def __init__(self, name: str, endpoint: TcpEndpoint, network: Network) -> None:
        self._name = name
        self._endpoint = endpoint
        self._network = network
        self._formats: Formats | None = None
        self._tls: ssl.SSLContext | None = None
        self._pool: Pool | None = None
        self._streams = Connections()

    async def load(self) -> None:
        if self._pool is not None:
            return
        self._tls = tls_context(self._endpoint, self._network)
        self._formats = load_formats(self._endpoint, self._network)
        self._pool = Pool(self._name, self._endpoint, self._formats, self._network.counters)

    def contract(self, address: TcpTarget) -> Contract:
        endpoint, formats = self._endpoint, self._formats
        if formats is None:
            raise RuntimeError("contract() is called after load()")
        check_stream(endpoint, address.pattern)
        if endpoint.listen is not None and address.pattern == "stream":
            raise ContractError("a stream needs a connection of its own, so a target to dial", field=("pattern",))
        if endpoint.target is not None and address.peers == "all":
            raise ContractError("peers are those that connect to `listen`", field=("peers",))
        if endpoint.listen is not None:
            where = f"to {'all peers' if address.peers == 'all' else 'a peer'} on {endpoint.listen}"
        else:
            where = f"to {endpoint.target}"
        return Contract(
            patterns=frozenset({PATTERNS[address.pattern]}),
            format=formats.request,
            reply_format=formats.reply,
            request=formats.request_type,
            reply=formats.reply_type,
            unknown=Unknown.DROP,
            describe=f"TCP {address.pattern} {where}, {formats.request.name} by {endpoint.framing.kind}",
        )

    def service(self, address: TcpTarget, contract: Contract, pattern: Pattern) -> Service:
        pool = self._pool
        if pool is None:
            raise RuntimeError("service() is called after load()")
        if pattern is Pattern.BIDI:
            return _Streams(self._endpoint, pool.formats, self._streams)
        if pattern is Pattern.REQUEST_REPLY:
            pool.replies = True
            return _Ask(pool)
        return _Tell(pool, everyone=address.peers == "all")

    async def start(self) -> None:
        if self._pool is not None:
            await self._pool.start(self._tls)

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


class _Unary:
    def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        raise TypeError("this address is unary")


class _Ask(_Unary):
    """Requests with one reply each."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._json = pool.endpoint.format == "json"

    async def call(self, request: Message, context: Context) -> Message:
        channel = await self._pool.channel()
        try:
            reply = await channel.ask(request.body)
        finally:
            channel.release()
        failure = failure_of(reply) if self._json else None
        if failure is not None:
            raise failure
        return Message(reply)


class _Tell(_Unary):
    """Messages without reply. The call returns when the system has the bytes; no peer confirms them."""

    def __init__(self, pool: Pool, *, everyone: bool) -> None:
        self._pool = pool
        self._everyone = everyone

    async def call(self, request: Message, context: Context) -> Message:
        pool = self._pool
        if self._everyone:
            await self._tell_all(request.body)
            return Message(None)
        channel = await pool.channel()
        try:
            await channel.tell(channel.connection.framed(pool.formats.compact(request.body)))
        finally:
            channel.release()
        return Message(None)

    async def _tell_all(self, body: bytes) -> None:
        peers = self._pool.peers
        if not peers:
            raise Failure(Code.UNAVAILABLE, "no peer is connected", sent=False)
        data = peers[0].connection.framed(self._pool.formats.compact(body))
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


class _Streams:
    """Calls with any number of messages both ways, each over a connection of its own that ends with it."""

    def __init__(self, endpoint: TcpEndpoint, formats: Formats, connections: Connections) -> None:
        self._endpoint = endpoint
        self._formats = formats
        self._connections = connections

    async def call(self, request: Message, context: Context) -> Message:
        raise TypeError("this address is a stream")

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        if len(self._connections) >= self._endpoint.max_connections:
            raise Failure(Code.RESOURCE_EXHAUSTED, "too many streams are open", sent=False)
        session = _Stream(self._connections)
        connection = Connection(self._endpoint, session, inbound=False)
        try:
            await dial(self._endpoint, None, lambda: connection)
        except OSError:
            raise unreachable() from None
        writing = asyncio.create_task(self._write(session, connection, request, more))
        clean = False
        try:
            async for body in session.replies(connection):
                failure = failure_of(body) if self._endpoint.format == "json" else None
                if failure is not None:
                    raise failure
                yield Message(body)
            clean = session.failure is None
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            if clean:
                connection.close()
            else:
                connection.reset()

    async def _write(
        self, session: "_Stream", connection: Connection, request: Message, more: AsyncIterator[Message] | None
    ) -> None:
        try:
            if more is None:
                connection.send(connection.framed(self._formats.compact(request.body)))
            else:
                async for message in more:
                    connection.send(connection.framed(self._formats.compact(message.body)))
                    await connection.drained()
            connection.finish()
        except Failure as failure:
            session.fail(failure)


class _Stream:
    """The session of a stream's connection."""

    busy = True

    def __init__(self, connections: Connections) -> None:
        self.failure: Failure | None = None
        self._connections = connections
        self._connection: Connection | None = None
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._over = False

    async def replies(self, connection: Connection) -> AsyncGenerator[bytes, None]:
        """Until the peer ends its side. Raises Failure."""
        while True:
            if self.failure is not None:
                raise self.failure
            while self._waiting:
                body = self._waiting.popleft()
                connection.resume()
                yield body
            if self._over:
                return
            self._wake.clear()
            await self._wake.wait()

    def fail(self, failure: Failure) -> None:
        """End it so."""
        self.failure = self.failure or failure
        self._wake.set()

    def opened(self, connection: Connection) -> None:
        self._connection = connection
        self._connections.add(connection)

    def frame(self, body: bytes) -> None:
        self._waiting.append(body)
        if len(self._waiting) >= WAITING and self._connection is not None:
            self._connection.pause()
        self._wake.set()

    def ended(self) -> None:
        self._over = True
        self._wake.set()

    def broken(self, error: FramingError) -> None:
        self.fail(Failure(Code.INTERNAL, f"the upstream's stream can't be read: {error}"))

    def lost(self) -> None:
        if not self._over:
            self.fail(Failure(Code.UNAVAILABLE, "the connection broke before the stream's end"))
        if self._connection is not None:
            self._connections.discard(self._connection)
