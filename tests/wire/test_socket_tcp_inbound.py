"""TCP in, as byte dialogues: order, correlation, failures, limits, backpressure and broken peers."""

import asyncio
import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from support.socket_gateway import Route, counted, line, listening, serving
from support.until import until

from adapters.socket import TCP
from adapters.socket.inbound import TcpInbound
from gateway.net.network import Network
from gateway.port import Binding, ContractError
from gateway.schema.types import FLOAT64, Field, Record
from gateway.status import Code, Detail, Failure

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


def network() -> Network:
    return Network(Path())


async def slow_first(body: bytes) -> bytes:
    """The first message takes longest."""
    await asyncio.sleep(0.05 if b"1" in body else 0)
    return body


async def refuse(body: bytes) -> bytes:
    if b"bad" in body:
        raise Failure(
            Code.NOT_FOUND,
            "no such thing",
            path="$.id",
            details=[Detail("OutOfStock", {"sku": "tea"})],
            retry_after=2.0,
        )
    return body


ID = {"correlation": {"field": "id"}}
RECORD = {
    "format": "record",
    "framing": {"kind": "fixed", "size": 6},
    "record": {"fields": [{"name": "id", "type": "u16"}, {"name": "say", "type": "text", "width": 4}]},
}


async def test_replies_keep_the_order_of_requests() -> None:
    route = Route(slow_first)
    async with serving(route) as side, line(side.port) as caller:
        await caller.say(b'{"n":1}\n{"n":2}\n{"n":3}\n')
        assert [await caller.line() for _ in range(3)] == [b'{"n":1}\n', b'{"n":2}\n', b'{"n":3}\n']
    assert route.most == 3


async def test_replies_with_a_field_come_as_they_are_ready() -> None:
    async with serving(Route(slow_first), **ID) as side, line(side.port) as caller:
        await caller.say(b'{"id": "a", "n":1}\n{"n":2.50, "id": 27}\n')
        assert [json.loads(await caller.line()) for _ in range(2)] == [{"n": 2.5, "id": 27}, {"n": 1, "id": "a"}]


async def test_the_field_is_no_part_of_the_message() -> None:
    async def answer(body: bytes) -> bytes:
        return b'{"m":2.50}'

    async with serving(Route(answer), **ID) as side, line(side.port) as caller:
        await caller.say(b'{"n":2.50,"id":17}\n')
        assert await caller.line() == b'{"id":17,"m":2.50}\n'
        await caller.say(b'{"n":1}\n')
        assert json.loads(await caller.line())["error"]["detail"] == "missing required field at $.id"
        contract = side.contract(TCP.inbound.address())  # type: ignore[union-attr]
    decode = contract.format.decoder(Record("R", [Field("n", FLOAT64)]), contract.unknown)
    assert decode(b'{"n":2.50,"id":17}').n == 2.5


async def test_a_reply_with_another_value_in_the_field_is_none() -> None:
    """A type's own member of that name may repeat the caller's value, and nothing else."""

    async def answer(body: bytes) -> bytes:
        return b'{"id":1}'

    async with serving(Route(answer), **ID) as side, line(side.port) as caller:
        await caller.say(b'{"id":1}\n{"id":2}\n')
        replies = sorted([json.loads(await caller.line()) for _ in range(2)], key=lambda reply: int(reply["id"]))
    assert replies[0] == {"id": 1}
    assert (replies[1]["id"], replies[1]["error"]["code"]) == (2, "INTERNAL")


async def test_a_record_with_a_field_that_correlates() -> None:
    async with serving(Route(slow_first), **RECORD, **ID) as side, line(side.port) as caller:
        # What the route sees is not the field, so its place is empty there.
        await caller.say(b"\1\0tea1\0\2ham ")
        assert await caller.hear(12) == b"\0\2ham \1\0tea1"


@pytest.mark.parametrize(
    ("framing", "sent", "heard"),
    [
        ({"kind": "length", "width": 2}, b"\0\2{}\0\7" + b'{"a":1}', b"\0\2{}\0\7" + b'{"a":1}'),
        ({"kind": "delimiter", "delimiter": "\x1c\r", "start": "\x0b"}, b"\x0b{}\x1c\r", b"\x0b{}\x1c\r"),
        ({"kind": "fixed", "size": 2}, b"{}{}", b"{}{}"),
    ],
)
async def test_framings(framing: dict[str, Any], sent: bytes, heard: bytes) -> None:
    async with serving(Route(), framing=framing) as side, line(side.port) as caller:
        for index in range(len(sent)):
            await caller.say(sent[index : index + 1])
        assert await caller.hear(len(heard)) == heard


