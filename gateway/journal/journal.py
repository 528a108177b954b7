"""Journal: a store with those who wait for its events."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final, Generic, Literal, TypeVar

import msgspec

from gateway.journal.entry import Batch, Entry, Wanted
from gateway.journal.store import NOUN, Store
from gateway.net.broker.redelivery import backoff
from gateway.net.counters import Counters
from gateway.net.tasks import end
from gateway.status import Code, Failure, invalid

READ: Final = 64  # entries that a stream takes from the store at once
PRUNE_SECONDS: Final = 5.0
REOPEN_SECONDS: Final = 0.2
MAX_REOPEN_SECONDS: Final = 5.0
OPEN_SECONDS: Final = 10.0
"""From the process' start on, in which streams wait for what fills a journal, for a consumer group may take some until
it is joined. Later they are refused at once while it is away."""

T = TypeVar("T")

log = logging.getLogger("gateway.journal")

Start = Literal["earliest", "latest"]
"""Where one begins that has not come anywhere yet."""

Check = Callable[[], None]
"""Raises why somebody no longer waits."""


def unconcerned() -> None:
    """Nothing keeps it from waiting."""


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How much is kept, and for how long.

    limit: in bytes, over which new events are refused.
    retained: in bytes, from which on the oldest events go that every subscription has handled.
    seconds: for which events are kept. One that a subscription has not handled yet stays, unless nothing was heard of
        that subscription for so long.
    """

    limit: int
    retained: int
    seconds: float


