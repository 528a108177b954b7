"""Every inbound before every outbound, in every pattern that they meet in: good calls, refused ones and bad ones."""

from collections.abc import Mapping
from typing import Any

import pytest
from support.pairs import Case, Pair, cases, routes, write_routes
from support.peers import RefusedError
from support.specimen import DETAIL, Specimen, bare, refused, specimen

from gateway import config as configuration
from gateway.compile import compile_plan
from gateway.document import load
from gateway.net.network import Network
from gateway.observe import Metrics
from gateway.pattern import Count
from gateway.problem import ConfigError
from gateway.status import Code

pytestmark = pytest.mark.asyncio(loop_scope="session")


def _requests(case: Case) -> list[Specimen]:
    """Different ones, so that none can be taken for another."""
    return [specimen(1), bare(), specimen(3)] if case.inbound.requests is Count.MANY else [specimen(1)]


async def test_exchange(pair: Pair, case: Case) -> None:
    """The backend gets what the caller sent, the caller is told what the backend answered, nothing else."""
    sent = _requests(case)
    replies = await pair.caller.call(case, sent)
    expected = case.sent(sent)
    assert await pair.backend.record.ended(len(expected)) == expected
    if case.outbound.replies is not Count.NONE:
        assert replies == case.told(sent)
    elif case.inbound.replies is not Count.NONE:
        assert replies
        assert replies == _receipts(pair.backend.receipts(), replies)


def _receipts(known: list[Mapping[str, Any]], replies: list[Any]) -> list[Any]:
    """What the replies must be: the receipts of all messages, or that of the last."""
    wanted = known[-len(replies) :] if known else [{} for _ in replies]
    return [
        {**receipt, **{name: value for name, value in reply.items() if name == "timestamp"}}
        for receipt, reply in zip(wanted, replies, strict=True)
    ]


async def test_refused_by_the_backend(pair: Pair, case: Case) -> None:
    """The caller is told the backend's code, and its declared failure where both protocols have a form for it."""
    with pytest.raises(RefusedError) as told:
        await pair.caller.call(case, [refused()])
    declared = pair.backend.tells_detail
    assert told.value.code == pair.caller.code(pair.backend.refusal, case, declared=declared), told.value.text
    assert told.value.detail == (DETAIL if declared and pair.caller.tells_detail else None)


async def test_bad_request(pair: Pair, case: Case) -> None:
    """The caller is told that the request is bad; none of it reaches the backend."""
    with pytest.raises(RefusedError) as told:
        await pair.caller.misspeak(case)
    assert told.value.code == pair.caller.code(Code.INVALID_ARGUMENT, case, declared=False), told.value.text
    assert pair.backend.record.messages == []
    # What is well-formed passes afterwards.
    sent = _requests(case)
    await pair.caller.call(case, sent)
    calls = await pair.backend.record.ended(len(case.sent(sent)))
    assert [call for call in calls if call] == case.sent(sent)


async def test_patterns_that_do_not_meet(pair: Pair) -> None:
    """Every other combination of patterns and bridging words is refused before it serves, each with its reason."""
    every = cases(pair.key.source, pair.key.target)
    legal = [case for case in every if not case.refusal]
    inbound = {case.inbound: case for case in legal}
    outbound = {case.outbound: case for case in legal}
    # A refusal comes before the contracts' types are looked at, so the addresses of other cases will do.
    found: dict[str, Any] = {}
    endpoints: dict[str, Any] = {}
    illegal = [case for case in every if case.refusal]
    for case in illegal:
        _, theirs = routes(pair.caller, pair.backend, [inbound[case.inbound]])
        _, ours = routes(pair.caller, pair.backend, [outbound[case.outbound]])
        route = {
            "from": next(iter(theirs.values()))["from"],
            "to": next(iter(ours.values()))["to"],
            **({"requests": case.requests.value} if case.requests else {}),
            **({"replies": case.replies.value} if case.replies else {}),
        }
        found[case.id] = route
    endpoints, _ = routes(pair.caller, pair.backend, legal)
    folder = pair.folder / "refused"
    folder.mkdir(exist_ok=True)
    file = write_routes(folder, endpoints, found)
    network = Network(pair.folder)
    with pytest.raises(ConfigError) as problems:
        await compile_plan(configuration.read(load(file)), network, Metrics(), None)
    told = {problem.path: problem.message for problem in problems.value.problems}
    assert told == {f"routes.{case.id}": case.refusal for case in illegal}
