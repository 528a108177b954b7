"""Processes killed, brokers killed and frozen: nothing confirmed is lost, and duplicates stay within the window."""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.handler import Handler
from support.kafka_brokers import ApacheKafka, Bootstrap, apache_kafka
from support.kafka_gateway import binding, consuming, endpoint, publisher, publishing, source, until_published
from support.kafka_peer import Record, create_topic, produce, read
from support.until import until

from gateway.message import Context, Message
from gateway.status import Code, Failure

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def mortal() -> Iterator[ApacheKafka]:
    with apache_kafka() as broker:
        yield broker


class Worker:
    """A gateway process, and what its route took."""

    def __init__(self, bootstrap: str, topic: str, window: int, seconds: float, *settings: str) -> None:
        self._arguments = (bootstrap, topic, f"{topic}-group", str(window), str(seconds), *settings)
        self.taken: list[bytes] = []

    async def live(self, records: int) -> None:
        """Run until so many more records were taken, then kill -9; read what it still had written."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "tests" / "support" / "kafka_worker.py"),
            *self._arguments,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        )
        assert process.stdout is not None
        try:
            for _ in range(records):
                line = await asyncio.wait_for(process.stdout.readline(), 30)
                assert line, "the worker ended by itself"
                self.taken.append(line.strip())
        finally:
            process.send_signal(signal.SIGKILL)
            self.taken.extend((await process.stdout.read()).split(b"\n")[:-1])
            await process.wait()


async def test_a_gateway_killed_while_it_consumes(kafka: Bootstrap, topic: str) -> None:
    total, window, kills = 300, 8, 1
    create_topic(kafka, topic)
    produce(kafka, topic, [{"key": b"k%d" % (number % 11), "value": b"%d" % number} for number in range(total)])
    worker = Worker(kafka, topic, window, 0.005)
    for _ in range(kills):
        await worker.live(random.randint(30, 90))
    missing = total - len({line.split()[1] for line in worker.taken})
    handled = Counter(int(line.split()[1]) for line in worker.taken)

    async def outcome(request: Message) -> None:
        handled[int(request.body)] += 1

    async with consuming(endpoint(kafka), source(topic, group=f"{topic}-group"), Handler(outcome)):
        await until(lambda: len(handled) == total, lambda: f"{total - len(handled)} of {missing} missing", seconds=30)
        await asyncio.sleep(0.1)
    assert sorted(handled) == list(range(total))
    assert handled.total() - total <= kills * window
    assert missing > 0


async def test_an_instance_that_was_killed_goes_on_at_once(mortal: ApacheKafka, topic: str) -> None:
    session, total, window = 60, 100, 8
    await asyncio.to_thread(create_topic, mortal.bootstrap, topic, 2)
    produce(mortal.bootstrap, topic, [{"key": b"k%d" % number, "value": b"%d" % number} for number in range(total)])
    worker = Worker(mortal.bootstrap, topic, window, 0.01, "instance=one", f"session_timeout={session}s")
    await worker.live(30)
    killed = asyncio.get_running_loop().time()
    await worker.live(total - len({line.split()[1] for line in worker.taken}))
    assert asyncio.get_running_loop().time() - killed < session / 2
    assert len(worker.taken) - len(set(worker.taken)) <= 2 * window


async def test_instances_share_the_partitions(mortal: ApacheKafka, topic: str) -> None:
    await asyncio.to_thread(create_topic, mortal.bootstrap, topic, 4)
    config = endpoint(mortal.bootstrap)
    handlers = (Handler(), Handler())
    one, two = (source(topic, group=f"{topic}-group", instance=name) for name in ("one", "two"))
    async with consuming(config, one, handlers[0]), consuming(config, two, handlers[1]):
        number = 0
        deadline = asyncio.get_running_loop().time() + 40
        while not all(handler.requests for handler in handlers):
            assert asyncio.get_running_loop().time() < deadline
            produce(mortal.bootstrap, topic, [{"key": b"k%d" % key, "value": b"%d" % number} for key in range(20)])
            number += 1
            await asyncio.sleep(0.5)
        produce(mortal.bootstrap, topic, [{"key": b"k%d" % key, "value": b"last"} for key in range(20)])
        await until(lambda: sum(handler.bodies.count(b"last") for handler in handlers) >= 20)
    shares = [{last.params["partition"] for last in handler.requests if last.body == b"last"} for handler in handlers]
    assert all(shares)
    assert shares[0].isdisjoint(shares[1])


async def test_an_instance_whose_route_changes_goes_on(mortal: ApacheKafka, topic: str) -> None:
    await asyncio.to_thread(create_topic, mortal.bootstrap, topic, 2)
    handler = Handler()
    before, after = (
        source(topic, group=f"{topic}-group", instance="one", session_timeout="60s", max_in_flight=most)
        for most in (8, 9)
    )
    async with consuming(endpoint(mortal.bootstrap), before, handler) as side:
        produce(mortal.bootstrap, topic, [{"key": b"k%d" % number, "value": b"%d" % number} for number in range(20)])
        await handler.wait(20)
        side.bind([binding(side, after, handler)])
        produce(
            mortal.bootstrap, topic, [{"key": b"k%d" % number, "value": b"%d" % number} for number in range(20, 40)]
        )
        await until(lambda: len(set(handler.bodies)) == 40, seconds=30)


async def test_a_broker_killed_while_the_gateway_publishes(mortal: ApacheKafka, topic: str) -> None:
    await asyncio.to_thread(create_topic, mortal.bootstrap, topic)
    confirmed: list[int] = []
    failed: list[Failure] = []
    sent = iter(range(10**9))
    over = False

    async with publishing(endpoint(mortal.bootstrap)) as side:
        publish = publisher(side, topic)

        async def caller() -> None:
            while not over:
                number = next(sent)
                try:
                    async with asyncio.timeout(8):
                        await publish.call(Message(b"%d" % number, key=b"%d" % number), Context())
                except Failure as failure:
                    failed.append(failure)
                    await asyncio.sleep(0.05)
                except TimeoutError:
                    pass
                else:
                    confirmed.append(number)

        callers = [asyncio.create_task(caller()) for _ in range(20)]
        await until(lambda: len(confirmed) > 100)
        mortal.kill()
        await until(
            lambda: bool(failed) and bool(side.unready), lambda: "calls did not fail while it was away", seconds=15
        )
        before = len(confirmed)
        await asyncio.to_thread(mortal.start)
        await until(lambda: len(confirmed) > before + 100, lambda: side.unready or "nothing confirmed", seconds=20)
        over = True
        await asyncio.gather(*callers)
        assert not side.unready
    assert {failure.code for failure in failed} == {Code.UNAVAILABLE}
    found = Counter(int(record.value or b"") for record in await asyncio.to_thread(_all, mortal.bootstrap, topic))
    assert set(confirmed) <= set(found), "a confirmed message is lost"
    assert set(found.values()) == {1}, "an idempotent producer duplicated"


def _all(bootstrap: str, topic: str) -> list[Record]:
    return read(bootstrap, topic, 1, settle=1.0)


@pytest.mark.parametrize("patience", [60.0, 2.0], ids=["the client stays", "the client is renewed"])
async def test_a_broker_killed_while_the_gateway_consumes(
    mortal: ApacheKafka, topic: str, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adapters.kafka.connection.SILENCE_SECONDS", 1.0)
    monkeypatch.setattr("gateway.net.broker.pulse.STUCK_SECONDS", patience)
    handled: Counter[int] = Counter()

    async def outcome(request: Message) -> None:
        handled[int(request.body)] += 1

    await asyncio.to_thread(produce, mortal.bootstrap, topic, [{"value": b"%d" % number} for number in range(50)])
    address = source(topic, max_in_flight=16)
    async with consuming(endpoint(mortal.bootstrap), address, Handler(outcome)) as side:
        await until(lambda: len(handled) == 50)
        mortal.kill()
        await until(lambda: bool(side.unready), lambda: "it did not notice", seconds=15)
        if patience < 60:
            await until(lambda: side.unready.count("can't reach") == 2, lambda: side.unready, seconds=30)
        await asyncio.to_thread(mortal.start)
        await asyncio.to_thread(
            produce, mortal.bootstrap, topic, [{"value": b"%d" % number} for number in range(50, 100)]
        )
        await until(lambda: len(handled) == 100, lambda: f"{len(handled)} of 100; {side.unready}", seconds=30)
        await until(lambda: not side.unready, lambda: side.unready, seconds=15)
    assert handled.total() - 100 <= 16


async def test_a_frozen_broker(mortal: ApacheKafka, topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.net.broker.pulse.ANSWER_SECONDS", 0.5)
    async with publishing(endpoint(mortal.bootstrap)) as side:
        publish = publisher(side, topic)
        await publish.call(Message(b"before"), Context())
        mortal.signal(signal.SIGSTOP)
        try:
            with suppress(Failure, TimeoutError):
                async with asyncio.timeout(1.5):
                    await publish.call(Message(b"frozen"), Context())
            stuck = asyncio.create_task(publish.call(Message(b"stuck"), Context()))
            await until(lambda: bool(side.unready), lambda: "it did not notice", seconds=15)
            async with asyncio.timeout(1):
                with pytest.raises(Failure) as refused:
                    await publish.call(Message(b"never"), Context())
            assert (refused.value.code, refused.value.sent) == (Code.UNAVAILABLE, False)
        finally:
            mortal.signal(signal.SIGCONT)
        assert (await asyncio.wait_for(stuck, 20)).body is None
        await until_published(publish, Message(b"after"))
        tasks = len(asyncio.all_tasks())
        await asyncio.sleep(0.1)
        assert len(asyncio.all_tasks()) <= tasks
    values = [record.value for record in await asyncio.to_thread(read, mortal.bootstrap, topic, 3)]
    assert values[0] == b"before"
    assert values[-1] == b"after"
    assert values.count(b"stuck") == 1
    assert b"never" not in values
