"""Exchange: an inbound connection whose messages are one-way, or have one reply each."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import Any

from adapters.socket.connection import Connection
from adapters.socket.serving import Serving
from gateway.message import Context, Message
from gateway.net.framing import FramingError
from gateway.pattern import Count
from gateway.status import Code, Failure

log = logging.getLogger("gateway.socket")


@dataclass(slots=True, eq=False)
class _Turn:
    """A message's place in the line of replies.

    reply: None where nothing is sent. close: the connection is closed after it.
    """

    done: bool = False
    reply: bytes | None = None
    close: bool = False


class Exchange:
    """The session of one connection. Replies go out in the order of the requests, or, where a field tells which is
    whose, as they come."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._replies = serving.binding.pattern.replies is not Count.NONE
        self._correlation = serving.formats.correlation if self._replies else None
        self._connection: Connection | None = None
        self._line: deque[_Turn] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._full = serving.endpoint.max_in_flight
        self._last = False
        self._held = False

    @property
    def busy(self) -> bool:
        return bool(self._line)

    def opened(self, connection: Connection) -> None:
        self._connection = connection
        self._serving.enter(connection)

    def frame(self, body: bytes) -> None:
        turn = _Turn()
        self._line.append(turn)
        self._serving.received.add()
        self._regulate()
        task = asyncio.get_running_loop().create_task(self._serve(turn, body))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def ended(self) -> None:
        self._last = True
        self._flush()

    def broken(self, error: FramingError) -> None:
        self._serving.malformed.add()
        turn = _Turn()
        self._line.append(turn)
        failure = Failure(Code.INVALID_ARGUMENT, str(error), sent=False)
        self._settle(turn, self._serving.told(failure, None, self._open), close=True)

    def lost(self) -> None:
        connection = self._open
        if self._replies:
            # Nobody is left to take the replies. A one-way message was sent all the same.
            for task in self._tasks:
                task.cancel()
        self._serving.leave(connection)

    def drain(self) -> None:
        """Take nothing more; close once all is answered."""
        self._last = True
        self._flush()

    async def finished(self) -> None:
        """Return when nothing is being served, and nothing more will be."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    async def _serve(self, turn: _Turn, body: bytes) -> None:
        serving, correlation, connection = self._serving, self._correlation, self._open
        key: Any = None
        reply: bytes | None = None
        close = False
        try:
            if correlation is not None:
                key, body = correlation.take_request(body)
            message = Message(body, (), {"peer": connection.peer})
            answer = await serving.binding.service.call(message, Context(peer=connection.peer))
            if self._replies and answer.body is not None:
                body = answer.body if correlation is None else correlation.put_reply(answer.body, key)
                reply = connection.framed(serving.formats.compact(body))
        except Failure as failure:
            serving.failed.add()
            reply = serving.told(failure, key, connection)
            close = serving.closes
        except Exception:
            log.exception("bug in an exchange with %s", connection.peer)
            close = True
        self._settle(turn, reply, close=close)

    def _settle(self, turn: _Turn, reply: bytes | None, *, close: bool) -> None:
        turn.done, turn.reply, turn.close = True, reply, close
        if self._correlation is not None:
            # It need not wait for those before it.
            self._line.remove(turn)
            self._line.appendleft(turn)
        self._flush()

    def _flush(self) -> None:
        connection, line = self._open, self._line
        while line and line[0].done:
            turn = line.popleft()
            if turn.reply is not None:
                connection.send(turn.reply)
            if turn.close:
                connection.close()
        if self._last and not line:
            connection.close()
        self._regulate()

    @property
    def _open(self) -> Connection:
        assert self._connection is not None  # noqa: S101  opened() came first
        return self._connection

    def _regulate(self) -> None:
        held = self._serving.draining or len(self._line) >= self._full
        if held is not self._held:
            self._held = held
            if held:
                self._open.pause()
            else:
                self._open.resume()
