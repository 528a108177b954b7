"""SqliteStore: events in one file, synced before they are accepted."""

import asyncio
import fcntl
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final

import msgspec

from adapters.events.status import full, unopened, unwritten
from adapters.events.store import ENTRY_BYTES, Batch, Entry, Kept, Tail, Wanted
from gateway.codecs.cloudevents import CloudEvent
from gateway.status import Failure

GROUP: Final = 1024  # operations of one transaction
PENDING_BYTES: Final = 64 * 1024 * 1024  # of events that wait for their transaction
TAIL_BYTES: Final = 8 * 1024 * 1024
SCAN: Final = 10_000  # positions that one read looks at
READ_BYTES: Final = 4 * 1024 * 1024  # after which one read has enough
PRUNE: Final = 500  # events that one transaction forgets
PAGE_BYTES: Final = 4096
BUSY_SECONDS: Final = 5.0
SCHEMA_VERSION: Final = 1

_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS events (
    position INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, time REAL NOT NULL, event BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS subscriptions (
    name TEXT PRIMARY KEY, position INTEGER NOT NULL, seen REAL NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA user_version = {SCHEMA_VERSION};
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

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(CloudEvent).decode

log = logging.getLogger("gateway.events")

Work = Callable[[sqlite3.Connection], Any]
"""What an operation does inside the writer's transaction. It must leave no trace where it is rolled back."""


class _Operation:
    """A piece of the writer's next transaction, and who waits for it."""

    __slots__ = ("done", "outcome", "work")

    def __init__(self, work: Work, done: "asyncio.Future[Any]") -> None:
        self.work = work
        self.done = done
        self.outcome: Any = None


class SqliteStore:
    """One file in WAL mode, one writer thread that commits what waits in one transaction, one thread that reads.

    limit: of the file, in bytes, its WAL not counted.
    """

    def __init__(self, path: Path, limit: int) -> None:
        self.appended: Callable[[Sequence[Entry]], None] = lambda entries: None
        self._path = path
        self.limit = limit
        self._tail = Tail(TAIL_BYTES)
        self._subscriptions: dict[str, Kept] = {}
        self._lock = -1
        self._reader: sqlite3.Connection | None = None
        self._reading: ThreadPoolExecutor | None = None
        self._writer: _Writer | None = None
        self._pending = 0
        self.first = 1
        self.last = 0

    async def open(self) -> None:
        if self._writer is not None:
            return
        loop = asyncio.get_running_loop()
        try:
            writer = await asyncio.to_thread(self._open)
        except (sqlite3.Error, OSError) as error:
            raise OSError(f"can't open {self._path}: {error}") from error
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="events-reader")
        self._writer = _Writer(writer, loop, lambda: self.limit)

    def _open(self) -> sqlite3.Connection:
        self._lock = _lock(self._path)
        try:
            # SQLite would create it for all to read.
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            writer = _connect(self._path)
            (version,) = writer.execute("PRAGMA user_version").fetchone()
            if version not in (0, SCHEMA_VERSION):
                raise OSError(f"it was written by another version ({version})")
            writer.executescript(_SCHEMA)
            self._reader = _connect(self._path)
            sequence = writer.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
            self.last = sequence[0] if sequence else 0
            self.first = _first(writer) or self.last + 1
            rows = writer.execute("SELECT name, position, seen FROM subscriptions").fetchall()
            self._subscriptions = {name: Kept(position, seen) for name, position, seen in rows}
            self._tail.clear()
        except BaseException:
            self._release()
            raise
        return writer

    async def close(self) -> None:
        writer, self._writer = self._writer, None
        reading, self._reading = self._reading, None
        if writer is not None:
            await writer.close()
        if reading is not None:
            await asyncio.to_thread(reading.shutdown)
        self._release()

    def _release(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)

    @property
    def bytes(self) -> int:
        return self._writer.bytes if self._writer is not None else 0

    @property
    def subscriptions(self) -> Mapping[str, Kept]:
        return self._subscriptions

    async def append(self, events: Sequence[tuple[str, CloudEvent]]) -> int:
        writer = self._opened()
        now = time.time()
        rows = [(topic, now, _encode(event)) for topic, event in events]
        size = sum(ENTRY_BYTES + len(row[2]) for row in rows)
        if self._pending + size > PENDING_BYTES and self._pending:
            raise full()

        def work(connection: sqlite3.Connection) -> int:
            last = 0
            for row in rows:
                last = connection.execute(_INSERT, row).lastrowid or 0
            return last

        def stored(last: int) -> None:
            # On the loop, in the order of transactions, whoever may have given up waiting.
            first = last - len(rows) + 1
            entries = [Entry(first + number, *pair) for number, pair in enumerate(events)]
            self.last = last
            self._tail.add(entries)
            self.appended(entries)

        self._pending += size
        try:
            last: int = await writer.submit(work, stored)
        finally:
            self._pending -= size
        return last - len(rows) + 1

    async def read(self, after: int, wanted: Wanted, limit: int) -> Batch:
        start = max(after, self.first - 1)
        recent = self._tail.read(start, wanted, limit)
        if recent is not None:
            return recent
        reader, reading = self._reader, self._reading
        if reader is None or reading is None:
            raise unopened()
        end = min(self.last, start + SCAN)
        if start >= end:
            return Batch((), max(after, end))
        work = (reader, start, end, wanted, limit)
        try:
            return await asyncio.get_running_loop().run_in_executor(reading, _read, *work)
        except (sqlite3.Error, RuntimeError, msgspec.DecodeError) as error:
            log.warning("events %s: can't read: %s", self._path, error)
            raise unopened() from error

    async def advance(self, subscription: str, position: int) -> None:
        kept = Kept(position, time.time())

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_ADVANCE, (subscription, kept.position, kept.seen))

        def advanced(_: None) -> None:
            self._subscriptions[subscription] = kept

        await self._opened().submit(work, advanced)

    async def prune(self, before: int, older: float, bytes_: int) -> bool:
        writer = self._opened()

        def work(connection: sqlite3.Connection) -> tuple[int | None, bool]:
            excess = writer.bytes - bytes_
            rows = connection.execute(_OLDEST, (PRUNE,)).fetchall()
            cut = 0
            for position, stored, size in rows:
                if position >= before or (stored >= older and excess <= 0):
                    break
                cut = position
                excess -= size
            if cut:
                connection.execute("DELETE FROM events WHERE position <= ?", (cut,))
            return _first(connection), bool(rows) and cut == rows[-1][0]

        def pruned(outcome: tuple[int | None, bool]) -> None:
            # Before it is told what was appended after that.
            first, _ = outcome
            self.first = self.last + 1 if first is None else first

        _, more = await writer.submit(work, pruned)
        return bool(more)

    def _opened(self) -> "_Writer":
        if self._writer is None:
            raise unopened()
        return self._writer


