"""Tasks that are ended together, and the first of several."""

import asyncio

import pytest

from gateway.net.tasks import end, first


async def _sleeps(ended: list[str], name: str, seconds: float = 5) -> str:
    try:
        await asyncio.sleep(seconds)
    finally:
        ended.append(name)
    return name


async def test_all_have_ended_however_they_did() -> None:
    ended: list[str] = []

    async def fails() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            await asyncio.sleep(0.01)
            ended.append("fails")
            raise ZeroDivisionError

    running = {asyncio.create_task(fails()), asyncio.create_task(_sleeps(ended, "sleeps"))}
    for task in running:
        task.add_done_callback(running.discard)
    await asyncio.sleep(0)
    await end(running)
    assert sorted(ended) == ["fails", "sleeps"] and not running
    await end([])


async def test_the_first_one_is_told_and_the_others_end() -> None:
    ended: list[str] = []
    done = await first(_sleeps(ended, "late"), _sleeps(ended, "early", 0.01))
    assert [task.result() for task in done] == ["early"]
    await asyncio.sleep(0)
    assert ended == ["early", "late"]


async def test_its_caller_s_cancellation_is_theirs() -> None:
    ended: list[str] = []
    task = asyncio.create_task(first(_sleeps(ended, "a"), _sleeps(ended, "b")))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0)
    assert sorted(ended) == ["a", "b"]
