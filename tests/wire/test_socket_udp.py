"""UDP both ways: what arrives, what is lost, and that the counters say which."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from support.socket_gateway import Route, calling, counted, serving
from support.until import until

from adapters.socket import UDP
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.observe import Metrics
from gateway.port import ContractError
from gateway.status import Code, Failure

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


def network() -> Network:
    return Network(Path())


class Speaker:
    """A plain datagram socket."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(5)
        self.socket.connect(("127.0.0.1", port))

    def say(self, data: bytes) -> None:
        self.socket.send(data)

    async def hear(self) -> bytes:
        return await asyncio.to_thread(self.socket.recv, 65_536)


@asynccontextmanager
async def speaker(port: int) -> AsyncIterator[Speaker]:
    found = Speaker(port)
    try:
        yield found
    finally:
        found.socket.close()


@asynccontextmanager
async def answering(answer: Callable[[bytes], list[bytes]]) -> AsyncIterator[int]:
    """A server that answers each datagram with those; its port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(0.05)
    over = False

    def run() -> None:
        while not over:
            try:
                data, peer = sock.recvfrom(65_536)
            except TimeoutError:
                continue
            for reply in answer(data):
                sock.sendto(reply, peer)

    task = asyncio.get_running_loop().run_in_executor(None, run)
    try:
        yield sock.getsockname()[1]
    finally:
        over = True
        await task
        sock.close()


async def refuse(body: bytes) -> bytes:
    if b"bad" in body:
        raise Failure(Code.NOT_FOUND, "no such thing")
    return body


async def test_a_reply_goes_to_where_its_request_came_from() -> None:
    net = network()
    async with serving(Route(), udp=True, network=net) as side, speaker(side.port) as one, speaker(side.port) as two:
        one.say(b'{"n":1}')
        two.say(b'{"n":2}')
        assert await two.hear() == b'{"n":2}'
        assert await one.hear() == b'{"n":1}'
        await until(lambda: counted(net) == {"received": 2, "replied": 2})


async def test_one_way_says_nothing() -> None:
    net = network()
    route = Route(refuse)
    async with serving(route, "one-way", udp=True, network=net, format="text") as side, speaker(side.port) as one:
        for data in (b"good", b"bad", b""):
            one.say(data)
        await until(lambda: len(route.requests) == 3)
        one.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            one.socket.recv(10)
    assert counted(net) == {"received": 3, "failed": 1}


async def test_failures_are_told() -> None:
    net = network()
    async with serving(Route(refuse), udp=True, network=net) as side, speaker(side.port) as one:
        one.say(b'"bad"')
        assert json.loads(await one.hear()) == {"error": {"code": "NOT_FOUND", "detail": "no such thing"}}
    assert counted(net) == {"received": 1, "failed": 1, "replied": 1}
    settings = {"format": "text", "on_failure": {"reply": {"text": "ERR"}}}
    async with serving(Route(refuse), udp=True, **settings) as side, speaker(side.port) as one:
        one.say(b"bad")
        assert await one.hear() == b"ERR"


async def test_datagrams_over_the_limit_are_dropped_and_counted() -> None:
    net = network()
    route = Route()
    async with serving(route, udp=True, network=net, max_datagram_bytes=10) as side, speaker(side.port) as one:
        one.say(b"x" * 11)
        one.say(b"y" * 10)
        assert await one.hear() == b"y" * 10
    assert route.requests == [b"y" * 10]
    assert counted(net) == {"received": 2, "truncated": 1, "replied": 1}


async def test_a_reply_over_the_limit() -> None:
    async def large(body: bytes) -> bytes:
        return b"x" * 200

    async with serving(Route(large), udp=True, max_datagram_bytes=150) as side, speaker(side.port) as one:
        one.say(b"{}")
        assert "larger than a datagram may be" in json.loads(await one.hear())["error"]["detail"]


async def test_a_flood_is_bounded_and_every_datagram_is_accounted_for() -> None:
    gate = asyncio.Event()

    async def wait(body: bytes) -> None:
        await gate.wait()

    net = network()
    route = Route(wait)
    settings = {"max_in_flight": 4, "receive_buffer_bytes": 4096, "format": "raw"}
    async with serving(route, "one-way", udp=True, network=net, **settings) as side, speaker(side.port) as one:
        for _ in range(200):
            one.say(b"x" * 500)
        await until(lambda: route.running == 4)
        await asyncio.sleep(0.02)
        assert route.most == 4
        gate.set()
        await until(lambda: route.running == 0)

        # The system tells what it dropped with the next datagram that it takes.
        def all_known() -> bool:
            one.say(b"last")
            counts = counted(net)
            return counts.get("overflowed", 0) > 0 and bool(route.requests.count(b"last"))

        await until(all_known)
    lasts = route.requests.count(b"last")
    counts = counted(net)
    assert counts["received"] == len(route.requests)
    assert counts["received"] - lasts + counts["overflowed"] == 200


async def test_draining_serves_what_was_taken() -> None:
    gate = asyncio.Event()

    async def wait(body: bytes) -> bytes:
        await gate.wait()
        return body

    route = Route(wait)
    async with serving(route, udp=True) as side, speaker(side.port) as one:
        one.say(b'{"n":1}')
        await until(lambda: route.running == 1)
        draining = asyncio.create_task(side.drain())
        await asyncio.sleep(0)
        one.say(b'{"n":2}')
        gate.set()
        await asyncio.wait_for(draining, 5)
        assert await one.hear() == b'{"n":1}'
    assert route.requests == [b'{"n":1}']


# -- out


async def test_each_request_has_its_own_reply() -> None:
    net = network()
    async with (
        answering(lambda data: [data]) as port,
        calling(udp=True, target=f"127.0.0.1:{port}", network=net, max_in_flight=8) as (_, service),
    ):
        bodies = [b'{"n":%d}' % number for number in range(40)]
        replies = await asyncio.gather(*(service.call(Message(body), Context()) for body in bodies))
        assert [reply.body for reply in replies] == bodies
    assert counted(net) == {"sent": 40, "received": 40}


async def test_a_doubled_reply_is_nobodys() -> None:
    async with (
        answering(lambda data: [data, data, data]) as port,
        calling(udp=True, target=f"127.0.0.1:{port}") as (_, service),
    ):
        for number in range(20):
            body = b'{"n":%d}' % number
            assert (await service.call(Message(body), Context())).body == body


async def test_a_stranger_can_not_answer() -> None:
    """Only the target's own datagrams are a reply."""
    seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    silent.setblocking(False)
    async with calling(udp=True, target=f"127.0.0.1:{silent.getsockname()[1]}") as (_, service):
        asking = asyncio.create_task(service.call(Message(b"{}"), Context()))
        loop.add_reader(silent, lambda: seen.done() or seen.set_result(silent.recvfrom(100)[1][1]))
        port = await seen
        loop.remove_reader(silent)
        async with speaker(port) as stranger:
            stranger.say(b'"forged"')
        silent.sendto(b'"true"', ("127.0.0.1", port))
        assert (await asking).body == b'"true"'
    silent.close()


