"""Ordered lanes and the low-water mark, against the plainest model of each."""

import asyncio
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.net.lanes import Lanes, LowWaterMark

keys = st.sampled_from(["a", "b", "c", None])


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(keys, st.integers(0, 3), st.booleans()), max_size=60), st.integers(1, 8))
async def test_order_within_a_key_and_bound_over_all(items: list[tuple[str | None, int, bool]], limit: int) -> None:
    begun: dict[str | None, list[int]] = defaultdict(list)
    running: dict[str | None, int] = defaultdict(int)
    ended: list[int] = []
    most = 0

    async def run(item: tuple[int, str | None, int, bool]) -> None:
        nonlocal most
        number, key, turns, fails = item
        begun[key].append(number)
        running[key] += 1
        assert running[key] == 1, "two items of one key at once"
        most = max(most, lanes.in_flight)
        for _ in range(turns):
            await asyncio.sleep(0)
        running[key] -= 1
        ended.append(number)
        if fails:
            raise ValueError("an item's own trouble")

    lanes: Lanes[tuple[int, str | None, int, bool]] = Lanes(limit, run)
    for number, (key, turns, fails) in enumerate(items):
        await lanes.submit(key, (number, key, turns, fails))
    await lanes.join()

    assert sorted(ended) == list(range(len(items)))
    for numbers in begun.values():
        assert numbers == sorted(numbers)
    assert most <= limit
    assert lanes.in_flight == 0
    assert not lanes._lines


async def test_a_held_lane_does_not_hold_the_others() -> None:
    gate = asyncio.Event()
    done: list[str] = []

    async def run(item: str) -> None:
        if item == "held":
            await gate.wait()
        done.append(item)

    lanes: Lanes[str] = Lanes(10, run)
    await lanes.submit("a", "held")
    await lanes.submit("a", "behind")
    await lanes.submit("b", "free")
    await asyncio.sleep(0.01)
    assert done == ["free"]
    gate.set()
    await lanes.join()
    assert done == ["free", "held", "behind"]


async def test_submit_waits_for_room_in_turn_and_gives_it_back_when_cancelled() -> None:
    gate = asyncio.Event()
    done: list[int] = []

    async def run(item: int) -> None:
        await gate.wait()
        done.append(item)

    lanes: Lanes[int] = Lanes(1, run)
    await lanes.submit("a", 0)
    waiting = [asyncio.create_task(lanes.submit("a", number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    waiting[1].cancel()
    gate.set()
    await asyncio.gather(waiting[0], waiting[2])
    await lanes.join()
    assert done == [0, 1, 3]


@pytest.mark.parametrize("turns", range(6))
async def test_cancelled_in_the_moment_of_entering(turns: int) -> None:
    gate = asyncio.Event()

    async def run(_: int) -> None:
        await gate.wait()

    lanes: Lanes[int] = Lanes(1, run)
    await lanes.submit("a", 0)
    waiting = asyncio.create_task(lanes.submit("b", 1))
    await asyncio.sleep(0)
    gate.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.wait_for(lanes.join(), 1)
    assert lanes.in_flight == 0


async def test_close_drops_what_has_not_begun() -> None:
    gate = asyncio.Event()
    done: list[int] = []

    async def run(item: int) -> None:
        await gate.wait()
        done.append(item)

    lanes: Lanes[int] = Lanes(3, run)
    for number in range(3):
        await lanes.submit("a", number)
    late = asyncio.create_task(lanes.submit("b", 9))
    await asyncio.sleep(0)
    lanes.close()
    with pytest.raises(RuntimeError, match="closed"):
        await late
    with pytest.raises(RuntimeError, match="closed"):
        await lanes.submit("c", 10)
    gate.set()
    await asyncio.wait_for(lanes.join(), 1)
    assert done == [0]


@pytest.mark.parametrize("begun", [True, False])
async def test_cancel_ends_what_runs(begun: bool) -> None:
    ended: list[str] = []

    async def run(item: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(item)

    lanes: Lanes[str] = Lanes(5, run)
    await lanes.submit("a", "x")
    await lanes.submit("b", "y")
    await lanes.submit("b", "z")
    if begun:
        await asyncio.sleep(0)
    await lanes.cancel()
    assert sorted(ended) == (["x", "y"] if begun else [])
    await asyncio.wait_for(lanes.join(), 1)
    assert lanes.in_flight == 0


def test_no_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="less than one"):
        Lanes(0, lambda item: asyncio.sleep(0))


@settings(deadline=None)
@given(st.data())
def test_the_mark_is_the_first_unsettled_offset(data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=40))
    start = data.draw(st.integers(0, 10**12))
    offsets = [start + sum(gaps[:index]) for index in range(len(gaps))]
    mark = LowWaterMark()
    assert mark.mark is None
    open_: list[int] = []
    waiting = list(offsets)
    delivered: list[int] = []
    settled: set[int] = set()
    while waiting or open_:
        if waiting and (not open_ or data.draw(st.booleans())):
            offset = waiting.pop(0)
            mark.add(offset)
            delivered.append(offset)
            open_.append(offset)
        else:
            offset = open_.pop(data.draw(st.integers(0, len(open_) - 1)))
            before = len(mark)
            settled.add(offset)
            assert mark.settle(offset) == before - len(mark)
        unsettled = [offset for offset in delivered if offset not in settled]
        first = unsettled[0] if unsettled else delivered[-1] + 1
        assert mark.mark == first
        assert len(mark) == sum(offset >= first for offset in delivered)


def test_the_mark_does_not_go_back() -> None:
    mark = LowWaterMark()
    mark.add(5)
    with pytest.raises(ValueError, match="offset 5 after 5"):
        mark.add(5)
