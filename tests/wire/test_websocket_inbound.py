"""The websocket inbound before functions, called by the websockets package."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from support.websocket_ports import serving
from support.websocket_server import PING, TEXT, RawClient
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK

from adapters.websocket.status import FROM_WIRE, TO_WIRE
from gateway.message import Context, Message
from gateway.net.websocket.status import code_of_close
from gateway.pattern import Pattern
from gateway.status import Code, Detail, Failure

STREAM = {"mode": "stream"}
Calls = AsyncIterator[Message] | None


async def echo(request: Message, context: Context) -> Message:
    return Message(request.body)


async def received(client: ClientConnection) -> tuple[list[Any], int | None]:
    """(messages, close code) to the end."""
    found = []
    try:
        while True:
            found.append(json.loads(await client.recv()))
    except ConnectionClosed:
        return found, client.close_code


# -- a reply for each message


async def test_replies_come_in_the_order_of_requests() -> None:
    running, most = 0, 0

    async def call(request: Message, context: Context) -> Message:
        nonlocal running, most
        running += 1
        most = max(most, running)
        number = json.loads(request.body)
        await asyncio.sleep((20 - number) / 1000)
        running -= 1
        if number == 7:
            raise Failure(Code.NOT_FOUND, "no seven")
        return Message(request.body)

    async with serving(call, {"max_in_flight": 5}) as served, connect(served.url) as client:
        for number in range(20):
            await client.send(str(number))
        replies = [json.loads(await client.recv()) for _ in range(20)]
    assert replies[7] == {"error": {"detail": "no seven", "code": "NOT_FOUND"}}
    assert [reply for reply in replies if reply != replies[7]] == [number for number in range(20) if number != 7]
    assert most == 5


async def test_replies_by_id_come_when_they_are_there() -> None:
    async def call(request: Message, context: Context) -> Message:
        wait = json.loads(request.body)["wait"]
        await asyncio.sleep(wait)
        if wait == 0.02:
            raise Failure(Code.ABORTED, "again", retry_after=2)
        return Message(b'{"waited":%g}' % wait)

    by_id = {"correlation": {"field": "id"}}
    async with serving(call, by_id) as served, connect(served.url) as client:
        await client.send('{"id":"a","wait":0.1}')
        await client.send('{"wait":0.05,"id":17}')
        await client.send('{"wait":0.02,"id":"ü"}')
        await client.send('{"wait":0}')
        await client.send('{"id":{"deep":1},"wait":0}')
        await client.send("[]")
        replies = [json.loads(await client.recv()) for _ in range(6)]
    refused = [reply["error"] for reply in replies[:3]]
    assert [problem["code"] for problem in refused] == ["INVALID_ARGUMENT"] * 3
    assert [problem.get("path") for problem in refused] == ["$.id", "$.id", None]
    assert replies[3:] == [
        {"id": "ü", "error": {"detail": "again", "code": "ABORTED", "retry_after": 2.0}},
        {"id": 17, "waited": 0.05},
        {"id": "a", "waited": 0.1},
    ]


async def test_reply_with_another_id_of_its_own_is_no_reply() -> None:
    async def call(request: Message, context: Context) -> Message:
        return Message(b'{"id":"mine"}')

    async with serving(call, {"correlation": {"field": "id"}}) as served, connect(served.url) as client:
        await client.send('{"id":"yours"}')
        reply = json.loads(await client.recv())
        assert reply["id"] == "yours"
        assert reply["error"]["code"] == "INTERNAL"
        await client.send('{"id":"mine"}')
        assert json.loads(await client.recv()) == {"id": "mine"}


async def test_failure_is_told_whole() -> None:
    async def call(request: Message, context: Context) -> Message:
        raise Failure(
            Code.FAILED_PRECONDITION, "none left", path="$.sku", details=[Detail("OutOfStock", {"available": 0})]
        )

    async with serving(call) as served, connect(served.url) as client:
        await client.send("{}")
        assert json.loads(await client.recv()) == {
            "error": {
                "detail": "none left at $.sku",
                "code": "FAILED_PRECONDITION",
                "path": "$.sku",
                "details": [{"type": "OutOfStock", "available": 0}],
            }
        }


@pytest.mark.parametrize("abort", [False, True])
async def test_caller_that_leaves_cancels_its_calls(abort: bool) -> None:
    began = asyncio.Event()
    cancelled: list[bytes] = []

    async def call(request: Message, context: Context) -> Message:
        try:
            if request.body == b"2":
                began.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(request.body)
            raise
        raise AssertionError

    async with serving(call) as served:
        client = await connect(served.url)
        for body in ("1", "2"):
            await client.send(body)
        await began.wait()
        if abort:
            client.transport.abort()
        else:
            await client.close()
        async with asyncio.timeout(5):
            while len(cancelled) < 2:
                await asyncio.sleep(0.005)
    assert sorted(cancelled) == [b"1", b"2"]


async def test_what_the_handshake_says_goes_with_every_call() -> None:
    got: list[tuple[Message, Context]] = []

    async def call(request: Message, context: Context) -> Message:
        got.append((request, context))
        return Message(b"{}")

    address = {"path": "/ws/{shop}/x"}
    async with serving(call, address, headers=frozenset({"x-tenant"})) as served:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        headers = {"X-Tenant": "t1", "traceparent": trace, "Cookie": "secret=1"}
        async with connect(f"{served.url}/a%20b/x?limit=5&tag=1&tag=2", additional_headers=headers) as client:
            for _ in range(2):
                await client.send("{}")
                await client.recv()
    for request, context in got:
        assert request.params == {"shop": "a b", "limit": "5", "tag": ["1", "2"]}
        assert list(request.headers) == [("x-tenant", "t1")]
        assert (context.trace, context.peer) == (trace, "127.0.0.1")
    assert got[0][1] is not got[1][1]


async def test_binary_frames() -> None:
    async with serving(echo, frames="binary") as served, connect(served.url) as client:
        await client.send(b"[1]")
        assert await client.recv() == b"[1]"
        await client.send("[2]")
        assert await client.recv() == b"[2]"


async def test_drain_answers_what_came_and_closes() -> None:
    began, release = asyncio.Event(), asyncio.Event()

    async def call(request: Message, context: Context) -> Message:
        began.set()
        await release.wait()
        return Message(request.body)

    async with serving(call) as served, connect(served.url) as client:
        await client.send('"work"')
        await began.wait()
        draining = asyncio.create_task(served.inbound.drain())
        await asyncio.sleep(0.02)
        release.set()
        assert await received(client) == (["work"], 1001)
        await asyncio.wait_for(draining, 5)


async def test_pings_are_answered_while_all_places_are_taken() -> None:
    release = asyncio.Event()

    async def call(request: Message, context: Context) -> Message:
        await release.wait()
        return Message(request.body)

    async with serving(call, {"max_in_flight": 1}) as served, connect(served.url) as client:
        for number in range(5):
            await client.send(str(number))
        await asyncio.wait_for(await client.ping(), 5)
        release.set()
        assert [await client.recv() for _ in range(5)] == list("01234")


# -- messages without reply


async def test_one_way_messages_keep_their_order() -> None:
    got = []

    async def call(request: Message, context: Context) -> Message:
        number = json.loads(request.body)
        await asyncio.sleep((10 - number) / 1000)
        got.append(number)
        return Message(None)

    async with serving(call, {"mode": "one-way"}) as served:
        async with connect(served.url) as client:
            for number in range(10):
                await client.send(str(number))
        async with asyncio.timeout(5):
            while len(got) < 10:
                await asyncio.sleep(0.005)
    assert got == list(range(10)), "all that was sent before the close in form, in its order"


async def test_one_way_message_that_failed_is_told() -> None:
    async def call(request: Message, context: Context) -> Message:
        if request.body == b"2":
            raise Failure(Code.UNAVAILABLE, "not now")
        return Message(None)

    async with serving(call, {"mode": "one-way"}) as served, connect(served.url) as client:
        for body in ("1", "2", "3"):
            await client.send(body)
        assert json.loads(await client.recv()) == {"error": {"detail": "not now", "code": "UNAVAILABLE"}}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.recv(), 0.05)


async def test_one_way_message_outlives_its_connection() -> None:
    began, finished = asyncio.Event(), asyncio.Event()

    async def call(request: Message, context: Context) -> Message:
        began.set()
        await asyncio.sleep(0.1)
        finished.set()
        return Message(None)

    async with serving(call, {"mode": "one-way", "max_in_flight": 4}) as served:
        client = await RawClient.connect(served.port)
        client.send(TEXT, b"1")
        await began.wait()
        client.writer.transport.abort()
        await asyncio.wait_for(finished.wait(), 5)


# -- the connection is a call


async def counting(request: Message, more: Calls, context: Context) -> AsyncGenerator[Message, None]:
    for number in range(3):
        yield Message(b"%d" % number)


async def test_server_stream() -> None:
    got = []

    async def stream(request: Message, more: Calls, context: Context) -> AsyncGenerator[Message, None]:
        got.append((request.body, dict(request.params), more))
        async for reply in counting(request, more, context):
            yield reply

    async with serving(stream, {**STREAM, "requests": "one"}) as served, connect(f"{served.url}?a=1") as client:
        await client.send('{"from":1}')
        assert await received(client) == ([0, 1, 2], 1000)
    assert got == [(b'{"from":1}', {"a": "1"}, None)]


async def test_query_is_the_request() -> None:
    got = []

    async def stream(request: Message, more: Calls, context: Context) -> AsyncGenerator[Message, None]:
        got.append((request.body, dict(request.params), more))
        yield Message(b"1")

    address = {**STREAM, "path": "/ws/{shop}", "requests": "query"}
    async with serving(stream, address) as served, connect(f"{served.url}/7?a=1") as client:
        assert await received(client) == ([1], 1000)
    assert got == [(b"a=1", {"shop": "7"}, None)]


async def test_client_stream_and_its_end() -> None:
    async def stream(request: Message, more: Calls, context: Context) -> AsyncGenerator[Message, None]:
        assert more is not None
        assert request.body is None
        total = 0
        async for message in more:
            total += json.loads(message.body)
        yield Message(b"%d" % total)

    async with serving(stream, STREAM, Pattern.CLIENT_STREAM) as served, connect(served.url) as client:
        for body in ("1", "2", "3", ""):
            await client.send(body)
        assert await received(client) == ([6], 1000)


async def test_replies_come_between_requests() -> None:
    async def stream(request: Message, more: Calls, context: Context) -> AsyncGenerator[Message, None]:
        assert more is not None
        async for message in more:
            yield Message(message.body)
        yield Message(b'"end"')

    async with serving(stream, STREAM, Pattern.BIDI) as served, connect(served.url) as client:
        for body in ("1", "2"):
            await client.send(body)
            assert await client.recv() == body
        await client.send("")
        assert await received(client) == (["end"], 1000)


@pytest.mark.parametrize("abort", [False, True])
async def test_requests_cut_short_are_never_whole(abort: bool) -> None:
    outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def stream(request: Message, more: Calls, context: Context) -> AsyncGenerator[Message, None]:
        assert more is not None
        try:
            async for _ in more:
                pass
            outcome.set_result("whole")
        except (asyncio.CancelledError, GeneratorExit):
            outcome.set_result("cancelled")
            raise
        except Failure as failure:
            outcome.set_result(failure.code.name.lower())
            raise
        yield Message(b"{}")

    async with serving(stream, STREAM, Pattern.CLIENT_STREAM) as served:
        client = await connect(served.url)
        await client.send("1")
        if abort:
            client.transport.abort()
        else:
            await client.close()
        assert await asyncio.wait_for(outcome, 5) == "cancelled"


@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
async def test_stream_that_fails_says_so_and_closes(code: Code) -> None:
    async def stream(request: Message, more: Calls, context: Context) -> AsyncGenerator[Message, None]:
        yield Message(b"1")
        raise Failure(code, "ö" * 100)

    async with serving(stream, {**STREAM, "requests": "query"}) as served, connect(served.url) as client:
        messages, close_code = await received(client)
    assert messages == [1, {"error": {"detail": "ö" * 100, "code": code.name}}]
    assert close_code == TO_WIRE[code] != 1000
    assert client.close_reason == "ö" * 61
    assert code_of_close(close_code) is code


def test_every_close_code_means_something() -> None:
    assert {code_of_close(number) for number in range(1000, 5000)} == set(Code)
    assert code_of_close(3999) is code_of_close(4999) is Code.UNKNOWN
    for number, code in FROM_WIRE.items():
        assert (code is Code.OK) == (number in (1000, 1005))


async def test_message_that_nobody_takes_is_refused() -> None:
    cancelled = asyncio.Event()

    async def stream(request: Message, more: Calls, context: Context) -> AsyncGenerator[Message, None]:
        try:
            yield Message(b"1")
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(stream, {**STREAM, "requests": "one"}) as served, connect(served.url) as client:
        await client.send("{}")
        await client.send("")  # that there are no more may be said
        assert await client.recv() == "1"
        await client.send("{}")
        messages, close_code = await received(client)
    assert messages[0]["error"]["code"] == "INVALID_ARGUMENT"
    assert close_code == 1007
    assert cancelled.is_set()


@pytest.mark.parametrize("abort", [False, True])
async def test_caller_that_leaves_cancels_the_stream(abort: bool) -> None:
    cancelled = asyncio.Event()

    async def stream(request: Message, more: Calls, context: Context) -> AsyncGenerator[Message, None]:
        try:
            yield Message(b"1")
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(stream, {**STREAM, "requests": "none"}) as served:
        client = await connect(served.url)
        await client.recv()
        if abort:
            client.transport.abort()
        else:
            await client.close()
        await asyncio.wait_for(cancelled.wait(), 5)


async def test_slow_caller_slows_the_source() -> None:
    made = 0
    closed = asyncio.Event()

    async def stream(request: Message, more: Calls, context: Context) -> AsyncGenerator[Message, None]:
        nonlocal made
        try:
            while True:
                made += 1
                yield Message(b'"%b"' % (b"x" * 16_000))
        finally:
            closed.set()

    async with serving(stream, {**STREAM, "requests": "none"}) as served:
        client = await RawClient.connect(served.port)
        before = -1
        while before != made:
            before = made
            await asyncio.sleep(0.2)
        assert 0 < made * 16_000 < 64 * 2**20
        for _ in range(50):
            assert len((await client.receive())[1]) == 16_002
        client.writer.transport.abort()
        await asyncio.wait_for(closed.wait(), 5)


@pytest.mark.parametrize("requests", ["none", "query"])
async def test_drain_lets_streams_finish(requests: str) -> None:
    """Those without an end are for the Route to end."""
    release = asyncio.Event()

    async def stream(request: Message, more: Calls, context: Context) -> AsyncGenerator[Message, None]:
        yield Message(b"1")
        await release.wait()
        yield Message(b"2")

    async with serving(stream, {**STREAM, "requests": requests}) as served, connect(served.url) as client:
        assert await client.recv() == "1"
        draining = asyncio.create_task(served.inbound.drain())
        await asyncio.sleep(0.05)
        assert not draining.done()
        release.set()
        assert await received(client) == ([2], 1000)
        await asyncio.wait_for(draining, 5)


async def test_drain_does_not_wait_for_a_request_that_has_not_come() -> None:
    async with serving(counting, {**STREAM, "requests": "one"}) as served, connect(served.url) as client:
        await asyncio.wait_for(served.inbound.drain(), 3)
        assert await received(client) == ([], 1001)


async def test_stop_never_makes_a_stream_look_whole() -> None:
    async def stream(request: Message, more: Calls, context: Context) -> AsyncGenerator[Message, None]:
        yield Message(b"1")
        await asyncio.Event().wait()

    async with serving(stream, {**STREAM, "requests": "query"}) as served, connect(served.url) as client:
        assert await client.recv() == "1"
        await asyncio.wait_for(served.inbound.stop(), 3)
        assert await received(client) == ([], 1001)


async def test_limits_and_refusals_of_the_endpoint() -> None:
    async with serving(echo, max_message_bytes=10, origins=["https://shop.example"], subprotocols=["v1"]) as served:
        async with connect(served.url, origin="https://shop.example", subprotocols=["v1"]) as client:  # type: ignore
            assert client.subprotocol == "v1"
            await client.send("x" * 11)
            with pytest.raises(ConnectionClosedError):
                await client.recv()
            assert client.close_code == 1009
        async with await RawClient.connect(served.port, "/ws", "Origin: https://evil.example") as raw:
            assert raw.status == 403
        async with await RawClient.connect(served.port, "/elsewhere") as raw:
            assert raw.status == 404
        async with await RawClient.connect(served.port, drop="Upgrade") as raw:
            assert raw.status == 426


async def test_heartbeat_of_the_endpoint() -> None:
    async with serving(echo, heartbeat="100ms", idle="500ms") as served:
        async with await RawClient.connect(served.port) as raw:
            assert (await raw.receive())[0] == PING
        async with connect(served.url) as client:
            with pytest.raises(ConnectionClosedOK):
                await client.recv()
            assert client.close_code == 1001


async def test_reload_keeps_connections_and_serves_new_ones() -> None:
    async with serving(echo) as served, connect(served.url) as client:
        await client.send("1")
        assert await client.recv() == "1"
        served.inbound.bind([])
        await client.send("2")
        assert await client.recv() == "2"
        async with await RawClient.connect(served.port) as raw:
            assert raw.status == 404
