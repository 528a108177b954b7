"""The GraphQL service that the gateway is: over HTTP, server-sent events and WebSockets."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import graphql
import pytest
from support.graphql_service import Service, served
from support.http_gateway import gateway
from support.ports import free_port

from adapters.graphql import socket as socket_module
from gateway.codecs.graphql.limits import DIRECTIVES, FRAGMENTS
from gateway.schema.idl.proto.reader import ProtoSchema, compile_files
from gateway.status import Code, Detail, Failure

ROOT = Path(__file__).parents[2]
RESPONSE = "application/graphql-response+json"
ORDER = {"orderId": "o-1", "total": 2**53 + 1, "status": "PAID", "lines": [{"sku": "tea", "quantity": 2}]}
HALF_A_DAY = 43_200_000_000_000


def order(value: Any) -> Any:
    return {**ORDER, "orderId": value["orderId"]}


def fails(*arguments: Any, **options: Any) -> Any:
    def function(value: Any) -> Any:
        raise Failure(*arguments, **options)

    return function


async def ticks(value: Any) -> AsyncGenerator[Any, None]:
    n = 0
    while value["count"] == 0 or n < value["count"]:
        n += 1
        if n == value.get("breakAt"):
            raise Failure(Code.UNAVAILABLE, "the clock broke", retry_after=1.0)
        yield {"n": n, "at": n * 10**9}
        await asyncio.sleep(0)


# -- queries and mutations


async def test_a_query() -> None:
    async with served({"Query.order": order}) as service:
        data = await service.data(
            "query($id: ID!) { o: order(orderId: $id) { orderId total status note lines { n: quantity __typename } } }",
            {"id": "x"},
        )
        assert data == {
            "o": {
                "orderId": "x",
                "total": "9007199254740993",
                "status": "PAID",
                "note": None,
                "lines": [{"n": 2, "__typename": "Line"}],
            }
        }
        assert service.handlers["Query.order"].values == [{"orderId": "x"}]


async def test_every_form_of_a_value() -> None:
    whole = {
        **ORDER,
        "price": Decimal("12.30"),
        "placedAt": HALF_A_DAY,
        "extra": {"any": [1, None]},
        "blob": b"\0\1",
        "links": ["a", None],
    }
    query = "{ order(orderId: 1) { price placedAt extra blob links total } }"
    async with served({"Query.order": lambda _: whole}) as service:
        assert (await service.data(query))["order"] == {
            "price": "12.30",
            "placedAt": "1970-01-01T12:00:00Z",
            "extra": {"any": [1, None]},
            "blob": "AAE=",
            "links": ["a", None],
            "total": "9007199254740993",
        }
    async with served({"Query.order": lambda _: whole}, int64="number", decimal="number") as service:
        async with service.session.post(service.url, json={"query": query}) as answer:
            text = await answer.text()
        assert '"total":9007199254740993' in text
        assert '"price":12.30' in text


@pytest.mark.parametrize("literal", [True, False])
async def test_arguments_and_variables_are_read_alike(literal: bool) -> None:
    def place(value: Any) -> Any:
        return ORDER

    given = (
        '{note: null, lines: [{sku: "tea", quantity: 3}, {sku: 7}], payment: {cash: 12.34567890123456789012345}, '
        'tags: [{key: "a", value: "b"}]}'
    )
    variables = (
        '{"input": {"note": null, "lines": [{"sku": "tea", "quantity": 3}, {"sku": "7"}], '
        '"payment": {"cash": 12.34567890123456789012345}, "tags": [{"key": "a", "value": "b"}]}}'
    )
    query = (
        f"mutation {{ place(input: {given}) {{ orderId }} }}"
        if literal
        else "mutation($input: PlaceInput!) { place(input: $input) { orderId } }"
    )
    async with served({"Mutation.place": place}) as service:
        body = f'{{"query": {json.dumps(query)}, "variables": {"null" if literal else variables}}}'
        headers = {"Content-Type": "application/json"}
        async with service.session.post(service.url, data=body, headers=headers) as answer:
            assert (await answer.json()) == {"data": {"place": {"orderId": "o-1"}}}
        (value,) = service.handlers["Mutation.place"].values
        assert value == {
            "input": {
                "note": None,
                "lines": [{"sku": "tea", "quantity": 3}, {"sku": "7", "quantity": 1}],
                "payment": {"cash": Decimal("12.34567890123456789012345")},
                "tags": {"a": "b"},
                "status": "PLACED",
            }
        }


async def test_members_of_a_reply_that_is_no_object() -> None:
    functions = {
        "Query.count": lambda value: {"count": 7},
        "Query.tags": lambda value: {"tags": {"a": "1"}},
        "Query.shapes": lambda value: {
            "shapes": [{"Circle": {"id": "c", "radius": 1.5, "size": 3}}, {"Label": {"id": "l", "text": "ä"}}]
        },
        "Query.shape": lambda value: {"Label": {"id": "l", "text": "ä"}},
        "Query.tree": lambda value: {"name": "root", "children": [{"name": "leaf"}]},
    }
    async with served(functions) as service:
        data = await service.data(
            """{
              count(since: "2026-01-01T00:00:00Z") tags { key value } tree { name children { name children { name } } }
              shapes { __typename ... on Circle { radius size } ... on Label { text big: size } ... on Sized { id } }
              shape(id: 1) { id __typename ... on Label { text } }
            }"""
        )
        assert data == {
            "count": "7",
            "tags": [{"key": "a", "value": "1"}],
            "tree": {"name": "root", "children": [{"name": "leaf", "children": None}]},
            "shapes": [
                {"__typename": "Circle", "radius": 1.5, "size": 3, "id": "c"},
                {"__typename": "Label", "text": "ä", "big": None, "id": "l"},
            ],
            "shape": {"id": "l", "__typename": "Label", "text": "ä"},
        }


async def test_fields_of_one_query_are_resolved_together() -> None:
    both = asyncio.Barrier(2)

    async def wait(value: Any) -> Any:
        async with asyncio.timeout(5):
            await both.wait()
        return {"count": 1}

    async with served({"Query.count": wait}) as service:
        assert await service.data("{ a: count b: count }") == {"a": "1", "b": "1"}


# -- failures


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (Code.INVALID_ARGUMENT, "BAD_USER_INPUT"),
        (Code.UNAUTHENTICATED, "UNAUTHENTICATED"),
        (Code.PERMISSION_DENIED, "FORBIDDEN"),
        (Code.NOT_FOUND, "NOT_FOUND"),
        (Code.ALREADY_EXISTS, "CONFLICT"),
        (Code.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
        (Code.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"),
        (Code.UNAVAILABLE, "UNAVAILABLE"),
        (Code.INTERNAL, "INTERNAL_SERVER_ERROR"),
    ],
)
async def test_failures(code: Code, told: str, caplog: pytest.LogCaptureFixture) -> None:
    failure = fails(code, "no luck", path="$.orderId", details=[Detail("OutOfStock", {"sku": "tea"})], retry_after=2.5)
    async with served({"Query.order": failure, "Query.count": lambda _: {"count": 1}}) as service:
        status, answer = await service.post("{ it: order(orderId: 1) { orderId } }", accept=RESPONSE)
        assert status == 200
        assert answer == {
            "data": {"it": None},
            "errors": [
                {
                    "message": "no luck at $.orderId",
                    "path": ["it"],
                    "locations": [{"line": 1, "column": 3}],
                    "extensions": {
                        "code": told,
                        "status": code.name,
                        "path": "$.orderId",
                        "details": [{"type": "OutOfStock", "sku": "tea"}],
                        "retryAfter": 2.5,
                    },
                }
            ],
        }
    assert caplog.records == []


async def test_a_field_without_a_route() -> None:
    async with served({"Query.order": order}) as service:
        (error,) = await service.errors("{ tree { name } }")
        assert error["extensions"]["code"] == "NOT_IMPLEMENTED"
        assert error["message"] == "no route serves Query.tree"


@pytest.mark.parametrize(
    ("variables", "path", "text"),
    [
        ({"i": {"lines": [{"sku": "a"}, {"sku": "b", "quantity": "x"}]}}, "$.i.lines[1].quantity", "Int cannot"),
        ({"i": {"payment": {"cash": "x"}}}, "$.i.payment.cash", "'x' is not a decimal number"),
        ({"i": {"payment": {}}}, "$.i.payment", "exactly one"),
        ({"i": {"nope": 1}}, "$.i", "unknown field 'nope'"),
        ({}, "$.i", "non-null"),
    ],
)
async def test_variables_that_do_not_fit(variables: Any, path: str, text: str) -> None:
    query = "mutation($i: PlaceInput!) { place(input: $i) { orderId } }"
    async with served({"Mutation.place": lambda _: ORDER}) as service:
        status, answer = await service.post(query, variables, accept=RESPONSE)
        assert status == 400
        assert "data" not in answer
        (error,) = answer["errors"]
        assert error["extensions"] == {"code": "BAD_USER_INPUT", "path": path}
        assert text in error["message"]
        assert service.handlers["Mutation.place"].values == []


async def test_literals_that_do_not_fit() -> None:
    async with served({"Query.count": lambda _: {"count": 1}}) as service:
        (error,) = await service.errors('{ count(since: "yesterday") }')
        assert error["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        assert "'yesterday' is not a timestamp" in error["message"]


async def test_arguments_inside_a_reply_are_refused() -> None:
    sdl = ROOT / "tests" / "schemas"
    async with served({"Query.order": order}) as service:
        assert "errors" not in (await service.post("{ order(orderId: 1) { lines { sku } } }"))[1]
    schema = "type Query { a: A } type A { b(first: Int = 3): [Int] }"
    file = sdl / "arguments.graphql"
    assert not file.exists()
    try:
        file.write_text(schema)
        async with served({"Query.a": lambda _: {"b": [1, 2]}}, sdl=str(file)) as service:
            assert await service.data("{ a { b } }") == {"a": {"b": [1, 2]}}
            (error,) = await service.errors("{ a { b(first: 1) } }")
            assert error["message"] == "arguments of A.b are not served here"
    finally:
        file.unlink()


# -- attacks

BOMBS = {
    "aliases": ("{" + " ".join(f"a{n}: count" for n in range(5000)) + "}", "tokens"),
    "fewer aliases": ("{" + " ".join(f"a{n}: count" for n in range(51)) + "}", "50 aliases"),
    "repeats": ("{" + "count " * 3000 + "}", "50 aliases and repeated fields"),
    "depth": ("{ tree " + "{ children " * 20 + "{ name }" + "}" * 21, "15 levels deep"),
    "bottomless": ("{ tree " + "{ children " * 2000 + "{ name }" + "}" * 2001, "nested"),
    "depth in fragments": (
        "{ tree { ...a } } "
        "fragment a on Node { children { children { children { children { children { ...b } } } } } } "
        "fragment b on Node { children { children { children { children { children { ...c } } } } } } "
        "fragment c on Node { children { children { children { children { children { name } } } } } }",
        "15 levels deep, this one has",
    ),
    "directives": ("{ count " + "@skip(if: false) " * (DIRECTIVES + 1) + "}", "directives"),
    "cycle": ("{ tree { ...a } } fragment a on Node { ...b } fragment b on Node { ...a }", "contains itself"),
    "exponential": (
        "{ tree { ...f0 } } "
        + " ".join(f"fragment f{n} on Node {{ name ...f{n + 1} ...f{n + 1} }}" for n in range(30))
        + " fragment f30 on Node { name }",
        "may cost 1000, this one has",
    ),
    "spreads": (
        "{ tree { " + "... on Node { name } " * (FRAGMENTS + 1) + " } }",
        "fragments",
    ),
    "definitions": (" ".join(f"query q{n} {{ count }}" for n in range(200)), "definitions"),
    "comments": ("#\n" * 2000 + "{ count }", "comments"),
    "tokens": ("{ order(orderId: [" + "1 " * 6000 + "]) { orderId } }", "tokens"),
    "list literals": ("{ order(orderId: " + "[" * 3000 + "]" * 3000 + ") { orderId } }", "tokens|nested"),
    "huge number": ("{ count(weights: [" + "9" * 10_000 + "]) }", "out of its range"),
    "introspection": (
        "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }",
        "ntrospection",
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
async def test_bombs_are_refused_before_anything_is_called(bomb: str) -> None:
    query, told = BOMBS[bomb]
    functions = {"Query.count": lambda _: {"count": 1}, "Query.tree": lambda _: {"name": "x"}, "Query.order": order}
    async with served(functions) as service:
        status, answer = await service.post(query, accept=RESPONSE)
        assert status == 400
        assert "data" not in answer
        messages = " ".join(error["message"] for error in answer["errors"])
        assert any(part in messages for part in told.split("|")), messages
        assert len(json.dumps(answer)) < 50_000
        assert all(handler.values == [] for handler in service.handlers.values())
        assert await service.data("{ count }") == {"count": "1"}


async def test_deep_variables_are_refused() -> None:
    deep = "[" * 5000 + "]" * 5000
    body = '{"query": "query($w: [Float!]) { count(weights: $w) }", "variables": {"w": ' + deep + "}}"
    async with served({"Query.count": lambda _: {"count": 1}}) as service:
        headers = {"Content-Type": "application/json"}
        async with service.session.post(service.url, data=body, headers=headers) as answer:
            assert answer.status == 400
            assert "nested too deeply" in (await answer.json())["errors"][0]["message"]


@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 400])
async def test_numbers_out_of_range_are_refused(number: str) -> None:
    body = f'{{"query": "query($w: [Float!]) {{ count(weights: $w) }}", "variables": {{"w": [{number}]}}}}'
    async with served({"Query.count": lambda _: {"count": 1}}) as service:
        headers = {"Content-Type": "application/json", "Accept": RESPONSE}
        async with service.session.post(service.url, data=body, headers=headers) as answer:
            assert answer.status == 400, await answer.text()
        assert service.handlers["Query.count"].values == []


async def test_the_document_cache_has_a_limit() -> None:
    async with served({"Query.count": lambda _: {"count": 1}}) as service:
        for number in range(300):
            assert await service.data(f"{{ a{number}: count }}") == {f"a{number}": "1"}
        assert await service.data("{ a0: count }") == {"a0": "1"}


# -- HTTP


@pytest.mark.parametrize(
    ("body", "content_type", "status", "told"),
    [
        (b"{", "application/json", 400, "malformed JSON"),
        (b"[]", "application/json", 400, "batches are not taken here"),
        (b"1", "application/json", 400, "a JSON object is expected"),
        (b'{"query": 1}', "application/json", 400, "query is missing"),
        (b'{"query": "{count}", "variables": []}', "application/json", 400, "variables must be an object"),
        (b'{"query": "{count}", "operationName": 1}', "application/json", 400, "operationName must be a string"),
        (b'{"query": "{count}"}', "text/plain", 415, "text/plain is not read here"),
        (b'{"query": "{count}"}', "application/json; charset=latin-1", 415, "is not read here"),
        (b"query=%7Bcount%7D", "application/x-www-form-urlencoded", 415, "is not read here"),
        (b'{"query": "' + b" " * 2000 + b'{count}"}', "application/json", 413, "larger than the limit"),
        (b'{"query": "query A{count} query B{count}"}', "application/json", 200, "operationName must say"),
        (b'{"query": "{count}", "operationName": "X"}', "application/json", 200, "no operation X"),
    ],
)
async def test_requests_that_are_none(body: bytes, content_type: str, status: int, told: str) -> None:
    headers = {"Content-Type": content_type}
    async with (
        served({"Query.count": lambda _: {"count": 1}}, max_body_bytes=1024) as service,
        service.session.post(service.url, data=body, headers=headers) as answer,
    ):
        assert answer.status == status
        (error,) = (await answer.json())["errors"]
        assert told in error["message"]


async def test_get_is_for_queries_only() -> None:
    functions = {"Query.order": order, "Mutation.place": lambda _: ORDER}
    async with served(functions) as service:
        get = service.session.get
        parameters = {"query": "query($i: ID!) { order(orderId: $i) { orderId } }", "variables": '{"i": "é"}'}
        async with get(service.url, params=parameters) as answer:
            assert await answer.json() == {"data": {"order": {"orderId": "é"}}}
        async with get(service.url, params={"query": "mutation { place(input: {}) { orderId } }"}) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert service.handlers["Mutation.place"].values == []
        async with get(service.url, params={"query": "{ tree { name } }", "variables": "[1]"}) as answer:
            assert answer.status == 400
        async with get(service.url, headers={"Accept": "image/png"}, params={"query": "{ __typename }"}) as answer:
            assert answer.status == 406


async def test_batches_are_taken_where_they_are_allowed() -> None:
    batch = [{"query": "{ count }"}, {"query": "{ nope }"}, {"query": "subscription { ticks { n } }"}]
    async with served({"Query.count": lambda _: {"count": 1}}, max_batch=3) as service:
        async with service.session.post(service.url, json=batch) as answer:
            first, second, third = await answer.json()
        assert first == {"data": {"count": "1"}}
        assert "Cannot query field 'nope'" in second["errors"][0]["message"]
        assert "can't have subscriptions" in third["errors"][0]["message"]
        async with service.session.post(service.url, json=batch * 2) as answer:
            assert answer.status == 400


async def test_introspection_can_be_switched_off() -> None:
    functions = {"Query.order": order}
    async with served(functions) as service:
        data = await service.data(graphql.get_introspection_query(specified_by_url=True, one_of=True))
        client = graphql.build_client_schema(data)
        assert "order" in client.query_type.fields  # type: ignore[union-attr]
    async with served(functions, introspection=False) as service:
        for query in ("{ __schema { queryType { name } } }", '{ __type(name: "Order") { name } }', "{ oder }"):
            for error in await service.errors(query):
                assert "introspection" in error["message"] or "Cannot query field" in error["message"]
                assert "Did you mean" not in error["message"]
        assert (await service.data("{ __typename }")) == {"__typename": "Query"}


async def test_the_page_is_self_contained() -> None:
    async with served({"Query.order": order}, graphiql=True) as service:
        async with service.session.get(service.url, headers={"Accept": "text/html,*/*"}) as answer:
            assert answer.content_type == "text/html"
            page = await answer.text()
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "http://" not in page and "https://" not in page and "<script src" not in page
    async with (
        served({"Query.order": order}) as service,
        service.session.get(service.url, headers={"Accept": "text/html"}) as answer,
    ):
        assert answer.status == 400


async def test_metadata_crosses_where_it_is_wanted() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"X-Tenant": "t1", "X-Other": "no", "traceparent": trace}
    async with served({"Query.order": order}, headers=frozenset({"x-tenant"})) as service:
        service.handlers["Query.order"].reply_headers = [("x-served-by", "b1")]
        body = {"query": "{ order(orderId: 1) { orderId } }"}
        async with service.session.post(service.url, json=body, headers=headers) as answer:
            assert answer.headers["x-served-by"] == "b1"
        ((request, context),) = service.handlers["Query.order"].calls
        assert list(request.headers) == [("x-tenant", "t1")]
        assert context.trace == trace
        assert context.peer == "127.0.0.1"


async def test_a_caller_that_leaves_cancels_upstream() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def wait(value: Any) -> Any:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with served({"Query.count": wait}) as service:
        asking = asyncio.create_task(service.post("{ count }"))
        await asyncio.wait_for(started.wait(), 5)
        asking.cancel()
        await asyncio.wait_for(cancelled.wait(), 5)


# -- derived schemas


async def test_a_schema_made_of_the_routes() -> None:
    contract = ProtoSchema.load(compile_files([ROOT / "schemas" / "orders.proto"], [])).schema.operations
    types = {}
    for field, method in (("Query.order", "GetOrder"), ("Subscription.orderEvents", "WatchOrder")):
        operation = contract[f"shop.orders.v1.Orders/{method}"]
        assert operation.request is not None and operation.reply is not None
        types[field] = operation.request, operation.reply

    async def events(value: Any) -> AsyncGenerator[Any, None]:
        yield {"order_id": value["order_id"], "status": "ORDER_STATUS_PAID", "at": 0}

    functions = {"Query.order": lambda value: {"order_id": value["order_id"], "total_cents": 5}}
    async with served({**functions, "Subscription.orderEvents": events}, types=types) as service:
        data = await service.data('{ order(orderId: "x") { orderId totalCents placedAt status lines { sku } } }')
        assert data["order"] == {
            "orderId": "x",
            "totalCents": "5",
            "placedAt": None,
            "status": "ORDER_STATUS_UNSPECIFIED",
            "lines": [],
        }
        assert service.handlers["Query.order"].values == [{"order_id": "x"}]
        query = 'subscription { orderEvents(orderId: "x") { orderId status at } }'
        assert await sse(service, query) == [
            (
                "next",
                {
                    "data": {
                        "orderEvents": {"orderId": "x", "status": "ORDER_STATUS_PAID", "at": "1970-01-01T00:00:00Z"}
                    }
                },
            ),
            ("complete", None),
        ]


async def test_a_schema_that_is_not_known_yet() -> None:
    target = f"127.0.0.1:{free_port()}"
    routes = {
        "endpoints": {
            "web": {"protocol": "graphql", "listen": "127.0.0.1:0"},
            "out": {"protocol": "grpc", "target": target, "reflection": True},
            "echo": {"protocol": "http", "target": f"http://{target}"},
        },
        "routes": {
            "order": {
                "from": {"endpoint": "web", "field": "Query.order"},
                "to": {"endpoint": "out", "method": "shop.orders.v1.Orders/GetOrder"},
            },
            "any": {
                "from": {"endpoint": "web", "field": "Mutation.any"},
                "to": {"endpoint": "echo", "path": "/any"},
            },
        },
    }
    async with gateway(routes) as running:
        ask = running.session.post
        query = {"query": '{ order(orderId: "x") { orderId } }'}
        async with ask(f"{running.url}/graphql", json=query, headers={"Accept": RESPONSE}) as answer:
            assert answer.status == 503
            assert (await answer.json(content_type=None))["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
        # A route whose upstream takes any JSON is served meanwhile.
        async with ask(f"{running.url}/graphql", json={"query": "mutation { any(input: {a: [1, 2.5]}) }"}) as answer:
            (error,) = (await answer.json())["errors"]
            assert (error["message"], error["path"]) == ("the upstream can't be reached", ["any"])


# -- server-sent events


async def sse(service: Service, query: str, variables: Any = None) -> list[tuple[str, Any]]:
    body = {"query": query, "variables": variables}
    async with service.session.post(service.url, json=body, headers={"Accept": "text/event-stream"}) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        return [
            (block.split("\n")[0].removeprefix("event: "), json.loads(block.split("data: ")[1] or "null"))
            for block in (await answer.text()).strip("\n").replace("data: \n", "data: ").split("\n\n")
        ]


async def test_events() -> None:
    async with served({"Subscription.ticks": ticks}) as service:
        assert await sse(service, "subscription { ticks(count: 2) { n at } }") == [
            ("next", {"data": {"ticks": {"n": 1, "at": "1970-01-01T00:00:01Z"}}}),
            ("next", {"data": {"ticks": {"n": 2, "at": "1970-01-01T00:00:02Z"}}}),
            ("complete", None),
        ]
        assert service.handlers["Subscription.ticks"].ended == 1


async def test_events_that_end_early_say_why() -> None:
    async with served({"Subscription.ticks": ticks}) as service:
        first, second, last = await sse(service, "subscription { ticks(breakAt: 2) { n } }")
        assert first == ("next", {"data": {"ticks": {"n": 1}}})
        assert second == (
            "next",
            {
                "errors": [
                    {
                        "message": "the clock broke",
                        "extensions": {"code": "UNAVAILABLE", "status": "UNAVAILABLE", "retryAfter": 1.0},
                    }
                ]
            },
        )
        assert last == ("complete", None)


async def test_requests_that_are_refused_as_events() -> None:
    async with served({"Subscription.ticks": ticks, "Query.order": order}) as service:
        (first, last) = await sse(service, "subscription { nope }")
        assert "Cannot query field" in first[1]["errors"][0]["message"]
        assert last == ("complete", None)
        (first, last) = await sse(service, "subscription($n: Int!) { ticks(count: $n) { n } }", {"n": "x"})
        assert first[1]["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
        assert (await sse(service, "{ order(orderId: 1) { orderId } }"))[0] == (
            "next",
            {"data": {"order": {"orderId": "1"}}},
        )
        status, answer = await service.post("subscription { ticks { n } }")
        assert status == 406
        assert "text/event-stream" in answer["errors"][0]["message"]


async def test_a_listener_that_leaves_cancels_upstream() -> None:
    async with served({"Subscription.ticks": ticks}) as service:
        body = {"query": "subscription { ticks { n } }"}
        async with service.session.post(service.url, json=body, headers={"Accept": "text/event-stream"}) as answer:
            assert await answer.content.readline() == b"event: next\n"
            answer.close()
        handler = service.handlers["Subscription.ticks"]
        async with asyncio.timeout(5):
            while not handler.ended:
                await asyncio.sleep(0.01)


# -- WebSockets


class Peer:
    """graphql-transport-ws, message by message."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def say(self, kind: str, key: str = "", payload: Any = None) -> None:
        message = {"type": kind, "id": key, "payload": payload}
        await self.socket.send_json({name: value for name, value in message.items() if value not in ("", None)})

    async def hear(self) -> Any:
        return await self.socket.receive_json(timeout=5)

    async def closed(self) -> tuple[int | None, str]:
        """How the server closes; what it said before is skipped."""
        while True:
            message = await self.socket.receive(timeout=5)
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
                return message.data, message.extra or ""


