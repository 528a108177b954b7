"""Windows: one for each part of a log that a consumer has, whose positions are kept together."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Generic, TypeVar

from gateway.net.broker.redelivery import Redelivery, Retries
from gateway.net.broker.window import Window

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

KEEP_SECONDS: Final = 5.0


class Windows(Generic[K, T]):
    """limit, retries, position, lane, settle: as Window has them.

    fetch: (part, at most so many) -> records.
    keep: (positions) -> whether they were kept; never called twice at once, and cancelled after KEEP_SECONDS.
    What these two raise is raised by tend().
    """

    def __init__(
        self,
        limit: int,
        retries: Retries,
        *,
        position: Callable[[T], int],
        lane: Callable[[T], Hashable],
        settle: Callable[[T, Redelivery], Awaitable[bool]],
        fetch: Callable[[K, int], Awaitable[Sequence[T]]],
        keep: Callable[[Mapping[K, int]], Awaitable[bool]],
    ) -> None:
        def moved(settled: int) -> None:
            if 2 * settled >= limit:
                self._wake.set()

        def make() -> Window[T]:
            return Window(limit, retries, position=position, lane=lane, settle=settle, moved=moved)

        self._make = make
        self._fetch = fetch
        self._keep = keep
        self._open: dict[K, Window[T]] = {}
        self._wake = asyncio.Event()
        self._keeping = asyncio.Lock()
        self._error: Exception | None = None

    @property
    def asking(self) -> list[K]:
        """Those parts that records are being fetched of."""
        return [part for part, window in self._open.items() if window.room > 0]

    def open(self, part: K) -> None:
        """Take this part, from where its fetching begins."""
        window = self._open[part] = self._make()
        window.start(partial(self._fetch, part), self.fail)

    async def release(self) -> None:
        """Begin nothing new; return when what runs has ended and is kept. The caller bounds the time."""
        await asyncio.gather(*(window.release() for window in self._open.values()))
        await self.keep()

    async def close(self, parts: Iterable[K], grace: float) -> None:
        """Let go of these parts, of all that is settled by then kept. grace: seconds for what runs."""
        leaving = [part for part in parts if part in self._open]
        await asyncio.gather(*(self._open[part].release(grace) for part in leaving))
        await self.keep()
        for part in leaving:
            self._open.pop(part, None)

    async def close_all(self) -> None:
        """At once."""
        await self.close(list(self._open), 0.0)
        self._error = None

    def fail(self, error: Exception) -> None:
        """Let tend() raise this."""
        self._error = error
        self._wake.set()

    async def tend(self, seconds: float) -> None:
        """Keep what is settled once it frees much room, or after so many seconds. Raises what broke."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()
        if self._error is not None:
            raise self._error
        await self.keep()

    async def keep(self) -> None:
        """Keep what is settled."""
        async with self._keeping:
            windows = dict(self._open)
            due = {part: ready for part, window in windows.items() if (ready := window.due) is not None}
            if due and await self._kept({part: position for part, (position, _) in due.items()}):
                for part, (_, settled) in due.items():
                    windows[part].kept(settled)

    async def _kept(self, positions: Mapping[K, int]) -> bool:
        try:
            async with asyncio.timeout(KEEP_SECONDS) as patience:
                return await self._keep(positions)
        except Exception as error:
            if not patience.expired():
                self.fail(error)
            return False
