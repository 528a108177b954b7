"""Window: bounded, in order, and no further than what is settled."""

import asyncio
import random
from collections import defaultdict

import pytest

from gateway.net.redelivery import Redelivery, Retries
from gateway.net.window import Window

Record = tuple[int, str]


@pytest.mark.parametrize("seed", range(5))
async def test_random_settling_never_passes_what_is_open_and_never_exceeds_the_limit(seed: int) -> None:
    limit, total = 7, 200
    chance = random.Random(seed)
    begun: dict[str, list[int]] = defaultdict(list)
    settled: set[int] = set()
    moves = 0

    async def settle(record: Record, redelivery: Redelivery) -> bool:
        position, key = record
        begun[key].append(position)
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        settled.add(position)
        return True

    def moved() -> None:
        nonlocal moves
        moves += 1

    kept = 0
    window: Window[Record] = Window(limit, Retries(), lambda record: record[0], settle, moved)
    assert window.mark is None
    async with asyncio.timeout(20):
        for position in range(total):
            if window.room <= 0 or (window.settled and chance.random() < 0.3):
                while not window.settled:
                    await asyncio.sleep(0)
                mark = window.mark
                assert mark is not None and settled >= set(range(mark))
                window.kept(window.settled)
                kept = mark
            assert await window.wait() > 0
            assert position - kept < limit
            key = chance.choice("abc")
            await window.take(key, (position, key))
        while len(window):
            await asyncio.sleep(0)
        await window.release()
    assert (window.mark, len(window), moves) == (total, 0, total)
    for positions in begun.values():
        assert positions == sorted(positions)


async def test_what_is_not_settled_holds_the_mark_and_the_room() -> None:
    async def settle(record: Record, redelivery: Redelivery) -> bool:
        return record[0] != 11

    window: Window[Record] = Window(3, Retries(), lambda record: record[0], settle, lambda: None)
    for position in (10, 11, 12):
        await window.take(position, (position, ""))
    while not window.settled:
        await asyncio.sleep(0)
    assert (window.mark, window.settled, window.room) == (11, 1, 0)
    waiting = asyncio.create_task(window.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    window.kept(1)
    async with asyncio.timeout(5):
        assert await waiting == 1
    await window.release()


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
        window: Window[Record] = Window(3, Retries(), lambda record: record[0], settle, lambda: None)
        await window.take("a", (1, ""))
        await window.take("a", (2, ""))
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
        raise ConnectionError("down")

    async def bury(why: Exception, deliveries: int) -> None:
        raise AssertionError("it is not to be buried")

    async def settle(record: Record, redelivery: Redelivery) -> bool:
        return await redelivery.settle(deliver, bury)

    retries = Retries(max_deliveries=1000, backoff="1m", max_backoff="1m")
    window: Window[Record] = Window(3, retries, lambda record: record[0], settle, lambda: None)
    await window.take("a", (1, ""))
    while not tries:
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await window.release()
    assert (tries, window.mark) == (1, 1)