@asynccontextmanager
async def peer(service: Service, *, init: bool = True, **options: Any) -> AsyncIterator[Peer]:
    async with service.session.ws_connect(
        service.url, **{"protocols": ("graphql-transport-ws",), **options}
    ) as connection:
        speaking = Peer(connection)
        if init:
            await speaking.say("connection_init")
            assert await speaking.hear() == {"type": "connection_ack"}
        yield speaking


async def test_operations_on_one_connection() -> None:
    async with served({"Subscription.ticks": ticks, "Query.order": order}) as service, peer(service) as client:
        await client.say("ping", payload={"a": 1})
        assert await client.hear() == {"type": "pong", "payload": {"a": 1}}
        await client.say("pong")
        await client.say("subscribe", "1", {"query": "subscription { ticks(count: 2) { n } }"})
        assert await client.hear() == {"type": "next", "id": "1", "payload": {"data": {"ticks": {"n": 1}}}}
        assert await client.hear() == {"type": "next", "id": "1", "payload": {"data": {"ticks": {"n": 2}}}}
        assert await client.hear() == {"type": "complete", "id": "1"}
        await client.say("subscribe", "1", {"query": "{ order(orderId: 1) { orderId } }"})
        assert (await client.hear())["payload"] == {"data": {"order": {"orderId": "1"}}}
        assert await client.hear() == {"type": "complete", "id": "1"}


