"""Live: what a broker gives from now on, kept for a while and in memory, for those who stream it."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from typing import Final, Generic, TypeVar

from gateway.journal.entry import Entry, Wanted
from gateway.journal.journal import Check, Journal, Retention, Start, unconcerned
from gateway.journal.memory import MemoryStore
from gateway.net.counters import Counters
from gateway.net.tasks import end
from gateway.port import Inbound
from gateway.status import Code, Failure

WATCH_SECONDS: Final = 1.0
AWAY_SECONDS: Final = 30.0  # without the broker, after which streams end

# How far a slow reader may be behind.
LIMIT: Final = 32 * 1024 * 1024
RETAINED: Final = 16 * 1024 * 1024
RETAINED_SECONDS: Final = 60.0

T = TypeVar("T")

log = logging.getLogger("gateway.live")


class Live(Generic[T]):
    """A journal in memory, open while the broker is there; its positions are nobody else's.

    name: of the endpoint whose streams it serves.
    inbound: its own, bound to what calls keep().
    size: about what one of them takes, in bytes; largest: at most.
    """

    def __init__(
        self, name: str, inbound: Inbound, counters: Counters, size: Callable[[T], int], largest: int = 0
    ) -> None:
        retention = Retention(limit=LIMIT + largest, retained=RETAINED + largest, seconds=RETAINED_SECONDS)
        self._name = name
        self._inbound = inbound
        self._journal = Journal(name, MemoryStore(size, retention.limit), retention, counters)
        self._task: asyncio.Task[None] | None = None

    @property
    def unready(self) -> str:
        return (self._inbound.unready or self._journal.unready) if self._task is not None else ""

    def start(self) -> None:
        """In the background."""
        if self._task is None:
            self._task = asyncio.create_task(self._watch(), name=f"live {self._name}")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await end([task])
            await self._inbound.stop()
            await self._journal.stop()

    async def keep(self, topic: str, event: T) -> None:
        """Raises Failure."""
        await self._journal.append([(topic, event)])

    async def begin(self, start: Start, after: str, path: str) -> int:
        """As Journal.begin, but from now on alone. Raises Failure(UNIMPLEMENTED) for a position that a caller gives."""
        if after:
            told = "a stream of what is published from now on can't go on from a position: begin anew, without one"
            raise Failure(Code.UNIMPLEMENTED, told, path=path, sent=False)
        return await self._journal.begin("latest", after, path)

    def follow(self, after: int, wanted: Wanted, check: Check = unconcerned) -> AsyncGenerator[Entry[T], None]:
        """As Journal.follow."""
        return self._journal.follow(after, wanted, check)

    def rouse(self) -> None:
        """As Journal.rouse."""
        self._journal.rouse()

    async def _watch(self) -> None:
        await self._inbound.load()
        await self._inbound.start()
        while True:
            while self._inbound.unready:  # noqa: ASYNC110  sides tell it, and no more
                await asyncio.sleep(WATCH_SECONDS / 20)
            self._journal.start()
            away = 0.0
            while away < AWAY_SECONDS:
                await asyncio.sleep(WATCH_SECONDS)
                away = away + WATCH_SECONDS if self._inbound.unready else 0.0
            log.warning("%s: streams end, for the broker is away: %s", self._name, self._inbound.unready)
            # The broker may forget what they are to be given.
            await self._journal.stop()
