"""Deadlines of many calls under one timer."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.message import Context
from gateway.net.deadlines import Deadlines, remaining
from gateway.status import Code, Failure

FOREVER = float("inf")


async def call(deadlines: Deadlines, latest: float, work: Callable[[], Awaitable[object]]) -> str:
    armed = deadlines.arm(latest)
    try:
        await work()
    except asyncio.CancelledError:
        if armed.settle():
            return "late"
        raise
    else:
        return "done"
    finally:
        deadlines.disarm(armed)


async def test_a_call_that_takes_too_long_is_cancelled_and_others_are_not() -> None:
    deadlines = Deadlines(0.05)
    ended = await asyncio.gather(
        call(deadlines, FOREVER, lambda: asyncio.sleep(5)),
        call(deadlines, FOREVER, lambda: asyncio.sleep(0)),
        call(deadlines, FOREVER, asyncio.Event().wait),
    )
    assert ended == ["late", "done", "late"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_the_time_of_all_can_be_up_at_once() -> None:
    deadlines = Deadlines(60)
    soon = asyncio.get_running_loop().time() + 30
    calls = [asyncio.create_task(call(deadlines, latest, asyncio.Event().wait)) for latest in (FOREVER, soon, FOREVER)]
    await asyncio.sleep(0.01)
    deadlines.expire()
    deadlines.expire()
    assert await asyncio.gather(*calls) == ["late"] * 3
    assert await call(deadlines, FOREVER, lambda: asyncio.sleep(0)) == "done"


async def test_the_deadline_counts_from_each_calls_own_start() -> None:
    deadlines = Deadlines(0.1)
    first = asyncio.create_task(call(deadlines, FOREVER, lambda: asyncio.sleep(0.02)))
    await first
    # The timer that the first call left behind fires while this one still has time.
    start = asyncio.get_running_loop().time()
    assert await call(deadlines, FOREVER, lambda: asyncio.sleep(5)) == "late"
    assert 0.09 <= asyncio.get_running_loop().time() - start < 1


async def test_a_caller_with_less_time_is_heard() -> None:
    deadlines = Deadlines(60)
    loop = asyncio.get_running_loop()
    assert await call(deadlines, loop.time() + 0.02, lambda: asyncio.sleep(5)) == "late"
    assert await call(deadlines, loop.time() - 1, lambda: asyncio.sleep(5)) == "late"


async def test_a_caller_that_leaves_is_no_deadline() -> None:
    deadlines = Deadlines(60)
    task = asyncio.create_task(call(deadlines, FOREVER, lambda: asyncio.sleep(5)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_work_that_turns_its_cancellation_into_an_error_leaves_the_task_uncancelled() -> None:
    async def stubborn() -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            raise OSError("gone") from None

    with pytest.raises(OSError, match="gone"):
        await call(Deadlines(0.02), FOREVER, stubborn)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_the_time_that_a_call_has_left() -> None:
    now = asyncio.get_running_loop().time()
    assert remaining(Context()) is None
    assert 0 < (remaining(Context(now + 60)) or 0) <= 60
    with pytest.raises(Failure) as caught:
        remaining(Context(now - 1))
    assert (caught.value.code, caught.value.sent) == (Code.DEADLINE_EXCEEDED, False)
