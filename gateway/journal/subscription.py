"""Subscription: a durable one, from reading to settling."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Final, Generic, Literal, TypeVar

import msgspec

from gateway.journal.entry import Entry
from gateway.journal.journal import Journal
from gateway.journal.topic import Filter
from gateway.net.broker.redelivery import Redelivery, backoff
from gateway.net.lanes import Lanes, LowWaterMark
from gateway.status import Failure

STRIDE: Final = 1000  # events of other topics after which the position is kept, though nothing was handled
KEEP_SECONDS: Final = 0.05
MAX_KEEP_SECONDS: Final = 5.0

T = TypeVar("T")

log = logging.getLogger("gateway.journal")

Deliver = Callable[[Entry[T]], Awaitable[None]]
"""One try. Raises Failure."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a durable subscription is served.

    name: under which the store keeps how far it has come.
    topics: filters.
    dead_letters: the topic of events that can't be handled; the subscription itself is given none of it.
    start: where it begins while it has not come anywhere yet.
    max_in_flight: events between the position that is kept and the newest one taken.
    max_deliveries, backoff, max_backoff: as gateway.net.broker.redelivery has them.
    """

    name: str
    topics: tuple[str, ...]
    dead_letters: str
    start: Literal["earliest", "latest"]
    max_in_flight: int
    max_deliveries: int
    backoff: float
    max_backoff: float

    @property
    def retries(self) -> dict[str, str | int]:
        """As routes.yaml writes them."""
        return {
            "max_deliveries": self.max_deliveries,
            "backoff": f"{self.backoff:f}s",
            "max_backoff": f"{self.max_backoff:f}s",
        }


class Subscription(Generic[T]):
    """Delivers each event and settles it afterwards: events of one lane in order, lanes at once.

    At most max_in_flight events lie between the position that is kept and the newest one taken, so that a crash
    repeats no more than those.
    """

    def __init__(self, journal: Journal[T], settings: Settings, deliver: Deliver[T]) -> None:
        self._journal = journal
        self._settings = settings
        self._deliver = deliver
        self._lane = journal.content.lane
        self._dead_letter = journal.content.dead_letter
        self._wanted = Filter(settings.topics, without=settings.dead_letters)
        self._mark = LowWaterMark()
        self._scanned = self._kept = self._passed = 0
        self._room = asyncio.Event()
        self._dirty = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._lanes: Lanes[Entry[T]] | None = None
        self._ending: asyncio.Future[None] | None = None
        self._holds = False
        self._unburied = ""

    @property
    def unready(self) -> str:
        return f"subscription {self._settings.name}: {self._unburied}" if self._unburied else ""

    def start(self) -> None:
        """Consume in the background, once the store is open."""
        if self._tasks:
            return
        settings = self._settings
        ending = self._ending = asyncio.get_running_loop().create_future()
        redelivery = Redelivery(settings.max_deliveries, settings.backoff, settings.max_backoff, ending)
        lanes = self._lanes = Lanes(settings.max_in_flight, lambda entry: self._serve(entry, redelivery))
        name = f"subscription {settings.name}"
        self._tasks = [
            asyncio.create_task(self._consume(lanes), name=name),
            asyncio.create_task(self._keep_up(), name=name),
        ]

    async def drain(self) -> None:
        """Begin nothing new; return when what runs has ended and the position is kept."""
        await self._end(cancel=False)

    async def stop(self) -> None:
        """Cancel what runs, and keep the position of what is settled. Safe at any time."""
        await self._end(cancel=True)

    async def _end(self, *, cancel: bool) -> None:
        lanes, ending = self._lanes, self._ending
        if lanes is None or ending is None:
            return
        if not ending.done():
            ending.set_result(None)
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        lanes.close()
        if cancel:
            await lanes.cancel()
        await lanes.join()
        try:
            if self._target > self._kept:
                await self._keep()
        except Failure as failure:
            log.info("subscription %s: position not kept: %s", self._settings.name, failure)
        if self._holds:
            self._holds = False
            self._journal.release(self._settings.name)

    async def _consume(self, lanes: Lanes[Entry[T]]) -> None:
        await self._journal.opened()
        await self._journal.hold(self._settings.name)
        self._holds = True
        await self._retried(self._begin)
        while True:
            await self._retried(lambda: self._read(lanes))

    async def _begin(self) -> None:
        """Go on where the subscription was, or begin it."""
        journal, settings = self._journal, self._settings
        position = journal.position(settings.name)
        if position is None:
            position = journal.last if settings.start == "latest" else journal.first - 1
            # At once: what comes while the gateway is away must not be skipped.
            await journal.advance(settings.name, position)
        self._scanned = self._kept = position

    async def _read(self, lanes: Lanes[Entry[T]]) -> None:
        journal = self._journal
        room = self._settings.max_in_flight - len(self._mark) - self._passed
        if room <= 0:
            self._room.clear()
            await self._room.wait()
            return
        if self._scanned + 1 < journal.first:
            name = self._settings.name
            log.error("subscription %s: events %d to %d were given up", name, self._scanned + 1, journal.first - 1)
            journal.given_up.add(journal.first - 1 - self._scanned)
            self._scanned = journal.first - 1
        batch = await journal.read(self._scanned, self._wanted, room)
        for entry in batch.entries:
            self._mark.add(entry.position)
            await lanes.submit(self._lane(entry.event), entry)
        self._scanned = batch.scanned
        if self._scanned - self._kept >= STRIDE and not len(self._mark):
            self._dirty.set()
        if not batch.entries:
            await journal.grown(self._scanned)

    async def _serve(self, entry: Entry[T], redelivery: Redelivery) -> None:
        if await redelivery.settle(
            lambda: self._deliver(entry), lambda failure, deliveries: self._bury(entry, failure, deliveries)
        ):
            self._passed += self._mark.settle(entry.position)
            self._dirty.set()

    @property
    def _target(self) -> int:
        """Up to where all is settled."""
        mark = self._mark.mark
        if mark is None:
            return self._scanned
        return mark - 1 if len(self._mark) else max(self._scanned, mark - 1)

    async def _keep_up(self) -> None:
        """Keep the position when something was settled."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            if self._target > self._kept:
                await self._retried(self._keep)

    async def _keep(self) -> None:
        target, passed = self._target, self._passed
        await self._journal.advance(self._settings.name, target)
        self._kept = target
        self._passed -= passed
        self._room.set()

    async def _retried(self, work: Callable[[], Awaitable[None]]) -> None:
        """Work that the store may refuse now."""
        attempt = 0
        while True:
            try:
                await work()
            except Failure as failure:
                attempt += 1
                if attempt == 1:
                    log.warning("subscription %s: %s", self._settings.name, failure)
                await asyncio.sleep(backoff(attempt, KEEP_SECONDS, MAX_KEEP_SECONDS))
            else:
                return

    async def _bury(self, entry: Entry[T], failure: Failure, deliveries: int) -> None:
        topic, name = self._settings.dead_letters, self._settings.name
        where = f"{entry.topic} {entry.position}"
        try:
            await self._journal.append([(topic, self._dead_letter(entry, failure, deliveries))])
        except Failure as trouble:
            self._unburied = f"{where} can't be put into {topic}: {trouble}"
            log.warning("subscription %s: %s", name, self._unburied)
            raise
        self._unburied = ""
        self._journal.dead_letters.add()
        log.warning("subscription %s: %s put into %s: %s", name, where, topic, failure)


