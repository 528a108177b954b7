"""WebSockets on the shared HTTP server (RFC 6455), against the websockets package and against raw frames."""

import asyncio
import logging
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from support.websocket_server import BINARY, CLOSE, PING, PONG, TEXT, RawClient, echo, serving, url
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus

from gateway.net.http.router import PathTemplate
from gateway.net.http.server import HttpReply, HttpRequest, HttpRoute, HttpServer
from gateway.net.websocket.connection import WebSocket, WebSocketClosed, WebSocketLimits
from gateway.net.websocket.server import HttpUpgrade

QUICK = WebSocketLimits(heartbeat_seconds=0.1)


# -- handshake


async def test_messages_of_both_kinds() -> None:
    async with serving(echo) as server, connect(url(server)) as client:
        await client.send("grüß dich")
        assert await client.recv() == "grüß dich"
        await client.send(b"\x00\xff")
        assert await client.recv() == b"\x00\xff"
        await client.send(["in ", "three ", "frames"])
        assert await client.recv() == "in three frames"
        await client.send("")
        assert await client.recv() == ""


async def test_path_may_serve_plain_http_too() -> None:
    async def handle(request: HttpRequest) -> HttpReply | HttpUpgrade:
        return HttpUpgrade(echo) if request.upgrades else HttpReply(200, (), b"plain")

    server = HttpServer("127.0.0.1:0")
    server.mount("test", [HttpRoute("GET", PathTemplate("/ws"), handle)])
    await server.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await reader.readuntil(b"plain")).startswith(b"HTTP/1.1 200")
        writer.close()
        async with connect(url(server)) as client:
            await client.send("hi")
            assert await client.recv() == "hi"
    finally:
        await server.stop()


@pytest.mark.parametrize(
    ("drop", "headers", "status", "told"),
    [
        ("Upgrade", (), 426, b"Upgrade: websocket"),
        ("Connection", (), 426, b"Upgrade: websocket"),
        ("Sec-WebSocket-Version", (), 426, b"Sec-WebSocket-Version: 13"),
        ("Sec-WebSocket-Version", ("Sec-WebSocket-Version: 8",), 426, b"Sec-WebSocket-Version: 13"),
        ("Sec-WebSocket-Key", (), 400, b"problem+json"),
        ("Sec-WebSocket-Key", ("Sec-WebSocket-Key: c2hvcnQ=",), 400, b"problem+json"),
        ("Sec-WebSocket-Key", ("Sec-WebSocket-Key: !!!",), 400, b"problem+json"),
    ],
)
async def test_handshakes_that_are_none(drop: str, headers: tuple[str, ...], status: int, told: bytes) -> None:
    async with serving(echo) as server, await RawClient.connect(server.port, "/ws", *headers, drop=drop) as client:
        assert client.status == status
        assert told in client.head


@pytest.mark.parametrize(
    ("origin", "allowed", "status"),
    [
        ("", (), 101),
        ("https://gateway.example", (), 101),
        ("https://GATEWAY.example", (), 101),
        ("https://evil.example", (), 403),
        ("https://gateway.example.evil.example", (), 403),
        ("https://gateway.example:444", (), 403),
        ("null", (), 403),
        ("https://shop.example", ("https://shop.example",), 101),
        ("http://shop.example", ("https://shop.example",), 403),
        ("https://evil.example", ("*",), 101),
        ("null", ("*",), 101),
    ],
)
async def test_origin(origin: str, allowed: tuple[str, ...], status: int) -> None:
    headers = (f"Origin: {origin}",) if origin else ()
    async with (
        serving(echo, origins=allowed) as server,
        await RawClient.connect(server.port, "/ws", *headers) as client,
    ):
        assert client.status == status


async def test_subprotocols() -> None:
    async with serving(echo, subprotocols=("v1", "v2")) as server:
        async with connect(url(server), subprotocols=["v2", "v1"]) as client:  # type: ignore[list-item]
            assert client.subprotocol == "v2", "the caller's first choice"
        async with connect(url(server)) as client:
            assert client.subprotocol is None
        with pytest.raises(InvalidStatus) as refused:
            await connect(url(server), subprotocols=["v3"])  # type: ignore[list-item]
        assert refused.value.response.status_code == 400