async def test_a_lost_reply_leaves_nothing_behind() -> None:
    async with (
        answering(lambda data: []) as port,
        calling(udp=True, target=f"127.0.0.1:{port}", max_in_flight=1) as (_, service),
    ):
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(service.call(Message(b"{}"), Context()), 0.05)


async def test_nobody_listens() -> None:
    net = network()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with calling(udp=True, target=f"127.0.0.1:{port}", network=net) as (_, service):
        with pytest.raises(Failure) as told:
            await asyncio.wait_for(service.call(Message(b"{}"), Context()), 5)
        assert told.value.code is Code.UNAVAILABLE and "127.0.0.1" not in told.value.text
    assert counted(net) == {"sent": 1, "refused": 1}


async def test_one_way_out() -> None:
    received: list[bytes] = []
    net = network()
    async with (
        answering(lambda data: received.append(data) or []) as port,  # type: ignore[func-returns-value]
        calling("one-way", udp=True, target=f"127.0.0.1:{port}", network=net, max_datagram_bytes=100) as (_, service),
    ):
        for number in range(5):
            assert (await service.call(Message(b"%d" % number), Context())).body is None
        with pytest.raises(Failure, match="has 101 bytes, a datagram at most 100"):
            await service.call(Message(b"x" * 101), Context())
        await until(lambda: len(received) == 5)
    assert counted(net) == {"sent": 5, "failed": 1}


async def test_a_reply_that_is_too_large() -> None:
    net = network()
    async with (
        answering(lambda data: [b"x" * 200]) as port,
        calling(udp=True, target=f"127.0.0.1:{port}", network=net, max_datagram_bytes=100) as (_, service),
    ):
        with pytest.raises(Failure, match="larger than 100 bytes"):
            await service.call(Message(b"{}"), Context())
    assert counted(net) == {"sent": 1, "received": 1, "truncated": 1}


async def test_a_peers_error_is_a_failure() -> None:
    async with (
        answering(lambda data: [b'{"error":{"code":"ABORTED","detail":"busy"}}']) as port,
        calling(udp=True, target=f"127.0.0.1:{port}") as (_, service),
    ):
        with pytest.raises(Failure, match="busy") as told:
            await service.call(Message(b"{}"), Context())
        assert told.value.code is Code.ABORTED


def test_counters_are_metrics() -> None:
    net = network()
    net.counters.counter("sensors", "truncated").add(3)
    metrics = Metrics()
    metrics.events = net.counters
    (family,) = [family for family in metrics.collect() if family.name == "gateway_endpoint_events"]
    (sample,) = family.samples
    assert (sample.labels, sample.value) == ({"endpoint": "sensors", "event": "truncated"}, 3)
    assert net.counters.counter("sensors", "truncated").value == 3


@pytest.mark.parametrize("side", ["inbound", "outbound"])
def test_directions(side: str) -> None:
    settings: dict[str, Any] = {"target": "127.0.0.1:1"} if side == "inbound" else {"listen": "127.0.0.1:0"}
    found = getattr(UDP, side)
    with pytest.raises(ContractError, match="this one has"):
        found.open("x", UDP.endpoint.model_validate(settings), network())
