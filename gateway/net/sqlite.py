"""Database: one SQLite file whose writes are synced before they are told.

WAL mode with synchronous=FULL. One thread writes: what waits for it is committed as one transaction, so that one sync
serves many callers. One thread reads. The process owns the file, by a lock beside it.

    database = Database(network.path("jobs.db"), "job store", limit=1024**3, schema=SCHEMA, version=1)
    known = await database.open(lambda connection: connection.execute("SELECT id FROM jobs").fetchall())
    await database.write(lambda connection: connection.execute(INSERT, row), size=len(reply))
    row = await database.read(lambda connection: connection.execute(SELECT, (job,)).fetchone())
    await database.close()

Failures speak of the database by its noun ("the job store is full"):
RESOURCE_EXHAUSTED, sent=False: the file is at its limit, the volume is full, or too much waits to be written.
UNAVAILABLE, sent=False: it is not open. UNAVAILABLE: the write or its sync failed; it may be there all the same.
"""

import asyncio
import fcntl
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from gateway.status import Code, Failure

GROUP: Final = 1024  # writes of one transaction
PENDING_BYTES: Final = 64 * 1024 * 1024  # that wait for their transaction
PAGE_BYTES: Final = 4096
BUSY_SECONDS: Final = 5.0

log = logging.getLogger("gateway.sqlite")

T = TypeVar("T")


class Database:
    """All but the works is called on the event loop.

    noun: what failures and logs call it, such as "job store".
    limit: of the file, in bytes, its WAL not counted; may be changed at any time.
    schema: makes the tables where they are missing (CREATE TABLE IF NOT EXISTS).
    version: of the schema; a file of another one is refused.
    """

    def __init__(self, path: Path, noun: str, *, limit: int, schema: str, version: int) -> None:
        self.path = path
        self.noun = noun
        self.limit = limit
        self._schema = schema
        self._version = version
        self._lock = -1
        self._reader: sqlite3.Connection | None = None
        self._reading: ThreadPoolExecutor | None = None
        self._writer: _Writer | None = None
        self._pending = 0

    async def open(self, load: Callable[[sqlite3.Connection], T]) -> T:
        """The outcome of `load`, which reads in a thread what must be known from the start.

        Raises OSError, with the reason for operators. May be called again after that, and after close().
        """
        loop = asyncio.get_running_loop()
        try:
            connection, outcome = await asyncio.to_thread(self._open, load)
        except (sqlite3.Error, OSError) as error:
            raise OSError(f"can't open {self.path}: {error}") from error
        self._reading = ThreadPoolExecutor(1, thread_name_prefix=f"{self.noun} reader")
        self._writer = _Writer(connection, loop, self)
        return outcome

    def _open(self, load: Callable[[sqlite3.Connection], T]) -> tuple[sqlite3.Connection, T]:
        self._lock = _lock(self.path)
        try:
            # SQLite would create it for all to read.
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = _connect(self.path)
            try:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version not in (0, self._version):
                    raise OSError(f"it was written by another version ({version})")
                connection.executescript(f"{self._schema};\nPRAGMA user_version = {self._version};")
                self._reader = _connect(self.path)
                return connection, load(connection)
            except BaseException:
                connection.close()
                raise
        except BaseException:
            self._release()
            raise

    async def close(self) -> None:
        """Write what waits, and release the file. Safe at any time."""
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
    def opened(self) -> bool:
        return self._writer is not None

    @property
    def bytes(self) -> int:
        """What the file's used pages take, as of the last transaction; 0 while it is not open."""
        return self._writer.bytes if self._writer is not None else 0

    async def write(
        self, work: Callable[[sqlite3.Connection], T], committed: Callable[[T], None] | None = None, *, size: int = 0
    ) -> T:
        """The outcome of the work, once it is synced. Cancelled, it is written all the same.

        work: runs in the writer's thread, within a transaction that it shares with others. It may run more than once,
            so it must do nothing but SQL. What it raises is raised here, and its changes are undone.
        committed: called on the loop with the outcome before this returns, also where the caller was cancelled; in
            the order of transactions.
        size: about what waits in memory, in bytes.
        Raises Failure.
        """
        writer = self._writer
        if writer is None:
            raise self.unopened()
        if self._pending and self._pending + size > PENDING_BYTES:
            raise self.full()
        self._pending += size
        try:
            outcome: T = await writer.submit(work, committed)
        finally:
            self._pending -= size
        return outcome

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The outcome of the work, which sees all that write() returned for. Raises Failure(UNAVAILABLE)."""
        reader, reading = self._reader, self._reading
        if reader is None or reading is None:
            raise self.unopened()
        try:
            return await asyncio.get_running_loop().run_in_executor(reading, work, reader)
        except (sqlite3.Error, RuntimeError) as error:
            log.warning("%s %s: can't read: %s", self.noun, self.path, error)
            raise self.unopened() from error

    def unopened(self) -> Failure:
        """It can't be used now; nothing was written."""
        return Failure(Code.UNAVAILABLE, f"the {self.noun} is not open", retry_after=1.0, sent=False)

    def unwritten(self) -> Failure:
        """It failed while it wrote; what was written may be there."""
        return Failure(Code.UNAVAILABLE, f"the {self.noun} can't write", retry_after=1.0)

    def full(self) -> Failure:
        """There is no place for more."""
        return Failure(Code.RESOURCE_EXHAUSTED, f"the {self.noun} is full", retry_after=1.0, sent=False)


