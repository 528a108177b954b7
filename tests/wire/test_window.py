"""Window: bounded, in order, and no further than what is settled."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

import pytest
from support.until import until

from gateway.net.broker.redelivery import Redelivery, Retries
from gateway.net.broker.window import Window
from gateway.status import Code, Failure

Record = tuple[int, str]
Settle = Callable[[Record, Redelivery], Awaitable[bool]]


def window_of(limit: int, settle: Settle, moved: Callable[[int], None] = lambda settled: None) -> Window[Record]:
    retries = Retries(max_deliveries=1000, backoff="1m", max_backoff="1m")  # type: ignore[arg-type]
    return Window(limit, retries, position=lambda r: r[0], lane=lambda r: r[1], settle=settle, moved=moved)


class Log:
    """Gives records in batches, then nothing more."""

    def __init__(self, records: Sequence[Record], batch: int = 100) -> None:
        self.taken = 0
        self.errors: list[Exception] = []
        self._records = records
        self._batch = batch

    async def fetch(self, most: int) -> Sequence[Record]:
        assert most > 0
        if self.taken == len(self._records):
            await asyncio.Event().wait()
        found = self._records[self.taken : self.taken + min(most, self._batch)]
        self.taken += len(found)
        return found

    def broken(self, error: Exception) -> None:
        self.errors.append(error)


@pytest.mark.parametrize("seed", range(5))
async def test_random_settling_never_passes_what_is_open_and_never_exceeds_the_limit(seed: int) -> None:
    limit, total = 7, 200
    chance = random.Random(seed)
    begun: dict[str, list[int]] = defaultdict(list)
    settled: set[int] = set()
    kept, moves = 0, []

    async def settle(record: Record, redelivery: Redelivery) -> bool:
        position, lane = record
        begun[lane].append(position)
        assert position - kept < limit
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        settled.add(position)
        return True

    log = Log([(position, chance.choice("abc")) for position in range(total)], 3)
    window = window_of(limit, settle, moves.append)
    assert (window.mark, window.due) == (None, None)
    window.start(log.fetch, log.broken)
    while kept < total:
        await until(lambda: bool(window.settled) and (window.room <= 0 or chance.random() < 0.3 or not len(window)))
        assert window.due is not None
        mark, passed = window.due
        assert settled >= set(range(mark))
        await asyncio.sleep(0)  # more may be settled while it is being kept
        kept = mark
        window.kept(passed)
    await window.release()
    assert (window.mark, len(window), window.settled, log.errors) == (total, 0, 0, [])
    assert max(moves) <= limit
    for positions in begun.values():
        assert positions == sorted(positions)


async def test_what_is_not_settled_holds_the_mark_and_the_room() -> None:
    async def settle(record: Record, redelivery: Redelivery) -> bool:
        return record[0] != 11

    log = Log([(position, str(position)) for position in range(10, 20)])
    window = window_of(3, settle)
    window.start(log.fetch, log.broken)
    await until(lambda: window.settled == 1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert (window.mark, window.room, log.taken) == (11, 0, 3)
    window.kept(1)
    await until(lambda: log.taken == 4)
    await window.release()
    assert window.mark == 11


async def test_release_lets_what_runs_end_and_cancels_it_after_the_grace() -> None:
    go, cancelled = asyncio.Event(), []

    async def settle(record: Record, redelivery: Redelivery) -> bool:
        try:
            await go.wait()
        except asyncio.CancelledError:
            cancelled.append(record[0])
            raise
        return True

    for grace in (None, 0.02):
        go.clear()
        log = Log([(1, "a"), (2, "a")])
        window = window_of(3, settle)
        window.start(log.fetch, log.broken)
        await until(lambda window=window: len(window) == 2)  # type: ignore[misc]
        await asyncio.sleep(0)
        releasing = asyncio.create_task(window.release(grace))
        await asyncio.sleep(0.005)
        assert not releasing.done()
        if grace is None:
            go.set()
        async with asyncio.timeout(5):
            await releasing
        assert window.mark == (2 if grace is None else 1), "the second one did not begin"
    assert cancelled == [1]


async def test_no_try_begins_after_release() -> None:
    tries = 0

    async def deliver() -> None:
        nonlocal tries
        tries += 1
        raise Failure(Code.UNAVAILABLE, "down")

    async def bury(why: Failure, deliveries: int) -> None:
        raise AssertionError("it is not to be buried")

    log = Log([(1, "a")])
    window = window_of(3, lambda record, redelivery: redelivery.settle(deliver, bury))
    window.start(log.fetch, log.broken)
    await until(lambda: tries == 1)
    async with asyncio.timeout(5):
        await window.release()
    assert (tries, window.mark) == (1, 1)


async def test_what_ends_fetching_is_told() -> None:
    async def settle(record: Record, redelivery: Redelivery) -> bool:
        return True

    log = Log([(2, "a"), (1, "a")])
    window = window_of(3, settle)
    window.start(log.fetch, log.broken)
    await until(lambda: bool(log.errors))
    assert isinstance(log.errors[0], ValueError), "positions rise"
    await window.release()
