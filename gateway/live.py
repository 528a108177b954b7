"""Live: a journal of what a broker gives from now on, open while the broker is there."""

import asyncio
import logging
from typing import Final, Generic, TypeVar

from gateway.journal.journal import Journal
from gateway.port import Inbound

WATCH_SECONDS: Final = 1.0
AWAY_SECONDS: Final = 30.0  # without the broker, after which streams end

T = TypeVar("T")

log = logging.getLogger("gateway.live")


class Live(Generic[T]):
    """Keeps events for a while and in memory, for those who stream them.

    name: of the broker's endpoint.
    inbound: its own, bound to what writes the journal.
    journal: its own, too.
    """

    def __init__(self, name: str, inbound: Inbound, journal: Journal[T]) -> None:
        self._name = name
        self._inbound = inbound
        self._journal = journal
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
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._inbound.stop()
            await self._journal.stop()

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
            log.warning("%s: streams end, for it is away: %s", self._name, self._inbound.unready)
            # The broker may forget what they are to be given.
            await self._journal.stop()
