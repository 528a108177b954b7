"""Node's GraphQL world: graphql-http's audit, graphql-ws and graphql-sse as clients, graphql-yoga as the service."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from support import graphql_node
from support.graphql_node import Yoga
from support.graphql_service import Caller, Service, served

from gateway.status import Code, Failure

AT = 1_769_866_200_123_456_789  # 2026-01-31T13:30:00.123456789Z


# -- the gateway as the service


async def _ticks(value: Any) -> AsyncGenerator[Any, None]:
    n = 0
    while value["count"] == 0 or n < value["count"]:
        n += 1
        if n == value.get("breakAt"):
            raise Failure(Code.UNAVAILABLE, "the clock broke")
        yield {"n": n, "at": AT}
        await asyncio.sleep(0)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    functions = {"Subscription.ticks": _ticks, "Query.tree": lambda value: {"name": "root"}}
    headers = frozenset({"x-token"})
    async with served(functions, headers=headers, forward_headers=["x-token"]) as running:
        yield running


async def test_the_audit_finds_nothing(service: Service) -> None:
    (result,) = await graphql_node.NODE.run("audit.mjs", service.url)
    assert result["failed"] == []
    assert result["total"] >= 61


def _url(service: Service, transport: str) -> str:
    return service.url.replace("http", "ws") if transport == "ws" else service.url


@pytest.mark.parametrize("transport", ["ws", "sse"])
async def test_a_subscription(service: Service, transport: str) -> None:
    results, end = await graphql_node.subscribe(
        transport,
        _url(service, transport),
        "subscription($n: Int!) { ticks(count: $n) { n at } }",
        {"n": 3},
        headers={"x-token": "t"},
    )
    assert [result["data"]["ticks"]["n"] for result in results] == [1, 2, 3]
    assert results[0]["data"]["ticks"]["at"] == "2026-01-31T13:30:00.123456789Z"
    assert end == {"end": "complete"}
    ((request, _),) = service.handlers["Subscription.ticks"].calls
    assert list(request.headers) == [("x-token", "t")]


@pytest.mark.parametrize("transport", ["ws", "sse"])
async def test_a_query_over_the_same_transports(service: Service, transport: str) -> None:
    results, end = await graphql_node.subscribe(transport, _url(service, transport), "{ tree { name } }")
    assert results == [{"data": {"tree": {"name": "root"}}}]
    assert end == {"end": "complete"}


@pytest.mark.parametrize("transport", ["ws", "sse"])
async def test_leaving_cancels_upstream(service: Service, transport: str) -> None:
    url = _url(service, transport)
    results, end = await graphql_node.subscribe(transport, url, "subscription { ticks { n } }", count=2)
    assert len(results) >= 2
    assert end == {"end": "left"}
    handler = service.handlers["Subscription.ticks"]
    async with asyncio.timeout(5):
        while not handler.ended:
            await asyncio.sleep(0.01)


async def test_failures_over_websockets(service: Service) -> None:
    url = _url(service, "ws")
    results, end = await graphql_node.subscribe("ws", url, "subscription { ticks(breakAt: 2) { n } }")
    assert results == [{"data": {"ticks": {"n": 1}}}]
    assert end["end"] == "error"
    assert end["error"][0]["extensions"]["code"] == "UNAVAILABLE"
    results, end = await graphql_node.subscribe("ws", url, "subscription { nope }")
    assert results == []
    assert "Cannot query field 'nope'" in end["error"][0]["message"]


async def test_failures_as_events(service: Service) -> None:
    results, end = await graphql_node.subscribe("sse", service.url, "subscription { ticks(breakAt: 2) { n } }")
    assert results[0] == {"data": {"ticks": {"n": 1}}}
    assert results[1]["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
    assert end == {"end": "complete"}


# -- the gateway as the client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def yoga() -> AsyncIterator[Yoga]:
    async with graphql_node.yoga() as running:
        yield running


pytestmark_yoga = pytest.mark.asyncio(loop_scope="module")


@pytestmark_yoga
@pytest.mark.parametrize("introspection", [True, False])
async def test_a_query_to_yoga(yoga: Yoga, introspection: bool) -> None:
    async with Caller(target=yoga.url, introspection=introspection) as caller:
        assert await caller.call({"orderId": "x"}, field="Query.order") == {
            "orderId": "x",
            "total": 2**53 + 1,
            "price": Decimal("12.30"),
            "placedAt": AT,
            "status": "PAID",
            "lines": [{"sku": "tea", "quantity": 2}],
            "note": None,
            "extra": {"any": [1, Decimal("2.5"), None]},
            "blob": b"\0\1\2",
            "links": ["a", None],
        }


@pytestmark_yoga
async def test_every_kind_of_reply(yoga: Yoga) -> None:
    async with Caller(target=yoga.url) as caller:
        assert await caller.call({"since": 0, "weights": [1.5]}, field="Query.count") == {"count": 2**53 + 1}
        assert (await yoga.call("count"))["args"] == {"since": "1970-01-01T00:00:00Z", "weights": [1.5]}
        assert await caller.call({}, field="Query.tags") == {"tags": {"a": "1", "b": "2"}}
        assert await caller.call({}, field="Query.shapes") == {
            "shapes": [
                {"Circle": {"id": "c", "radius": 1.5, "size": 3}},
                {"Label": {"id": "l", "text": "ä <>", "size": "big"}},
            ]
        }
        assert await caller.call({"id": "l"}, field="Query.shape") == {
            "Label": {"id": "l", "text": "ä <>", "size": "big"}
        }
        assert await caller.call({"depth": 1}, field="Query.tree", recursion=3) == {
            "name": "n1",
            "children": [{"name": "n0", "children": []}, {"name": "n0", "children": []}],
        }


@pytestmark_yoga
async def test_null_absence_and_defaults_of_a_mutation(yoga: Yoga) -> None:
    async with Caller(target=yoga.url) as caller:
        given = {
            "input": {
                "note": None,
                "lines": [{"sku": "a"}],
                "payment": {"cash": Decimal("1.50")},
                "tags": {"x": "y"},
            }
        }
        reply = await caller.call(given, field="Mutation.place")
        assert reply["lines"] == [{"sku": "a", "quantity": 1}]
        assert (await yoga.call("place"))["args"] == {
            "input": {
                "note": None,
                "lines": [{"sku": "a", "quantity": 1}],
                "payment": {"cash": "1.50"},
                "tags": [{"key": "x", "value": "y"}],
                "status": "PLACED",
            }
        }
        await caller.call({"input": {}}, field="Mutation.place")
        assert (await yoga.call("place"))["args"] == {"input": {"status": "PLACED"}}


@pytestmark_yoga
async def test_a_document_of_ones_own(yoga: Yoga) -> None:
    document = "query Q($id: ID!) { mine: order(orderId: $id) { id: orderId } count }"
    async with Caller(target=yoga.url) as caller:
        assert await caller.call({"id": "7"}, document=document) == {"mine": {"id": "7"}, "count": 2**53 + 1}


@pytestmark_yoga
@pytest.mark.parametrize(
    ("order", "code", "message"),
    [
        ("missing", Code.NOT_FOUND, "no such order"),
        ("none", Code.NOT_FOUND, "order is null"),
        ("busy", Code.RESOURCE_EXHAUSTED, "try later"),
        ("stock", Code.FAILED_PRECONDITION, "the shelf is empty"),
        ("bug", Code.INTERNAL, "Unexpected error."),
        ("half", Code.UNKNOWN, "no note today"),
    ],
)
async def test_errors_of_yoga(yoga: Yoga, order: str, code: Code, message: str) -> None:
    async with Caller(target=yoga.url) as caller:
        with pytest.raises(Failure) as failure:
            await caller.call({"orderId": order}, field="Query.order")
        assert (failure.value.code, failure.value.message) == (code, message)
        if order == "stock":
            assert [(one.name, one.value) for one in failure.value.details] == [("OutOfStock", {"sku": "tea"})]
        if order == "busy":
            assert failure.value.retry_after == 2


@pytestmark_yoga
async def test_partial_data_where_it_is_wanted(yoga: Yoga, caplog: pytest.LogCaptureFixture) -> None:
    async with Caller(target=yoga.url) as caller:
        reply = await caller.call({"orderId": "half"}, field="Query.order", partial=True)
        assert (reply["orderId"], reply["note"]) == ("half", None)
    assert "no note today" in caplog.text


@pytestmark_yoga
async def test_a_subscription_to_yoga(yoga: Yoga) -> None:
    async with Caller(target=yoga.url, forward_headers=["x-token"]) as caller:
        stream = caller.stream({"count": 3}, field="Subscription.ticks", headers=[("x-token", "t")])
        assert [event async for event in stream] == [{"n": n, "at": AT} for n in (1, 2, 3)]
        assert (await yoga.call("ticks"))["headers"]["x-token"] == "t"


@pytestmark_yoga
async def test_subscriptions_that_end_early(yoga: Yoga) -> None:
    async with Caller(target=yoga.url, forward_headers=["x-token"]) as caller:
        stream = caller.stream({"count": 3, "breakAt": 2}, field="Subscription.ticks")
        assert (await anext(stream))["n"] == 1
        with pytest.raises(Failure, match="the clock broke"):
            await anext(stream)
        stream = caller.stream({"count": 3, "cutAt": 2}, field="Subscription.ticks")
        assert (await anext(stream))["n"] == 1
        with pytest.raises(Failure) as failure:
            await anext(stream)
        assert failure.value.code is Code.UNAVAILABLE
        with pytest.raises(Failure) as failure:
            await anext(caller.stream({}, field="Subscription.ticks", headers=[("x-token", "bad")]))
        assert failure.value.code is Code.PERMISSION_DENIED


@pytestmark_yoga
async def test_leaving_a_subscription_to_yoga(yoga: Yoga) -> None:
    left = yoga.said.count({"left": "ticks"})
    async with Caller(target=yoga.url) as caller:
        async with aclosing(caller.stream({"count": 0}, field="Subscription.ticks")) as stream:
            await anext(stream)
        await yoga.until(lambda: yoga.said.count({"left": "ticks"}) > left)