class _Writer:
    """The thread that writes. limit: tells how large the file may be. bytes: what its used pages take."""

    def __init__(
        self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop, limit: Callable[[], int]
    ) -> None:
        self._limit = limit
        self._limited = 0
        self._connection = connection
        self._loop = loop
        self._queue: SimpleQueue[tuple[_Operation, Callable[[Any], None] | None] | None] = SimpleQueue()
        self._closing = False
        self.bytes = _used(connection)
        self._thread = threading.Thread(target=self._run, name="events-writer", daemon=True)
        self._thread.start()

    async def submit(self, work: Work, committed: Callable[[Any], None] | None = None) -> Any:
        """The outcome of the work, once it is synced. committed: called on the loop with it before that, also where
        the caller was cancelled; in the order of transactions. Raises Failure."""
        if self._closing:
            raise unopened()
        operation = _Operation(work, self._loop.create_future())
        self._queue.put((operation, committed))
        return await operation.done

    async def close(self) -> None:
        """Write what waits, and close the connection."""
        self._closing = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        # What the thread told the loop last.
        await asyncio.sleep(0)

    def _run(self) -> None:
        ended = False
        while not ended:
            taken = [self._queue.get()]
            while len(taken) < GROUP:
                try:
                    taken.append(self._queue.get_nowait())
                except Empty:
                    break
            ended = None in taken
            group = [item for item in taken if item is not None]
            if group:
                self._tell(group, self._write([operation for operation, _ in group]))
        self._connection.close()

    def _write(self, operations: Sequence[_Operation]) -> Sequence[Failure | None]:
        """Why each was not written; None where it was."""
        error = self._transact(operations)
        if error is None:
            return [None] * len(operations)
        if len(operations) == 1 or not _is_full(error):
            if not _is_full(error):
                log.error("events: can't write: %s", error)
            return [full() if _is_full(error) else unwritten() for _ in operations]
        # One by one, so that those pass that need no place.
        return [outcome for operation in operations for outcome in self._write((operation,))]

    def _transact(self, operations: Sequence[_Operation]) -> sqlite3.Error | None:
        connection = self._connection
        try:
            if self._limited != (limit := self._limit()):
                connection.execute(f"PRAGMA max_page_count = {limit // PAGE_BYTES}")
                self._limited = limit
            connection.execute("BEGIN IMMEDIATE")
            for operation in operations:
                operation.outcome = operation.work(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            except sqlite3.Error as trouble:
                log.error("events: can't roll back: %s", trouble)  # noqa: TRY400  the reason says it all
            return error
        self.bytes = _used(connection)
        return None

    def _tell(
        self,
        group: Sequence[tuple[_Operation, Callable[[Any], None] | None]],
        failures: Sequence[Failure | None],
    ) -> None:
        def tell() -> None:
            for (operation, committed), failure in zip(group, failures, strict=True):
                if failure is None and committed is not None:
                    committed(operation.outcome)
                if operation.done.done():
                    continue
                if failure is None:
                    operation.done.set_result(operation.outcome)
                else:
                    operation.done.set_exception(failure)

        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:
            log.debug("events: the loop was closed before the writer")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _lock(path: Path) -> int:
    """The lock that makes this process the file's owner. Raises OSError where another one is."""
    lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise OSError("another process uses it") from None
    return lock


def _first(connection: sqlite3.Connection) -> int | None:
    found: int | None = connection.execute("SELECT min(position) FROM events").fetchone()[0]
    return found


def _used(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return int(pages - free) * PAGE_BYTES


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL


def _read(connection: sqlite3.Connection, start: int, end: int, wanted: Wanted, limit: int) -> Batch:
    connection.create_function("wanted", 1, wanted, deterministic=True)
    entries: list[Entry] = []
    size = 0
    for position, topic, event in connection.execute(_READ, (start, end, limit)):
        entries.append(Entry(position, topic, _decode(event)))
        size += len(event)
        if len(entries) == limit or size > READ_BYTES:
            return Batch(entries, position)
    return Batch(entries, end)
