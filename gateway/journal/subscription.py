"""Subscription: a durable one, from reading to settling."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Final, Generic, Literal, Self, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from gateway.journal.entry import Content, Entry
from gateway.journal.journal import Journal, Start
from gateway.journal.topic import Filter, check_filter, check_topic
from gateway.listed import Listed
from gateway.net.broker.redelivery import Redelivery, Retries, backoff
from gateway.net.broker.window import Window
from gateway.net.broker.workers import Consumers
from gateway.net.tasks import end
from gateway.status import Failure

STRIDE: Final = 1000  # events of other topics after which the position is kept, though nothing was handled
KEEP_SECONDS: Final = 0.05
MAX_KEEP_SECONDS: Final = 5.0

R = TypeVar("R")
T = TypeVar("T")

log = logging.getLogger("gateway.journal")

Deliver = Callable[[Entry[T]], Awaitable[None]]
"""One try. Raises Failure."""


class Settings(Retries):
    """A durable subscription, as routes.yaml writes it: it goes on where it was when its process ended."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    topic: Listed[Annotated[str, AfterValidator(check_filter)]] = Field(
        min_length=1,
        description="The topics to subscribe to, as filters: orders.* is one further level, orders.> all further ones. "
        "One or a list.",
    )
    subscription: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="The name under which the store keeps how far this subscription has come.",
    )
    start: Start = Field(
        default="earliest",
        description="Where a subscription begins that has not come anywhere yet. On a backbone of queues it is given "
        "what is published once it was there; an explicit earliest is refused.",
    )
    max_in_flight: int = Field(
        default=64,
        ge=1,
        le=100_000,
        description="Most events between the position that is kept and the newest one taken: how many are handled at "
        "once, and how many may come twice after a crash. A backbone of queues keeps no order of keys; 1 keeps that of "
        "all events.",
    )
    dead_letters: Annotated[str, AfterValidator(check_topic)] | Literal[""] = Field(
        default="",
        description="The topic for events that can't be handled; dead-letters.{subscription} where empty. The "
        "subscription itself is not given events of this topic. On a backbone they go to the broker's topic or queue "
        "{stream}.{subscription}.dead-letters.",
    )

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.dead_letter_topic in self.topic:
            raise ValueError(f"dead_letters would take {self.dead_letter_topic} from the subscription")
        return self

    @property
    def name(self) -> str:
        """Under which the store keeps how far it has come."""
        return self.subscription

    @property
    def topics(self) -> Sequence[str]:
        """Filters."""
        return self.topic

    @property
    def dead_letter_topic(self) -> str:
        """Where events go that can't be handled; the subscription itself is given none of it."""
        return self.dead_letters or f"dead-letters.{self.subscription}"

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

    binding: its settings, and what delivers; that may be replaced at any time.
    """

    def __init__(self, journal: Journal[T], content: Content[T], binding: tuple[Settings, Deliver[T]]) -> None:
        self.binding = binding
        self._journal = journal
        self._content = content
        self._settings = settings = binding[0]
        self._wanted = Filter(settings.topics, without=settings.dead_letter_topic)
        self._scanned = self._kept = 0
        self._dirty = asyncio.Event()
        self._window: Window[Entry[T]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._holds = False
        self._unburied = self._bug = ""

    @property
    def unready(self) -> str:
        why = self._bug or self._unburied
        return f"subscription {self._settings.name}: {why}" if why else ""

    def start(self) -> None:
        """Consume in the background, once the store is open."""
        if self._task is not None:
            return
        settings, lane = self._settings, self._content.lane
        window = self._window = Window(
            settings.max_in_flight,
            settings,
            position=attrgetter("position"),
            lane=lambda entry: lane(entry.event),
            settle=self._settle,
            moved=lambda _: self._dirty.set(),
        )
        self._scanned = self._kept = 0
        self._unburied = self._bug = ""
        self._task = asyncio.create_task(self._consume(window), name=f"subscription {settings.name}")

    async def drain(self) -> None:
        """Begin nothing new; return when what runs has ended and the position is kept."""
        await self._end(grace=None)

    async def stop(self) -> None:
        """Cancel what runs, and keep the position of what is settled. Safe at any time."""
        await self._end(grace=0.0)

    async def _end(self, grace: float | None) -> None:
        window = self._window
        if window is None:
            return
        task, self._task = self._task, None
        if task is not None:
            await end([task])
        await window.release(grace)
        try:
            await self._keep(window)
        except Failure as failure:
            log.info("subscription %s: position not kept: %s", self._settings.name, failure)
        if self._holds:
            self._holds = False
            self._journal.release(self._settings.name)

    async def _consume(self, window: Window[Entry[T]]) -> None:
        await self._journal.opened()
        await self._journal.hold(self._settings.name)
        self._holds = True
        await self._retried(self._begin)
        window.start(lambda room: self._retried(lambda: self._read(window, room)), self._broken)
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._retried(lambda: self._keep(window))

    async def _begin(self) -> None:
        """Go on where the subscription was, or begin it."""
        journal, settings = self._journal, self._settings
        position = journal.position(settings.name)
        if position is None:
            position = journal.beginning(settings.start)
            # At once: what comes while the gateway is away must not be skipped.
            await journal.advance(settings.name, position)
        self._scanned = self._kept = position

    async def _read(self, window: Window[Entry[T]], room: int) -> Sequence[Entry[T]]:
        journal = self._journal
        if self._scanned + 1 < journal.first:
            name = self._settings.name
            log.error("subscription %s: events %d to %d were given up", name, self._scanned + 1, journal.first - 1)
            journal.given_up.add(journal.first - 1 - self._scanned)
            self._scanned = journal.first - 1
        batch = await journal.read(self._scanned, self._wanted, room)
        self._scanned = batch.scanned
        if not batch.entries:
            if self._scanned - self._kept >= STRIDE and not len(window):
                self._dirty.set()
            await journal.grown(self._scanned)
        return batch.entries

    async def _settle(self, entry: Entry[T], redelivery: Redelivery) -> bool:
        return await redelivery.settle(
            lambda: self.binding[1](entry), lambda failure, deliveries: self._bury(entry, failure, deliveries)
        )

    async def _keep(self, window: Window[Entry[T]]) -> None:
        """Keep up to where all is settled."""
        mark, settled = window.mark, window.settled
        below = self._scanned if mark is None else mark - 1
        target = below if len(window) else max(self._scanned, below)
        if target > self._kept:
            await self._journal.advance(self._settings.name, target)
            self._kept = target
            window.kept(settled)

    def _broken(self, error: Exception) -> None:
        self._bug = "it has ended by a bug"
        log.error("subscription %s: bug", self._settings.name, exc_info=error)

    async def _retried(self, work: Callable[[], Awaitable[R]]) -> R:
        """Work that the store may refuse now."""
        attempt = 0
        while True:
            try:
                return await work()
            except Failure as failure:
                attempt += 1
                if attempt == 1:
                    log.warning("subscription %s: %s", self._settings.name, failure)
                await asyncio.sleep(backoff(attempt, KEEP_SECONDS, MAX_KEEP_SECONDS))

    async def _bury(self, entry: Entry[T], failure: Failure, deliveries: int) -> None:
        topic, name = self._settings.dead_letter_topic, self._settings.name
        where = f"{entry.topic} {entry.position}"
        try:
            await self._journal.append([(topic, self._content.dead_letter(entry, failure, deliveries))])
        except Failure as trouble:
            self._unburied = f"{where} can't be put into {topic}: {trouble}"
            log.warning("subscription %s: %s", name, self._unburied)
            raise
        self._unburied = ""
        self._journal.dead_letters.add()
        log.warning("subscription %s: %s put into %s: %s", name, where, topic, failure)


class Subscriptions(Generic[T]):
    """Durable subscriptions that are replaced as a whole."""

    def __init__(self, journal: Journal[T], content: Content[T]) -> None:
        self._journal = journal
        self._content = content
        self._consumers: Consumers[Settings, Subscription[T]] = Consumers()

    @property
    def unready(self) -> str:
        """Why some can't do their work; empty when all can."""
        return self._consumers.unready

    def replace(self, wanted: Mapping[Settings, Deliver[T]]) -> None:
        """Those with equal settings go on, and deliver as they are told now; one with others begins where its
        predecessor of the same name ends."""
        bindings = {settings: (settings, deliver) for settings, deliver in wanted.items()}
        self._consumers.bind(bindings, lambda binding: Subscription(self._journal, self._content, binding))

    async def start(self) -> None:
        self._consumers.start()

    async def drain(self) -> None:
        """As Subscription.drain."""
        await self._consumers.drain()

    async def stop(self) -> None:
        """As Subscription.stop."""
        await self._consumers.stop()
