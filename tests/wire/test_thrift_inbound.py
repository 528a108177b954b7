"""The Thrift server's side, byte by byte: pipelining, limits, hostile peers, oneway calls, HTTP, drain."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from support.plain import plain
from support.thrift_service import EVERYTHING, served

from adapters.thrift.status import read_failure
from gateway.codecs.thrift.format import Protocol
from gateway.codecs.thrift.message import Envelope, MessageType, framed, read_message, write_message
from gateway.net.http.client import HttpClient
from gateway.status import Code, Detail, Failure

BINARY = Protocol.BINARY


def add(left: int, right: int, seqid: int = 1, **changed: Any) -> bytes:
    """A framed call of add(left, right)."""
    body = struct.pack(">bhibhib", 8, 1, left, 8, 2, right, 0)
    envelope = {"name": "add", "type": MessageType.CALL, "seqid": seqid, "body": body, **changed}
    return framed(write_message(BINARY, Envelope(**envelope)))


def notify(number: int, type_: int = MessageType.ONEWAY) -> bytes:
    body = struct.pack(">bhibhqb", 11, 1, 0, 10, 2, number, 0)
    return framed(write_message(BINARY, Envelope("notify", type_, 0, body)))


class Client:
    """A framed connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def reply(self) -> Envelope:
        async with asyncio.timeout(10):
            (size,) = struct.unpack(">I", await self.reader.readexactly(4))
            return read_message(BINARY, await self.reader.readexactly(size))

    async def sum(self) -> tuple[int, int]:
        """(seqid, the sum)."""
        reply = await self.reply()
        assert reply.type == MessageType.REPLY, read_failure(BINARY, reply.body)
        return reply.seqid, struct.unpack(">bhib", reply.body)[2]

    async def failure(self) -> Failure:
        reply = await self.reply()
        assert reply.type == MessageType.EXCEPTION
        return read_failure(BINARY, reply.body)

    async def closed(self) -> None:
        async with asyncio.timeout(10):
            assert await self.reader.read() == b""


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


class Adder:
    """Adds; `hold` keeps sums of this number back until `let_go`."""

    def __init__(self) -> None:
        self.served: Any = None
        self.begun: list[int] = []
        self.gates: dict[int, asyncio.Event] = {}
        self.cancelled = asyncio.Event()

    async def add(self, value: Any) -> Any:
        self.begun.append(value.left)
        try:
            if value.left in self.gates:
                await self.gates[value.left].wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return plain(self.served.types["add"].reply, {"success": value.left + value.right})

    async def has_begun(self, *numbers: int) -> None:
        async with asyncio.timeout(10):
            while not set(numbers) <= set(self.begun):
                await asyncio.sleep(0.001)


@asynccontextmanager
async def adding(**options: Any) -> AsyncIterator[tuple[SimpleNamespace, Adder]]:
    adder = Adder()
    async with served({"add": adder.add}, thrift=EVERYTHING, **options) as found:
        adder.served = found
        yield found, adder


async def test_replies_come_as_they_are_done_and_bear_their_ids() -> None:
    async with adding() as (service, adder), connected(service.port) as client:
        adder.gates[1] = asyncio.Event()
        client.writer.write(add(1, 1, 11) + add(2, 1, 12) + add(3, 1, -5))
        assert {await client.sum(), await client.sum()} == {(12, 3), (-5, 4)}
        adder.gates[1].set()
        assert await client.sum() == (11, 2)


async def test_calls_of_one_id_wait_for_each_other() -> None:
    """Clients that do not number their calls take the first answer for that of the first call."""
    async with adding() as (service, adder), connected(service.port) as client:
        adder.gates[1] = asyncio.Event()
        client.writer.write(add(1, 1, 0) + add(2, 1, 0) + add(3, 1, 0))
        await adder.has_begun(1)
        client.writer.write(add(4, 1, 0))
        await asyncio.sleep(0.02)
        assert adder.begun == [1]
        adder.gates[1].set()
        assert [await client.sum() for _ in range(4)] == [(0, 2), (0, 3), (0, 4), (0, 5)]