async def test_headers_of_the_response() -> None:
    async with (
        serving(echo, headers=[("X-Shop", "7")]) as server,
        await RawClient.connect(server.port) as client,
    ):
        assert b"X-Shop: 7" in client.head
        assert b"aiohttp" not in client.head


# -- limits


async def test_message_size() -> None:
    async with serving(echo, limits=WebSocketLimits(max_message_bytes=1000)) as server:
        async with connect(url(server)) as client:
            await client.send("x" * 1000)
            assert await client.recv() == "x" * 1000
            await client.send("x" * 1001)
            with pytest.raises(ConnectionClosedError) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009
        async with connect(url(server)) as client:
            await client.send(["x" * 600, "x" * 600])
            with pytest.raises(ConnectionClosedError) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize("claim", [2**20 + 1, 2**31, 2**62, 2**63 - 1, 2**64 - 1])
async def test_size_that_is_claimed_is_refused_before_it_comes(claim: int) -> None:
    async with serving(echo) as server, await RawClient.connect(server.port) as client:
        client.send(TEXT, b"", claim=claim)
        code, _ = await client.close_code()
        assert code == 1009


async def test_what_inflates_to_too_much_is_refused() -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflate.compress(bytes(256 * 1024 * 1024)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < 2**20
    limits = WebSocketLimits(compression=True)
    extension = "Sec-WebSocket-Extensions: permessage-deflate"
    async with serving(echo, limits=limits) as server, await RawClient.connect(server.port, "/ws", extension) as client:
        assert b"permessage-deflate" in client.head
        tracemalloc.start()
        client.send(BINARY, bomb[:-4], flags=0xC0)
        code, _ = await client.close_code()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert code == 1009
        assert peak < 16 * 2**20


async def test_compression() -> None:
    async with serving(echo, limits=WebSocketLimits(compression=True)) as server, connect(url(server)) as client:
        assert [extension.name for extension in client.protocol.extensions] == ["permessage-deflate"]
        for message in ("a" * 100_000, "", "b", "ü" * 1000):
            await client.send(message)
            assert await client.recv() == message
    async with serving(echo) as server, connect(url(server)) as client:
        assert client.protocol.extensions == []


# -- what is against the protocol


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([(TEXT, b"\xff\xfe", 0x80)], 1007),
        ([(TEXT, b"\xc3", 0x00), (0, b"\x28", 0x80)], 1007),
        ([(CLOSE, b"\x03\xe8\xff", 0x80)], 1007),
        ([(3, b"", 0x80)], 1002),
        ([(TEXT, b"", 0xC0)], 1002),
        ([(PING, b"x" * 126, 0x80)], 1002),
        ([(PING, b"", 0x00)], 1002),
        ([(0, b"x", 0x80)], 1002),
        ([(TEXT, b"x", 0x00), (TEXT, b"x", 0x80)], 1002),
        ([(CLOSE, b"\x03", 0x80)], 1002),
        ([(CLOSE, (1006).to_bytes(2, "big"), 0x80)], 1002),
        ([(CLOSE, (999).to_bytes(2, "big"), 0x80)], 1002),
        ([(CLOSE, (5000).to_bytes(2, "big"), 0x80)], 1002),
    ],
)
async def test_broken_frames(frames: list[tuple[int, bytes, int]], code: int) -> None:
    async with serving(echo) as server, await RawClient.connect(server.port) as client:
        for opcode, payload, flags in frames:
            client.send(opcode, payload, flags=flags)
        assert (await client.close_code())[0] == code
        async with asyncio.timeout(5):
            assert await client.reader.read() == b""


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe9bye", b"\x0f\xa7"])
async def test_close_is_answered_with_its_code(payload: bytes) -> None:
    ended: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()

    async def serve(socket: WebSocket) -> None:
        await echo(socket)
        ended.set_result((socket.close_code, socket.close_reason))

    async with serving(serve) as server, await RawClient.connect(server.port) as client:
        client.send(CLOSE, payload)
        opcode, told = await client.receive()
        assert (opcode, told) == (CLOSE, payload[:2])
        code = int.from_bytes(payload[:2], "big") if payload else 1005
        assert await ended == (code, payload[2:].decode())


# -- pings


async def test_ping_is_answered_while_the_handler_is_busy() -> None:
    release = asyncio.Event()

    async def serve(socket: WebSocket) -> None:
        await anext(socket)
        await release.wait()

    async with serving(serve) as server, connect(url(server)) as client:
        await client.send("work")
        await asyncio.wait_for(await client.ping(), 5)
        release.set()