async def test_until_close() -> None:
    async with serving(Route(), framing={"kind": "until-close"}, format="text") as side, line(side.port) as caller:
        await caller.say(b"all of")
        await caller.say(b" it")
        caller.end()
        assert await caller.rest() == b"all of it"


async def test_what_was_sent_before_the_end_is_answered() -> None:
    async with serving(Route(slow_first)) as side, line(side.port) as caller:
        await caller.say(b'{"n":1}\n{"n":2}\n')
        caller.end()
        assert await caller.rest() == b'{"n":1}\n{"n":2}\n'


async def test_json_over_several_lines_is_written_on_one() -> None:
    async def pretty(body: bytes) -> bytes:
        return b'{\n  "text": "a\\nb"\n}'

    async with serving(Route(pretty)) as side, line(side.port) as caller:
        await caller.say(b"{}\n")
        assert json.loads(await caller.line()) == {"text": "a\nb"}


# -- failures


async def test_a_failure_in_json() -> None:
    net = network()
    async with serving(Route(refuse), network=net) as side, line(side.port) as caller:
        await caller.say(b'{"bad":1}\n{"good":1}\n')
        assert json.loads(await caller.line()) == {
            "error": {
                "code": "NOT_FOUND",
                "detail": "no such thing at $.id",
                "path": "$.id",
                "retry_after": 2.0,
                "details": [{"type": "OutOfStock", "sku": "tea"}],
            }
        }
        assert await caller.line() == b'{"good":1}\n'
    assert counted(net) == {"received": 2, "failed": 1}


async def test_a_failure_with_its_field() -> None:
    async with serving(Route(refuse), **ID) as side, line(side.port) as caller:
        await caller.say(b'{"id":9,"bad":1}\n')
        told = json.loads(await caller.line())
        assert told["id"] == 9 and told["error"]["code"] == "NOT_FOUND"


async def test_a_failure_as_a_fixed_record() -> None:
    settings = {**RECORD, "on_failure": {"reply": {"id": 0, "say": "ERR"}}}
    async with serving(Route(refuse), **settings) as side, line(side.port) as caller:
        await caller.say(b"\0\1bad \0\2good")
        assert await caller.hear(12) == b"\0\0ERR \0\2good"
    settings = {**RECORD, **ID, "on_failure": {"reply": {"say": "ERR"}}}
    async with serving(Route(refuse), **settings) as side, line(side.port) as caller:
        await caller.say(b"\0\7bad ")
        assert await caller.hear(6) == b"\0\7ERR "


async def test_a_failure_closes_a_connection_that_has_no_form_for_it() -> None:
    async with serving(Route(refuse), format="text") as side, line(side.port) as caller:
        await caller.say(b"good\nbad\nmore\n")
        assert await caller.rest() == b"good\n"


async def test_one_way_failures() -> None:
    net = network()
    async with serving(Route(refuse), "one-way", network=net) as side, line(side.port) as caller:
        await caller.say(b"bad\n")
        assert await caller.rest() == b""
    assert counted(net)["failed"] == 1
    route = Route(refuse)
    async with serving(route, "one-way", network=net, on_failure="drop") as side, line(side.port) as caller:
        await caller.say(b"bad\ngood\n")
        await until(lambda: len(route.requests) == 2)
        caller.end()
        assert await caller.rest() == b""
    assert counted(net)["failed"] == 2


async def test_a_one_way_message_outlives_its_connection() -> None:
    async def work(body: bytes) -> None:
        await asyncio.sleep(0.05)
        done.append(body)

    done: list[bytes] = []
    route = Route(work)
    async with serving(route, "one-way") as side:
        async with line(side.port) as caller:
            await caller.say(b'{"n":1}\n')
        await until(lambda: done == [b'{"n":1}'])
    assert route.cancelled == 0


async def test_a_caller_that_breaks_off_cancels_its_requests() -> None:
    async def hang(body: bytes) -> bytes:
        await asyncio.sleep(60)
        return body

    route = Route(hang)
    async with serving(route) as side:
        async with line(side.port) as caller:
            await caller.say(b'{"n":1}\n')
            await until(lambda: route.running == 1)
            caller.reset()
        await until(lambda: route.cancelled == 1)