async def test_ordered() -> None:
    async with adding(ordered=True) as (service, adder), connected(service.port) as client:
        adder.gates[1] = asyncio.Event()
        client.writer.write(add(1, 1, 11) + add(2, 1, 12))
        await adder.has_begun(1)
        await asyncio.sleep(0.02)
        assert adder.begun == [1]
        adder.gates[1].set()
        assert [await client.sum(), await client.sum()] == [(11, 2), (12, 3)]


async def test_calls_at_a_time_are_bounded_and_reading_stops() -> None:
    async with adding() as (service, adder), connected(service.port) as client:
        for number in range(200):
            adder.gates[number] = asyncio.Event()
        client.writer.write(b"".join(add(number, 0, number) for number in range(200)))
        await adder.has_begun(*range(64))
        await asyncio.sleep(0.02)
        assert len(adder.begun) == 64
        for gate in adder.gates.values():
            gate.set()
        assert {await client.sum() for _ in range(200)} == {(number, number) for number in range(200)}


async def test_a_caller_that_leaves_cancels_its_calls() -> None:
    async with adding() as (service, adder):
        adder.gates[1] = asyncio.Event()
        async with connected(service.port) as client:
            client.writer.write(add(1, 1))
            await adder.has_begun(1)
            client.writer.transport.abort()
        await asyncio.wait_for(adder.cancelled.wait(), 10)


async def test_calls_of_callers_that_leave_at_once_hold_nothing_up() -> None:
    """Some are cancelled before they have begun."""
    async with adding() as (service, adder):
        adder.gates[1] = asyncio.Event()
        for _ in range(50):
            async with connected(service.port) as client:
                client.writer.write(add(1, 1))
                client.writer.close()
        await asyncio.wait_for(service.inbound.drain(), 10)


async def test_a_stream_of_calls_is_never_too_slow() -> None:
    """Each is there whole in time, though always one is half-way."""
    async with adding(receive_seconds=1) as (service, _), connected(service.port) as client:
        clock = asyncio.get_running_loop().time
        until, rest, sent = clock() + 2, b"", 0
        while clock() < until:
            whole = rest + add(1, 1, sent)
            client.writer.write(whole[:-3])
            rest, sent = whole[-3:], sent + 1
            await asyncio.sleep(0.02)
        client.writer.write(rest)
        assert {await client.sum() for _ in range(sent)} == {(number, 2) for number in range(sent)}


async def test_a_reply_over_the_limit_is_told() -> None:
    def big(value: Any) -> Any:
        return plain(service.types["echo"].reply, {"success": value.text * 2 if len(value.text) > 200 else value.text})

    functions = {"echo": big}
    async with served(functions, thrift=EVERYTHING, max_frame_bytes=300) as service, connected(service.port) as client:
        for size in (200, 250):
            body = struct.pack(">bhi", 11, 1, size) + b"x" * size + b"\0"
            client.writer.write(framed(write_message(BINARY, Envelope("echo", 1, size, body))))
            if size == 200:
                assert (await client.reply()).type == MessageType.REPLY
            else:
                failure = await client.failure()
                assert failure.code is Code.INTERNAL and "more than the limit of 300" in failure.message


async def test_oneway_calls_of_a_caller_that_left_are_served() -> None:
    told: list[int] = []
    gate = asyncio.Event()

    async def tell(value: Any) -> None:
        told.append(value.number)
        await gate.wait()

    async with served({"notify": tell}, thrift=EVERYTHING) as service:
        async with connected(service.port) as client:
            client.writer.write(notify(1) + notify(2) + add(1, 1) + notify(3))
        for abort in (False, True):
            async with connected(service.port) as client:
                client.writer.write(notify(4) + notify(5))
                await client.writer.drain()
                if abort:
                    await asyncio.sleep(0.02)
                    client.writer.transport.abort()
        gate.set()
        async with asyncio.timeout(10):
            while len(told) < 7:
                await asyncio.sleep(0.001)
        assert sorted(told) == [1, 2, 3, 4, 4, 5, 5]