async def test_operations_that_fail_leave_the_connection_open() -> None:
    async with served({"Subscription.ticks": ticks}) as service, peer(service) as client:
        await client.say("subscribe", "a", {"query": "subscription { ticks(breakAt: 1) { n } }"})
        failed = await client.hear()
        assert (failed["type"], failed["id"]) == ("error", "a")
        assert failed["payload"][0]["extensions"]["code"] == "UNAVAILABLE"
        await client.say("subscribe", "a", {"query": "{ nope }"})
        assert (await client.hear())["payload"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
        await client.say("subscribe", "b", {"query": "subscription { ticks(count: 1) { n } }"})
        assert (await client.hear())["type"] == "next"


async def test_complete_cancels_upstream() -> None:
    async with served({"Subscription.ticks": ticks}) as service, peer(service) as client:
        await client.say("subscribe", "1", {"query": "subscription { ticks { n } }"})
        await client.hear()
        await client.say("complete", "1")
        handler = service.handlers["Subscription.ticks"]
        async with asyncio.timeout(5):
            while not handler.ended:
                await asyncio.sleep(0.01)
        await client.say("subscribe", "1", {"query": "subscription { ticks(count: 1) { n } }"})
        async with asyncio.timeout(5):
            while (await client.hear())["type"] != "complete":
                pass


@pytest.mark.parametrize("abrupt", [True, False])
async def test_a_connection_that_ends_cancels_upstream(abrupt: bool) -> None:
    async with served({"Subscription.ticks": ticks}) as service:
        async with peer(service) as client:
            for key in "abc":
                await client.say("subscribe", key, {"query": "subscription { ticks { n } }"})
                await client.hear()
            if abrupt:
                assert client.socket._response.connection is not None
                client.socket._response.connection.transport.abort()  # type: ignore[union-attr]
        handler = service.handlers["Subscription.ticks"]
        async with asyncio.timeout(5):
            while handler.ended < 3:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("messages", "code", "reason"),
    [
        ([("subscribe", "1", {"query": "{ __typename }"})], 4401, "Unauthorized"),
        ([("connection_init", "", None), ("connection_init", "", None)], 4429, "Too many initialisation requests"),
        ([("nonsense", "", None)], 4400, "this is no message of graphql-transport-ws"),
        ([(["ping"], "", None)], 4400, "this is no message of graphql-transport-ws"),
        ([("connection_init", "", None), ("subscribe", "", {"query": "x"})], 4400, "subscribe needs an id"),
        ([("connection_init", "", None), ("subscribe", "1", None)], 4400, "subscribe needs a payload"),
        ([("connection_init", "", None), ("next", "1", {})], 4400, "next is the server's to send"),
        ([("connection_init", "", {"x-tenant": "a\r\nb: c"})], 4400, "x-tenant is no header"),
    ],
)
async def test_peers_that_break_the_protocol(messages: Any, code: int, reason: str) -> None:
    functions = {"Subscription.ticks": ticks}
    async with served(functions, forward_headers=["x-tenant"]) as service, peer(service, init=False) as client:
        for message in messages:
            await client.say(*message)
        assert await client.closed() == (code, reason)


