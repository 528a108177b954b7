"""Database: what is synced, what a transaction shares, what a full file refuses, who owns the file."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from gateway.net import sqlite
from gateway.net.sqlite import Database
from gateway.status import Code, Failure

SCHEMA = "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, reply BLOB NOT NULL) STRICT"
LIMIT = 256 * 1024


def made(path: Path, version: int = 1) -> Database:
    return Database(path, "job store", limit=LIMIT, schema=SCHEMA, version=version)


def count(connection: sqlite3.Connection) -> int:
    (found,) = connection.execute("SELECT count(*) FROM jobs").fetchone()
    return int(found)


def add(name: str, size: int = 10) -> Callable[[sqlite3.Connection], str]:
    def work(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO jobs VALUES (?, ?)", (name, bytes(size)))
        return name

    return work


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = made(tmp_path / "jobs.db")
    assert await opened.open(count) == 0
    yield opened
    await opened.close()


async def test_what_is_written_is_read_and_kept(database: Database) -> None:
    told: list[str] = []
    names = [str(number) for number in range(200)]
    assert await asyncio.gather(*(database.write(add(name), told.append) for name in names)) == names
    assert told == names
    assert await database.read(count) == 200
    # A copy of the files, as a crash would leave them: nothing was left to be written at close().
    for kept in database.path.parent.glob("jobs.db*"):
        (database.path.parent / kept.name.replace("jobs", "copy")).write_bytes(kept.read_bytes())
    copy = made(database.path.parent / "copy.db")
    assert await copy.open(count) == 200
    await copy.close()
    await database.close()
    assert await database.open(count) == 200
    assert database.path.stat().st_mode & 0o077 == 0, "others may read it"


async def test_one_error_is_one_callers(database: Database) -> None:
    """Of a shared transaction, what fails is undone alone and told as it is."""

    def refuse(connection: sqlite3.Connection) -> None:
        add("undone")(connection)
        raise Failure(Code.NOT_FOUND, "no such job")

    outcomes = await asyncio.gather(
        database.write(add("a")),
        database.write(refuse),
        database.write(add("b")),
        database.write(add("a")),
        database.write(add("c")),
        return_exceptions=True,
    )
    assert [outcome for outcome in outcomes if isinstance(outcome, str)] == ["a", "b", "c"]
    assert isinstance(outcomes[1], Failure)
    assert outcomes[1].code is Code.NOT_FOUND
    assert isinstance(outcomes[3], sqlite3.IntegrityError)
    assert await database.read(count) == 3


async def test_a_caller_that_leaves(database: Database) -> None:
    told: list[str] = []
    left = asyncio.create_task(database.write(add("left"), told.append))
    await asyncio.sleep(0)
    left.cancel()
    await database.write(add("stays"), told.append)
    assert told == ["left", "stays"]
    assert left.cancelled()


async def test_a_full_file(database: Database) -> None:
    refusal: Failure | None = None
    for number in range(LIMIT // 1000):
        try:
            await database.write(add(str(number), 4000))
        except Failure as failure:
            refusal = failure
            break
    assert refusal is not None
    assert (refusal.code, refusal.message, refusal.sent) == (Code.RESOURCE_EXHAUSTED, "the job store is full", False)
    assert database.bytes <= LIMIT
    # In one transaction with what has no place.
    full, freed = await asyncio.gather(
        database.write(add("large", LIMIT)),
        database.write(lambda connection: connection.execute("DELETE FROM jobs").rowcount),
        return_exceptions=True,
    )
    assert isinstance(full, Failure)
    assert isinstance(freed, int)
    assert freed > 10
    await database.write(add("fits", 4000))
    database.limit = 4 * LIMIT
    await database.write(add("large", LIMIT))


async def test_too_much_waits(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "PENDING_BYTES", 1000)
    first = asyncio.create_task(database.write(add("a"), size=5000))
    await asyncio.sleep(0)
    with pytest.raises(Failure, match="full"):
        await database.write(add("b"), size=1)
    await first
    await database.write(add("b"), size=1)


async def test_a_write_that_fails(database: Database) -> None:
    """The sync that fails is told to all who share it, and as one whose outcome nobody knows."""

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("SELECT * FROM absent")

    outcomes = await asyncio.gather(
        database.write(add("a")), database.write(broken), database.write(add("b")), return_exceptions=True
    )
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
    assert failures
    assert all(failure.code is Code.UNAVAILABLE and failure.sent is not False for failure in failures)
    assert await database.read(count) == 3 - len(failures)


async def test_an_owner_and_a_version(database: Database) -> None:
    with pytest.raises(OSError, match="another process uses it"):
        await made(database.path).open(count)
    await database.close()
    with pytest.raises(Failure, match="the job store is not open"):
        await database.write(add("late"))
    with pytest.raises(Failure, match="the job store is not open"):
        await database.read(count)
    with pytest.raises(OSError, match="another version"):
        await made(database.path, version=2).open(count)
    assert await database.open(count) == 0


async def test_a_load_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    database = made(tmp_path / "jobs.db")
    with pytest.raises(OSError, match="no such table"):
        await database.open(lambda connection: connection.execute("SELECT * FROM absent"))
    assert await database.open(count) == 0
    await database.close()
