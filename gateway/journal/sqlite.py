"""SqliteStore: events in one file, synced before they are accepted."""

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec

from gateway.journal.entry import ENTRY_BYTES, Batch, Content, Entry, Wanted
from gateway.journal.store import NOUN, Kept
from gateway.net.sqlite import Database

T = TypeVar("T")

TAIL_BYTES: Final = 8 * 1024 * 1024
SCAN: Final = 10_000  # positions that one read looks at
READ_BYTES: Final = 4 * 1024 * 1024  # after which one read has enough
PRUNE: Final = 500  # events that one transaction forgets
SCHEMA_VERSION: Final = 1

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, time REAL NOT NULL, event BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS subscriptions (
    name TEXT PRIMARY KEY, position INTEGER NOT NULL, seen REAL NOT NULL
) STRICT, WITHOUT ROWID
"""
_INSERT: Final = "INSERT INTO events (topic, time, event) VALUES (?, ?, ?)"
_ADVANCE: Final = (
    "INSERT INTO subscriptions VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET position = excluded.position, "
    "seen = excluded.seen"
)
_READ: Final = (
    "SELECT position, topic, event FROM events WHERE position > ? AND position <= ? AND wanted(topic) "
    "ORDER BY position LIMIT ?"
)
_OLDEST: Final = "SELECT position, time, length(event) FROM events ORDER BY position LIMIT ?"


class SqliteStore(Generic[T]):
    """The newest events are read from memory, older ones from the file.

    limit: of the file, in bytes, its WAL not counted.
    """

    def __init__(self, path: Path, content: Content[T], limit: int) -> None:
        self.appended: Callable[[Sequence[Entry[T]]], None] = lambda entries: None
        self._database = Database(path, NOUN, limit=limit, schema=_SCHEMA, version=SCHEMA_VERSION)
        self._content = content
        self._tail = _Tail(content.size, TAIL_BYTES)
        self._subscriptions: dict[str, Kept] = {}
        self.first = 1
        self.last = 0

    async def open(self) -> None:
        if not self._database.opened:
            self.first, self.last, self._subscriptions = await self._database.open(_load)
            self._tail.clear()

    async def close(self) -> None:
        await self._database.close()

    @property
    def limit(self) -> int:
        return self._database.limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._database.limit = limit

    @property
    def bytes(self) -> int:
        return self._database.bytes

    @property
    def subscriptions(self) -> Mapping[str, Kept]:
        return self._subscriptions

    async def append(self, events: Sequence[tuple[str, T]]) -> int:
        now = time.time()
        rows = [(topic, now, self._content.encode(event)) for topic, event in events]

        def work(connection: sqlite3.Connection) -> int:
            last = 0
            for row in rows:
                last = connection.execute(_INSERT, row).lastrowid or 0
            return last

        def stored(last: int) -> None:
            first = last - len(rows) + 1
            entries = [Entry(first + number, *pair) for number, pair in enumerate(events)]
            self.last = last
            self._tail.add(entries)
            self.appended(entries)

        size = sum(ENTRY_BYTES + len(row[2]) for row in rows)
        last = await self._database.write(work, stored, size=size)
        return last - len(rows) + 1

    async def read(self, after: int, wanted: Wanted, limit: int) -> Batch[T]:
        start = max(after, self.first - 1)
        recent = self._tail.read(start, wanted, limit)
        if recent is not None:
            return recent
        if not self._database.opened:
            raise self._database.unopened()
        end = min(self.last, start + SCAN)
        if start >= end:
            return Batch((), max(after, end))
        return await self._database.read(lambda connection: self._read(connection, start, end, wanted, limit))

    def _read(self, connection: sqlite3.Connection, start: int, end: int, wanted: Wanted, limit: int) -> Batch[T]:
        connection.create_function("wanted", 1, wanted, deterministic=True)
        entries: list[Entry[T]] = []
        size = 0
        for position, topic, event in connection.execute(_READ, (start, end, limit)):
            try:
                entries.append(Entry(position, topic, self._content.decode(event)))
            except (ValueError, msgspec.MsgspecError) as error:
                raise sqlite3.DatabaseError(f"event {position} is malformed: {error}") from error
            size += len(event)
            if len(entries) == limit or size > READ_BYTES:
                return Batch(entries, position)
        return Batch(entries, end)

    async def advance(self, subscription: str, position: int) -> None:
        kept = Kept(position, time.time())

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_ADVANCE, (subscription, kept.position, kept.seen))

        def advanced(_: None) -> None:
            self._subscriptions[subscription] = kept

        await self._database.write(work, advanced)

    async def prune(self, before: int, older: float, bytes_: int) -> bool:
        excess = self.bytes - bytes_

        def work(connection: sqlite3.Connection) -> tuple[int | None, bool]:
            left = excess
            rows = connection.execute(_OLDEST, (PRUNE,)).fetchall()
            cut = 0
            for position, stored, size in rows:
                if position >= before or (stored >= older and left <= 0):
                    break
                cut = position
                left -= size
            if cut:
                connection.execute("DELETE FROM events WHERE position <= ?", (cut,))
            return _first(connection), bool(rows) and cut == rows[-1][0]

        def pruned(outcome: tuple[int | None, bool]) -> None:
            # Before it is told what was appended after that.
            first, _ = outcome
            self.first = self.last + 1 if first is None else first

        _, more = await self._database.write(work, pruned)
        return more


class _Tail(Generic[T]):
    """The newest entries, in memory.

    limit: of what they take, in bytes; the oldest go.
    """

    def __init__(self, size: Callable[[T], int], limit: int) -> None:
        self._size = size
        self._limit = limit
        self._entries: deque[Entry[T]] = deque()
        self._bytes = 0

    def add(self, entries: Sequence[Entry[T]]) -> None:
        for entry in entries:
            self._entries.append(entry)
            self._bytes += ENTRY_BYTES + self._size(entry.event)
        while self._bytes > self._limit:
            self._bytes -= ENTRY_BYTES + self._size(self._entries.popleft().event)

    def clear(self) -> None:
        self._entries.clear()
        self._bytes = 0

    def read(self, after: int, wanted: Wanted, limit: int) -> Batch[T] | None:
        """As Store.read; None where it does not reach back so far."""
        entries = self._entries
        if not entries or after < entries[0].position - 1:
            return None
        found: list[Entry[T]] = []
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


def _load(connection: sqlite3.Connection) -> tuple[int, int, dict[str, Kept]]:
    """(first, last, the subscriptions)"""
    sequence = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    last = sequence[0] if sequence else 0
    rows = connection.execute("SELECT name, position, seen FROM subscriptions").fetchall()
    return _first(connection) or last + 1, last, {name: Kept(position, seen) for name, position, seen in rows}


def _first(connection: sqlite3.Connection) -> int | None:
    found: int | None = connection.execute("SELECT min(position) FROM events").fetchone()[0]
    return found
