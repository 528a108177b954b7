"""GraphQL services that the gateway calls, and what it makes of answers that are none."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support.graphql_service import Caller
from support.ports import free_port

from gateway.message import Context
from gateway.port import ContractError
from gateway.status import Code, Failure

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ORDER = {"orderId": "1", "total": "5", "status": "PAID", "lines": []}
FULL = {**ORDER, "price": None, "placedAt": None, "note": None, "extra": None, "blob": None, "links": None}


@asynccontextmanager
async def service(handler: Handler) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/graphql", handler)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/graphql"
    finally:
        await runner.cleanup()


def answering(status: int, body: Any, content_type: str = "application/json", **headers: str) -> Handler:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(status=status, body=data, content_type=content_type, headers=headers)

    return handle


async def failure_of(handler: Handler, **target: Any) -> Failure:
    async with service(handler) as url, Caller(target=url) as caller:
        with pytest.raises(Failure) as failure:
            await caller.call({"orderId": "1"}, **{"field": "Query.order", **target})
        return failure.value


async def test_what_is_sent() -> None:
    seen: list[web.Request] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        seen.append(request)
        body = await request.json()
        assert body["query"].startswith("query Order($orderId: ID!) {")
        assert body["operationName"] == "Order"
        assert body["variables"] == {"orderId": "a"}
        return web.json_response({"data": {"order": ORDER}}, headers={"X-Served-By": "b1"})

    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with service(handle) as url, Caller(target=url, forward_headers=["x-tenant"]) as caller:
        reply = await caller.call(
            {"orderId": "a"}, field="Query.order", headers=[("x-tenant", "t")], context=Context(trace=trace)
        )
        assert reply == {**FULL, "total": 5}
    (request,) = seen
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Accept"] == "application/graphql-response+json, application/json;q=0.9"
    assert request.headers["traceparent"] == trace
    assert request.headers["x-tenant"] == "t"


@pytest.mark.parametrize(
    ("extensions", "status", "code"),
    [
        ({"code": "BAD_USER_INPUT"}, 200, Code.INVALID_ARGUMENT),
        ({"code": "NOT_FOUND"}, 200, Code.NOT_FOUND),
        ({"code": "FORBIDDEN"}, 200, Code.PERMISSION_DENIED),
        ({"code": "CONFLICT"}, 200, Code.ABORTED),
        ({"code": "CONFLICT", "status": "ALREADY_EXISTS"}, 200, Code.ALREADY_EXISTS),
        ({"code": "INTERNAL_SERVER_ERROR"}, 200, Code.INTERNAL),
        ({"code": "GRAPHQL_VALIDATION_FAILED"}, 400, Code.INTERNAL),
        ({"code": "OUR_OWN"}, 200, Code.UNKNOWN),
        ({}, 401, Code.UNAUTHENTICATED),
        (None, 200, Code.UNKNOWN),
        ({"code": 7}, 200, Code.UNKNOWN),
        ({"code": "OK"}, 200, Code.UNKNOWN),
    ],
)
async def test_errors(extensions: Any, status: int, code: Code) -> None:
    error = {"message": "no luck", **({} if extensions is None else {"extensions": extensions})}
    failure = await failure_of(answering(status, {"errors": [error], "data": None}))
    assert (failure.code, failure.message) == (code, "no luck")


async def test_details_of_errors() -> None:
    extensions = {
        "code": "FAILED_PRECONDITION",
        "path": "$.orderId",
        "retryAfter": 2.5,
        "details": [{"type": "OutOfStock", "sku": "tea"}, 7, {"sku": "x"}],
    }
    errors = [{"message": "no luck at $.orderId", "extensions": extensions}, {"message": "more"}]
    failure = await failure_of(answering(200, {"errors": errors}))
    assert failure.message == "no luck (and 1 more errors)"
    assert (failure.path, failure.retry_after) == ("$.orderId", 2.5)
    assert [(detail.name, detail.value) for detail in failure.details] == [("OutOfStock", {"sku": "tea"})]


@pytest.mark.parametrize(
    ("handler", "code", "text"),
    [
        (answering(200, b"<html>"), Code.INTERNAL, "the upstream's answer is not GraphQL"),
        (answering(200, b"[1]"), Code.INTERNAL, "the upstream's answer is not GraphQL"),
        (answering(200, {}), Code.INTERNAL, "the upstream's answer is not GraphQL"),
        (answering(200, {"data": {}}), Code.INTERNAL, "the upstream's data has no order"),
        (answering(200, {"data": {"order": None}}), Code.NOT_FOUND, "order is null"),
        (answering(200, {"data": None, "errors": "x"}), Code.INTERNAL, "the upstream's errors are malformed"),
        (answering(200, b"[" * 5000), Code.INTERNAL, "the upstream's answer is not GraphQL"),
        (answering(503, b"down", "text/plain"), Code.UNAVAILABLE, "the upstream answered 503 without GraphQL"),
        (answering(404, b"{}"), Code.UNIMPLEMENTED, "the upstream answered 404 without GraphQL"),
        (
            answering(302, b"", location="http://127.0.0.1:1/"),
            Code.UNKNOWN,
            "the upstream answered 302 without GraphQL",
        ),
        (answering(200, b" " * 3_000_000), Code.INTERNAL, "the upstream's reply is larger than 1048576 bytes"),
    ],
)
async def test_answers_that_are_none(handler: Handler, code: Code, text: str) -> None:
    failure = await failure_of(handler)
    assert (failure.code, failure.message) == (code, text)


async def test_values_that_do_not_fit_are_refused() -> None:
    async with (
        service(answering(200, {"data": {"order": {**ORDER, "total": "x"}}})) as url,
        Caller(target=url) as caller,
    ):
        with pytest.raises(Failure, match="'x' is not a whole number") as failure:
            await caller.call({"orderId": "1"}, field="Query.order")
        assert failure.value.path == "$.total"


async def test_a_service_that_is_down() -> None:
    async with Caller(target=f"http://127.0.0.1:{free_port()}/graphql") as caller:
        with pytest.raises(Failure) as failure:
            await caller.call({"orderId": "1"}, field="Query.order")
        assert (failure.value.code, failure.value.sent) == (Code.UNAVAILABLE, False)
        with pytest.raises(Failure) as failure:
            await anext(caller.stream({"count": 1}, field="Subscription.ticks"))
        assert (failure.value.code, failure.value.sent) == (Code.UNAVAILABLE, False)


# -- where the schema comes from


async def test_introspection_waits_for_a_service_that_is_down() -> None:
    caller = Caller(target=f"http://127.0.0.1:{free_port()}/graphql", introspection=True)
    with pytest.raises(Failure) as failure:
        await caller.outbound.load()
    assert failure.value.code is Code.UNAVAILABLE
    assert "127.0.0.1" not in failure.value.message


@pytest.mark.parametrize(
    "handler",
    [
        answering(200, {"errors": [{"message": "introspection is off"}]}),
        answering(404, b"nothing here", "text/plain"),
        answering(200, {"data": {"__schema": {"types": "?"}}}),
    ],
)
async def test_services_that_do_not_say_what_they_are(handler: Handler) -> None:
    async with service(handler) as url:
        with pytest.raises(ContractError) as error:
            await Caller(target=url, introspection=True).outbound.load()
        assert error.value.field == ("introspection",)
        assert "sdl" in error.value.hint


@pytest.mark.parametrize(
    ("target", "field", "message"),
    [
        ({"field": "Query.nope"}, "field", "the schema has no field Query.nope"),
        ({"field": "Query.tree"}, "field", "leads from Node back to Node"),
        ({"document": "{ nope }"}, "document", "Cannot query field 'nope'"),
        ({"document": "no-such-file.graphql"}, "document", "No such file"),
    ],
)
async def test_addresses_that_are_none(target: Any, field: str, message: str) -> None:
    async with Caller(target="http://127.0.0.1:1/graphql") as caller:
        with pytest.raises(ContractError) as error:
            caller.contract(**target)
        assert error.value.field == (field,)
        assert message in error.value.message


async def test_what_is_left_out_is_told() -> None:
    async with Caller(target="http://127.0.0.1:1/graphql") as caller:
        described = caller.contract(field="Query.tree", recursion=1).describe
        assert described == "GraphQL Query.tree at http://127.0.0.1:1/graphql without tree.children"


# -- subscriptions

Script = Callable[[web.WebSocketResponse], Awaitable[None]]


def speaking(script: Script, *, protocols: tuple[str, ...] = ("graphql-transport-ws",)) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=protocols)
        await socket.prepare(request)
        await script(socket)
        return socket

    return handle


async def begin(socket: web.WebSocketResponse) -> Any:
    """Take the connection; what is subscribed to."""
    assert (await socket.receive_json())["type"] == "connection_init"
    await socket.send_json({"type": "connection_ack"})
    subscribe = await socket.receive_json()
    assert subscribe["type"] == "subscribe"
    return subscribe


async def tick(socket: web.WebSocketResponse, key: str, n: int) -> None:
    at = f"1970-01-01T00:00:0{n}Z"
    await socket.send_json({"type": "next", "id": key, "payload": {"data": {"ticks": {"n": n, "at": at}}}})


async def heard(script: Script, **options: Any) -> tuple[list[Any], Failure | None]:
    """(the events, what ended them early)"""
    events: list[Any] = []
    async with service(speaking(script, **options)) as url, Caller(target=url) as caller:
        try:
            async with asyncio.timeout(10), aclosing(caller.stream({"count": 2}, field="Subscription.ticks")) as stream:
                async for event in stream:
                    events.append(event)
        except Failure as failure:
            return events, failure
    return events, None


async def test_events_until_the_service_completes() -> None:
    async def script(socket: web.WebSocketResponse) -> None:
        subscribe = await begin(socket)
        assert subscribe["payload"]["variables"] == {"count": 2}
        assert subscribe["payload"]["query"].startswith("subscription Ticks(")
        await socket.send_json({"type": "ping"})
        assert await socket.receive_json() == {"type": "pong"}
        await tick(socket, subscribe["id"], 1)
        await tick(socket, subscribe["id"], 2)
        await socket.send_json({"type": "complete", "id": subscribe["id"]})
        assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE

    assert await heard(script) == ([{"n": 1, "at": 10**9}, {"n": 2, "at": 2 * 10**9}], None)


async def _error(socket: web.WebSocketResponse) -> None:
    subscribe = await begin(socket)
    await tick(socket, subscribe["id"], 1)
    error = {"message": "the clock broke", "extensions": {"code": "UNAVAILABLE"}}
    await socket.send_json({"type": "error", "id": subscribe["id"], "payload": [error]})
    await socket.receive()


async def _errors_in_next(socket: web.WebSocketResponse) -> None:
    subscribe = await begin(socket)
    await tick(socket, subscribe["id"], 1)
    payload = {"data": None, "errors": [{"message": "no tick", "extensions": {"code": "NOT_FOUND"}}]}
    await socket.send_json({"type": "next", "id": subscribe["id"], "payload": payload})
    assert await socket.receive_json() == {"type": "complete", "id": subscribe["id"]}


async def _cut(socket: web.WebSocketResponse) -> None:
    subscribe = await begin(socket)
    await tick(socket, subscribe["id"], 1)
    assert socket._req is not None and socket._req.transport is not None
    socket._req.transport.abort()


async def _closed(socket: web.WebSocketResponse) -> None:
    subscribe = await begin(socket)
    await tick(socket, subscribe["id"], 1)
    await socket.close(code=1000)


async def _nonsense(socket: web.WebSocketResponse) -> None:
    subscribe = await begin(socket)
    await tick(socket, subscribe["id"], 1)
    await socket.send_str("nonsense")
    await socket.receive()


@pytest.mark.parametrize(
    ("script", "code", "text"),
    [
        (_error, Code.UNAVAILABLE, "the clock broke"),
        (_errors_in_next, Code.NOT_FOUND, "no tick"),
        (_cut, Code.UNAVAILABLE, "ended before the events did"),
        (_closed, Code.UNAVAILABLE, r"ended before the events did \(close code 1000\)"),
        (_nonsense, Code.INTERNAL, "the upstream breaks the protocol"),
    ],
)
async def test_events_that_end_early(script: Script, code: Code, text: str) -> None:
    events, failure = await heard(script)
    assert events == [{"n": 1, "at": 10**9}]
    assert failure is not None
    assert failure.code is code
    assert re.search(text, failure.message)


async def test_connections_that_are_not_taken() -> None:
    async def forbid(socket: web.WebSocketResponse) -> None:
        await socket.receive_json()
        await socket.close(code=4403, message=b"Forbidden")

    _, failure = await heard(forbid)
    assert failure is not None
    assert (failure.code, failure.sent) == (Code.PERMISSION_DENIED, False)

    async def say_nothing(socket: web.WebSocketResponse) -> None:
        await socket.receive()

    _, failure = await heard(say_nothing, protocols=())
    assert failure is not None
    assert (failure.code, failure.sent) == (Code.UNIMPLEMENTED, False)


async def test_leaving_tells_the_service() -> None:
    told: asyncio.Queue[Any] = asyncio.Queue()

    async def script(socket: web.WebSocketResponse) -> None:
        subscribe = await begin(socket)
        await tick(socket, subscribe["id"], 1)
        told.put_nowait(await socket.receive_json())
        told.put_nowait((await socket.receive()).type)

    async with service(speaking(script)) as url, Caller(target=url) as caller:
        stream = caller.stream({}, field="Subscription.ticks")
        assert (await anext(stream))["n"] == 1
        await stream.aclose()
        async with asyncio.timeout(5):
            assert await told.get() == {"type": "complete", "id": "1"}
            assert await told.get() is aiohttp.WSMsgType.CLOSE