class Journal(Generic[T]):
    """Events are there for those who ask for them once append() has synced them.

    name: of the endpoint, for logs and counters.
    retention: may be replaced at any time.
    dead_letters, given_up: counters of events that subscriptions could not handle, and of those that were no longer
        kept when a subscription came to them.
    """

    def __init__(self, name: str, store: Store[T], retention: Retention, counters: Counters) -> None:
        self.name = name
        self.dead_letters = counters.counter(name, "dead_letters")
        self.given_up = counters.counter(name, "events_given_up")
        self.retention = retention
        self._store = store
        self._held: dict[str, asyncio.Lock] = {}
        self._opened = asyncio.Event()
        self._news = asyncio.Event()
        self._crowded = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._trouble = "not open yet"
        self._patience = time.monotonic() + OPEN_SECONDS
        store.appended = self._appended

    @property
    def unready(self) -> str:
        return self._trouble

    def start(self) -> None:
        """Open the store in the background, and keep it within its bounds."""
        if self._task is None:
            self._trouble = "not open yet"
            self._task = asyncio.create_task(self._keep(), name=f"journal {self.name}")

    async def stop(self) -> None:
        """Write what was begun, and close the store. Safe at any time."""
        task, self._task = self._task, None
        if task is not None:
            await end([task])
            self._opened.clear()
            self.rouse()
            await self._store.close()
        self._trouble = "stopped"

    async def opened(self) -> None:
        """Return once the store is open."""
        await self._opened.wait()

    @property
    def first(self) -> int:
        """The oldest position that is still there."""
        return self._store.first

    @property
    def last(self) -> int:
        """The newest position that was given."""
        return self._store.last

    def beginning(self, start: Start) -> int:
        """The position after which one begins, once it is open."""
        return self.last if start == "latest" else self.first - 1

    async def begin(self, start: Start, after: str, path: str) -> int:
        """The position after which a stream begins, once it can: the one that its caller has given, or `start`.

        after: as the caller wrote it, empty for none. path: where. Raises Failure: INVALID_ARGUMENT, OUT_OF_RANGE,
        UNAVAILABLE where it can't now.
        """
        try:
            async with asyncio.timeout(max(0.0, self._patience - time.monotonic())):
                await self.opened()
        except TimeoutError:
            told = "nothing can be streamed now: what it comes from is away"
            raise Failure(Code.UNAVAILABLE, told, retry_after=1.0, sent=False) from None
        if not after:
            return self.beginning(start)
        if not (after.isascii() and after.isdigit() and len(after) < 20):
            raise invalid("the position of an event is expected", path)
        if int(after) > self.last:
            raise Failure(Code.OUT_OF_RANGE, f"there is no event {after} yet", path=path, sent=False)
        return int(after)

    async def append(self, events: Sequence[tuple[str, T]]) -> int:
        """Store.append. Cancelled, the outcome is unknown."""
        self._check_open()
        self._store.limit = self.retention.limit
        try:
            return await self._store.append(events)
        except Failure as failure:
            if failure.code is Code.RESOURCE_EXHAUSTED:
                self._crowded.set()
            raise

    async def read(self, after: int, wanted: Wanted, limit: int = READ) -> Batch[T]:
        """Store.read."""
        self._check_open()
        return await self._store.read(after, wanted, limit)

    async def grown(self, last: int, check: Check = unconcerned) -> None:
        """Return once there is more than this position. Raises Failure(UNAVAILABLE) once it is stopped, and what
        `check` does, which is asked again after each rouse()."""
        while self._store.last <= last:
            self._check_open()
            check()
            await self._news.wait()

    def rouse(self) -> None:
        """Those who wait for news look again whether they still want any."""
        # They are many, and each looks for itself.
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def follow(self, after: int, wanted: Wanted, check: Check = unconcerned) -> AsyncGenerator[Entry[T], None]:
        """The wanted entries after a position, those that are still to come too.

        check: as of grown(); asked before each read too.
        Raises Failure: OUT_OF_RANGE where entries are no longer kept that it had not come to, UNAVAILABLE.
        """
        while True:
            check()
            if after + 1 < self.first:
                raise Failure(Code.OUT_OF_RANGE, f"the events after {after} are no longer kept", sent=False)
            batch = await self.read(after, wanted)
            for entry in batch.entries:
                yield entry
            after = batch.scanned
            if not batch.entries:
                await self.grown(after, check)

    def position(self, subscription: str) -> int | None:
        """How far a subscription has come; None where it is new."""
        kept = self._store.subscriptions.get(subscription)
        return None if kept is None else kept.position

    async def advance(self, subscription: str, position: int) -> None:
        """Store.advance."""
        self._check_open()
        await self._store.advance(subscription, position)

    async def hold(self, subscription: str) -> None:
        """Return once nobody else consumes this subscription. What it has not come to is kept until release(), however
        old it is."""
        await self._held.setdefault(subscription, asyncio.Lock()).acquire()

    def release(self, subscription: str) -> None:
        """After hold(): it is consumed no more. What it has not come to is kept as long as retention says."""
        self._held[subscription].release()

    def _is_held(self, subscription: str) -> bool:
        lock = self._held.get(subscription)
        return lock is not None and lock.locked()

    def _check_open(self) -> None:
        if not self._opened.is_set():
            raise Failure(Code.UNAVAILABLE, f"the {NOUN} is not open", retry_after=1.0, sent=False)

    def _appended(self, entries: Sequence[Entry[T]]) -> None:
        self.rouse()
        if self._store.bytes > self.retention.retained:
            self._crowded.set()

    async def _keep(self) -> None:
        attempt = 0
        while not self._opened.is_set():
            try:
                await self._store.open()
            except OSError as error:
                if str(error) != self._trouble:
                    log.warning("journal %s: %s", self.name, error)
                self._trouble = str(error)
                attempt += 1
                await asyncio.sleep(backoff(attempt, REOPEN_SECONDS, MAX_REOPEN_SECONDS))
            else:
                self._trouble = ""
                self._opened.set()
        while True:
            try:
                await self._prune()
            except Failure as failure:
                log.warning("journal %s: can't forget old events: %s", self.name, failure)
            try:
                async with asyncio.timeout(PRUNE_SECONDS):
                    await self._crowded.wait()
            except TimeoutError:
                continue
            # What nobody has handled yet can't go: not at once again.
            await asyncio.sleep(PRUNE_SECONDS / 50)
            self._crowded.clear()

    async def _prune(self) -> None:
        older = time.time() - self.retention.seconds
        before = 1 + min(
            (
                kept.position
                for name, kept in self._store.subscriptions.items()
                if self._is_held(name) or kept.seen >= older
            ),
            default=self.last,
        )
        while await self._store.prune(before, older, self.retention.retained):
            pass