async def test_what_is_no_json_closes_the_connection() -> None:
    async with served({"Subscription.ticks": ticks}) as service, peer(service) as client:
        await client.socket.send_str('{"type": ')
        code, reason = await client.closed()
        assert code == 4400
        assert "malformed JSON" in reason


async def test_an_id_that_is_taken() -> None:
    async with served({"Subscription.ticks": ticks}) as service, peer(service) as client:
        for _ in range(2):
            await client.say("subscribe", "x", {"query": "subscription { ticks { n } }"})
        assert await client.closed() == (4409, "Subscriber for x already exists")


async def test_operations_have_a_limit() -> None:
    async with served({"Subscription.ticks": ticks}, max_operations=2) as service, peer(service) as client:
        for key in "abc":
            await client.say("subscribe", key, {"query": "subscription { ticks { n } }"})
        async with asyncio.timeout(5):
            while (told := await client.hear())["type"] != "error":
                pass
        assert told["id"] == "c"
        assert told["payload"][0]["extensions"]["code"] == "LIMIT_EXCEEDED"


async def test_a_peer_that_never_says_who_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_module, "INIT_SECONDS", 0.05)
    async with served({"Subscription.ticks": ticks}) as service, peer(service, init=False) as client:
        assert await client.closed() == (4408, "Connection initialisation timeout")