class _Write:
    """A piece of the writer's next transaction, and who waits for it."""

    __slots__ = ("committed", "done", "outcome", "work")

    def __init__(
        self,
        work: Callable[[sqlite3.Connection], Any],
        committed: Callable[[Any], None] | None,
        done: "asyncio.Future[Any]",
    ) -> None:
        self.work = work
        self.committed = committed
        self.done = done
        self.outcome: Any = None


class _Writer:
    """The thread that writes."""

    def __init__(self, connection: sqlite3.Connection, loop: asyncio.AbstractEventLoop, database: Database) -> None:
        self._database = database
        self._limited = 0
        self._connection = connection
        self._loop = loop
        self._queue: SimpleQueue[_Write | None] = SimpleQueue()
        self._closing = False
        self.bytes = _used(connection)
        self._thread = threading.Thread(target=self._run, name=f"{database.noun} writer", daemon=True)
        self._thread.start()

    async def submit(self, work: Callable[[sqlite3.Connection], Any], committed: Callable[[Any], None] | None) -> Any:
        """As Database.write."""
        if self._closing:
            raise self._database.unopened()
        write = _Write(work, committed, self._loop.create_future())
        self._queue.put(write)
        return await write.done

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
            group = [write for write in taken if write is not None]
            if group:
                self._tell(group, self._write(group))
        self._connection.close()

    def _write(self, group: Sequence[_Write]) -> Sequence[Exception | None]:
        """Why each was not written; None where it was."""
        error = self._transact(group)
        if error is None:
            return [None] * len(group)
        database = self._database
        full = isinstance(error, sqlite3.Error) and _is_full(error)
        if isinstance(error, sqlite3.Error) and not full and not isinstance(error, sqlite3.IntegrityError):
            log.error("%s %s: can't write: %s", database.noun, database.path, error)
            return [database.unwritten() for _ in group]
        if len(group) == 1:
            return [database.full() if full else error]
        # One by one, so that those pass that need no place and make no error.
        return [outcome for write in group for outcome in self._write((write,))]

    def _transact(self, group: Sequence[_Write]) -> Exception | None:
        connection, database = self._connection, self._database
        try:
            if self._limited != (limit := database.limit):
                connection.execute(f"PRAGMA max_page_count = {limit // PAGE_BYTES}")
                self._limited = limit
            connection.execute("BEGIN IMMEDIATE")
            for write in group:
                write.outcome = write.work(connection)
            connection.execute("COMMIT")
        except Exception as error:
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            except sqlite3.Error as trouble:
                log.error("%s %s: can't roll back: %s", database.noun, database.path, trouble)  # noqa: TRY400
            return error
        self.bytes = _used(connection)
        return None

    def _tell(self, group: Sequence[_Write], errors: Sequence[Exception | None]) -> None:
        def tell() -> None:
            for write, error in zip(group, errors, strict=True):
                if error is None and write.committed is not None:
                    write.committed(write.outcome)
                if write.done.done():
                    continue
                if error is None:
                    write.done.set_result(write.outcome)
                else:
                    write.done.set_exception(error)

        try:
            self._loop.call_soon_threadsafe(tell)
        except RuntimeError:
            log.debug("%s: the loop was closed before the writer", self._database.noun)


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


def _used(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    return int(pages - free) * PAGE_BYTES


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
