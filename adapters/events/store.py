"""Store: keeps events in their order, and how far each durable subscription has come."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from adapters.events.status import full
from gateway.codecs.cloudevents import CloudEvent

Wanted = Callable[[str], bool]
"""Whether events of this topic are wanted."""

ENTRY_BYTES: Final = 400
"""What an event takes besides its data, about."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A stored event. position: its place in the store; it rises with each event and is never given again."""

    position: int
    topic: str
    event: CloudEvent

    @property
    def bytes(self) -> int:
        """About what it takes."""
        return ENTRY_BYTES + len(self.event.data or b"")


class Batch(msgspec.Struct, frozen=True):
    """entries: in their order. scanned: all up to here were looked at."""

    entries: Sequence[Entry]
    scanned: int


class Kept(msgspec.Struct, frozen=True):
    """How far a subscription has come, and when it was heard of last (seconds since the epoch)."""

    position: int
    seen: float


class Store(Protocol):
    """All of it is called on the event loop. Positions begin with 1; each is one more than that before.

    appended: called with what was stored, in order, before append() returns.
    limit: in bytes, over which new events are refused.
    """

    appended: Callable[[Sequence[Entry]], None]
    limit: int

    async def open(self) -> None:
        """Raises OSError, with the reason for operators. May be called again after that, and after close()."""
        ...

    async def close(self) -> None:
        """Finish what was begun. Safe at any time."""
        ...

    @property
    def first(self) -> int:
        """The oldest position that is still there; one more than last where none is."""
        ...

    @property
    def last(self) -> int:
        """The newest position that was given; 0 where none was."""
        ...

    @property
    def bytes(self) -> int:
        """What the events take."""
        ...

    async def append(self, events: Sequence[tuple[str, CloudEvent]]) -> int:
        """Keep (topic, event) pairs, all or none, and return the first one's position, the others following.

        They are kept for good when this returns. Raises Failure: RESOURCE_EXHAUSTED for a full store, UNAVAILABLE.
        """
        ...

    async def read(self, after: int, wanted: Wanted, limit: int) -> Batch:
        """The next wanted entries after a position, limit at most. Raises Failure(UNAVAILABLE)."""
        ...

    @property
    def subscriptions(self) -> Mapping[str, Kept]:
        """All durable subscriptions."""
        ...

    async def advance(self, subscription: str, position: int) -> None:
        """Keep how far a subscription has come. Raises Failure(UNAVAILABLE); works in a full store too."""
        ...

    async def prune(self, before: int, older: float, bytes_: int) -> bool:
        """Forget some of the oldest events: those before a position that are older than a time (seconds since the
        epoch) or without which the store takes no more than so many bytes. Whether there is more to forget."""
        ...


class Tail:
    """The newest entries, in memory.

    limit: of what they take, in bytes; the oldest go.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: deque[Entry] = deque()
        self._bytes = 0

    def add(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._entries.append(entry)
            self._bytes += entry.bytes
        while self._bytes > self._limit:
            self._bytes -= self._entries.popleft().bytes

    def clear(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def read(self, after: int, wanted: Wanted, limit: int) -> Batch | None:
        """As Store.read; None where it does not reach back so far."""
        entries = self._entries
        if not entries or after < entries[0].position - 1:
            return None
        found: list[Entry] = []
        scanned = after
        # By index: near its ends a deque is fast, and most readers are near its end.
        for index in range(after - entries[0].position + 1, len(entries)):
            entry = entries[index]
            scanned = entry.position
            if wanted(entry.topic):
                found.append(entry)
                if len(found) == limit:
                    break
        return Batch(found, scanned)


class MemoryStore:
    """Keeps events while the process lives."""

    def __init__(self, limit: int) -> None:
        self.appended: Callable[[Sequence[Entry]], None] = lambda entries: None
        self.limit = limit
        self._entries: deque[tuple[float, Entry]] = deque()
        self._subscriptions: dict[str, Kept] = {}
        self.last = 0
        self.bytes = 0

    async def open(self) -> None:
        """There is nothing to open."""

    async def close(self) -> None:
        """Keeps all, for an endpoint may be opened again."""

    @property
    def first(self) -> int:
        return self.last - len(self._entries) + 1

    async def append(self, events: Sequence[tuple[str, CloudEvent]]) -> int:
        first = self.last + 1
        entries = [Entry(first + number, topic, event) for number, (topic, event) in enumerate(events)]
        size = sum(entry.bytes for entry in entries)
        if self.bytes + size > self.limit:
            raise full()
        now = time.time()
        self._entries.extend((now, entry) for entry in entries)
        self.bytes += size
        self.last += len(entries)
        self.appended(entries)
        return first

    async def read(self, after: int, wanted: Wanted, limit: int) -> Batch:
        found: list[Entry] = []
        scanned = max(after, self.first - 1)
        for index in range(scanned - self.first + 1, len(self._entries)):
            _, entry = self._entries[index]
            scanned = entry.position
            if wanted(entry.topic):
                found.append(entry)
                if len(found) == limit:
                    break
        return Batch(found, scanned)

    @property
    def subscriptions(self) -> Mapping[str, Kept]:
        return self._subscriptions

    async def advance(self, subscription: str, position: int) -> None:
        self._subscriptions[subscription] = Kept(position, time.time())

    async def prune(self, before: int, older: float, bytes_: int) -> bool:
        entries = self._entries
        while entries and entries[0][1].position < before and (entries[0][0] < older or self.bytes > bytes_):
            self.bytes -= entries.popleft()[1].bytes
        return False
