"""JobStore: jobs in one file, synced before they are told. A job is kept from its acceptance until it expires."""

import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Final

import msgspec

from gateway.net.sqlite import Database

PRUNE: Final = 500  # jobs that one transaction forgets
ROW_BYTES: Final = 300  # about what a row takes beside its blobs

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, route TEXT NOT NULL, state TEXT NOT NULL, form TEXT NOT NULL, until REAL NOT NULL,
    keep REAL NOT NULL, expires REAL NOT NULL, request BLOB, outcome BLOB
) STRICT;
CREATE INDEX IF NOT EXISTS expiring ON jobs (expires);
CREATE INDEX IF NOT EXISTS running ON jobs (state) WHERE state = 'running'
"""
_INSERT: Final = "INSERT INTO jobs VALUES (?, ?, 'running', ?, ?, ?, ?, ?, NULL)"
_END: Final = (
    "UPDATE jobs SET state = ?, outcome = ?, expires = ?, request = NULL WHERE id = ? AND state = 'running' RETURNING 1"
)
_FIND: Final = "SELECT state, outcome FROM jobs WHERE id = ? AND route = ? AND expires > ?"
_RUNNING: Final = "SELECT id, route, form, until, keep, request FROM jobs WHERE state = 'running'"
_COUNT: Final = "SELECT route, state, count(*) FROM jobs GROUP BY route, state"
_PRUNE: Final = (
    "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE expires <= ? ORDER BY expires LIMIT ?) "
    "RETURNING route, state"
)


log = logging.getLogger("gateway.job")


class State(Enum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Kept(msgspec.Struct, frozen=True):
    """A running job as the file has it.

    form: what reads the request. until: its deadline. keep: seconds that it is kept after its end.
    """

    id: str
    route: str
    form: str
    until: float
    keep: float
    request: bytes


class JobStore:
    """limit: of the file, in bytes. All times are seconds of the epoch. All but open() raises Failure."""

    def __init__(self, path: Path, limit: int) -> None:
        self._database = Database(path, "job store", limit=limit, schema=_SCHEMA, version=1)
        self._counts: Counter[tuple[str, State]] = Counter()

    async def open(self) -> Sequence[Kept]:
        """The jobs that were running when the file was last used. Raises OSError."""
        counts, running = await self._database.open(_load)
        self._counts = counts
        return running

    async def close(self) -> None:
        await self._database.close()

    @property
    def size(self) -> int:
        """What the file takes, in bytes."""
        return self._database.bytes

    @property
    def total(self) -> int:
        """How many jobs there are."""
        return self._counts.total()

    def counts(self) -> Iterator[tuple[str, str, int]]:
        """(route, state, jobs)"""
        for (route, state), count in self._counts.items():
            yield route, state.value, count

    async def add(self, job: Kept, added: Callable[[], None]) -> None:
        """added: called on the loop once it is kept, also where the caller was cancelled."""
        row = (job.id, job.route, job.form, job.until, job.keep, job.until + job.keep, job.request)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(_INSERT, row)

        def committed(_: None) -> None:
            self._counts[job.route, State.RUNNING] += 1
            added()

        await self._database.write(work, committed, size=ROW_BYTES + len(job.request))

    async def end(self, job: Kept, state: State, outcome: bytes, expires: float) -> None:
        """The outcome takes the place of the request."""

        def work(connection: sqlite3.Connection) -> bool:
            return connection.execute(_END, (state.value, outcome, expires, job.id)).fetchone() is not None

        def committed(found: bool) -> None:
            if found:
                self._counts[job.route, State.RUNNING] -= 1
                self._counts[job.route, state] += 1

        await self._database.write(work, committed, size=ROW_BYTES + len(outcome))

    async def find(self, route: str, job: str, now: float) -> tuple[State, bytes] | None:
        """Its state and outcome, which is empty while it runs; None where the route has no such job, or no longer."""
        row = await self._database.read(lambda connection: connection.execute(_FIND, (job, route, now)).fetchone())
        return None if row is None else (State(row[0]), row[1] or b"")

    async def prune(self, now: float) -> bool:
        """Forget jobs that have expired. Whether there may be more."""

        def work(connection: sqlite3.Connection) -> list[tuple[str, str]]:
            return connection.execute(_PRUNE, (now, PRUNE)).fetchall()

        def committed(gone: list[tuple[str, str]]) -> None:
            for (route, state), count in Counter(gone).items():
                self._counts[route, State(state)] -= count
                if state == State.RUNNING.value:
                    log.error("%d jobs of route %s expired before they had an outcome", count, route)

        gone = await self._database.write(work, committed)
        return len(gone) == PRUNE


def _load(connection: sqlite3.Connection) -> "tuple[Counter[tuple[str, State]], list[Kept]]":
    counts = Counter({(route, State(state)): count for route, state, count in connection.execute(_COUNT)})
    return counts, [Kept(*row) for row in connection.execute(_RUNNING)]
