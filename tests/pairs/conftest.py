"""The pairs that the tests of this folder run on, and the matrix of their results."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from support.matrix import Matrix
from support.pairs import Case, Pair, PairKey, RunningPair, cases

from gateway import registry
from gateway.pattern import Count

_MATRIX = pytest.StashKey[Matrix]()
_WANTED: Final[Mapping[str, Callable[[Case], bool]]] = {
    "case": lambda case: not case.endless,
    "paced_case": lambda case: case.paced and not case.endless,
    "asking_case": lambda case: case.inbound.requests is not Count.NONE and not case.endless,
    "heard_case": lambda case: case.inbound.replies is Count.MANY and case.endless,
    "first_case": lambda case: case.inbound.replies is Count.ONE and case.endless,
    "seeking_case": lambda case: case.inbound.requests is not Count.NONE and case.endless,
    "saying_case": lambda case: case.outbound.requests is Count.MANY and case.endless,
}


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_MATRIX] = Matrix()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`pair` alone: every pair; with `case`: every legal way in which its patterns meet; with `paced_case`: those in
    which a reply can come before the next request; with `asking_case`: those in which the caller sends messages.
    Of endless streams, with `heard_case`: those that are told as they come; with `first_case`: those of which the
    caller takes one reply; with `seeking_case`: those in which it sends messages; with `saying_case`: those that
    publish them."""
    if "pair" not in metafunc.fixturenames:
        return
    # One broker of each kind is enough to prove the code; the matrix tells of all that can run.
    keys = PairKey.all(registry.protocols(), every_variant=bool(metafunc.config.getoption("--matrix")))
    name = next((name for name in _WANTED if name in metafunc.fixturenames), "")
    if not name:
        metafunc.parametrize("pair", keys, ids=str, indirect=True)
        return
    metafunc.parametrize(
        ("pair", name),
        [
            pytest.param(key, case, id=f"{key}-{case.id}")
            for key in keys
            for case in cases(key.source, key.target)
            if not case.refusal and _WANTED[name](case)
        ],
        indirect=["pair"],
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one pair stand together, for a pair is started once."""
    places = [number for number, item in enumerate(items) if _key(item) is not None]
    for number, item in zip(places, sorted((items[n] for n in places), key=lambda item: str(_key(item))), strict=True):
        items[number] = item


def _params(item: pytest.Item) -> dict[str, Any]:
    return item.callspec.params if hasattr(item, "callspec") else {}


def _key(item: pytest.Item) -> PairKey | None:
    key = _params(item).get("pair")
    return key if isinstance(key, PairKey) else None


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running_pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningPair]:
    running = RunningPair(tmp_path_factory)
    yield running
    await running.close()


@pytest_asyncio.fixture(loop_scope="session")
async def pair(request: pytest.FixtureRequest, running_pair: RunningPair) -> Pair:
    found = await running_pair.get(request.param)
    found.backend.record.clear()
    return found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield
    key = _key(item)
    if key is not None:
        case = next((_params(item)[name] for name in _WANTED if name in _params(item)), None)
        name = item.originalname if isinstance(item, pytest.Function) else item.name
        item.config.stash[_MATRIX].add(key, case.id if case is not None else name, report)
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    file = session.config.getoption("--matrix")
    if file and not session.config.option.collectonly:
        Path(file).write_text(session.config.stash[_MATRIX].text())