# -- limits and broken peers


@pytest.mark.parametrize(
    ("framing", "sent"),
    [
        ({"kind": "length"}, b"\x80\0\0\0"),
        ({"kind": "length", "width": "varint"}, b"\x80\x80\x80\x80\x08"),
        ({"kind": "delimiter"}, b"x" * 1100),
    ],
)
async def test_a_frame_over_the_limit_is_refused_unread(framing: dict[str, Any], sent: bytes) -> None:
    net = network()
    route = Route()
    async with (
        serving(route, framing=framing, max_frame_bytes=1024, network=net) as side,
        line(side.port) as caller,
    ):
        await caller.say(sent)
        told = await caller.rest()
        assert b"INVALID_ARGUMENT" in told and b"1024" in told
    assert route.requests == [] and counted(net) == {"malformed": 1}


async def test_little_more_is_read_after_a_refusal() -> None:
    sent = 0
    async with serving(Route(), max_frame_bytes=1024) as side, line(side.port) as caller, asyncio.timeout(20):
        answer = asyncio.create_task(caller.reader.readline())
        with suppress(ConnectionError):
            while True:
                await caller.say(b"x" * 65536)
                sent += 65536
        assert b"1024" in await answer
    # Beyond what is read, systems buffer some megabytes; in two seconds a hundred times as much could be sent.
    assert sent < 32 * 1024 * 1024


async def test_a_reply_over_the_limit() -> None:
    async def large(body: bytes) -> bytes:
        return b'"' + b"x" * 2000 + b'"'

    async with serving(Route(large), max_frame_bytes=1024) as side, line(side.port) as caller:
        await caller.say(b"{}\n")
        assert "more than the limit of 1024" in json.loads(await caller.line())["error"]["detail"]


async def test_a_stream_that_breaks_off_inside_a_frame() -> None:
    net = network()
    route = Route()
    async with serving(route, framing={"kind": "length"}, network=net) as side, line(side.port) as caller:
        await caller.say(b"\0\0\0\2{}\0\0\0\7{")
        caller.end()
        told = await caller.rest()
        assert told.startswith(b"\0\0\0\2{}") and b"ended inside a frame" in told
    assert route.requests == [b"{}"] and counted(net)["malformed"] == 1


async def test_a_message_that_rests_half_way_is_cut_off() -> None:
    async with serving(Route(), stall_timeout="100ms") as side, line(side.port) as caller, line(side.port) as idle:
        await caller.say(b'{"half":')
        with pytest.raises(ConnectionError):
            await caller.rest()
        # One that is only quiet stays.
        await idle.say(b"{}\n")
        assert await idle.line() == b"{}\n"


async def test_an_idle_connection_is_closed() -> None:
    async with serving(Route(), idle_timeout="100ms") as side, line(side.port) as caller:
        assert await caller.rest() == b"", "it ends in order, for nothing was cut off"


async def test_too_many_connections() -> None:
    net = network()
    async with serving(Route(), max_connections=1, network=net) as side:
        async with line(side.port) as first:
            await first.say(b"{}\n")
            assert await first.line() == b"{}\n"
            async with line(side.port) as second:
                with pytest.raises(ConnectionError):
                    await second.rest()
            await first.say(b"{}\n")
            assert await first.line() == b"{}\n"
        await until(lambda: not side._server.connections)
        async with line(side.port) as third:
            await third.say(b"{}\n")
            assert await third.line() == b"{}\n"
    assert counted(net)["refused_connections"] == 1


async def test_a_caller_that_does_not_read_is_not_read() -> None:
    """Replies pile up in no memory of ours: requests stay with the caller."""

    async def large(body: bytes) -> bytes:
        return b'"' + b"x" * 100_000 + b'"'

    route = Route(large)
    async with serving(route, max_in_flight=4) as side, line(side.port, limit=1024) as caller:
        caller.writer.transport.pause_reading()
        for _ in range(2000):
            caller.writer.write(b"{}" + b" " * 1000 + b"\n")
        seen = -1
        while len(route.requests) != seen:
            seen = len(route.requests)
            await asyncio.sleep(0.1)
        assert seen < 1000
        (connection,) = side._server.connections
        assert connection._transport.get_write_buffer_size() < 8 * 100_010 + 65_536
        caller.writer.transport.resume_reading()
        total = 0
        while total < 2000 * 100_003:
            chunk = await asyncio.wait_for(caller.reader.read(1 << 20), 5)
            assert chunk
            total += len(chunk)
    assert len(route.requests) == 2000


