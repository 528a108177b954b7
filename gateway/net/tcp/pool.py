"""Pool: the connections that an outbound's requests share, and who waits for which reply."""

import asyncio
import ssl
from collections import deque
from typing import Final, Generic, Protocol, TypeVar

from gateway.net.counters import STALLED_PEERS, Counters
from gateway.net.free_number import free_number
from gateway.net.tcp.connection import Connection, Connections, TcpOptions
from gateway.net.tcp.endpoint import bound_port, dial, listen
from gateway.net.tcp.framing import FramingError
from gateway.net.tls import untrusted
from gateway.net.waiters import Waiters
from gateway.status import Code, Failure

_NO_PEER: Final = "no peer is connected"

Q = TypeVar("Q")
R = TypeVar("R")
Q_contra = TypeVar("Q_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)


class Correlation(Protocol[Q_contra, R_co]):
    """How requests are written, and how it is known whose a reply is.

    numbers: how many different numbers requests can bear; 0 where replies come in the order of requests.
    """

    @property
    def numbers(self) -> int: ...

    def write(self, request: Q_contra, number: int) -> bytes:
        """The request's message; it bears the number. Raises Failure."""
        ...

    def read(self, message: bytes) -> tuple[int | None, R_co]:
        """(the number, or None where it bears none, the reply). Raises FramingError where nothing that follows can be
        trusted."""
        ...


class ByOrder:
    """Replies come in the order of requests, and messages are as they are."""

    numbers = 0

    def write(self, request: bytes, number: int) -> bytes:
        return request

    def read(self, message: bytes) -> tuple[None, bytes]:
        return None, message


def unreachable(error: OSError) -> Failure:
    """There is no connection; nothing was sent."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return untrusted(error)
    return Failure(Code.UNAVAILABLE, "the upstream can't be reached", sent=False)


class Channel(Generic[Q, R]):
    """One connection of the pool, and the requests that wait on it for replies.

    Where replies come in order, a request whose caller has left keeps its place, so that the others' replies stay
    theirs; meanwhile the connection takes no new ones, and once nobody waits on it any more it is given up.

    load: messages that are being sent or wait for their replies.
    """

    def __init__(self, pool: "Pool[Q, R]") -> None:
        self.connection = Connection(pool.options, self, pool.connections, inbound=False)
        self._pool = pool
        self._correlation = pool.correlation
        self._single = pool.options.single
        self._used = False
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int | None, asyncio.Future[R]] = {}  # in the order of requests
        self._number = 0
        self.load = 0
        self._left = 0  # places in the order whose callers have left
        self._retired = False

    @property
    def busy(self) -> bool:
        return self.load > 0

    @property
    def free(self) -> bool:
        """Whether another request may go over this connection."""
        if not self.connection.open or self.connection.ended or (self._single and (self._used or self.load)):
            return False
        return not self._left and self.load < self._pool.max_in_flight

    def reserve(self) -> None:
        """Keep room for one message that is about to be sent."""
        self.load += 1

    def release(self) -> None:
        self.load -= 1
        self._pool.wake()

    async def tell(self, data: bytes) -> None:
        """Send a framed message that has no reply; returns once the system has it. Raises Failure."""
        connection = self.connection
        if not connection.open:
            raise Failure(Code.UNAVAILABLE, "the connection to the upstream is closed", sent=False)
        self._used = True
        connection.send(data)
        await connection.drained()
        if self._single:
            connection.close()
        elif not connection.open:
            raise Failure(Code.UNAVAILABLE, "the connection to the upstream broke while the message was sent")

    async def ask(self, request: Q) -> R:
        """Send a request and return its reply. Raises Failure."""
        connection = self.connection
        number = self.number()
        data = connection.framed(self._correlation.write(request, number))
        waiter: asyncio.Future[R] = self._loop.create_future()
        self._used = True
        self._waiting[number] = waiter
        connection.send(data)
        if self._single:
            connection.finish()
        try:
            return await waiter
        except asyncio.CancelledError:
            self._abandon(number)
            raise

    def number(self) -> int:
        """One that no request on this connection bears."""
        self._number = free_number(self._number, self._correlation.numbers, self._waiting)
        return self._number

    def _abandon(self, number: int) -> None:
        if number not in self._waiting:
            return  # the reply came as its caller left
        if not self._correlation.numbers:
            self._left += 1
            self.load += 1
            if self._left == len(self._waiting):
                self.connection.reset()
            return
        del self._waiting[number]
        if self._pool.exact:
            if not self._retired:
                self._retired = True
                self._pool.retire(self)
            if not self._waiting:
                self.connection.reset()

    # -- what the connection tells

    def opened(self, connection: Connection) -> None:
        self._pool.enter(self)

    def frame(self, message: bytes) -> None:
        correlation, waiting = self._correlation, self._waiting
        number, reply = correlation.read(message)
        if not correlation.numbers:
            number = next(iter(waiting), None)
        waiter = waiting.pop(number, None)
        if waiter is None:
            self._unasked()
        elif waiter.done():
            self._left -= 1
            self.load -= 1
            self._pool.unmatched.add()
            self._pool.wake()
        else:
            waiter.set_result(reply)
        if self._retired and not waiting:
            self.connection.close()

    def _unasked(self) -> None:
        self._pool.unmatched.add()
        if self._pool.exact and not self._retired:
            # It may answer what another caller asked: none of the replies can be trusted any more.
            self._fail(Failure(Code.INTERNAL, "the upstream answered out of sequence"))
            self.connection.reset()

    def ended(self) -> None:
        self.connection.close()

    def broken(self, error: FramingError) -> None:
        self._pool.malformed.add()
        self._fail(Failure(Code.INTERNAL, f"{self._pool.misread}: {error}"))
        self.connection.reset()

    def lost(self) -> None:
        self._fail(Failure(Code.UNAVAILABLE, "the connection to the upstream broke before it answered"))
        self._pool.leave(self)

    def _fail(self, failure: Failure) -> None:
        waiting, self._waiting = self._waiting, {}
        self.load -= self._left
        self._left = 0
        for waiter in waiting.values():
            if not waiter.done():
                waiter.set_exception(failure)


class Pool(Generic[Q, R]):
    """Connections to `target`, made as they are needed, or those of the peers that have connected to `listen`.

    size: most connections. max_in_flight: most messages of one of them that are being sent or wait for replies.
    exact: a reply that nobody waits for is a fault, which breaks its connection; and one on which a caller gave up
        waiting by number takes no more requests, for its peer may be stuck.
    misread: begins the text of the failure where what came can't be read.
    """

    def __init__(
        self,
        name: str,
        options: TcpOptions,
        correlation: Correlation[Q, R],
        counters: Counters,
        *,
        target: str = "",
        listen: str = "",
        size: int,
        max_in_flight: int,
        exact: bool = False,
        misread: str = "the upstream's reply can't be read",
    ) -> None:
        self.options = options
        self.correlation = correlation
        self.max_in_flight = max_in_flight
        self.exact = exact
        self.misread = misread
        self.unready = _NO_PEER if listen else ""
        self.connections = Connections(counters.counter(name, STALLED_PEERS))
        self.unmatched, self.malformed, self._refused = (
            counters.counter(name, label) for label in ("unmatched_replies", "malformed", "refused_connections")
        )
        self._target = target
        self._listen = listen
        self._size = size
        self._channels: deque[Channel[Q, R]] = deque()
        self._opening = 0
        self._waiters = Waiters()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, if it is for the peers to connect. Raises OSError when the port is taken."""
        if self._listen:
            self._server = await listen(self._listen, self.options.tls, lambda: Channel(self).connection)

    async def stop(self) -> None:
        """Close all. Safe at any time."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        await self.connections.close()

    @property
    def port(self) -> int:
        """The port that was bound, listening."""
        return bound_port(self._server)

    async def ask(self, request: Q) -> R:
        """The reply to a request, over whichever connection has room. Raises Failure."""
        channel = await self.channel()
        try:
            return await channel.ask(request)
        finally:
            channel.release()

    async def tell(self, message: bytes) -> None:
        """Send a message that has no reply, over whichever connection has room. Raises Failure."""
        channel = await self.channel()
        try:
            await channel.tell(channel.connection.framed(message))
        finally:
            channel.release()

    async def tell_all(self, message: bytes) -> None:
        """Send it over all connections. Raises Failure where none of them took it."""
        peers = [channel for channel in self._channels if channel.free]
        if not peers:
            raise Failure(Code.UNAVAILABLE, _NO_PEER, sent=False)
        data = self.options.frame(message)
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

    async def channel(self) -> Channel[Q, R]:
        """A connection with room for one message, reserved: release() it. Raises Failure where there is none."""
        while True:
            best = self._best()
            if best is None or (best.load and self._may_dial):
                if self._may_dial:
                    best = await self._dial(best)
                    if best is None:
                        continue
                elif self._listen and not self._channels:
                    raise Failure(Code.UNAVAILABLE, _NO_PEER, sent=False)
            if best is not None:
                best.reserve()
                if self._waiters and self._best() is not None:
                    self.wake()
                return best
            await self._waiters.wait()

    @property
    def _may_dial(self) -> bool:
        return bool(self._target) and len(self._channels) + self._opening < self._size

    def _best(self) -> Channel[Q, R] | None:
        """The one with the least to do; of several the one that was used longest ago."""
        best: Channel[Q, R] | None = None
        for channel in self._channels:
            if (best is None or channel.load < best.load) and channel.free:
                best = channel
                if not best.load:
                    break
        if best is not None:
            self._channels.remove(best)
            self._channels.append(best)
        return best

    async def _dial(self, other: Channel[Q, R] | None) -> Channel[Q, R] | None:
        """A new connection, the other one where none can be made, or None where to try again."""
        channel = Channel(self)
        self._opening += 1
        try:
            await dial(self._target, self.options, lambda: channel.connection)
        except OSError as error:
            self.unready = f"can't reach {self._target}: {error or type(error).__name__}"
            if other is not None and other.free:
                return other
            failed = error
            self._waiters.fail(lambda: unreachable(failed))
            raise unreachable(error) from None
        finally:
            self._opening -= 1
            self.wake()
        if not channel.connection.open:
            raise unreachable(ConnectionResetError())
        self.unready = ""
        # Whoever waited longer may have taken it.
        return channel if channel.free else None

    def wake(self) -> None:
        """There may be room for one more."""
        self._waiters.wake()

    # -- what channels tell

    def enter(self, channel: Channel[Q, R]) -> None:
        if self._listen and len(self._channels) >= self._size:
            self._refused.add()
            channel.connection.reset()
            return
        self._channels.append(channel)
        self.unready = ""
        self.wake()

    def retire(self, channel: Channel[Q, R]) -> None:
        """It takes no more requests."""
        self._channels.remove(channel)
        self.wake()

    def leave(self, channel: Channel[Q, R]) -> None:
        if channel in self._channels:
            self._channels.remove(channel)
        if self._listen and not self._channels:
            self.unready = _NO_PEER
        self.wake()
