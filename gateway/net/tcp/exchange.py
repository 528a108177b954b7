"""Exchange: the session of a served connection whose messages are one-way, or have one reply each."""

import asyncio
import logging
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from gateway.net.tcp.connection import Connection
from gateway.net.tcp.framing import FramingError
from gateway.net.tcp.server import Server
from gateway.status import Failure

T = TypeVar("T")

log = logging.getLogger("gateway.tcp")


class RequestHandler(Protocol[T]):
    """What a protocol does with the messages of its connections.

    in_order: replies go out in the order of the requests. Otherwise as they are ready: they say whose they are.
    max_in_flight: most requests of one connection at a time; no more are read meanwhile.
    """

    @property
    def in_order(self) -> bool: ...

    @property
    def max_in_flight(self) -> int: ...

    def take(self, message: bytes) -> tuple[T, Hashable | None, bool]:
        """(the request, its lane, whether its peer waits for the reply).

        Requests of one lane are served one after another; without a lane at once. Once the peer has left, those that
        it waits for are cancelled, others served all the same.
        Raises FramingError for what makes all that follows unreadable.
        """
        ...

    async def answer(self, request: T, connection: Connection) -> bytes | None:
        """The reply as connection.framed() makes it, or None. Raises Failure where nothing can tell the peer of it
        but the connection's end."""
        ...

    def refusal(self, error: FramingError, connection: Connection) -> bytes | None:
        """What the peer is told, as of answer(), when its messages can't be read on; then the connection is closed."""
        ...


@dataclass(slots=True, eq=False)
class _Turn:
    """A request's place. close: the connection is closed after the reply."""

    lane: Hashable | None
    awaited: bool
    task: asyncio.Task[None] | None = None
    begun: bool = False
    done: bool = False
    reply: bytes | None = None
    close: bool = False


class Exchange(Generic[T]):
    """One task a request; what has been taken is answered before the connection ends in order."""

    def __init__(self, server: Server, handler: RequestHandler[T]) -> None:
        self._server = server
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._turns: set[_Turn] = set()  # those that are being served
        self._line: deque[_Turn] = deque()  # those whose replies go out in order
        self._lanes: set[Hashable] = set()  # those in use
        self._waiting: tuple[T, Hashable | None, bool] | None = None  # for its lane
        self._in_flight = 0
        self._held = False
        self._last = False  # nothing more is taken
        self._farewell: bytes | None = None
        self._gone = False  # the peer is

    @property
    def busy(self) -> bool:
        return self._in_flight > 0

    # -- what the connection tells

    def opened(self, connection: Connection) -> None:
        self._connection = connection
        self._server.enter(self, connection)

    def frame(self, message: bytes) -> None:
        self._begin(self._handler.take(message))
        self._regulate()

    def ended(self) -> None:
        self._finish()

    def broken(self, error: FramingError) -> None:
        self._farewell = self._handler.refusal(error, self._open)
        self._finish()

    def lost(self) -> None:
        self._gone = True
        self._cancel([turn for turn in self._turns if turn.awaited])
        self._advance()

    # -- what the server tells

    def drain(self) -> None:
        self._open.ignore()
        self._finish()

    def cancel(self) -> None:
        self._waiting = None
        self._last = self._gone = True
        self._cancel(list(self._turns))
        self._open.reset()

    # -- within

    @property
    def _open(self) -> Connection:
        assert self._connection is not None  # noqa: S101  opened() came first
        return self._connection

    def _begin(self, taken: tuple[T, Hashable | None, bool]) -> None:
        request, lane, awaited = taken
        if awaited and self._gone:
            return
        if lane is not None:
            if lane in self._lanes:
                self._waiting = taken
                return
            self._lanes.add(lane)
        turn = _Turn(lane, awaited)
        if self._handler.in_order:
            self._line.append(turn)
        self._in_flight += 1
        self._turns.add(turn)
        turn.task = self._loop.create_task(self._serve(turn, request))

    async def _serve(self, turn: _Turn, request: T) -> None:
        turn.begun = True
        try:
            turn.reply = await self._handler.answer(request, self._open)
        except Failure as failure:
            log.info("a connection of %s is closed: %s", self._open.peer, failure)
            turn.close = True
        except Exception:
            log.exception("bug in an exchange with %s", self._open.peer)
            turn.close = True
        except asyncio.CancelledError:
            turn.close = True  # a peer that is there would take the next reply for its own
            raise
        finally:
            self._settle(turn)

    def _cancel(self, turns: list[_Turn]) -> None:
        for turn in turns:
            if turn.task is not None:
                turn.task.cancel()
            if not turn.begun:
                self._settle(turn)  # it never runs

    def _settle(self, turn: _Turn) -> None:
        turn.done = True
        self._turns.discard(turn)
        if turn.lane is not None:
            self._lanes.discard(turn.lane)
        if self._handler.in_order:
            while self._line and self._line[0].done:
                self._send(self._line.popleft())
        else:
            self._send(turn)
        self._advance()

    def _send(self, turn: _Turn) -> None:
        self._in_flight -= 1
        if turn.reply is not None:
            self._open.send(turn.reply)
        if turn.close:
            self._open.close()

    def _finish(self) -> None:
        """Take nothing more."""
        self._last = True
        self._advance()

    def _advance(self) -> None:
        """Go on after a change."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._begin(waiting)
        self._regulate()
        if self._in_flight or self._waiting is not None:
            return
        if self._gone:
            self._loop.call_soon(self._leave)  # messages that were held back may still be handed over
        elif self._last:
            if self._farewell is not None:
                self._open.send(self._farewell)
            self._open.close()

    def _leave(self) -> None:
        if not self._in_flight and self._waiting is None:
            self._server.leave(self)

    def _regulate(self) -> None:
        held = self._waiting is not None or self._in_flight >= self._handler.max_in_flight
        if held is not self._held:
            self._held = held
            if held:
                self._open.pause()
            else:
                self._open.resume()
