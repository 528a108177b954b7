"""The websocket outbound before servers of the websockets package."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from support.ports import free_port
from support.websocket_ports import calling, peer
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from adapters.websocket.config import WebSocketEndpoint, WebSocketTarget
from adapters.websocket.outbound import WebSocketOutbound
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.net.websocket import client as websocket
from gateway.pattern import Pattern
from gateway.port import Service
from gateway.status import Code, Detail, Failure

BY_ID = {"correlation": {"field": "id"}}
STREAM = {"mode": "stream"}


async def echo(link: ServerConnection) -> None:
    async for message in link:
        await link.send(message)


def message(value: Any, **params: Any) -> Message:
    return Message(json.dumps(value).encode(), params=params)


async def call(service: Service, value: Any, **params: Any) -> Any:
    reply = await service.call(message(value, **params), Context())
    return json.loads(reply.body)


async def refused(service: Service, value: Any = 1) -> Failure:
    with pytest.raises(Failure) as failure:
        await service.call(message(value), Context())
    return failure.value


async def streamed(service: Service, request: Message, more: AsyncIterator[Message] | None = None) -> list[Any]:
    async with aclosing(service.stream(request, more, Context())) as replies:
        return [json.loads(reply.body) async for reply in replies]


async def many(*values: Any) -> AsyncIterator[Message]:
    for value in values:
        yield message(value)


# -- request and reply


async def test_a_connection_is_used_again() -> None:
    async with peer(echo) as server, calling(server.port) as service:
        for number in range(5):
            assert await call(service, number) == number
        assert len(server.links) == 1


async def test_calls_by_order_have_a_connection_each() -> None:
    async def handle(link: ServerConnection) -> None:
        async for text in link:
            await asyncio.sleep(0.02)
            await link.send(text)

    async with peer(handle) as server, calling(server.port, {"connections": 4}) as service:
        assert await asyncio.gather(*(call(service, number) for number in range(20))) == list(range(20))
        assert len(server.links) == 4


async def test_calls_by_id_share_a_connection() -> None:
    async def handle(link: ServerConnection) -> None:
        kept = [json.loads(await link.recv()) for _ in range(10)]
        for value in reversed(kept):
            await link.send(json.dumps({"id": value["id"], "twice": value["n"] * 2}))
        await link.wait_closed()

    async with peer(handle) as server, calling(server.port, BY_ID) as service:
        replies = await asyncio.gather(*(call(service, {"n": number}) for number in range(10)))
        assert [reply["twice"] for reply in replies] == [number * 2 for number in range(10)]
        assert len(server.links) == 1


async def test_places_on_a_connection_are_bounded() -> None:
    most = 0

    async def handle(link: ServerConnection) -> None:
        waiting: list[Any] = []

        async def answer() -> None:
            while True:
                await asyncio.sleep(0.02)
                while waiting:
                    await link.send(json.dumps(waiting.pop(0)))

        answering = asyncio.create_task(answer())
        async for text in link:
            nonlocal most
            waiting.append(json.loads(text))
            most = max(most, len(waiting))
        answering.cancel()

    address = {**BY_ID, "max_in_flight": 3, "connections": 1}
    async with peer(handle) as server, calling(server.port, address) as service:
        replies = await asyncio.gather(*(call(service, {"n": number}) for number in range(12)))
        assert [reply["n"] for reply in replies] == list(range(12))
        assert (most, len(server.links)) == (3, 1)


async def test_cancelled_call_by_order_gives_its_reply_to_no_other() -> None:
    arrived = asyncio.Event()

    async def handle(link: ServerConnection) -> None:
        async for text in link:
            if text == '"slow"':
                arrived.set()
                await asyncio.sleep(0.1)
            await link.send(text)

    async with peer(handle) as server, calling(server.port, {"connections": 1}) as service:
        slow = asyncio.create_task(call(service, "slow"))
        await arrived.wait()
        slow.cancel()
        await asyncio.wait((slow,))
        assert await call(service, "quick") == "quick"
        assert len(server.links) == 2
        await server.ended()


async def test_late_reply_by_id_is_dropped() -> None:
    async def handle(link: ServerConnection) -> None:
        async for text in link:
            await asyncio.sleep(0.05)
            await link.send(text)

    async with peer(handle) as server, calling(server.port, BY_ID) as service:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.03):
                await call(service, {"n": "slow"})
        assert (await call(service, {"n": "quick"}))["n"] == "quick"
        assert len(server.links) == 1


async def test_message_that_no_call_waits_for_ends_the_connection() -> None:
    async def handle(link: ServerConnection) -> None:
        async for text in link:
            await link.send(text)
            await link.send('"more"')

    async with peer(handle) as server, calling(server.port) as service:
        assert await call(service, 1) == 1
        await server.ended()
        assert server.closed[0][0] == 1002
        assert await call(service, 2) == 2


async def test_connection_that_ended_while_idle_is_no_failure() -> None:
    async def handle(link: ServerConnection) -> None:
        await link.send(await link.recv())

    async with peer(handle) as server, calling(server.port) as service:
        for number in range(3):
            assert await call(service, number) == number
        assert len(server.links) == 3


@pytest.mark.parametrize(
    ("close_code", "code"),
    [(1000, Code.UNAVAILABLE), (1001, Code.UNAVAILABLE), (1011, Code.INTERNAL), (1008, Code.PERMISSION_DENIED)],
)
async def test_close_instead_of_a_reply(close_code: int, code: Code) -> None:
    async def handle(link: ServerConnection) -> None:
        await link.recv()
        await link.close(close_code, "internals of db7.example")

    async with peer(handle) as server, calling(server.port) as service:
        failure = await refused(service)
        assert (failure.code, failure.sent) == (code, True)
        assert "db7" not in failure.text


async def test_break_instead_of_a_reply() -> None:
    async def handle(link: ServerConnection) -> None:
        await link.recv()
        link.transport.abort()

    async with peer(handle) as server, calling(server.port) as service:
        failure = await refused(service)
        assert (failure.code, failure.sent) == (Code.UNAVAILABLE, True)


async def test_error_instead_of_a_reply() -> None:
    errors = [
        {"code": "NOT_FOUND", "detail": "no such sku", "details": [{"type": "Missing", "sku": "tea"}]},
        {"code": -32601, "message": "no such method"},
        {"unheard": "of"},
    ]

    async def handle(link: ServerConnection) -> None:
        async for text in link:
            value = json.loads(text)
            await link.send(json.dumps({"jsonrpc": "2.0", "id": value["id"], "error": errors[value["n"]]}))

    async with peer(handle) as server, calling(server.port, BY_ID) as service:
        failures = [await refused(service, {"n": number}) for number in range(3)]
        assert [(failure.code, failure.message) for failure in failures] == [
            (Code.NOT_FOUND, "no such sku"),
            (Code.UNKNOWN, "no such method"),
            (Code.UNKNOWN, "the upstream answered with an error"),
        ]
        assert failures[0].details == (Detail("Missing", {"sku": "tea"}),)
        assert len(server.links) == 1


async def test_requests_that_can_bear_no_id() -> None:
    async with peer(echo) as server, calling(server.port, BY_ID) as service:
        for value in ([1], {"id": "own"}):
            failure = await refused(service, value)
            assert (failure.code, failure.sent) == (Code.INVALID_ARGUMENT, False)
        assert await call(service, {}) == {"id": 3}


async def test_server_that_is_down() -> None:
    async with calling(free_port()) as service:
        failure = await refused(service)
        assert (failure.code, failure.sent) == (Code.UNAVAILABLE, False)
        assert "127.0.0.1" not in failure.text


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, Code.UNAUTHENTICATED),
        (403, Code.PERMISSION_DENIED),
        (404, Code.NOT_FOUND),
        (429, Code.RESOURCE_EXHAUSTED),
        (200, Code.UNAVAILABLE),
        (302, Code.UNAVAILABLE),
        (503, Code.UNAVAILABLE),
    ],
)
async def test_handshake_that_is_refused(status: int, code: Code) -> None:
    asked = []

    def answer(link: ServerConnection, request: Request) -> Response:
        asked.append(request.path)
        response = link.respond(status, "no")
        response.headers["Location"] = "/elsewhere"
        return response

    async with peer(echo, process_request=answer) as server, calling(server.port) as service:
        failure = await refused(service)
        assert (failure.code, failure.sent) == (code, False)
        assert asked == ["/ws"], "a redirect is not followed"


async def test_server_that_does_not_answer_the_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "HANDSHAKE_SECONDS", 0.1)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server, calling(server.sockets[0].getsockname()[1]) as service:
        failure = await refused(service)
        assert (failure.code, failure.sent) == (Code.UNAVAILABLE, False)


async def test_certificate_that_nobody_trusts(pki: Path, caplog: pytest.LogCaptureFixture) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    async with peer(echo, ssl=context) as server:
        endpoint = WebSocketEndpoint(target=f"wss://127.0.0.1:{server.port}")
        outbound = WebSocketOutbound("out", endpoint, Network(Path()))
        await outbound.load()
        target = WebSocketTarget(path="/ws")
        service = outbound.service(target, outbound.contract(target), Pattern.REQUEST_REPLY)
        failure = await refused(service)
        assert (failure.code, failure.message) == (Code.UNAVAILABLE, "the upstream's certificate is not trusted")
        assert "unable to get local issuer certificate" in caplog.text
        await outbound.stop()


async def test_address_and_what_the_handshake_bears() -> None:
    seen = []

    async def handle(link: ServerConnection) -> None:
        assert link.request is not None
        seen.append((link.request.path, link.request.headers.get("X-Tenant"), link.subprotocol))
        await echo(link)

    options = {"subprotocols": ["v1"]}
    async with (
        peer(handle, subprotocols=["v1"]) as server,
        calling(server.port, {"path": "/shops/{shop}/{rest=**}", "connections": 2}, **options) as service,
    ):
        for tenant in ("a", "b", "a"):
            request = Message(b"1", [("x-tenant", tenant)], {"shop": "a/b c", "rest": "x/y"})
            await service.call(request, Context())
        assert seen == [("/shops/a%2Fb%20c/x/y", tenant, "v1") for tenant in ("a", "b")], "connections are kept apart"
        await service.call(Message(b"1", [], {"shop": "1", "rest": "2"}), Context())
        assert seen[2] == ("/shops/1/2", None, "v1")
        await server.ended()


async def test_subprotocol_that_the_server_does_not_speak() -> None:
    async with peer(echo) as server, calling(server.port, subprotocols=["v1"]) as service:
        failure = await refused(service)
        assert (failure.code, failure.sent) == (Code.UNIMPLEMENTED, False)


async def test_sizes() -> None:
    async def handle(link: ServerConnection) -> None:
        async for _ in link:
            await link.send('"' + "x" * 1000 + '"')

    async with peer(handle) as server, calling(server.port, max_message_bytes=100) as service:
        failure = await refused(service, "x" * 99)
        assert (failure.code, failure.sent) == (Code.INVALID_ARGUMENT, False)
        assert server.links == []
        failure = await refused(service, "x")
        assert (failure.code, failure.sent) == (Code.INTERNAL, True)
        await server.ended()
        assert server.closed[0][0] == 1009


async def test_compression_is_agreed_on() -> None:
    async with peer(echo) as server, calling(server.port, compression=True) as service:
        assert await call(service, "x" * 10_000) == "x" * 10_000
        assert [extension.name for extension in server.links[0].protocol.extensions] == ["permessage-deflate"]


async def test_binary_frames() -> None:
    kinds = []

    async def handle(link: ServerConnection) -> None:
        async for data in link:
            kinds.append(type(data))
            await link.send(data)

    async with peer(handle) as server, calling(server.port, frames="binary") as service:
        assert await call(service, 1) == 1
    assert kinds == [bytes]


async def test_stop_ends_calls() -> None:
    async def handle(link: ServerConnection) -> None:
        await link.wait_closed()

    async with peer(handle) as server:
        async with calling(server.port) as service:
            waiting = asyncio.create_task(refused(service))
            while not server.links:
                await asyncio.sleep(0.005)
        failure = await asyncio.wait_for(waiting, 5)
        assert failure.code is Code.UNAVAILABLE
        await server.ended()
        assert server.closed == [(1001, "")]


# -- one way


async def test_one_way_messages_keep_their_order_on_one_connection() -> None:
    got: list[Any] = []

    async def handle(link: ServerConnection) -> None:
        async for text in link:
            got.append(json.loads(text))
            await link.send("whatever")

    async with peer(handle) as server, calling(server.port, {"mode": "one-way"}) as service:
        replies = await asyncio.gather(*(service.call(message(number), Context()) for number in range(100)))
        assert {reply.body for reply in replies} == {None}
        async with asyncio.timeout(5):
            while len(got) < 100:
                await asyncio.sleep(0.005)
        assert got == list(range(100))
        assert len(server.links) == 1


async def test_one_way_connects_again() -> None:
    got: list[Any] = []

    async def handle(link: ServerConnection) -> None:
        got.append(json.loads(await link.recv()))
        await link.close()

    async with peer(handle) as server, calling(server.port, {"mode": "one-way"}) as service:
        for number in range(3):
            await service.call(message(number), Context())
            await server.ended(number + 1)
        assert got == [0, 1, 2]


async def test_one_way_to_a_server_that_is_down() -> None:
    async with calling(free_port(), {"mode": "one-way"}) as service:
        failure = await refused(service)
        assert (failure.code, failure.sent) == (Code.UNAVAILABLE, False)


# -- streams


async def test_server_stream_and_its_handshake() -> None:
    seen = []

    async def handle(link: ServerConnection) -> None:
        assert link.request is not None
        seen.append((link.request.path, link.request.headers["traceparent"], await link.recv()))
        for number in range(3):
            await link.send(str(number))

    async with peer(handle) as server, calling(server.port, STREAM) as service:
        replies = service.stream(message({"a": 1}), None, Context(trace="00-1-2-01"))
        assert [json.loads(reply.body) async for reply in replies] == [0, 1, 2]
        await server.ended()
        assert seen == [("/ws", "00-1-2-01", '{"a": 1}')]


async def test_query_and_subscription() -> None:
    paths = []

    async def handle(link: ServerConnection) -> None:
        assert link.request is not None
        paths.append(link.request.path)
        await link.send("1")

    async with peer(handle) as server:
        async with calling(server.port, {**STREAM, "requests": "query"}) as service:
            assert await streamed(service, Message(b"a=1&b=2")) == [1]
        async with calling(server.port, {**STREAM, "requests": "none"}) as service:
            assert await streamed(service, Message(None)) == [1]
        assert paths == ["/ws?a=1&b=2", "/ws"]


@pytest.mark.parametrize("end", ["empty-message", "none"])
async def test_many_requests_and_their_end(end: str) -> None:
    async def handle(link: ServerConnection) -> None:
        total = 0
        async for text in link:
            if text == "" or text == "3":
                total += int(text or 0)
                break
            total += int(text)
        await link.send(str(total))
        await link.wait_closed()

    address = {**STREAM, "requests": "many", "replies": "one", "end": end}
    async with peer(handle) as server, calling(server.port, address) as service:
        assert await streamed(service, Message(None), many(1, 2, 3)) == [6 if end == "none" else 3 + 3]
        await server.ended()
        assert server.closed[0][0] == 1000


async def test_replies_come_between_requests() -> None:
    async def handle(link: ServerConnection) -> None:
        async for text in link:
            if text == "":
                break
            await link.send(text)

    turns: asyncio.Queue[int | None] = asyncio.Queue()

    async def more() -> AsyncIterator[Message]:
        while (number := await turns.get()) is not None:
            yield message(number)

    address = {**STREAM, "requests": "many"}
    async with peer(handle) as server, calling(server.port, address) as service:
        turns.put_nowait(0)
        got = []
        async with aclosing(service.stream(Message(None), more(), Context())) as replies:
            async for reply in replies:
                got.append(json.loads(reply.body))
                turns.put_nowait(got[-1] + 1 if got[-1] < 3 else None)
        assert got == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("close_code", "code"),
    [
        (1001, Code.UNAVAILABLE),
        (1007, Code.INVALID_ARGUMENT),
        (1011, Code.INTERNAL),
        (1013, Code.UNAVAILABLE),
        (4005, Code.NOT_FOUND),
        (4567, Code.UNKNOWN),
    ],
)
async def test_close_code_of_a_stream(close_code: int, code: Code) -> None:
    async def handle(link: ServerConnection) -> None:
        await link.send("1")
        await link.close(close_code, "internals")

    async with peer(handle) as server, calling(server.port, {**STREAM, "requests": "none"}) as service:
        replies = service.stream(Message(None), None, Context())
        assert (await anext(replies)).body == b"1"
        with pytest.raises(Failure) as failure:
            await anext(replies)
        assert (failure.value.code, "internals" in failure.value.text) == (code, False)


async def test_broken_stream_is_not_whole() -> None:
    async def handle(link: ServerConnection) -> None:
        await link.send("1")
        await asyncio.sleep(0.02)
        link.transport.abort()

    async with peer(handle) as server, calling(server.port, {**STREAM, "requests": "none"}) as service:
        with pytest.raises(Failure) as failure:
            await streamed(service, Message(None))
        assert failure.value.code is Code.UNAVAILABLE


async def test_error_is_one_only_where_the_stream_ends_with_it() -> None:
    error = json.dumps({"error": {"code": "ABORTED", "detail": "lost the race"}})

    async def handle(link: ServerConnection) -> None:
        assert link.request is not None
        await link.send(error)
        if "go-on" in link.request.path:
            await link.send("1")
        if "fail" in link.request.path:
            await link.close(4010)

    address = {**STREAM, "path": "/{what}", "requests": "none"}
    async with peer(handle) as server, calling(server.port, address) as service:
        assert await streamed(service, Message(None, params={"what": "go-on"})) == [json.loads(error), 1]
        assert await streamed(service, Message(None, params={"what": "end"})) == [json.loads(error)]
        with pytest.raises(Failure) as failure:
            await streamed(service, Message(None, params={"what": "fail"}))
        assert (failure.value.code, failure.value.message) == (Code.ABORTED, "lost the race")


async def test_no_reply_where_one_is_due() -> None:
    async def handle(link: ServerConnection) -> None:
        await link.recv()

    async with peer(handle) as server, calling(server.port, {**STREAM, "replies": "one"}) as service:
        failure = await refused(service)
        assert failure.code is Code.UNAVAILABLE


async def test_call_on_a_connection_of_its_own() -> None:
    async with peer(echo) as server, calling(server.port, {**STREAM, "replies": "one"}) as service:
        assert [await call(service, number) for number in range(2)] == [0, 1]
        await server.ended(2)
        assert server.closed == [(1000, "")] * 2


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_leaving_cancels_the_upstream(how: str) -> None:
    async def handle(link: ServerConnection) -> None:
        await link.send("1")
        await link.wait_closed()

    async with peer(handle) as server, calling(server.port, {**STREAM, "requests": "none"}) as service:
        replies = service.stream(Message(None), None, Context())
        assert (await anext(replies)).body == b"1"
        if how == "cancel":
            waiting = asyncio.create_task(anext(replies))
            await asyncio.sleep(0.01)
            waiting.cancel()
            await asyncio.wait((waiting,))
        await replies.aclose()
        await server.ended()
        assert server.closed == [(4001, "")]


async def test_requests_cut_short_are_never_whole() -> None:
    got: list[str | bytes] = []

    async def handle(link: ServerConnection) -> None:
        try:
            async for text in link:
                got.append(text)
        except ConnectionClosed:
            pass

    async def more() -> AsyncIterator[Message]:
        yield message(1)
        await asyncio.sleep(0.02)
        raise Failure(Code.INVALID_ARGUMENT, "not JSON")

    address = {**STREAM, "requests": "many", "replies": "one"}
    async with peer(handle) as server, calling(server.port, address) as service:
        with pytest.raises(Failure) as failure:
            await streamed(service, Message(None), more())
        assert failure.value.message == "not JSON"
        await server.ended()
        assert got == ["1"], "no end was told"
        assert server.closed == [(1007, "")]


async def test_slow_consumer_slows_the_upstream() -> None:
    sent = 0

    async def handle(link: ServerConnection) -> None:
        nonlocal sent
        while True:
            await link.send('"' + "x" * 16_000 + '"')
            sent += 1

    async with peer(handle) as server, calling(server.port, {**STREAM, "requests": "none"}) as service:
        replies = service.stream(Message(None), None, Context())
        await anext(replies)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert 0 < sent * 16_000 < 64 * 2**20
        for _ in range(100):
            await anext(replies)
        await replies.aclose()


async def test_slow_upstream_slows_the_caller() -> None:
    made = 0

    async def handle(link: ServerConnection) -> None:
        await link.wait_closed()

    async def more() -> AsyncIterator[Message]:
        nonlocal made
        while True:
            made += 1
            yield Message(b'"%b"' % (b"x" * 16_000))

    address = {**STREAM, "requests": "many", "replies": "one"}
    async with peer(handle) as server, calling(server.port, address) as service:
        waiting = asyncio.create_task(streamed(service, Message(None), more()))
        before = -1
        while before != made or not made:
            before = made
            await asyncio.sleep(0.2)
        assert made * 16_000 < 64 * 2**20
        waiting.cancel()
        await asyncio.wait((waiting,))


async def test_many_requests_have_their_address_from_the_call() -> None:
    address = {**STREAM, "path": "/{shop}", "requests": "many"}
    async with peer(echo) as server, calling(server.port, address) as service:
        with pytest.raises(Failure) as failure:
            await streamed(service, Message(None), many(1))
        assert failure.value.code is Code.INVALID_ARGUMENT
        assert "shop" in failure.value.text
