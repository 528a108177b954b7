"""Stores, of both kinds: positions, reading, forgetting, what survives. And topics with their filters."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.events.attributes import CONTENT
from gateway.codecs.cloudevents import CloudEvent
from gateway.journal import sqlite
from gateway.journal.memory import MemoryStore
from gateway.journal.sqlite import SqliteStore
from gateway.journal.store import Store
from gateway.journal.topic import Filter, is_filter, is_topic
from gateway.status import Code, Failure

LIMIT = 1024 * 1024
FOREVER = 0.0  # nothing is older


def event(number: int, size: int = 10) -> CloudEvent:
    return CloudEvent(id=str(number), source="/s", type="t", data=b'"%b"' % (b"x" * size))


def everything(topic: str) -> bool:
    return True


@pytest.fixture(params=["memory", "file", "file without tail"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Store[CloudEvent]]:
    if request.param == "file without tail":
        monkeypatch.setattr(sqlite, "TAIL_BYTES", 0)
    made: Store[CloudEvent]
    if request.param == "memory":
        made = MemoryStore(CONTENT.size, LIMIT)
    else:
        made = SqliteStore(tmp_path / "events.db", CONTENT, LIMIT)
    await made.open()
    yield made
    await made.close()


async def test_positions_follow_each_other(store: Store[CloudEvent]) -> None:
    seen: list[int] = []
    store.appended = lambda entries: seen.extend(entry.position for entry in entries)
    assert (store.first, store.last) == (1, 0)
    given = await asyncio.gather(*(store.append([("a", event(n)), ("b", event(n))]) for n in range(50)))
    assert sorted(given) == list(range(1, 101, 2))
    assert seen == list(range(1, 101))
    assert (store.first, store.last) == (1, 100)


async def test_reading(store: Store[CloudEvent]) -> None:
    await store.append([("a" if number % 3 else "b", event(number)) for number in range(1, 31)])
    only: Callable[[str], bool] = lambda topic: topic == "b"  # noqa: E731
    batch = await store.read(0, only, 4)
    assert [entry.position for entry in batch.entries] == [3, 6, 9, 12]
    assert batch.scanned == 12
    batch = await store.read(batch.scanned, only, 100)
    assert [entry.event.id for entry in batch.entries] == ["15", "18", "21", "24", "27", "30"]
    assert batch.scanned == 30
    assert (await store.read(30, everything, 5)).entries in ([], ())
    assert [entry.event for entry in (await store.read(28, everything, 5)).entries] == [event(29), event(30)]


async def test_forgetting(store: Store[CloudEvent]) -> None:
    await store.append([("a", event(number, 5000)) for number in range(1, 101)])
    before = store.bytes
    # Not what is needed, however full it is; not what is young, where there is place.
    assert not await store.prune(1, time.time() + 60, 0)
    assert not await store.prune(101, FOREVER, LIMIT)
    assert store.first == 1
    while await store.prune(51, time.time() + 60, 0):
        pass
    assert store.first == 51
    assert store.bytes < before * 0.7
    while await store.prune(101, FOREVER, 20 * 5500):
        pass
    assert 70 < store.first < 95
    assert (await store.read(0, everything, 1)).entries[0].position == store.first
    while await store.prune(101, time.time() + 60, 0):
        pass
    assert store.first == 101
    assert await store.append([("a", event(101))]) == 101


async def test_a_full_store(store: Store[CloudEvent]) -> None:
    """Whole batches are refused; how far a subscription has come can still be kept."""
    taken, refusal = 0, None
    while refusal is None:
        try:
            await store.append([("a", event(taken, 20_000)), ("a", event(taken, 20_000))])
            taken += 2
        except Failure as failure:
            refusal = failure
    assert refusal.code is Code.RESOURCE_EXHAUSTED
    assert not refusal.sent
    assert taken > 40
    assert store.last == taken
    assert store.bytes <= LIMIT
    mixed = await asyncio.gather(
        store.append([("a", event(0, 100_000))]), store.advance("s", taken), return_exceptions=True
    )
    assert isinstance(mixed[0], Failure)
    assert mixed[1] is None
    assert store.subscriptions["s"].position == taken
    while await store.prune(taken + 1, time.time() + 60, 0):
        pass
    assert await store.append([("a", event(0, 20_000))]) == taken + 1


async def test_what_a_file_keeps(tmp_path: Path) -> None:
    """Events, positions and subscriptions; a position is never given again."""
    path = tmp_path / "events.db"
    store = SqliteStore(path, CONTENT, LIMIT)
    await store.open()
    await store.append([("a", event(1)), ("b", event(2))])
    await store.advance("s", 1)
    await store.close()
    assert path.stat().st_mode & 0o077 == 0, "others may read it"
    store = SqliteStore(path, CONTENT, LIMIT)
    await store.open()
    assert (store.first, store.last, store.subscriptions["s"].position) == (1, 2, 1)
    assert [(entry.topic, entry.event) for entry in (await store.read(0, everything, 9)).entries] == [
        ("a", event(1)),
        ("b", event(2)),
    ]
    while await store.prune(3, time.time() + 60, 0):
        pass
    await store.close()
    await store.open()
    assert (store.first, store.last) == (3, 2)
    assert await store.append([("a", event(3))]) == 3
    await store.close()
    with pytest.raises(Failure, match="not open"):
        await store.append([("a", event(4))])


async def test_a_file_that_is_none_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(OSError, match=r"can't open .*not a database"):
        await SqliteStore(path, CONTENT, LIMIT).open()
    with pytest.raises(OSError, match="can't open"):
        await SqliteStore(tmp_path / "absent" / "events.db", CONTENT, LIMIT).open()


async def test_one_owner(tmp_path: Path) -> None:
    first, second = (
        SqliteStore(tmp_path / "events.db", CONTENT, LIMIT),
        SqliteStore(tmp_path / "events.db", CONTENT, LIMIT),
    )
    await first.open()
    with pytest.raises(OSError, match="another process uses it"):
        await second.open()
    await first.close()
    await second.open()
    await second.close()


LEVELS = st.sampled_from(["a", "b", "c1"])


@given(
    st.lists(LEVELS, min_size=1, max_size=4),
    st.lists(st.one_of(LEVELS, st.just("*")), max_size=4),
    st.booleans(),
)
def test_filters_match_as_they_say(topic: list[str], levels: list[str], rest: bool) -> None:
    pattern = ".".join([*levels, ">"] if rest else levels)
    if not pattern:
        return
    expected = len(topic) > len(levels) if rest else len(topic) == len(levels)
    expected = expected and all(given in (level, "*") for level, given in zip(topic, levels, strict=False))
    assert is_filter(pattern)
    assert Filter([pattern])(".".join(topic)) is expected
    assert Filter(["z", pattern])(".".join(topic)) is expected
    assert not Filter([pattern], without=".".join(topic))(".".join(topic))


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a b", "a.ü", "a" * 256, "a.*", ">", "a\n"])
def test_no_topics(text: str) -> None:
    assert not is_topic(text)


@pytest.mark.parametrize("text", ["", "a.>.b", ">.a", "a>", "a*", "**", "a.", "a.#", "*\n"])
def test_no_filters(text: str) -> None:
    assert not is_filter(text)