class Subscriptions(Generic[T]):
    """Durable subscriptions that are replaced as a whole."""

    def __init__(self, journal: Journal[T]) -> None:
        self._journal = journal
        self._running: dict[Hashable, Subscription[T]] = {}
        self._leaving: dict[asyncio.Task[None], Subscription[T]] = {}
        self._started = False

    @property
    def unready(self) -> str:
        """Why one of them can't do its work; empty when all can."""
        return "; ".join(why for subscription in self._running.values() if (why := subscription.unready))

    def replace(self, wanted: Mapping[Hashable, tuple[Settings, Deliver[T]]]) -> None:
        """Those of the same key go on as they are; one of another key begins where its predecessor of the same name
        ends."""
        running: dict[Hashable, Subscription[T]] = {}
        for key, (settings, deliver) in wanted.items():
            known = self._running.pop(key, None)
            running[key] = known or Subscription(self._journal, settings, deliver)
            if known is None and self._started:
                running[key].start()
        leaving, self._running = self._running, running
        for subscription in leaving.values():
            if self._started:
                task = asyncio.create_task(subscription.drain(), name="subscription retires")
                self._leaving[task] = subscription
                task.add_done_callback(self._leaving.pop)

    async def start(self) -> None:
        self._started = True
        for subscription in self._running.values():
            subscription.start()

    async def drain(self) -> None:
        """As Subscription.drain."""
        await asyncio.gather(*(subscription.drain() for subscription in self._running.values()), *self._leaving)

    async def stop(self) -> None:
        """As Subscription.stop."""
        self._started = False
        leaving = dict(self._leaving)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        running = (*leaving.values(), *self._running.values())
        await asyncio.gather(*(subscription.stop() for subscription in running))
