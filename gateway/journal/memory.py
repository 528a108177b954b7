"""MemoryStore: events in memory."""

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from gateway.journal.entry import ENTRY_BYTES, Batch, Entry, Wanted
from gateway.journal.store import NOUN, Kept
from gateway.status import Code, Failure

T = TypeVar("T")


class MemoryStore(Generic[T]):
    """Keeps events while the process lives. size: about what one takes, in bytes."""

    def __init__(self, size: Callable[[T], int], limit: int) -> None:
        self.appended: Callable[[Sequence[Entry[T]]], None] = lambda entries: None
        self.limit = limit
        self._size = size
        self._entries: deque[tuple[float, Entry[T]]] = deque()
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

    async def append(self, events: Sequence[tuple[str, T]]) -> int:
        first = self.last + 1
        entries = [Entry(first + number, topic, event) for number, (topic, event) in enumerate(events)]
        size = sum(ENTRY_BYTES + self._size(entry.event) for entry in entries)
        if self.bytes + size > self.limit:
            raise Failure(Code.RESOURCE_EXHAUSTED, f"the {NOUN} is full", retry_after=1.0, sent=False)
        now = time.time()
        self._entries.extend((now, entry) for entry in entries)
        self.bytes += size
        self.last += len(entries)
        self.appended(entries)
        return first

    async def read(self, after: int, wanted: Wanted, limit: int) -> Batch[T]:
        found: list[Entry[T]] = []
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
            self.bytes -= ENTRY_BYTES + self._size(entries.popleft()[1].event)
        return False
