"""The http outbound against aiohttp upstreams: addresses, failures, reply framings."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.http_gateway import Handler, Upstream, upstream

from adapters.http.config import HttpEndpoint, HttpTarget
from adapters.http.outbound import HttpOutbound
from adapters.http.status import FROM_WIRE, TO_WIRE, code_of
from gateway.message import Context, Message
from gateway.net.http.json_stream import LineReader, array_items, one_line
from gateway.net.http.sse import SseReader, sse
from gateway.net.network import Network
from gateway.port import Contract, ContractError, Service
from gateway.status import Code, Detail, Failure, invalid

LIMIT = 200


@asynccontextmanager
async def service(handler: Handler, **address: Any) -> AsyncIterator[tuple[Service, Contract, Upstream]]:
    async with upstream(handler) as up:
        endpoint = HttpEndpoint(target=up.url + "/base/", max_body_bytes=LIMIT, forward_headers=("X-Kept",))
        outbound = HttpOutbound("up", endpoint, Network(Path()))
        target = HttpTarget(**{"path": "/things", **address})
        await outbound.load()
        contract = outbound.contract(target)
        await outbound.start()
        try:
            yield outbound.service(target, contract, next(iter(contract.patterns))), contract, up
        finally:
            await outbound.stop()


def answer(body: str = "{}", status: int = 200, media_type: str = "application/json", **headers: str) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return web.Response(text=body, status=status, content_type=media_type, headers=headers)

    return handle


async def replies(handler: Handler, **address: Any) -> list[bytes]:
    async with (
        service(handler, replies="many", **address) as (calls, _, _),
        aclosing(calls.stream(Message(b"{}"), None, Context())) as stream,
    ):
        return [message.body async for message in stream]


async def test_a_template_is_filled_from_params() -> None:
    path = "/shelves/{shelf}/books/{book=**}:read"
    async with service(answer(), method="POST", path=path) as (calls, contract, up):
        assert contract.params == ("shelf", "book")
        request = Message(b'{"a":1}', [("x-kept", "v"), ("x-bin", b"\x00")], {"shelf": "a/b c?", "book": "d/e#f"})
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        await calls.call(request, Context(trace=trace))
    sent = up.requests[0]
    assert sent.raw_path == "/base/shelves/a%2Fb%20c%3F/books/d/e%23f:read"
    assert (up.bodies[0], sent.headers["Content-Type"], sent.headers["Accept"]) == (
        b'{"a":1}', "application/json", "application/json"
    )  # fmt: skip
    assert (sent.headers["x-kept"], sent.headers["traceparent"]) == ("v", trace)
    assert "x-bin" not in sent.headers and "User-Agent" not in sent.headers


async def test_without_a_body_the_rest_is_the_query() -> None:
    async with service(answer(), method="GET", path="/things/{id}") as (calls, _, up):
        await calls.call(Message(b"a=1&b=x%26y", params={"id": "7"}), Context())
        await calls.call(Message(b"", params={"id": "7"}), Context())
    assert [request.raw_path for request in up.requests] == ["/base/things/7?a=1&b=x%26y", "/base/things/7"]
    assert "Content-Type" not in up.requests[0].headers


async def test_a_reply_bears_the_headers_that_may_cross() -> None:
    async with service(answer('{"a":1}', media_type="application/hal+json", **{"X-Kept": "v", "X-Not": "w"})) as (
        calls,
        _,
        _,
    ):
        reply = await calls.call(Message(b"{}"), Context())
    assert (reply.body, reply.headers) == (b'{"a":1}', [("x-kept", "v")])


@pytest.mark.parametrize("code", list(Code))
def test_every_code_has_a_status_and_every_status_a_code(code: Code) -> None:
    assert 200 <= TO_WIRE[code] < 600
    if code in (
        Code.OK,
        Code.UNKNOWN,
        Code.DATA_LOSS,
        Code.FAILED_PRECONDITION,
        Code.OUT_OF_RANGE,
        Code.ALREADY_EXISTS,
    ):
        return  # HTTP has one status for several of them
    assert code_of(TO_WIRE[code]) is code


@pytest.mark.parametrize("status", [*FROM_WIRE, 301, 418, 451, 511, 599])
async def test_statuses_become_failures(status: int) -> None:
    async with service(answer("secret internals", status, "text/plain")) as (calls, _, _):
        with pytest.raises(Failure) as failed:
            await calls.call(Message(b"{}"), Context())
    assert failed.value.code is code_of(status) and failed.value.code is not Code.OK
    assert "secret" not in failed.value.message and str(status) in failed.value.message


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ('{"detail": "no stock at $.sku", "path": "$.sku", "code": "ABORTED"}', (Code.ABORTED, "no stock", "$.sku")),
        ('{"title": "Bad", "code": "OK"}', (Code.UNKNOWN, "Bad", "")),
        ('{"message": "legacy", "code": 17}', (Code.INVALID_ARGUMENT, "legacy", "")),
        ('{"detail": 5, "path": 6, "details": 7}', (Code.INVALID_ARGUMENT, "the upstream answered 400", "")),
        ("[1]", (Code.INVALID_ARGUMENT, "the upstream answered 400", "")),
        ("{", (Code.INVALID_ARGUMENT, "the upstream answered 400", "")),
        ("[" * 5000, (Code.INVALID_ARGUMENT, "the upstream answered 400", "")),
    ],
)
async def test_problems_are_read(body: str, wanted: tuple[Code, str, str]) -> None:
    async with service(answer(body[: LIMIT - 1] if len(body) > LIMIT else body, 400)) as (calls, _, _):
        with pytest.raises(Failure) as failed:
            await calls.call(Message(b"{}"), Context())
    assert (failed.value.code, failed.value.path) == (wanted[0], wanted[2])
    assert failed.value.message.startswith(wanted[1])


async def test_details_and_retry_after_are_read() -> None:
    body = '{"details": [{"type": "OutOfStock", "sku": "a"}, {"no": "type"}, 5]}'
    async with service(answer(body, 503, "application/problem+json", **{"Retry-After": "7"})) as (calls, _, _):
        with pytest.raises(Failure) as failed:
            await calls.call(Message(b"{}"), Context())
    assert failed.value.details == (Detail("OutOfStock", {"sku": "a"}),)
    assert failed.value.retry_after == 7.0


@pytest.mark.parametrize(
    ("handler", "code", "message"),
    [
        (answer("<a/>", media_type="text/xml"), Code.INTERNAL, "answered with text/xml, not JSON"),
        (answer("x" * (LIMIT + 1)), Code.INTERNAL, "larger than 200 bytes"),
    ],
)
async def test_replies_that_are_none(handler: Handler, code: Code, message: str) -> None:
    async with service(handler) as (calls, _, _):
        with pytest.raises(Failure, match=message) as failed:
            await calls.call(Message(b"{}"), Context())
    assert failed.value.code is code


async def test_a_deadline_is_kept() -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with service(slow) as (calls, _, _):
        with pytest.raises(Failure) as failed:
            await calls.call(Message(b"{}"), Context(deadline=asyncio.get_running_loop().time() + 0.1))
    assert failed.value.code is Code.DEADLINE_EXCEEDED


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        ('{"a":1}\n\n{"a":2}', "application/x-ndjson"),
        ('{"a":1}\r\n{"a":2}\r\n', "application/jsonl"),
        ('[{"a":1} , {"a":2}]', "application/json"),
        ('data: {"a":1}\n\ndata:{"a":2}\n\n', "text/event-stream"),
        (
            ':hi\nevent: x\nid: 1\ndata: {"a":\ndata: 1}\n\ndata: {"a":2}\r\n\r\nevent: end\ndata\n\n',
            "text/event-stream",
        ),
    ],
)
async def test_every_framing_of_replies(body: str, media_type: str) -> None:
    found = await replies(answer(body, media_type=media_type))
    assert [one_line(item).replace(b" ", b"") for item in found] == [b'{"a":1}', b'{"a":2}']


@pytest.mark.parametrize(
    ("body", "media_type", "code", "message"),
    [
        ('{"a":1}\n{"error":{"code":"ABORTED","detail":"gone"}}\n', "application/x-ndjson", Code.ABORTED, "gone"),
        ('{"error":{"status":404}}', "application/x-ndjson", Code.NOT_FOUND, "404"),
        ('event: error\ndata: {"code":"ABORTED","detail":"gone"}\n\n', "text/event-stream", Code.ABORTED, "gone"),
        ("event: error\ndata: oops\n\n", "text/event-stream", Code.INTERNAL, "500"),
        ('{"a":1}', "application/json", Code.INTERNAL, "a JSON array is expected"),
        ("x" * (LIMIT + 1), "application/x-ndjson", Code.INTERNAL, "larger than 200 bytes"),
        ("data: " + "x" * (LIMIT + 1), "text/event-stream", Code.INTERNAL, "larger than 200 bytes"),
        ("[" + "1," * LIMIT + "1]", "application/json", Code.INTERNAL, "larger than 200 bytes"),
        ("a,b", "text/csv", Code.INTERNAL, "answered with text/csv, not a stream"),
    ],
)
async def test_streams_that_fail(body: str, media_type: str, code: Code, message: str) -> None:
    with pytest.raises(Failure, match=message) as failed:
        await replies(answer(body, media_type=media_type))
    assert failed.value.code is code


async def test_a_stream_that_is_refused_has_the_status_of_the_refusal() -> None:
    with pytest.raises(Failure) as failed:
        await replies(answer('{"detail":"no"}', 403))
    assert (failed.value.code, failed.value.message) == (Code.PERMISSION_DENIED, "no")


async def test_a_message_that_looks_like_an_error_is_none() -> None:
    body = '{"error":{"why":"a field of this name"}}\n{"error":{"code":"X"},"more":1}\n{"error":5}\n'
    assert len(await replies(answer(body, media_type="application/x-ndjson"))) == 3


async def test_many_requests_are_lines() -> None:
    async def more() -> AsyncIterator[Message]:
        yield Message(b'{"a":\n1}')
        yield Message(b'{"a":2}')

    async with (
        service(answer('{"n":2}'), method="POST", requests="many") as (calls, _, up),
        aclosing(calls.stream(Message(None), more(), Context())) as stream,
    ):
        assert [message.body async for message in stream] == [b'{"n":2}']
    assert up.bodies == [b'{"a": 1}\n{"a":2}\n']
    assert up.requests[0].headers["Content-Type"] == "application/x-ndjson"


def test_an_endpoint_listens_or_calls() -> None:
    with pytest.raises(ContractError, match="this one has `listen`"):
        HttpOutbound("x", HttpEndpoint(listen="127.0.0.1:0"), Network(Path()))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give listen"),
        ({"listen": "127.0.0.1:0", "target": "http://x"}, "give listen"),
        ({"target": "ftp://x"}, "is not a base URL"),
        ({"target": "http://user:secret@x"}, "is not a base URL"),
        ({"target": "http://x?a=1"}, "is not a base URL"),
        ({"listen": "nowhere"}, "is not host:port"),
        ({"target": "http://x", "max_body_bytes": 0}, "greater than or equal to 1"),
    ],
)
def test_endpoints_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HttpEndpoint(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": "things"}, "a path starts with /"),
        ({"path": "/{a}/{a}"}, "stands twice"),
        ({"path": "/{a"}, "unbalanced"),
        ({"path": "/x", "method": "GET", "requests": "many"}, "GET has no body"),
        ({"path": "/x", "method": "TRACE"}, "GET"),
    ],
)
def test_addresses_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HttpTarget(**fields)


# -- framing, sans io


def test_lines_in_any_pieces() -> None:
    data = b'{"a":1}\n\n \r\n{"b":2}\n{"c":3}'
    for size in range(1, len(data) + 1):
        reader = LineReader(100, lambda: invalid("long"))
        lines = [line for start in range(0, len(data), size) for line in reader.feed(data[start : start + size])]
        assert [*lines, *reader.end()] == [b'{"a":1}', b'{"b":2}', b'{"c":3}']


def test_events_in_any_pieces() -> None:
    data = b": c\r\nevent: a\r\ndata: 1\r\ndata:2\r\n\r\ndata:3\r\rid: 5\n\ndata: last\n\n"
    for size in range(1, len(data) + 1):
        reader = SseReader(100, lambda: invalid("long"))
        events = [event for start in range(0, len(data), size) for event in reader.feed(data[start : start + size])]
        assert [(event.event, event.data) for event in events] == [("a", b"1\n2"), ("", b"3"), ("", b"last")]


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_what_is_too_long_is_refused_before_it_is_whole(piece: int) -> None:
    for reader in (LineReader(10, lambda: invalid("long")), SseReader(10, lambda: invalid("long"))):
        with pytest.raises(Failure, match="long"):
            [list(reader.feed(b"x" * piece)) for _ in range(0, 1000, piece)]
    reader = SseReader(10, lambda: invalid("long"))
    with pytest.raises(Failure, match="long"):
        [list(reader.feed(b"data: x\n")) for _ in range(100)]


def test_an_event_is_one_line() -> None:
    assert sse(b'{"a":\r\n1}', "x") == b'event: x\ndata: {"a":  1}\n\n'
    assert array_items(b'[{"a": 1}, 2 ]') == [b'{"a": 1}', b"2"]