async def test_a_bad_call_leaves_the_connection() -> None:
    async with adding() as (service, _), connected(service.port) as client:
        truncated = add(1, 1, 3, body=b"\x08\0\x01\0\0")
        client.writer.write(truncated)
        failure = await client.failure()
        assert (failure.code, failure.message, failure.path) == (
            Code.INVALID_ARGUMENT,
            "the message is truncated",
            "$.left",
        )
        client.writer.write(add(1, 1, body=b"\x08\0\x09\0\0\0\0\0"))
        assert (await client.failure()).message == "the contract has no field 9"
        client.writer.write(add(1, 1, name="subtract"))
        failure = await client.failure()
        assert (failure.code, failure.message) == (Code.UNIMPLEMENTED, "no function 'subtract' is served")
        client.writer.write(add(1, 1, type=MessageType.REPLY))
        assert "is no call" in (await client.failure()).message
        client.writer.write(add(20, 3))
        assert await client.sum() == (1, 23)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x7f\xff\xff\xff", "announced, more than the limit of 16777216"),
        (b"\xff\xff\xff\xff", "announced, more than the limit"),
        (b"GET / HTTP/1.1\r\n\r\n", "announced, more than the limit"),
        (framed(b"nonsense"), "no message of Thrift's binary protocol"),
        (framed(b""), "no message of Thrift's binary protocol"),
    ],
)
async def test_what_can_not_be_read_on_is_told_and_closed(data: bytes, reason: str) -> None:
    async with adding() as (service, _), connected(service.port) as client:
        client.writer.write(data)
        failure = await client.failure()
        assert failure.code is Code.INVALID_ARGUMENT and reason in failure.message
        await client.closed()


async def test_limits() -> None:
    async with adding(max_frame_bytes=64) as (service, _), connected(service.port) as client:
        client.writer.write(add(1, 1) + add(1, 1, name="x" * 64) + add(1, 1))
        assert await client.sum() == (1, 2), "what came before is answered"
        assert "more than the limit of 64" in (await client.failure()).message
    async with adding(max_connections=1) as (service, _), connected(service.port) as client:
        client.writer.write(add(1, 1))
        assert await client.sum() == (1, 2)
        async with connected(service.port) as second:
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await second.reply()
        client.writer.write(add(1, 1))
        assert await client.sum() == (1, 2)


async def test_idle_and_slow_peers_are_closed() -> None:
    async with adding(idle_seconds=0.05) as (service, _), connected(service.port) as client:
        await client.closed()
    async with adding(receive_seconds=0.05) as (service, _), connected(service.port) as client:
        client.writer.write(add(1, 1)[:9])
        assert "not there whole within 0.05 s" in (await client.failure()).message
        await client.closed()
    for transport in ("framed", "buffered"):  # a message that is there whole stops the clock
        async with adding(receive_seconds=0.05, transport=transport) as (service, _), connected(service.port) as client:
            whole = add(1, 1)[0 if transport == "framed" else 4 :]
            client.writer.write(whole[:9])
            await asyncio.sleep(0.01)
            client.writer.write(whole[9:])
            await client.reader.readexactly(4)
            await asyncio.sleep(0.1)
            assert not client.reader.at_eof()


async def test_oneway_calls_are_never_answered() -> None:
    told: list[int] = []

    def tell(value: Any) -> None:
        told.append(value.number)
        raise Failure(Code.NOT_FOUND, "nobody there")

    adder = Adder()
    async with served({"notify": tell, "add": adder.add}, thrift=EVERYTHING) as service:
        adder.served = service
        async with connected(service.port) as client:
            client.writer.write(notify(1) + notify(2, MessageType.CALL))
            unknown = Envelope("nope", MessageType.ONEWAY, 0, b"\0")
            client.writer.write(framed(write_message(BINARY, unknown)))
            client.writer.write(add(2, 3, 9))
            assert await client.sum() == (9, 5)
        assert told == [1, 2]