async def test_metadata_of_the_handshake_and_of_connection_init() -> None:
    functions = {"Subscription.ticks": ticks}
    options = {"forward_headers": ["x-tenant", "x-token"], "headers": frozenset({"x-tenant", "x-token"})}
    async with served(functions, **options) as service:
        async with peer(service, init=False, headers={"X-Tenant": "t1"}) as client:
            await client.say("connection_init", payload={"X-Token": "s3", "x-tenant": "other", "x-more": "no"})
            await client.hear()
            await client.say("subscribe", "1", {"query": "subscription { ticks(count: 1) { n } }"})
            await client.hear()
        ((request, _),) = service.handlers["Subscription.ticks"].calls
        assert sorted(request.headers) == [("x-tenant", "t1"), ("x-token", "s3")]


async def test_pages_of_other_origins_may_not_connect() -> None:
    async with served({"Subscription.ticks": ticks}) as service:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with peer(service, origin="https://evil.example"):
                pass
        assert refused.value.status == 403
    functions = {"Subscription.ticks": ticks}
    async with (
        served(functions, origins=["https://shop.example"]) as service,
        peer(service, origin="https://shop.example"),
    ):
        pass


async def test_another_subprotocol_is_not_spoken() -> None:
    async with served({"Subscription.ticks": ticks}) as service:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            async with peer(service, protocols=("graphql-ws",), init=False):
                pass
        async with peer(service, protocols=(), init=False) as client:
            assert (await client.closed())[0] == 4406