async def test_a_caller_that_never_reads_is_given_up() -> None:
    async def large(body: bytes) -> bytes:
        return b'"' + b"x" * 900_000 + b'"'

    async with (
        serving(Route(large), max_in_flight=4, stall_timeout="200ms") as side,
        line(side.port, limit=1024) as caller,
    ):
        caller.writer.transport.pause_reading()
        await caller.say(b"{}\n" * 64)
        await until(lambda: len(side._server.connections) == 1)
        await until(lambda: not side._server.connections)


async def test_no_more_than_max_in_flight() -> None:
    gate = asyncio.Event()

    async def wait(body: bytes) -> bytes:
        await gate.wait()
        return body

    route = Route(wait)
    async with serving(route, max_in_flight=3) as side, line(side.port) as caller:
        await caller.say(b"{}\n" * 10)
        await until(lambda: route.running == 3)
        await asyncio.sleep(0.02)
        assert route.most == 3
        gate.set()
        assert await caller.hear(30) == b"{}\n" * 10


# -- streams


async def test_a_stream() -> None:
    async with serving(Route(), "stream") as side, line(side.port) as caller:
        await caller.say(b'{"n":1}\n')
        assert await caller.line() == b'{"n":1}\n'
        await caller.say(b'{"n":2}\n')
        assert await caller.line() == b'{"n":2}\n'
        caller.end()
        assert await caller.rest() == b""


async def test_a_stream_that_fails_tells_it_in_band() -> None:
    late = Route(after=Failure(Code.UNAVAILABLE, "gone"))
    async with serving(late, "stream") as side, line(side.port) as caller:
        await caller.say(b"{}\n")
        caller.end()
        assert await caller.rest() == b'{}\n{"error":{"detail":"gone","code":"UNAVAILABLE"}}\n'


async def test_a_stream_without_form_for_failures_is_reset() -> None:
    late = Route(after=Failure(Code.UNAVAILABLE, "gone"))
    async with serving(late, "stream", format="text") as side, line(side.port) as caller:
        await caller.say(b"a\n")
        assert await caller.line() == b"a\n"
        caller.end()
        with pytest.raises(ConnectionError):
            await caller.rest()


async def test_a_caller_that_resets_cancels_its_stream() -> None:
    async def hang(body: bytes) -> bytes:
        await asyncio.sleep(60)
        return body

    route = Route(hang)
    async with serving(route, "stream") as side, line(side.port) as caller:
        await caller.say(b"a\n")
        await until(lambda: len(route.requests) == 1)
        caller.reset()
        await until(lambda: route.cancelled == 1)


async def test_a_stream_reads_no_further_than_its_route() -> None:
    gate = asyncio.Event()

    async def wait(body: bytes) -> bytes:
        await gate.wait()
        return body

    route = Route(wait)
    async with serving(route, "stream", max_frame_bytes=100_000) as side, line(side.port) as caller:
        caller.writer.write((b"x" * 90_000 + b"\n") * 200)
        await until(lambda: len(route.requests) == 1)
        await asyncio.sleep(0.1)
        assert caller.writer.transport.get_write_buffer_size() > 5_000_000
        gate.set()
        got = 0
        while got < 200 * 90_001:
            got += len(await asyncio.wait_for(caller.reader.read(1 << 20), 5))
    assert len(route.requests) == 200


# -- life


async def test_draining_answers_what_was_taken() -> None:
    gate = asyncio.Event()

    async def wait(body: bytes) -> bytes:
        await gate.wait()
        return body

    route = Route(wait)
    async with serving(route) as side, line(side.port) as caller, line(side.port) as idle:
        await caller.say(b'{"n":1}\n')
        await until(lambda: route.running == 1 and len(side._server.connections) == 2)
        draining = asyncio.create_task(side.drain())
        assert await idle.rest() == b""
        await caller.say(b'{"n":2}\n')
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", side.port)
        assert not draining.done()
        gate.set()
        await asyncio.wait_for(draining, 5)
        assert await caller.line() == b'{"n":1}\n'
    assert route.requests == [b'{"n":1}']