async def test_peer_that_answers_no_ping_is_dropped() -> None:
    ended = asyncio.Event()

    async def serve(socket: WebSocket) -> None:
        try:
            await echo(socket)
        finally:
            assert socket.close_code == 1006
            ended.set()

    async with serving(serve, limits=QUICK) as server, await RawClient.connect(server.port) as client:
        opcode, _ = await client.receive()
        assert opcode == PING
        await asyncio.wait_for(ended.wait(), 5)
        with suppress(ConnectionError):
            await asyncio.wait_for(client.reader.read(), 5)


async def test_peer_that_answers_pings_stays() -> None:
    async with serving(echo, limits=QUICK) as server, await RawClient.connect(server.port) as client:
        for _ in range(4):
            opcode, payload = await client.receive()
            assert opcode == PING
            client.send(PONG, payload)
        client.send(TEXT, b"still here")
        while (frame := await client.receive())[0] == PING:
            client.send(PONG, frame[1])
        assert frame == (TEXT, b"still here")


async def test_peer_that_has_to_wait_is_not_taken_for_dead() -> None:
    got: list[str | bytes] = []
    done = asyncio.Event()

    async def serve(socket: WebSocket) -> None:
        await asyncio.sleep(5 * QUICK.heartbeat_seconds)
        async for message in socket:
            got.append(message)
        done.set()

    async with serving(serve, limits=QUICK) as server:
        async with connect(url(server), ping_interval=None) as client:
            for number in range(200):
                await client.send(str(number) + "x" * 10_000)
        await asyncio.wait_for(done.wait(), 10)
    assert [str(message).rstrip("x") for message in got] == [str(number) for number in range(200)]


async def test_idle_connection_is_closed() -> None:
    limits = WebSocketLimits(heartbeat_seconds=0.1, idle_seconds=0.2)
    async with serving(echo, limits=limits) as server, connect(url(server)) as client:
        with pytest.raises(ConnectionClosedOK) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "idle")


# -- slowness


async def test_slow_handler_slows_the_peer() -> None:
    release = asyncio.Event()

    async def serve(socket: WebSocket) -> None:
        await release.wait()
        assert len(socket._buffer) <= 16
        assert socket._buffered <= 64 * 1024 + 16_000
        await echo(socket)

    async with serving(serve) as server, await RawClient.connect(server.port) as client:
        sent = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                while sent < 512 * 2**20:
                    client.send(BINARY, bytes(16_000))
                    sent += 16_000
                    await client.writer.drain()
        assert sent < 64 * 2**20
        release.set()


async def test_slow_peer_slows_the_handler() -> None:
    sent = 0
    ended = asyncio.Event()

    async def serve(socket: WebSocket) -> None:
        nonlocal sent
        try:
            while True:
                await socket.send(bytes(16_000))
                sent += 16_000
        finally:
            ended.set()

    async with serving(serve) as server, await RawClient.connect(server.port) as client:
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert 0 < sent < 64 * 2**20
        opcode, payload = await client.receive()
        assert (opcode, len(payload)) == (BINARY, 16_000)
        client.writer.transport.abort()
        await asyncio.wait_for(ended.wait(), 5)


