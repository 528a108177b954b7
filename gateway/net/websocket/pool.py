"""WebSocket connections that calls share: many calls by id on one, or one at a time on each of several."""

import asyncio
from collections.abc import Awaitable, Callable

from gateway.net.waiters import Waiters
from gateway.net.websocket.line import WebSocketLine

Key = tuple[str, tuple[tuple[str, str], ...]]
"""(URL, headers of the handshake)"""


class WebSocketPool:
    """The lines of one address.

    limit: of lines, over all keys; further calls wait. places: calls on a line at a time; where there are many, calls
    share a line as long as it has places.
    """

    def __init__(self, connect: Callable[[Key], Awaitable[WebSocketLine]], limit: int, places: int) -> None:
        self._connect = connect
        self._limit = limit
        self._places = places
        self._lines: dict[Key, list[WebSocketLine]] = {}
        self._count = 0
        self._opening: dict[Key, asyncio.Task[WebSocketLine | None]] = {}
        self._waiters = Waiters()

    async def take(self, key: Key) -> WebSocketLine:
        """A line with a place for one more call, to be given back. Raises Failure, with sent=False."""
        while True:
            line = self._free(key)
            if line is not None:
                line.calls += 1
                return line
            opened = await (self._open(key) if self._places == 1 else self._open_once(key))
            if opened is None:
                await self._waiters.wait()

    def give(self, line: WebSocketLine) -> None:
        """The call is over."""
        line.calls -= 1
        if not line.usable:
            self._remove(line)
        self._waiters.wake()

    def _free(self, key: Key) -> WebSocketLine | None:
        for line in list(self._lines.get(key, ())):
            if not line.usable:
                self._remove(line)
            elif line.calls < self._places:
                return line
        return None

    async def _open(self, key: Key) -> WebSocketLine | None:
        """A new line; None where there may be no more. Raises Failure."""
        if self._count >= self._limit and not self._evict():
            return None
        self._count += 1
        try:
            line = await self._connect(key)
        except BaseException:
            self._count -= 1
            self._waiters.wake()
            raise
        self._lines.setdefault(key, []).append(line)
        return line

    async def _open_once(self, key: Key) -> WebSocketLine | None:
        """As _open(), once for all who ask meanwhile."""
        opening = self._opening.get(key)
        if opening is None:
            opening = self._opening[key] = asyncio.create_task(self._open(key), name="websocket connect")
            opening.add_done_callback(lambda task: self._opened(key, task))
        return await asyncio.shield(opening)

    def _opened(self, key: Key, task: "asyncio.Task[WebSocketLine | None]") -> None:
        del self._opening[key]
        if not task.cancelled():
            task.exception()  # all who asked may have left

    def _evict(self) -> bool:
        """Make room by closing a line that nobody uses."""
        for lines in self._lines.values():
            for line in lines:
                if not line.calls:
                    line.retire()
                    self._remove(line)
                    return True
        return False

    def _remove(self, line: WebSocketLine) -> None:
        for key, lines in self._lines.items():
            if line in lines:
                lines.remove(line)
                self._count -= 1
                if not lines:
                    del self._lines[key]
                self._waiters.wake()
                return
