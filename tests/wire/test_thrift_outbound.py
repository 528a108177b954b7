"""The Thrift client's side: what it sends, and what it makes of every answer and of none."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.plain import plain
from support.thrift_service import EVERYTHING, Caller, served
from support.until import until

from adapters.thrift.status import write_failure
from gateway.codecs.thrift.format import Protocol
from gateway.codecs.thrift.message import Envelope, MessageType, framed, read_message, write_message
from gateway.message import Context
from gateway.net.http.router import PathTemplate
from gateway.net.http.server import HttpReply, HttpRequest, HttpRoute, HttpServer
from gateway.status import Code, Failure

BINARY = Protocol.BINARY
Answer = Callable[[Envelope], Awaitable[bytes | None]]


def result(call: Envelope, body: bytes, **changed: Any) -> bytes:
    envelope = {"name": call.name, "type": MessageType.REPLY, "seqid": call.seqid, "body": body, **changed}
    return framed(write_message(BINARY, Envelope(**envelope)))


def success(call: Envelope, value: int = 0) -> bytes:
    return result(call, struct.pack(">bhib", 8, 0, value, 0))


class Upstream:
    """Answers as the test says. connections: how many were made; calls: what came; lost: how many ended."""

    def __init__(self) -> None:
        self.answer: Answer = self._add
        self.connections = 0
        self.lost = 0
        self.calls: list[Envelope] = []
        self.port = 0

    async def _add(self, call: Envelope) -> bytes | None:
        _, _, left, _, _, right, _ = struct.unpack(">bhibhib", call.body)
        return success(call, left + right)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1

        async def one(call: Envelope) -> None:
            reply = await self.answer(call)
            if reply == b"":
                writer.close()
            elif reply is not None:
                writer.write(reply)

        tasks = []
        try:
            while True:
                (size,) = struct.unpack(">I", await reader.readexactly(4))
                call = read_message(BINARY, await reader.readexactly(size))
                self.calls.append(call)
                tasks.append(asyncio.create_task(one(call)))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.lost += 1
        finally:
            for task in tasks:
                task.cancel()
            writer.close()


@asynccontextmanager
async def upstream(**options: Any) -> AsyncIterator[tuple[Upstream, Caller]]:
    peer = Upstream()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    caller = Caller(target=f"127.0.0.1:{peer.port}", thrift=EVERYTHING, **options)
    try:
        async with caller:
            yield peer, caller
    finally:
        server.close()


async def add(caller: Caller, left: int = 1, right: int = 2) -> int:
    request = plain(caller.contract("add").request, {"left": left, "right": right})
    found: int = (await caller.call("add", request)).success
    return found


async def failure(caller: Caller) -> Failure:
    with pytest.raises(Failure) as told:
        await asyncio.wait_for(add(caller), 10)
    return told.value


async def test_what_is_sent() -> None:
    async with upstream() as (peer, caller):
        assert [await add(caller, 1, 1), await add(caller, 2, 2)] == [2, 4]
        assert [(call.name, call.type, call.strict) for call in peer.calls] == [("add", MessageType.CALL, True)] * 2
        assert len({call.seqid for call in peer.calls}) == 2
        assert peer.connections == 1, "the connection is used again"
        request = plain(caller.contract("notify").request, {"what": "x", "number": 1})
        await caller.call("notify", request)
        await until(lambda: len(peer.calls) == 3)
        assert peer.calls[2].type == MessageType.ONEWAY
    async with upstream(strict=False, multiplexed=True) as (peer, caller):
        assert await add(caller) == 3
        assert (peer.calls[0].name, peer.calls[0].strict) == ("Everythings:add", False)


async def test_answers_in_any_order_on_one_connection() -> None:
    async with upstream(max_connections=1) as (peer, caller):
        waiting: list[tuple[Envelope, asyncio.Event]] = []

        async def answer(call: Envelope) -> bytes | None:
            gate = asyncio.Event()
            waiting.append((call, gate))
            await gate.wait()
            return await peer._add(call)

        peer.answer = answer
        sums = [asyncio.create_task(add(caller, number, 100)) for number in range(20)]
        await until(lambda: len(waiting) == 20)
        for _, gate in reversed(waiting):
            gate.set()
            await asyncio.sleep(0)
        assert await asyncio.gather(*sums) == [number + 100 for number in range(20)]
        assert peer.connections == 1


async def test_calls_are_spread_over_so_many_connections() -> None:
    async with upstream(max_connections=3) as (peer, caller):
        gate = asyncio.Event()

        async def answer(call: Envelope) -> bytes | None:
            await gate.wait()
            return await peer._add(call)

        peer.answer = answer
        sums = [asyncio.create_task(add(caller, number)) for number in range(12)]
        await until(lambda: len(peer.calls) == 12)
        assert peer.connections == 3
        gate.set()
        await asyncio.gather(*sums)


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (lambda call: result(call, b"\0"), Code.INTERNAL, "the upstream answered without a result"),
        (
            lambda call: result(call, b"\x0c\0\x05\0\0"),
            Code.INTERNAL,
            "an exception that the contract does not declare",
        ),
        (
            lambda call: result(call, b""),
            Code.INTERNAL,
            "the upstream's answer can't be read: the message is truncated",
        ),
        (lambda call: result(call, b"\0", type=MessageType.CALL), Code.INTERNAL, "the upstream's answer is no reply"),
        (lambda call: result(call, b"\0", seqid=call.seqid + 1), Code.INTERNAL, "answered out of sequence"),
        (lambda call: b"\x7f\xff\xff\xff", Code.INTERNAL, "the upstream's answer is not Thrift as its endpoint says"),
        (lambda call: framed(b"HTTP/1.1 400"), Code.INTERNAL, "the upstream's answer is not Thrift"),
        (lambda call: b"", Code.UNAVAILABLE, "the connection to the upstream broke before it answered"),
    ],
)
async def test_answers_that_are_none(make: Any, code: Code, message: str) -> None:
    async with upstream() as (peer, caller):

        async def answer(call: Envelope) -> bytes | None:
            made: bytes = make(call)
            return made

        usual, peer.answer = peer.answer, answer
        told = await failure(caller)
        assert told.code is code and message in told.message and told.sent
        peer.answer = usual
        assert await add(caller) == 3, "the next call is as good as ever"


async def test_failures_that_the_upstream_tells() -> None:
    async with upstream() as (peer, caller):
        sent = Failure(Code.NOT_FOUND, "it is not there", path="$.left")

        async def answer(call: Envelope) -> bytes | None:
            return framed(write_failure(BINARY, call, sent))

        peer.answer = answer
        told = await failure(caller)
        assert (told.code, told.message, told.path) == (Code.NOT_FOUND, "it is not there", "$.left")


async def test_declared_exceptions() -> None:
    async with upstream() as (peer, caller):
        bodies = {
            "own text": b"\x0c\0\x01\x0b\0\x01\0\0\0\x08own text\x08\0\x02\0\0\0\x02\0\0",
            "the upstream's exception Refused is not as declared": b"\x0c\0\x01\x08\0\x02\0\0\0\x02\0\0",
        }
        for text, body in bodies.items():

            async def answer(call: Envelope, body: bytes = body) -> bytes | None:
                return result(call, body)

            peer.answer = answer
            with pytest.raises(Failure, match=text) as told:
                await caller.call("swap", plain(caller.contract("swap").request, {}))
            good = text == "own text"
            assert told.value.code is (Code.FAILED_PRECONDITION if good else Code.INTERNAL)
            assert [detail.name for detail in told.value.details] == (["Refused"] if good else [])


async def test_a_peer_that_is_down() -> None:
    async with upstream() as (peer, caller):
        port = peer.port
    async with Caller(target=f"127.0.0.1:{port}", thrift=EVERYTHING) as caller:
        told = await failure(caller)
        assert (told.code, told.message, told.sent) == (Code.UNAVAILABLE, "the upstream can't be reached", False)
        assert str(port) not in told.text
        together = await asyncio.gather(*(failure(caller) for _ in range(20)))
        assert {one.code for one in together} == {Code.UNAVAILABLE}


async def test_a_connection_that_was_closed_meanwhile_is_not_used() -> None:
    async with upstream() as (peer, caller):
        assert await add(caller) == 3

        async def leave(call: Envelope) -> bytes | None:
            return b""

        usual, peer.answer = peer.answer, leave
        assert (await failure(caller)).code is Code.UNAVAILABLE
        peer.answer = usual
        assert await add(caller) == 3
        assert peer.connections == 2


async def test_a_call_that_is_given_up_closes_its_connection_after_the_others() -> None:
    async with upstream(max_connections=1) as (peer, caller):
        gates: dict[int, asyncio.Event] = {1: asyncio.Event(), 2: asyncio.Event()}

        async def answer(call: Envelope) -> bytes | None:
            left = struct.unpack_from(">i", call.body, 3)[0]
            if left in gates:
                await gates[left].wait()
            return await peer._add(call)

        peer.answer = answer
        stuck, slow = asyncio.create_task(add(caller, 1)), asyncio.create_task(add(caller, 2))
        await until(lambda: len(peer.calls) == 2)
        stuck.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stuck
        assert await add(caller, 3) == 5
        assert peer.connections == 2, "a new call takes a new connection"
        gates[1].set()  # its answer comes after all, and is nobody's
        await asyncio.sleep(0.02)
        assert peer.lost == 0
        gates[2].set()
        assert await slow == 4
        await until(lambda: peer.lost == 1)


async def test_too_large_a_message_is_not_sent() -> None:
    async with upstream(max_frame_bytes=20) as (peer, caller):
        request = plain(caller.contract("echo").request, {"text": "x" * 50})
        with pytest.raises(Failure, match="more than the limit of 20") as told:
            await caller.call("echo", request)
        assert (told.value.code, told.value.sent) == (Code.INVALID_ARGUMENT, False)
        assert peer.connections == 0


async def test_oneway_to_a_peer_that_is_down() -> None:
    async with upstream() as (peer, caller):
        port = peer.port
    async with Caller(target=f"127.0.0.1:{port}", thrift=EVERYTHING) as caller:
        with pytest.raises(Failure) as told:
            await caller.call("notify", plain(caller.contract("notify").request, {"what": "x", "number": 1}))
        assert told.value.code is Code.UNAVAILABLE and not told.value.sent


async def test_oneway_waits_while_the_peer_does_not_read() -> None:
    """What a slow peer has not taken is the caller's to wait for, not the gateway's to keep."""
    asleep = asyncio.Event()

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asleep.wait()
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0, limit=1024)
    target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with Caller(target=target, thrift=EVERYTHING, max_connections=1) as caller:
        request = plain(caller.contract("notify").request, {"what": "x" * 1_000_000, "number": 1})

        async def flood() -> None:
            for _ in range(50):
                await caller.call("notify", request)

        flooding = asyncio.create_task(flood())
        done, _ = await asyncio.wait([flooding], timeout=0.5)
        assert not done
        asleep.set()
        with pytest.raises(Failure) as told:
            await asyncio.wait_for(flooding, 10)
        assert told.value.code is Code.UNAVAILABLE
    server.close()


class Web:
    """An HTTP server that answers as the test says."""

    def __init__(self) -> None:
        self.reply: Callable[[Envelope], HttpReply] = lambda call: HttpReply(200, (), success(call, 3)[4:])
        self.requests: list[HttpRequest] = []

    async def answer(self, request: HttpRequest) -> HttpReply:
        self.requests.append(request)
        return self.reply(read_message(BINARY, await request.body(10**6)))


@asynccontextmanager
async def web(**options: Any) -> AsyncIterator[tuple[Web, Caller]]:
    server, peer = HttpServer("127.0.0.1:0"), Web()
    server.mount("peer", [HttpRoute("POST", PathTemplate("/rpc"), peer.answer)])
    await server.start()
    target = f"http://127.0.0.1:{server.port}/rpc"
    try:
        async with Caller(target=target, thrift=EVERYTHING, transport="http", **options) as caller:
            yield peer, caller
    finally:
        await server.stop()


async def test_http() -> None:
    async with web(forward_headers=("X-Tenant",)) as (peer, caller):
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        request = plain(caller.contract("add").request, {"left": 1, "right": 2})
        reply = await caller.call("add", request, Context(trace=trace), [("x-tenant", "t1")])
        assert reply.success == 3
        headers = peer.requests[0].headers
        assert (headers["content-type"], headers["traceparent"]) == ("application/x-thrift", trace)
        assert headers["x-tenant"] == "t1"
        notice = plain(caller.contract("notify").request, {"what": "x", "number": 1})
        peer.reply = lambda call: HttpReply(200)
        await caller.call("notify", notice)
        problem = b'{"detail": "not here at $.number", "code": "NOT_FOUND", "path": "$.number"}'
        peer.reply = lambda call: HttpReply(404, [("Content-Type", "application/problem+json")], problem)
        with pytest.raises(Failure, match="not here") as told:
            await caller.call("notify", notice)
        assert (told.value.code, told.value.path) == (Code.NOT_FOUND, "$.number")


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, b"", Code.INTERNAL),
        (200, b"<html/>", Code.INTERNAL),
        (401, b"", Code.UNAUTHENTICATED),
        (403, b"", Code.PERMISSION_DENIED),
        (404, b"<html/>", Code.UNIMPLEMENTED),
        (429, b"", Code.RESOURCE_EXHAUSTED),
        (500, b"stack trace of /srv/secret", Code.INTERNAL),
        (503, b"", Code.UNAVAILABLE),
        (302, b"", Code.UNKNOWN),
    ],
)
async def test_http_answers_without_thrift(status: int, body: bytes, code: Code) -> None:
    async with web() as (peer, caller):
        peer.reply = lambda call: HttpReply(status, (), body)
        told = await failure(caller)
        assert told.code is code and "secret" not in told.message
        # Some servers give a TApplicationException the status 500.
        peer.reply = lambda call: HttpReply(500, (), write_failure(BINARY, call, Failure(Code.ABORTED, "so")))
        assert (await failure(caller)).code is Code.ABORTED


async def test_from_gateway_to_gateway() -> None:
    """The declared exception and any failure, whole."""

    def refuse(value: Any) -> Any:
        raise Failure(code, "so it is", path="$.left")

    for code in [code for code in Code if code is not Code.OK]:
        async with (
            served({"add": refuse}, thrift=EVERYTHING) as service,
            Caller(target=f"127.0.0.1:{service.port}", thrift=EVERYTHING) as caller,
        ):
            told = await failure(caller)
            assert (told.code, told.message, told.path) == (code, "so it is", "$.left")


async def test_nothing_is_left_after_stop() -> None:
    async with upstream() as (peer, caller):
        assert await add(caller) == 3
        await caller.outbound.stop()
        await until(lambda: peer.lost == 1)
        await caller.outbound.stop()
