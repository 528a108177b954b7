"""Every inbound before every outbound, in every pattern that they meet in: good calls, refused ones and bad ones."""

from typing import Any

import pytest
from support.pairs import Case, Pair, cases, routes, write_routes
from support.peers import RefusedError
from support.specimen import DETAIL, Specimen, bare, exact, refused, specimen

from gateway import config as configuration
from gateway.compile import compile_plan
from gateway.document import load
from gateway.net.network import Network
from gateway.observe import Metrics
from gateway.pattern import Count, Pattern
from gateway.problem import ConfigError
from gateway.status import Code

pytestmark = pytest.mark.asyncio(loop_scope="session")


def _requests(case: Case) -> list[Specimen]:
    """Different ones, so that none can be taken for another."""
    if case.inbound.requests is Count.NONE:
        return []
    return [specimen(1), bare(), specimen(3)] if case.inbound.requests is Count.MANY else [specimen(1)]


async def test_exchange(pair: Pair, case: Case) -> None:
    """The backend gets what the caller sent, the caller is told what the backend answered, nothing else."""
    sent = _requests(case)
    replies = await pair.caller.call(case, sent)
    expected = case.sent(sent)
    assert exact(await pair.backend.record.ended(len(expected))) == exact(expected)
    if case.outbound.replies is not Count.NONE:
        assert pair.told(replies) == pair.told(case.told(sent))
    elif case.inbound.replies is not Count.NONE:
        _check_receipts(pair, replies)


def _check_receipts(pair: Pair, replies: list[Any]) -> None:
    """The replies are the receipts of all messages, or that of the last."""
    assert replies
    known = pair.backend.receipts()[-len(replies) :] or [{} for _ in replies]
    for reply, receipt in zip(replies, known, strict=True):
        assert reply.keys() >= {*pair.backend.receipt}
        assert reply == {name: receipt[name] for name in reply}


async def test_refused_by_the_backend(pair: Pair, asking_case: Case) -> None:
    """The caller is told the backend's code, and its declared failure where both protocols have a form for it."""
    case = asking_case
    with pytest.raises(RefusedError) as told:
        await pair.caller.call(case, [refused()])
    code, declared = pair.backend.refusal(case)
    assert told.value.code == pair.caller.code(code, case, declared=declared), told.value.text
    assert told.value.detail == (DETAIL if declared and pair.caller.tells_detail else None)


async def test_refused_in_the_middle(pair: Pair, paced_case: Case) -> None:
    """The replies before the failure arrive, and then the failure: a stream cut short never looks complete."""
    case, replies = paced_case, list[Any]()
    with pytest.raises(RefusedError) as told:
        await pair.caller.listen(case, [specimen(1), refused()], replies)
    code, declared = pair.backend.refusal(case)
    assert told.value.code == pair.caller.code(code, case, declared=declared), told.value.text
    assert told.value.detail == DETAIL
    assert pair.told(replies) == pair.told(case.told([specimen(1)]))


async def test_bad_request(pair: Pair, asking_case: Case) -> None:
    """The caller is told that the request is bad; none of it reaches the backend."""
    case = asking_case
    with pytest.raises(RefusedError) as told:
        await pair.caller.misspeak(case)
    assert told.value.code == pair.caller.code(Code.INVALID_ARGUMENT, case, declared=False), told.value.text
    assert pair.backend.record.messages == []
    # What is well-formed passes afterwards.
    sent = _requests(case)
    await pair.caller.call(case, sent)
    calls = await pair.backend.record.ended(len(case.sent(sent)))
    assert [call for call in calls if call] == case.sent(sent)


def _asks(pattern: Pattern) -> bool:
    return pattern.requests is not Count.NONE


async def test_patterns_that_do_not_meet(pair: Pair) -> None:
    """Every other combination of patterns and bridging words is refused before it serves, each with its reason."""
    every = cases(pair.key.source, pair.key.target)
    legal = [case for case in every if not case.refusal]
    inbound = {case.inbound: case for case in legal}
    outbound = {case.outbound: case for case in legal}
    # A refusal comes before the contracts' types are looked at, so the addresses of other cases will do. A pattern that
    # meets none here (a subscription before a call) has no such address.
    found: dict[str, Any] = {}
    endpoints: dict[str, Any] = {}
    left_open = {pattern: pair.contract(case).patterns - {pattern} for pattern, case in outbound.items()}
    illegal = [
        case
        for case in every
        if case.refusal
        and case.inbound in inbound
        and case.outbound in outbound
        # The address of a subscription takes a caller with a request as well as one without.
        and not any(_asks(other) == _asks(case.inbound) for other in left_open[case.outbound])
    ]
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