async def test_draining_waits_for_one_way_messages_whose_senders_left() -> None:
    gate = asyncio.Event()

    async def wait(body: bytes) -> None:
        await gate.wait()

    route = Route(wait)
    async with serving(route, "one-way") as side:
        async with line(side.port) as caller:
            await caller.say(b'{"n":1}\n{"n":2}\n')
            await until(lambda: route.running == 2)
            caller.reset()
        await until(lambda: not side._server.connections)
        draining = asyncio.create_task(side.drain())
        await asyncio.sleep(0.02)
        assert not draining.done()
        gate.set()
        await asyncio.wait_for(draining, 5)
        assert route.running == 0 and route.cancelled == 0


async def test_a_new_route_takes_over_open_connections() -> None:
    async def second(body: bytes) -> bytes:
        return b'"second"'

    async with serving(Route()) as side, line(side.port) as caller:
        await caller.say(b"{}\n")
        assert await caller.line() == b"{}\n"
        address = TCP.inbound.address()  # type: ignore[union-attr]
        contract = side.contract(address)
        (pattern,) = contract.patterns
        side.bind([Binding("test", address, contract, pattern, Route(second), frozenset())])
        await caller.say(b"{}\n")
        assert await caller.line() == b'"second"\n'
        side.bind([])
        assert await caller.rest() == b""


async def test_a_taken_port() -> None:
    async with serving(Route()) as side:
        other = TcpInbound("other", TCP.endpoint.model_validate({"listen": f"127.0.0.1:{side.port}"}), network())  # type: ignore[arg-type]
        await other.load()
        with pytest.raises(OSError, match=r"(in use|address)"):
            await other.start()
        assert other.unready
        await other.stop()


async def test_an_inbound_that_dials() -> None:
    """A device that is connected to, sends, and goes away is connected to again."""
    connected: list[Any] = []

    async def device(talk: Any) -> None:
        connected.append(talk)
        await talk.say(b'{"n":%d}\n' % len(connected))
        assert await talk.line() == b'{"n":%d}\n' % len(connected)

    route = Route()
    async with listening(device) as port:
        async with serving(route, target=f"127.0.0.1:{port}", backoff="10ms", max_backoff="20ms") as side:
            await until(lambda: len(route.requests) >= 3)
            assert route.requests[:3] == [b'{"n":1}', b'{"n":2}', b'{"n":3}']
            assert route.peers[0] == f"127.0.0.1:{port}"
        count = len(connected)
        await asyncio.sleep(0.1)
        assert len(connected) == count, "stopped, it dials no more"
        assert isinstance(side, TcpInbound)


async def test_an_inbound_that_can_not_dial_says_why() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with serving(Route(), target=f"127.0.0.1:{port}", backoff="10ms") as side:
            assert side.unready == "not connected yet"
            await until(lambda: "can't reach" in side.unready)


async def test_nothing_is_left_behind() -> None:
    tasks = len(asyncio.all_tasks())
    async with serving(Route()) as side:
        for _ in range(20):
            async with line(side.port) as caller:
                await caller.say(b"{}\n")
                assert await caller.line() == b"{}\n"
        await until(lambda: not side._server.connections)
    await until(lambda: len(asyncio.all_tasks()) == tasks)


@pytest.mark.parametrize(
    ("settings", "pattern", "why"),
    [
        ({"tls": {"certificate": "a", "key": "b"}}, "stream", "half-close"),
        ({"framing": {"kind": "until-close"}}, "stream", "one message each way"),
        ({"on_failure": "drop"}, "request-reply", "wrong place"),
        ({"format": "text", "on_failure": {"reply": {"txt": "E"}}}, "request-reply", "unknown field"),
    ],
)
def test_contracts_that_can_not_be_kept(settings: dict[str, Any], pattern: str, why: str) -> None:
    endpoint: Any = TCP.endpoint.model_validate({"listen": "127.0.0.1:0", **settings})
    side = TcpInbound("in", endpoint, network())
    side._formats = endpoint.load(network().path).correlated(endpoint.field)
    assert TCP.inbound is not None
    with pytest.raises(ContractError, match=why):
        side.contract(TCP.inbound.address.model_validate({"pattern": pattern}))  # type: ignore[arg-type]
