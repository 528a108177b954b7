"""Event log: where an endpoint's events are published, kept and given out by topic."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Final, Protocol

from gateway.codecs.cloudevents import CloudEvent
from gateway.journal.entry import Content, Entry, Wanted
from gateway.journal.journal import Check, Journal, Retention, Start, unconcerned
from gateway.journal.memory import MemoryStore
from gateway.journal.sqlite import SqliteStore
from gateway.journal.store import Store
from gateway.journal.subscription import Deliver, Settings, Subscriptions
from gateway.net.network import Network

MEMORY: Final = "memory"


class DurableSubscriptions(Protocol):
    """As gateway.journal.subscription.Subscriptions."""

    def replace(self, wanted: Mapping[Settings, Deliver[CloudEvent]]) -> None: ...

    async def start(self) -> None: ...

    async def drain(self) -> None: ...

    async def stop(self) -> None: ...

    @property
    def unready(self) -> str: ...


class Streamed(Protocol):
    """As Journal, to those who stream it."""

    async def begin(self, start: Start, after: str, path: str) -> int:
        """Raises Failure(UNIMPLEMENTED) for a position where there are none, too."""
        ...

    def follow(
        self, after: int, wanted: Wanted, check: Check = unconcerned
    ) -> AsyncGenerator[Entry[CloudEvent], None]: ...

    def rouse(self) -> None: ...


class EventLog(Protocol):
    """Used between start() and stop(), and again after that.

    positions: whether an event has a place in the log, from which a stream can go on.
    """

    positions: bool

    def check(self, settings: Settings) -> None:
        """Raises ContractError for a durable subscription that can't be had here."""
        ...

    def letters(self, settings: Settings) -> str:
        """Where its dead letters go, as a phrase."""
        ...

    @property
    def published(self) -> str:
        """When publish() returns, as a clause."""
        ...

    def subscriptions(self) -> DurableSubscriptions:
        """For one owner of durable subscriptions."""
        ...

    def streamed(self) -> Streamed:
        """For streams of its events. Raises ContractError."""
        ...

    async def publish(self, events: Sequence[tuple[str, CloudEvent]]) -> int:
        """Return once they are kept: the first one's position, the others following; 0 where they have none.

        Raises Failure; cancelled, the outcome is unknown.
        """
        ...

    async def start(self, retention: Retention) -> None:
        """retention: how much is kept, where that is not for another to say. Called again, it is what changed."""
        ...

    async def stop(self) -> None:
        """Safe at any time."""
        ...

    @property
    def unready(self) -> str:
        """Why it can't do its work now; empty when it can."""
        ...


class JournalLog:
    """Keeps the events itself.

    store: the name of the file that keeps them; memory keeps them while the process lives.
    """

    positions = True

    def __init__(
        self, name: str, store: str, content: Content[CloudEvent], retention: Retention, network: Network
    ) -> None:
        kept: Store[CloudEvent]
        if store == MEMORY:
            kept = MemoryStore(content.size, retention.limit)
        else:
            kept = SqliteStore(network.path(store), content, retention.limit)
        self.journal = Journal(name, kept, retention, network.counters)
        self._store = store
        self._content = content

    def check(self, settings: Settings) -> None:
        """All can be had."""

    def letters(self, settings: Settings) -> str:
        return f"to {settings.dead_letter_topic}"

    @property
    def published(self) -> str:
        return f"the event is synced to {self._store}"

    def subscriptions(self) -> DurableSubscriptions:
        return Subscriptions(self.journal, self._content)

    def streamed(self) -> Streamed:
        return self.journal

    async def publish(self, events: Sequence[tuple[str, CloudEvent]]) -> int:
        return await self.journal.append(events)

    async def start(self, retention: Retention) -> None:
        self.journal.retention = retention
        self.journal.start()

    async def stop(self) -> None:
        await self.journal.stop()

    @property
    def unready(self) -> str:
        return self.journal.unready
