"""Server: connections whose messages are served here, and their life from the first one to the last reply."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from gateway.net.counters import Counter
from gateway.net.tcp.connection import Connection, Connections, Session, TcpOptions
from gateway.net.tcp.endpoint import bound_port, listen
from gateway.net.tcp.framing import FramingError


class ServedSession(Session, Protocol):
    """A session that calls routes. It enters the server when it is opened, and leaves once it is lost and all its
    work is done."""

    def drain(self) -> None:
        """Take nothing more, and close the connection once all is answered."""
        ...

    def cancel(self) -> None:
        """End all work; the connection goes too."""
        ...


class Server:
    """Connections that come in at an address; whoever dials makes them with connection().

    session: makes what serves a new connection; None where nothing is served, and connections are refused.
    limit: most sessions at a time; refused: counts the others. stalled: counts peers that took nothing.
    """

    def __init__(
        self,
        options: TcpOptions,
        session: Callable[[], ServedSession | None],
        *,
        limit: int,
        refused: Counter,
        stalled: Counter,
    ) -> None:
        self.options = options
        self.connections = Connections(stalled)
        self._session = session
        self._limit = limit
        self._refused = refused
        self._sessions: set[ServedSession] = set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._draining = False
        self._listening: asyncio.Server | None = None

    async def listen(self, address: str) -> None:
        """Raises OSError when the port is taken."""
        if self._listening is None:
            self._listening = await listen(address, self.options.tls, self.connection)

    @property
    def port(self) -> int:
        """The port that was bound; 0 while it does not listen."""
        return bound_port(self._listening)

    @property
    def listening(self) -> bool:
        return self._listening is not None

    def connection(self) -> Connection:
        """A new one, for the event loop to open."""
        return Connection(self.options, self._session() or _Refusal(), self.connections, inbound=True)

    def enter(self, session: ServedSession, connection: Connection) -> bool:
        """A session begins. Whether there is room for it; its connection is reset where there is none."""
        if self._draining or len(self._sessions) >= self._limit:
            self._refused.add()
            connection.reset()
            return False
        self._sessions.add(session)
        self._empty.clear()
        return True

    def leave(self, session: ServedSession) -> None:
        """It has ended, its work included."""
        self._sessions.discard(session)
        if not self._sessions:
            self._empty.set()

    async def drain(self) -> None:
        """Accept nothing new; return when all that was taken is answered."""
        self._close()
        for session in tuple(self._sessions):
            session.drain()
        await self._empty.wait()

    async def stop(self) -> None:
        """End all. Safe at any time."""
        self._close()
        for session in tuple(self._sessions):
            session.cancel()
        await self.connections.close()
        await self._empty.wait()

    def _close(self) -> None:
        self._draining = True
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()


class _Refusal:
    """The session of a connection that nothing serves."""

    busy = False

    def opened(self, connection: Connection) -> None:
        connection.reset()

    def frame(self, message: bytes) -> None:
        """Not looked at."""

    def ended(self) -> None:
        """Nothing is left to do."""

    def broken(self, error: FramingError) -> None:
        """Nothing is left to do."""

    def lost(self) -> None:
        """Nothing is left to do."""