async def test_a_slow_reader_slows_the_gateway() -> None:
    """Replies that are not read stop the reading of calls: no buffer grows without bound."""

    def big(value: Any) -> Any:
        begun.append(1)
        return plain(service.types["echo"].reply, {"success": "x" * 200_000})

    begun: list[int] = []
    async with served({"echo": big}, thrift=EVERYTHING) as service, connected(service.port) as client:
        body = struct.pack(">bhib", 11, 1, 0, 0)
        calls = [framed(write_message(BINARY, Envelope("echo", 1, number, body))) for number in range(1000)]
        client.writer.write(b"".join(calls))
        before = -1
        while len(begun) != before:
            before = len(begun)
            await asyncio.sleep(0.1)
        assert 0 < before < 500
        for _ in range(1000):
            await client.reply()
        assert len(begun) == 1000


async def test_drain_answers_what_came_and_takes_no_more() -> None:
    async with adding() as (service, adder), connected(service.port) as client, connected(service.port) as idle:
        adder.gates[1] = asyncio.Event()
        client.writer.write(add(1, 1, 4))
        await adder.has_begun(1)
        draining = asyncio.create_task(service.inbound.drain())
        await idle.closed()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", service.port)
        assert not draining.done()
        adder.gates[1].set()
        assert await client.sum() == (4, 2)
        await client.closed()
        await asyncio.wait_for(draining, 10)


async def test_stop_ends_what_is_left() -> None:
    async with adding() as (service, adder), connected(service.port) as client:
        adder.gates[1] = asyncio.Event()
        client.writer.write(add(1, 1, 4))
        await adder.has_begun(1)
        await asyncio.wait_for(service.inbound.stop(), 10)
        assert adder.cancelled.is_set()


async def test_routes_are_replaced_in_place() -> None:
    async with adding() as (service, _), connected(service.port) as client:
        client.writer.write(add(1, 1))
        assert await client.sum() == (1, 2)
        service.inbound.bind([])
        client.writer.write(add(1, 1))
        assert (await client.failure()).code is Code.UNIMPLEMENTED


async def test_http() -> None:
    seen: list[Any] = []

    def tell(value: Any) -> None:
        if value.number == 404:
            raise Failure(Code.NOT_FOUND, "not here", path="$.number", details=[Detail("X", {"y": 1})])

    adder = Adder()
    options = {"transport": "http", "path": "/rpc", "forward_headers": ("X-Tenant",), "max_frame_bytes": 1000}
    functions = {"add": adder.add, "notify": tell}
    async with served(functions, frozenset({"x-tenant"}), thrift=EVERYTHING, **options) as service:
        adder.served = service
        client = HttpClient(100_000)
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        headers = [("X-Tenant", "t1"), ("X-Other", "no"), ("traceparent", trace)]
        answer = await client.request("POST", service.url, headers, add(1, 2, 3)[4:])
        assert (answer.status, answer.headers["content-type"]) == (200, "application/x-thrift")
        assert read_message(BINARY, answer.body).seqid == 3
        _, message, context = service.handlers["add"].calls[0]
        assert list(message.headers) == [("x-tenant", "t1")]
        assert (context.trace, context.peer) == (trace, "127.0.0.1")
        answer = await client.request("POST", service.url, (), notify(1)[4:])
        assert (answer.status, answer.body) == (200, b"")
        answer = await client.request("POST", service.url, (), notify(404)[4:])
        assert answer.status == 404 and answer.headers["content-type"] == "application/problem+json"
        assert b"not here" in answer.body and b"$.number" in answer.body
        large = b"\x80" * 2000
        for body, status, reason in (
            (b"nonsense", 400, "no message"),
            (large, 413, "larger than the limit of 1000 bytes"),
        ):
            answer = await client.request("POST", service.url, (), body)
            assert answer.status == status
            assert reason in read_failure(BINARY, read_message(BINARY, answer.body).body).message
        answer = await client.request("POST", service.url, (), add(1, 2, name="nope")[4:])
        assert answer.status == 200 and read_message(BINARY, answer.body).type == MessageType.EXCEPTION
        await client.close()
        assert not seen
