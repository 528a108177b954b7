"""Pool: the connections that an outbound's requests share, and who waits for which reply."""

import asyncio
import ssl
from collections import deque
from typing import Final

from adapters.socket.config import TcpEndpoint
from adapters.socket.connection import Connection, Connections, Discarding
from adapters.socket.endpoints import dial, listen
from adapters.socket.formats import Formats
from gateway.net.counters import Counters
from gateway.net.framing import FramingError
from gateway.status import Code, Failure

_BROKEN: Final = "the connection broke before the reply"


def unreachable() -> Failure:
    """There is no connection; nothing was sent."""
    return Failure(Code.UNAVAILABLE, "the upstream can't be reached", sent=False)


class Channel:
    """One connection of the pool, and the requests that wait on it for replies.

    A request whose caller has left keeps its place in the order, so that the others' replies stay theirs; meanwhile
    the connection takes no new ones, and once nobody waits on it any more it is given up.
    """

    def __init__(self, pool: "Pool") -> None:
        self.connection = Connection(pool.endpoint, self, inbound=False)
        self.used = False
        self._pool = pool
        self._correlation = pool.formats.correlation
        self._order: deque[asyncio.Future[bytes]] = deque()
        self._numbered: dict[int, asyncio.Future[bytes]] = {}
        self._number = 0
        self._reserved = 0
        self._left = 0  # places in the order whose callers have left
        self._single = pool.endpoint.framing.single

    @property
    def busy(self) -> bool:
        return self.load > 0

    @property
    def load(self) -> int:
        """Messages that are being sent or wait for their replies."""
        return self._reserved + self._left

    @property
    def free(self) -> bool:
        """Whether another request may go over this connection."""
        if not self.connection.open or self.connection.ended or (self._single and (self.used or self._reserved)):
            return False
        return not self._left and self._reserved < self._pool.endpoint.max_in_flight

    def reserve(self) -> None:
        """Keep room for one message that is about to be sent."""
        self._reserved += 1

    def release(self) -> None:
        self._reserved -= 1
        self._pool.wake()

    async def tell(self, data: bytes) -> None:
        """Send a message that has no reply; returns once the system has it."""
        if not self.connection.open:
            raise unreachable()
        self.used = True
        self.connection.send(data)
        await self.connection.drained()
        if self._single:
            self.connection.close()
        elif not self.connection.open:
            raise Failure(Code.UNAVAILABLE, "the connection broke while the message was sent")

    async def ask(self, body: bytes) -> bytes:
        """Send a request and return its reply. Raises Failure."""
        connection, correlation = self.connection, self._correlation
        waiter: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        number = -1
        if correlation is not None:
            number = self._next(correlation.numbers)
            body = correlation.put_request(body, number)
        data = connection.framed(self._pool.formats.compact(body))
        self.used = True
        if correlation is not None:
            self._numbered[number] = waiter
        else:
            self._order.append(waiter)
        connection.send(data)
        if self._single:
            connection.finish()
        try:
            return await waiter
        except asyncio.CancelledError:
            self._abandon(number)
            raise

    def _next(self, numbers: int) -> int:
        while True:
            # Zero is what an empty field may read as.
            self._number = self._number % (numbers - 1) + 1
            if self._number not in self._numbered:
                return self._number

    def _abandon(self, number: int) -> None:
        if self._correlation is not None:
            self._numbered.pop(number, None)
            return
        self._left += 1
        if self._left == len(self._order):
            self.connection.reset()

    # -- what the connection tells

    def opened(self, connection: Connection) -> None:
        self._pool.enter(self)

    def frame(self, body: bytes) -> None:
        correlation = self._correlation
        if correlation is None:
            if not self._order:
                self._unasked()
                return
            waiter = self._order.popleft()
        else:
            try:
                number, body = correlation.take_reply(body)
            except Failure:
                number = None
            found = self._numbered.pop(number, None) if number is not None else None
            if found is None:
                self._pool.unmatched.add()
                return
            waiter = found
        if waiter.done():
            self._left -= 1
            self._pool.unmatched.add()
        else:
            waiter.set_result(body)
        self._pool.wake()

    def _unasked(self) -> None:
        self._pool.unmatched.add()
        if self._pool.replies:
            # It may answer what another caller asked: none of the replies can be trusted any more.
            self.connection.reset()

    def ended(self) -> None:
        self.connection.close()

    def broken(self, error: FramingError) -> None:
        self._pool.malformed.add()
        self._fail(Failure(Code.INTERNAL, f"the upstream's reply can't be read: {error}"))
        self.connection.reset()

    def lost(self) -> None:
        self._fail(Failure(Code.UNAVAILABLE, _BROKEN))
        self._pool.leave(self)

    def _fail(self, failure: Failure) -> None:
        for waiter in (*self._order, *self._numbered.values()):
            if not waiter.done():
                waiter.set_exception(failure)
        self._order.clear()
        self._left = 0
        self._numbered.clear()


