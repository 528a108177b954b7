"""Windows: the parts of a log that one consumer has, kept together."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import pytest

from gateway.net.broker import windows
from gateway.net.broker.redelivery import Redelivery, Retries
from gateway.net.broker.windows import Windows

Record = tuple[str, int]


class Log:
    """Parts with so many records each, and what was kept of them."""

    def __init__(self, size: int, limit: int = 4) -> None:
        self.kept: dict[str, int] = {}
        self.keeps = True
        self.refusal: Exception | None = None
        self.held = asyncio.Event()
        self.held.set()
        self.answers = asyncio.Event()
        self.answers.set()
        self._size = size
        self._next: dict[str, int] = {}
        self.windows: Windows[str, Record] = Windows(
            limit,
            Retries(),
            position=lambda record: record[1],
            lane=lambda record: record[1],
            settle=self._settle,
            fetch=self._fetch,
            keep=self._keep,
        )

    async def _fetch(self, part: str, most: int) -> list[Record]:
        first = self._next.get(part, 0)
        if first >= self._size:
            await asyncio.Event().wait()
        self._next[part] = min(first + most, self._size)
        return [(part, number) for number in range(first, self._next[part])]

    async def _settle(self, record: Record, redelivery: Redelivery) -> bool:
        await self.held.wait()
        return True

    async def _keep(self, positions: Mapping[str, int]) -> bool:
        if self.refusal is not None:
            raise self.refusal
        await self.answers.wait()
        if self.keeps:
            self.kept |= positions
        return self.keeps


async def tend(log: Log, wanted: Mapping[str, int]) -> None:
    async with asyncio.timeout(10):
        while log.kept != wanted:
            await log.windows.tend(0.01)


async def test_all_parts_are_kept_as_they_are_settled() -> None:
    log = Log(10)
    log.windows.open("a")
    log.windows.open("b")
    await tend(log, {"a": 10, "b": 10})
    await log.windows.close_all()


async def test_what_can_not_be_kept_holds_the_window() -> None:
    log = Log(10, limit=4)
    log.keeps = False
    log.windows.open("a")
    for _ in range(20):
        await log.windows.tend(0.001)
    assert log._next == {"a": 4}
    assert log.windows.asking == []
    log.keeps = True
    await tend(log, {"a": 10})
    await log.windows.close_all()


async def test_a_part_that_leaves_is_kept_and_the_others_go_on() -> None:
    log = Log(4)
    log.held.clear()
    log.windows.open("a")
    log.windows.open("b")
    await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    leaving = asyncio.create_task(log.windows.close(["a", "never had"], 10.0))
    await asyncio.sleep(0.01)
    assert not leaving.done()
    log.held.set()
    await asyncio.wait_for(leaving, 10)
    assert log.kept["a"] == 4
    assert "a" not in log.windows.asking
    await tend(log, {"a": 4, "b": 4})
    await log.windows.release()


async def test_what_breaks_a_fetch_is_raised_once() -> None:
    log = Log(4)
    log.windows.open("a")
    log.windows.fail(ValueError("broken"))
    with pytest.raises(ValueError, match="broken"):
        await log.windows.tend(10)
    await log.windows.close_all()
    with suppress(TimeoutError):
        await log.windows.tend(0.01)


async def test_what_breaks_keeping_is_raised_and_nothing_is_taken_for_kept() -> None:
    log = Log(4)
    log.refusal = OSError("no longer mine")
    log.windows.open("a")
    with pytest.raises(OSError, match="no longer mine"):
        await tend(log, {"a": 4})
    log.refusal = None
    await log.windows.close_all()
    assert log.kept == {"a": 4}


async def test_keeping_that_is_not_answered_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "KEEP_SECONDS", 0.02)
    log = Log(4)
    log.answers.clear()
    log.windows.open("a")
    for _ in range(5):
        await log.windows.tend(0.01)
    assert log.kept == {}
    log.answers.set()
    await tend(log, {"a": 4})
    await log.windows.close_all()