async def test_cancelled_sender_leaves_the_connection_whole() -> None:
    async def serve(socket: WebSocket) -> None:
        for number in range(200):
            sending = asyncio.create_task(socket.send(f"{number} ".encode() + bytes(200_000)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            sending.cancel()
            await asyncio.wait((sending,))
        await socket.send("last")

    async with serving(serve) as server, connect(url(server)) as client:
        numbers = []
        while (message := await client.recv()) != "last":
            assert isinstance(message, bytes)
            number, rest = message.split(b" ", 1)
            assert rest == bytes(200_000)
            numbers.append(int(number))
        assert numbers == sorted(set(numbers))


# -- ends


async def test_handler_that_returns_closes() -> None:
    async def serve(socket: WebSocket) -> None:
        await socket.send("one")

    async with serving(serve) as server, connect(url(server)) as client:
        assert await client.recv() == "one"
        with pytest.raises(ConnectionClosedOK):
            await client.recv()
        assert client.close_code == 1000


async def test_bug_of_a_handler(caplog: pytest.LogCaptureFixture) -> None:
    async def serve(socket: WebSocket) -> None:
        raise ValueError("secret")

    async with serving(serve) as server, connect(url(server)) as client:
        with caplog.at_level(logging.ERROR), pytest.raises(ConnectionClosedError) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1011, "internal error")
    assert "bug behind a WebSocket" in caplog.text


async def test_reason_is_cut_to_what_a_frame_holds() -> None:
    async def serve(socket: WebSocket) -> None:
        await socket.close(4000, "ü" * 100)

    async with serving(serve) as server, await RawClient.connect(server.port) as client:
        assert await client.close_code() == (4000, "ü" * 61)


async def test_nothing_is_sent_after_the_close() -> None:
    refused: asyncio.Future[WebSocketClosed] = asyncio.get_running_loop().create_future()

    async def serve(socket: WebSocket) -> None:
        await echo(socket)
        try:
            await socket.send("late")
        except WebSocketClosed as closed:
            refused.set_result(closed)

    async with serving(serve) as server:
        async with connect(url(server)) as client:
            await client.close(4321, "enough")
        closed = await asyncio.wait_for(refused, 5)
    assert (closed.code, closed.reason, closed.sent) == (4321, "enough", False)


async def test_peer_that_does_not_answer_the_close_is_left() -> None:
    left = asyncio.Event()

    async def serve(socket: WebSocket) -> None:
        await socket.close(1000, seconds=0.1)
        left.set()

    async with serving(serve) as server, await RawClient.connect(server.port) as client:
        assert (await client.close_code())[0] == 1000
        await asyncio.wait_for(left.wait(), 5)
        async with asyncio.timeout(5):
            assert await client.reader.read() == b""


async def test_messages_before_a_close_in_form_are_handled() -> None:
    """The peer is gone, but what it said before is not."""
    handled: list[str | bytes] = []
    done = asyncio.Event()

    async def serve(socket: WebSocket) -> None:
        async for message in socket:
            await asyncio.sleep(0.01)
            handled.append(message)
        done.set()

    async with serving(serve) as server:
        async with connect(url(server)) as client:
            for number in range(30):
                await client.send(str(number))
        await asyncio.wait_for(done.wait(), 5)
    assert handled == [str(number) for number in range(30)]


@pytest.mark.parametrize("outlives", [False, True])
async def test_broken_connection_cancels_the_handler(outlives: bool) -> None:
    outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def serve(socket: WebSocket) -> None:
        try:
            await anext(socket)
            await asyncio.sleep(0.2)
            outcome.set_result("finished")
        except asyncio.CancelledError:
            outcome.set_result("cancelled")
            raise

    async with serving(serve, outlives=outlives) as server:
        client = await RawClient.connect(server.port)
        client.send(TEXT, b"work")
        await asyncio.sleep(0.05)
        client.writer.transport.abort()
        assert await asyncio.wait_for(outcome, 5) == ("finished" if outlives else "cancelled")


async def test_drain_finishes_what_is_in_flight() -> None:
    began, release = asyncio.Event(), asyncio.Event()

    async def serve(socket: WebSocket) -> None:
        async for message in socket:
            began.set()
            await release.wait()
            await socket.send(message)

    async with serving(serve) as server, connect(url(server)) as client:
        await client.send("work")
        await began.wait()
        draining = asyncio.create_task(server.drain())
        await asyncio.sleep(0.05)
        assert not draining.done()
        release.set()
        assert await client.recv() == "work"
        with pytest.raises(ConnectionClosedOK) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        await asyncio.wait_for(draining, 5)


async def test_stop_closes_what_is_open() -> None:
    async def serve(socket: WebSocket) -> None:
        await asyncio.Event().wait()

    async with serving(serve) as server, connect(url(server)) as client, await RawClient.connect(server.port):
        await asyncio.wait_for(server.stop(), 3)
        with pytest.raises(ConnectionClosedOK) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


@pytest.fixture(autouse=True)
async def _leaves_nothing() -> AsyncIterator[None]:
    """A test whose connections are over has no tasks left."""
    before = asyncio.all_tasks()
    yield
    deadline = asyncio.get_running_loop().time() + 5
    while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
        assert asyncio.get_running_loop().time() < deadline, left
        await asyncio.sleep(0.01)