class Pool:
    """Connections to the target, made as they are needed, or those of the peers that have connected.

    replies: whether any route waits for replies, so that one that nobody waits for is a fault.
    """

    def __init__(self, name: str, endpoint: TcpEndpoint, formats: Formats, counters: Counters) -> None:
        self.endpoint = endpoint
        self.formats = formats
        self.replies = False
        self.unready = "no peer is connected" if endpoint.listen else ""
        self.connections = Connections()
        self.unmatched, self.malformed, self.refused = (
            counters.counter(name, label) for label in ("unmatched_replies", "malformed", "refused_connections")
        )
        self._tls: ssl.SSLContext | None = None
        self._channels: deque[Channel] = deque()
        self._opening = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._server: asyncio.Server | None = None

    async def start(self, tls: ssl.SSLContext | None) -> None:
        """Listen, if it is for the peers to connect. Raises OSError when the port is taken."""
        self._tls = tls
        if self.endpoint.listen is not None:
            self._server = await listen(self.endpoint, tls, self._accept)

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self.connections.close()

    @property
    def port(self) -> int:
        """The port that was bound, listening."""
        return 0 if self._server is None else int(self._server.sockets[0].getsockname()[1])

    @property
    def peers(self) -> list[Channel]:
        """Those that can take a message now."""
        return [channel for channel in self._channels if channel.free]

    async def channel(self) -> Channel:
        """A connection with room for one message, reserved: release() it. Raises Failure where there is none."""
        while True:
            best = self._best()
            if best is None or (best.load and self._may_dial):
                if self._may_dial:
                    best = await self._dial(best)
                    if best is None:
                        continue
                elif self.endpoint.listen is not None and not self._channels:
                    raise Failure(Code.UNAVAILABLE, "no peer is connected", sent=False)
            if best is not None:
                best.reserve()
                if self._waiters and self._best() is not None:
                    self.wake()
                return best
            await self._wait()

    @property
    def _may_dial(self) -> bool:
        return self.endpoint.target is not None and len(self._channels) + self._opening < self.endpoint.connections

    def _best(self) -> Channel | None:
        """The one with the least to do; of several the one that was used longest ago."""
        best: Channel | None = None
        for channel in self._channels:
            if channel.free and (best is None or channel.load < best.load):
                best = channel
                if not best.load:
                    break
        if best is not None:
            self._channels.remove(best)
            self._channels.append(best)
        return best

    async def _dial(self, other: Channel | None) -> Channel | None:
        """A new connection, the other one where none can be made, or None where to try again."""
        channel = Channel(self)
        self._opening += 1
        try:
            await dial(self.endpoint, self._tls, lambda: channel.connection)
        except OSError as error:
            self.unready = f"can't reach {self.endpoint.target}: {error or type(error).__name__}"
            if other is not None and other.free:
                return other
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_exception(unreachable())
            self._waiters.clear()
            raise unreachable() from None
        finally:
            self._opening -= 1
            self.wake()
        if not channel.connection.open:
            raise unreachable()
        self.unready = ""
        # Whoever waited longer may have taken it.
        return channel if channel.free else None

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.wake()  # what it was woken for is there for the next one
            raise

    def wake(self) -> None:
        """There may be room for one more."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    def _accept(self) -> Connection:
        if len(self.connections) >= self.endpoint.max_connections:
            self.refused.add()
            return Connection(self.endpoint, Discarding(), inbound=False)
        return Channel(self).connection

    # -- what channels tell

    def enter(self, channel: Channel) -> None:
        self._channels.append(channel)
        self.connections.add(channel.connection)
        self.unready = ""
        self.wake()

    def leave(self, channel: Channel) -> None:
        self._channels.remove(channel)
        self.connections.discard(channel.connection)
        if self.endpoint.listen is not None and not self._channels:
            self.unready = "no peer is connected"
        self.wake()
