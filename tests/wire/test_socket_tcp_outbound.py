"""TCP out, as byte dialogues: pooling, pipelining, truthful failures, replies that nobody waits for."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from support.socket_gateway import Line, Route, calling, counted, line, listening, serving
from support.until import until

from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.port import ContractError, Service
from gateway.status import Code, Failure

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")
ID = {"correlation": {"field": "id"}}


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def call(service: Service, body: bytes, seconds: float = 5) -> bytes:
    async with asyncio.timeout(seconds):
        reply: bytes = (await service.call(Message(body), Context())).body
        return reply


async def failing(service: Service, body: bytes) -> Failure:
    with pytest.raises(Failure) as told:
        await call(service, body)
    return told.value


async def echo(talk: Line) -> None:
    while received := await talk.reader.readline():
        await talk.say(received)


async def test_requests_share_connections_and_keep_their_replies() -> None:
    peers: list[Line] = []

    async def slow_echo(talk: Line) -> None:
        peers.append(talk)
        while received := await talk.reader.readline():
            await asyncio.sleep(0.001)
            await talk.say(received)

    async with listening(slow_echo) as port, calling(target=f"127.0.0.1:{port}", connections=2) as (_, service):
        bodies = [b'{"n":%d}' % number for number in range(50)]
        assert await asyncio.gather(*(call(service, body) for body in bodies)) == bodies
    assert len(peers) == 2


async def test_a_connection_without_work_ends_in_order() -> None:
    ended: list[bytes] = []

    async def keep(talk: Line) -> None:
        await talk.say(await talk.reader.readline())
        ended.append(await talk.reader.read())  # raises where the connection is reset

    async with listening(keep) as port:
        async with calling(target=f"127.0.0.1:{port}") as (_, service):
            assert await call(service, b'{"n":1}') == b'{"n":1}'
        await until(lambda: bool(ended))


async def test_no_more_than_max_in_flight_and_connections() -> None:
    seen: list[int] = []

    async def count(talk: Line) -> None:
        while received := await talk.reader.readline():
            await asyncio.sleep(0.005)
            # What has come in the meantime is what else was in flight.
            seen.append(talk.reader._buffer.count(b"\n") + 1)  # type: ignore[attr-defined]
            await talk.say(received)

    async with (
        listening(count) as port,
        calling(target=f"127.0.0.1:{port}", connections=1, max_in_flight=3) as (_, service),
    ):
        await asyncio.gather(*(call(service, b"{}") for _ in range(12)))
    assert max(seen) == 3


async def test_correlation_by_field() -> None:
    """Replies in any order; the gateway's numbers are nobody's business."""

    async def backwards(talk: Line) -> None:
        lines = [await talk.reader.readline() for _ in range(3)]
        for received in reversed(lines):
            await talk.say(received)

    async with listening(backwards) as port, calling(target=f"127.0.0.1:{port}", connections=1, **ID) as (_, service):
        bodies = [b'{"n":%d,"x":1.50}' % number for number in range(3)]
        replies = await asyncio.gather(*(call(service, body) for body in bodies))
    assert [reply.partition(b",")[2] for reply in replies] == [body[1:] for body in bodies]
    assert sorted(json.loads(reply)["id"] for reply in replies) == [1, 2, 3]


async def test_a_request_with_another_value_in_the_field_is_refused() -> None:
    async with listening(echo) as port, calling(target=f"127.0.0.1:{port}", connections=1, **ID) as (_, service):
        for body in (b'{"id":"same"}', b"[1]"):
            failure = await failing(service, body)
            assert (failure.code, failure.sent) == (Code.INVALID_ARGUMENT, False)
        assert await call(service, b"{}") == b'{"id":3}'


async def test_replies_that_nobody_waits_for_are_counted() -> None:
    net = Network(Path())

    async def chatty(talk: Line) -> None:
        await talk.say(b'{"id":99}\n{"noise":1}\nnot json\n')
        await echo(talk)

    async with listening(chatty) as port, calling(target=f"127.0.0.1:{port}", network=net, **ID) as (_, service):
        assert await call(service, b"{}") == b'{"id":1}'
        assert await call(service, b"{}") == b'{"id":2}'
    assert counted(net) == {"unmatched_replies": 3}


async def test_a_connection_out_of_step_is_closed() -> None:
    """With replies in order, one that nobody asked for makes all that follow doubtful."""
    net = Network(Path())
    connections = 0

    async def doubled(talk: Line) -> None:
        nonlocal connections
        connections += 1
        received = await talk.reader.readline()
        await talk.say(received + received)
        await echo(talk)

    async with listening(doubled) as port, calling(target=f"127.0.0.1:{port}", network=net) as (side, service):
        assert await call(service, b'{"n":1}') == b'{"n":1}'
        await until(lambda: not side._pool.connections)
        assert await call(service, b'{"n":2}') == b'{"n":2}'
    assert connections == 2
    assert counted(net)["unmatched_replies"] >= 1


async def test_a_caller_that_left_does_not_shift_the_replies() -> None:
    gate = asyncio.Event()
    net = Network(Path())

    async def held(talk: Line) -> None:
        first = await talk.reader.readline()
        second = await talk.reader.readline()
        await gate.wait()
        await talk.say(first + second)
        await echo(talk)

    async with (
        listening(held) as port,
        calling(target=f"127.0.0.1:{port}", connections=1, network=net) as (side, service),
    ):
        impatient = asyncio.create_task(call(service, b'{"n":1}'))
        await until(lambda: len(side._pool.connections) == 1)
        patient = asyncio.create_task(call(service, b'{"n":2}'))
        (connection,) = side._pool.connections
        await until(lambda: connection.session.load == 2)
        impatient.cancel()
        await asyncio.wait((impatient,))
        third = asyncio.create_task(call(service, b'{"n":3}'))
        await asyncio.sleep(0.02)
        assert connection.session.load == 2, "no new request goes behind one that was left"
        gate.set()
        assert await patient == b'{"n":2}'
        assert await third == b'{"n":3}'
    assert counted(net) == {"unmatched_replies": 1}


async def test_a_reply_that_comes_as_its_caller_leaves() -> None:
    """It takes no place of the connection with it."""
    requests: list[bytes] = []

    async def keep(talk: Line) -> None:
        while received := await talk.reader.readline():
            requests.append(received)
            if len(requests) > 1:
                await talk.say(received)

    async with listening(keep) as port, calling(target=f"127.0.0.1:{port}", connections=1) as (side, service):
        impatient = asyncio.create_task(call(service, b'{"n":1}'))
        await until(lambda: len(requests) == 1)
        (connection,) = side._pool.connections
        connection.data_received(b"{}\n")
        impatient.cancel()
        await asyncio.wait((impatient,))
        assert await call(service, b'{"n":2}') == b'{"n":2}'
        assert list(side._pool.connections) == [connection]


async def test_a_connection_on_which_nobody_waits_any_more_is_given_up() -> None:
    async def silent(talk: Line) -> None:
        await talk.reader.read()

    async with listening(silent) as port, calling(target=f"127.0.0.1:{port}", connections=1) as (side, service):
        with pytest.raises(TimeoutError):
            await call(service, b"{}", seconds=0.05)
        await until(lambda: not side._pool.connections)


# -- truthful failures


async def test_nobody_listens() -> None:
    async with calling(target=f"127.0.0.1:{closed_port()}") as (side, service):
        failure = await failing(service, b"{}")
        assert failure.code is Code.UNAVAILABLE and not failure.sent
        assert "127.0.0.1" not in failure.text and "127.0.0.1" in side.unready
        # Those who wait for a connection are told too.
        told = await asyncio.gather(*(failing(service, b"{}") for _ in range(30)))
        assert {failure.code for failure in told} == {Code.UNAVAILABLE}


async def test_a_peer_that_closes_before_its_reply() -> None:
    async def hang_up(talk: Line) -> None:
        await talk.reader.readline()

    async with listening(hang_up) as port, calling(target=f"127.0.0.1:{port}") as (_, service):
        failure = await failing(service, b"{}")
        assert failure.code is Code.UNAVAILABLE and failure.sent


async def test_a_peer_that_closed_while_idle_is_connected_to_again() -> None:
    async def once(talk: Line) -> None:
        await talk.say(await talk.reader.readline())

    async with listening(once) as port, calling(target=f"127.0.0.1:{port}") as (side, service):
        for number in range(5):
            assert await call(service, b'{"n":%d}' % number) == b'{"n":%d}' % number
            await until(lambda: not side._pool.connections)


@pytest.mark.parametrize(
    ("reply", "framing", "why"),
    [
        (b"\x7f\xff\xff\xff", {"kind": "length"}, "announced, more than the limit"),
        (b"x" * 3000, {"kind": "delimiter"}, "without a delimiter"),
        (b"\0\0\0\x09abc", {"kind": "length"}, "ended inside a frame"),
    ],
)
async def test_a_reply_that_breaks_the_framing(reply: bytes, framing: dict[str, Any], why: str) -> None:
    async def answer(talk: Line) -> None:
        await talk.reader.read(100)
        await talk.say(reply)

    async with (
        listening(answer) as port,
        calling(target=f"127.0.0.1:{port}", framing=framing, max_frame_bytes=1024) as (side, service),
    ):
        failure = await failing(service, b"{}")
        assert failure.code is Code.INTERNAL and why in failure.message
        await until(lambda: not side._pool.connections)


async def test_a_request_that_can_not_be_framed() -> None:
    async with (
        listening(echo) as port,
        calling(target=f"127.0.0.1:{port}", format="text", max_frame_bytes=10) as (_, service),
    ):
        for body in (b"two\nlines", b"x" * 11):
            failure = await failing(service, body)
            assert failure.code is Code.INVALID_ARGUMENT and not failure.sent
        assert await call(service, b"x" * 10) == b"x" * 10


async def test_a_peers_error_is_a_failure() -> None:
    error = {
        "code": "NOT_FOUND",
        "detail": "no such thing at $.id",
        "path": "$.id",
        "details": [{"type": "OutOfStock", "sku": "tea"}],
        "retry_after": 2,
    }

    async def refuse(talk: Line) -> None:
        while await talk.reader.readline():
            await talk.say(json.dumps({"error": error}).encode() + b"\n")

    async with listening(refuse) as port, calling(target=f"127.0.0.1:{port}") as (_, service):
        failure = await failing(service, b"{}")
    assert (failure.code, failure.message, failure.path) == (Code.NOT_FOUND, "no such thing", "$.id")
    assert failure.retry_after == 2 and failure.details[0].value == {"sku": "tea"}


async def test_what_only_looks_like_an_error_is_a_reply() -> None:
    async def reply(talk: Line) -> None:
        await talk.reader.readline()
        await talk.say(b'{"error":{"code":7}}\n')

    async with listening(reply) as port, calling(target=f"127.0.0.1:{port}") as (_, service):
        assert await call(service, b"{}") == b'{"error":{"code":7}}'


async def test_a_peer_that_does_not_read() -> None:
    async def deaf(talk: Line) -> None:
        talk.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(30)

    async with (
        listening(deaf) as port,
        calling("one-way", target=f"127.0.0.1:{port}", connections=1, stall_timeout="200ms", format="text") as (
            side,
            service,
        ),
    ):
        sent = 0
        broke = None
        while broke is None and sent < 50:
            try:
                await asyncio.wait_for(service.call(Message(b"x" * 1_000_000), Context()), 10)
                sent += 1
            except Failure as failure:
                broke = failure
        assert broke is not None and "broke" in broke.message
        await until(lambda: not side._pool.connections)


async def test_large_messages_both_ways_do_not_wait_for_each_other() -> None:
    async def echo_slowly(talk: Line) -> None:
        while received := await talk.reader.readline():
            await talk.say(received)

    async with listening(echo_slowly) as port, calling(target=f"127.0.0.1:{port}", connections=1) as (_, service):
        bodies = [b'"%d' % number + b"x" * 50_000 + b'"' for number in range(64)]
        assert await asyncio.gather(*(call(service, body, 10) for body in bodies)) == bodies


async def test_until_close() -> None:
    async def answer(talk: Line) -> None:
        await talk.say((await talk.reader.read()).upper())

    async with (
        listening(answer) as port,
        calling(target=f"127.0.0.1:{port}", framing={"kind": "until-close"}, format="text") as (_, service),
    ):
        assert await asyncio.gather(*(call(service, b"m%d" % number) for number in range(20))) == [
            b"M%d" % number for number in range(20)
        ]


# -- one way


async def test_one_way() -> None:
    received: list[bytes] = []

    async def keep(talk: Line) -> None:
        while got := await talk.reader.readline():
            received.append(got)
            await talk.say(b"nobody asked\n")

    net = Network(Path())
    async with (
        listening(keep) as port,
        calling("one-way", target=f"127.0.0.1:{port}", connections=1, network=net) as (_, service),
    ):
        for number in range(20):
            assert (await service.call(Message(b'{"n":%d}' % number), Context())).body is None
        await until(lambda: len(received) == 20 and counted(net) == {"unmatched_replies": 20})
    assert received == [b'{"n":%d}\n' % number for number in range(20)]


# -- listening outbounds


async def test_requests_to_peers_that_have_connected() -> None:
    async with calling(listen="127.0.0.1:0") as (side, service):
        assert side.unready == "no peer is connected"
        failure = await failing(service, b"{}")
        assert failure.code is Code.UNAVAILABLE and not failure.sent
        async with line(side.port) as first, line(side.port) as second:
            await until(lambda: len(side._pool.connections) == 2)
            assert not side.unready
            for peer in (first, second):
                asking = asyncio.create_task(call(service, b'{"n":1}'))
                assert await peer.line() == b'{"n":1}\n', "they take turns"
                await peer.say(b'{"n":2}\n')
                assert await asking == b'{"n":2}'
        await until(lambda: side.unready == "no peer is connected")


async def test_messages_to_all_peers() -> None:
    async with calling("one-way", listen="127.0.0.1:0", address={"peers": "all"}) as (side, service):
        assert (await failing(service, b"{}")).code is Code.UNAVAILABLE
        async with line(side.port) as first, line(side.port) as second:
            await until(lambda: len(side._pool.connections) == 2)
            await service.call(Message(b'{"n":1}'), Context())
            assert await first.line() == await second.line() == b'{"n":1}\n'


# -- streams


async def three() -> AsyncIterator[Message]:
    for number in range(3):
        yield Message(b'{"n":%d}' % number)


async def test_a_stream() -> None:
    async with listening(echo) as port, calling("stream", target=f"127.0.0.1:{port}") as (side, service):
        replies = [message.body async for message in service.stream(Message(None), three(), Context())]
        assert replies == [b'{"n":0}', b'{"n":1}', b'{"n":2}']
        replies = [message.body async for message in service.stream(Message(b"{}"), None, Context())]
        assert replies == [b"{}"]
        await until(lambda: not side._streams)


@pytest.mark.parametrize("how", ["reset", "inside a frame", "error"])
async def test_a_stream_that_breaks_off(how: str) -> None:
    async def broken(talk: Line) -> None:
        await talk.say(await talk.reader.readline())
        if how == "inside a frame":
            await talk.say(b'{"half')
        elif how == "error":
            await talk.say(b'{"error":{"code":"ABORTED","detail":"stop"}}\n')
        else:
            talk.reset()

    wanted = {"reset": Code.UNAVAILABLE, "inside a frame": Code.INTERNAL, "error": Code.ABORTED}
    async with listening(broken) as port, calling("stream", target=f"127.0.0.1:{port}") as (side, service):
        async with aclosing(service.stream(Message(None), endless(), Context())) as replies:
            assert (await anext(replies)).body == b'{"n":1}'
            with pytest.raises(Failure) as told:
                await anext(replies)
        assert told.value.code is wanted[how]
        await until(lambda: not side._streams)


async def endless() -> AsyncIterator[Message]:
    yield Message(b'{"n":1}')
    await asyncio.sleep(60)


async def test_leaving_a_stream_closes_its_connection() -> None:
    ended = asyncio.Event()

    async def watch(talk: Line) -> None:
        await talk.say(await talk.reader.readline())
        with suppress(OSError):
            await talk.reader.read()
        ended.set()

    async with listening(watch) as port, calling("stream", target=f"127.0.0.1:{port}") as (_, service):
        async with aclosing(service.stream(Message(None), endless(), Context())) as replies:
            assert (await anext(replies)).body == b'{"n":1}'
        await asyncio.wait_for(ended.wait(), 5)


async def test_a_failure_of_the_caller_ends_the_stream() -> None:
    async def bad() -> AsyncIterator[Message]:
        yield Message(b"{}")
        raise Failure(Code.INVALID_ARGUMENT, "bad request")

    async with listening(echo) as port, calling("stream", target=f"127.0.0.1:{port}") as (_, service):
        with pytest.raises(Failure, match="bad request"):
            async for _ in service.stream(Message(None), bad(), Context()):
                pass


async def test_a_stream_to_nobody() -> None:
    async with calling("stream", target=f"127.0.0.1:{closed_port()}") as (_, service):
        with pytest.raises(Failure) as told:
            await anext(service.stream(Message(None), three(), Context()))
        assert told.value.code is Code.UNAVAILABLE and not told.value.sent


async def test_a_stream_reads_no_further_than_its_caller() -> None:
    talks: list[Line] = []

    async def flood(talk: Line) -> None:
        talks.append(talk)
        talk.writer.write((b"x" * 90_000 + b"\n") * 200)
        await talk.writer.drain()

    async with (
        listening(flood) as port,
        calling("stream", target=f"127.0.0.1:{port}", format="text") as (_, service),
        aclosing(service.stream(Message(b"go"), None, Context())) as replies,
    ):
        assert len((await anext(replies)).body) == 90_000
        await asyncio.sleep(0.1)
        assert talks[0].writer.transport.get_write_buffer_size() > 5_000_000  # type: ignore[attr-defined]
        count = 1
        async for _ in replies:
            count += 1
    assert count == 200


@pytest.mark.parametrize(
    ("settings", "pattern", "address", "why"),
    [
        ({"listen": "127.0.0.1:0"}, "stream", {}, "a target to dial"),
        ({"target": "127.0.0.1:1"}, "one-way", {"peers": "all"}, "connect to `listen`"),
        ({"target": "127.0.0.1:1", "tls": {"ca": "none.pem"}}, "one-way", {}, "can't read authorities"),
        ({"target": "127.0.0.1:1", "format": "record", "record": "none.yaml"}, "one-way", {}, "can't be read"),
        (
            {
                "target": "127.0.0.1:1",
                "format": "record",
                "record": {"fields": [{"name": "id", "type": "u8"}]},
                "correlation": {"field": "no"},
            },
            "request-reply",
            {},
            "has no field no",
        ),
        (
            {
                "target": "127.0.0.1:1",
                "format": "record",
                "record": {"fields": [{"name": "id", "type": "u8"}]},
                "max_in_flight": 256,
                **ID,
            },
            "request-reply",
            {},
            "too few for max_in_flight",
        ),
    ],
)
async def test_contracts_that_can_not_be_kept(
    settings: dict[str, Any], pattern: str, address: dict[str, Any], why: str
) -> None:
    with pytest.raises(ContractError, match=why):
        async with calling(pattern, address=address, **settings):
            pass


async def test_records_correlated_by_a_number() -> None:
    fields = [{"name": "id", "type": "text", "width": 3, "pad": "0", "align": "right"}, {"name": "n", "type": "u8"}]

    async def backwards(talk: Line) -> None:
        one, two = await talk.hear(4), await talk.hear(4)
        await talk.say(two + one)

    async with (
        listening(backwards) as port,
        calling(
            target=f"127.0.0.1:{port}",
            connections=1,
            format="record",
            framing={"kind": "fixed", "size": 4},
            record={"fields": fields},
            **ID,
        ) as (_, service),
    ):
        replies = await asyncio.gather(call(service, b"000\x07"), call(service, b"000\x08"))
    assert [reply[3:] for reply in replies] == [b"\x07", b"\x08"]


async def test_both_sides_together() -> None:
    """Through our own inbound: pipelined, with order and with a field."""

    async def jitter(body: bytes) -> bytes:
        await asyncio.sleep(json.loads(body)["n"] % 3 * 0.001)
        return body

    for settings in ({}, ID):
        async with (
            serving(Route(jitter), **settings) as side,
            calling(target=f"127.0.0.1:{side.port}", connections=3, **settings) as (_, service),
        ):
            bodies = [b'{"n":%d}' % number for number in range(200)]
            replies = await asyncio.gather(*(call(service, body) for body in bodies))
            assert [json.loads(reply)["n"] for reply in replies] == list(range(200))