async def test_draining_lets_operations_end() -> None:
    release = asyncio.Event()

    async def slow(value: Any) -> AsyncGenerator[Any, None]:
        yield {"n": 1, "at": 0}
        await release.wait()
        yield {"n": 2, "at": 0}

    async with served({"Subscription.ticks": slow}) as service, peer(service) as client:
        await client.say("subscribe", "1", {"query": "subscription { ticks { n } }"})
        await client.hear()
        draining = asyncio.create_task(service.inbound.drain())
        await asyncio.sleep(0.05)
        assert not draining.done()
        release.set()
        assert (await client.hear())["payload"] == {"data": {"ticks": {"n": 2}}}
        assert await client.hear() == {"type": "complete", "id": "1"}
        assert (await client.closed())[0] == 1001
        await asyncio.wait_for(draining, 5)


async def test_pages_of_other_origins() -> None:
    asked = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    async with served({"Query.order": order}, cors={"origins": ["https://shop.example"]}) as service:
        async with service.session.options(service.url, headers=asked) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
            assert answer.headers["Access-Control-Allow-Methods"] == "POST"
        async with service.session.post(service.url, json={}, headers={"Origin": "https://shop.example"}) as answer:
            assert answer.status == 400
            assert answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        async with service.session.post(service.url, json={}, headers={"Origin": "https://evil.example"}) as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers
