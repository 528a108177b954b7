"""Any values survive every pair of protocols, there and back, and a way through all of them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from support.answers import answers
from support.pairs import Case, Pair, cases, running, write_routes
from support.peers import load_peer
from support.specimen import SPECIMENS, Specimen, bare, exact, specimen
from support.specimen_json import Dialect

from gateway.pattern import Count, Pattern

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_SIMPLEST = (Pattern.REQUEST_REPLY, Pattern.ONE_WAY)


def _simplest(source: str, target: str) -> Case:
    """One message, and one reply where there is one."""
    legal = [case for case in cases(source, target) if not case.refusal]
    return min(
        (case for case in legal if case.inbound in _SIMPLEST and case.outbound in _SIMPLEST),
        key=lambda case: (_SIMPLEST.index(case.inbound), _SIMPLEST.index(case.outbound)),
    )


@EXAMPLES
@given(sent=SPECIMENS)
@example(sent=bare())
@example(sent=specimen())
async def test_values_survive(pair: Pair, sent: Specimen) -> None:
    case = _simplest(pair.key.source, pair.key.target)
    pair.backend.record.clear()
    replies = await pair.caller.call(case, [sent])
    assert exact(await pair.backend.record.ended(1)) == exact([[sent]])
    if Count.NONE not in (case.inbound.replies, case.outbound.replies):
        assert pair.told(replies) == pair.told(case.told([sent]))


class Chain:
    """A caller, a backend, and on the way between them other protocols that the gateway speaks with itself."""

    def __init__(self, caller: Any, backend: Any, case: Case) -> None:
        self.caller = caller
        self.backend = backend
        self.case = case

    async def carry(self, sent: Specimen) -> list[Any]:
        """The replies; the backend must have got what was sent."""
        self.backend.record.clear()
        replies = await self.caller.call(self.case, [sent])
        assert exact(await self.backend.record.ended(1)) == exact([[sent]])
        return replies


def _to(place: tuple[str, Mapping[str, Any], Mapping[str, Any]]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """(endpoint, address) of a call to the gateway's own endpoint of this place."""
    _, endpoint, address = place
    called = {name: value for name, value in endpoint.items() if name not in ("listen", "path")}
    match endpoint["protocol"]:
        case "grpc":
            return {**called, "target": endpoint["listen"]}, address
        case "soap":
            return {**called, "target": f"http://{endpoint['listen']}{endpoint['path']}"}, address
        case _:
            return endpoint, {"topic": address["topic"]}


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def there_and_back(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Chain]:
    """REST -> gRPC -> SOAP -> REST, and the reply the same way back."""
    folder = tmp_path_factory.mktemp("there-and-back")
    case = Case(Pattern.REQUEST_REPLY, Pattern.REQUEST_REPLY, None, None)
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(load_peer("http").Backend(folder, [case], Dialect.XSD, ""))
        caller = await stack.enter_async_context(load_peer("http").Caller(folder, [case], Dialect.PROTO, ""))
        rpc = load_peer("grpc").Caller(folder, [case], Dialect.PROTO, "")
        soap = load_peer("soap").Caller(folder, [case], Dialect.XSD, "")
        hops = [caller.source(case), rpc.source(case), soap.source(case)]
        await stack.enter_async_context(running(_linked(folder, hops, backend.target(case))))
        yield Chain(caller, backend, case)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def through_brokers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Chain]:
    """REST -> Kafka -> gRPC -> SOAP -> Kafka, each hop accepted when the next one has it."""
    folder = tmp_path_factory.mktemp("through-brokers")
    case = Case(Pattern.REQUEST_REPLY, Pattern.ONE_WAY, None, None)
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(load_peer("kafka").Backend(folder, [case], Dialect.XSD, ""))
        records = await stack.enter_async_context(load_peer("kafka").Caller(folder, [case], Dialect.PROTO, ""))
        caller = await stack.enter_async_context(load_peer("http").Caller(folder, [case], Dialect.PROTO, ""))
        rpc = load_peer("grpc").Caller(folder, [case], Dialect.PROTO, "")
        soap = load_peer("soap").Caller(folder, [case], Dialect.XSD, "")
        hops = [caller.source(case), records.source(case), rpc.source(case), soap.source(case)]
        await stack.enter_async_context(running(_linked(folder, hops, backend.target(case))))
        yield Chain(caller, backend, case)


def _linked(folder: Any, hops: list[Any], last: Any) -> Any:
    """The routes.yaml in which each hop is the next one's caller."""
    endpoints: dict[str, Any] = {last[0]: last[1]}
    routes: dict[str, Any] = {}
    for number, (name, endpoint, address) in enumerate(hops):
        endpoints[name] = endpoint
        if number + 1 < len(hops):
            target = f"to-{hops[number + 1][0]}"
            endpoints[target], called = _to(hops[number + 1])
        else:
            target, called = last[0], last[2]
        routes[f"hop-{number}"] = {"from": {"endpoint": name, **address}, "to": {"endpoint": target, **called}}
    return write_routes(folder, endpoints, routes)


@EXAMPLES
@given(sent=SPECIMENS)
@example(sent=specimen())
async def test_values_survive_rest_grpc_soap_rest_and_back(there_and_back: Chain, sent: Specimen) -> None:
    assert exact(await there_and_back.carry(sent)) == exact(answers(Pattern.REQUEST_REPLY, [sent]))


@EXAMPLES
@given(sent=SPECIMENS)
@example(sent=specimen())
async def test_values_survive_rest_kafka_grpc_soap_kafka(through_brokers: Chain, sent: Specimen) -> None:
    (receipt,) = await through_brokers.carry(sent)
    assert receipt["topic"].startswith("in-"), "the caller is told where its own message went"
