"""Gateways killed, brokers killed, frozen and short of memory: nothing confirmed is lost."""

import asyncio
import os
import signal
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from support.amqp_gateway import consuming, endpoint, name, publishing, source, target, until_published
from support.amqp_peer import channel, declare, ready, take
from support.handler import Handler
from support.rabbitmq_broker import RabbitMQ
from support.until import until

from gateway.message import Context, Message
from gateway.status import Code, Failure

ROOT = Path(__file__).parents[2]


async def _live(url: str, incoming: str, outgoing: str, prefetch: int, relayed: int) -> None:
    """A gateway process that is killed once so many messages are in the outgoing queue."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "tests" / "support" / "amqp_worker.py"),
        *(url, incoming, outgoing, str(prefetch)),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
    )
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"ready\n"
        with channel(url) as open_:
            while open_.queue_declare(outgoing, passive=True).method.message_count < relayed:
                await asyncio.sleep(0)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def test_a_gateway_killed_while_it_relays(rabbitmq: str) -> None:
    total, prefetch, kills = 1500, 16, 2
    incoming, outgoing = name("in"), name("out")
    declare(rabbitmq, outgoing)
    declare(rabbitmq, incoming)
    await asyncio.to_thread(_fill, rabbitmq, incoming, total)
    for kill in range(kills):
        await _live(rabbitmq, incoming, outgoing, prefetch, 400 * (kill + 1))
    relayed = await asyncio.to_thread(take, rabbitmq, outgoing, ready(rabbitmq, outgoing))
    assert all(message.properties.message_id == f"m-{int(message.body)}" for message in relayed)
    handled = Counter(int(message.body) for message in relayed)
    missing = total - len(handled)
    assert missing > 0, "it was killed in the middle"

    async def outcome(request: Message) -> None:
        handled[int(request.body)] += 1

    async with consuming(endpoint(rabbitmq), source(incoming, declare=None), Handler(outcome)):
        await until(lambda: len(handled) == total, what=lambda: f"{total - len(handled)} of {missing} missing")
    assert handled.total() - total <= kills * prefetch


def _fill(url: str, queue: str, count: int) -> None:
    import pika

    with channel(url) as open_:
        for number in range(count):
            properties = pika.BasicProperties(delivery_mode=2, message_id=f"m-{number}")
            open_.basic_publish("", queue, b"%d" % number, properties)


async def test_a_broker_killed_under_load(mortal_rabbitmq: RabbitMQ) -> None:
    url, middle, end = mortal_rabbitmq.url, name("middle"), name("end")
    declare(url, middle)
    declare(url, end)
    confirmed: list[int] = []
    failed: list[Failure] = []
    numbers = iter(range(10**9))
    over = False
    config = endpoint(url)
    async with publishing(config, target(routing_key=middle), target(routing_key=end)) as (side, (first, second)):

        async def relay(request: Message) -> Failure | None:
            try:
                await second.call(Message(request.body), Context())
            except Failure as failure:
                return failure
            return None

        async def caller() -> None:
            while not over:
                number = next(numbers)
                try:
                    async with asyncio.timeout(8):
                        await first.call(Message(b"%d" % number), Context())
                except Failure as failure:
                    failed.append(failure)
                    await asyncio.sleep(0.05)
                except TimeoutError:
                    pass
                else:
                    confirmed.append(number)

        async with consuming(config, source(middle, declare=None), Handler(relay)) as inbound:
            callers = [asyncio.create_task(caller()) for _ in range(20)]
            await until(lambda: len(confirmed) > 300)
            mortal_rabbitmq.kill()
            await until(lambda: len(failed) > 20 and bool(side.unready) and bool(inbound.unready))
            before = len(confirmed)
            restart = asyncio.create_task(asyncio.to_thread(mortal_rabbitmq.start))
            await _begin_without(url)
            await restart
            await until(lambda: len(confirmed) > before + 300, lambda: side.unready or "nothing confirmed", seconds=20)
            over = True
            await asyncio.gather(*callers)
            await until(lambda: not side.unready and not inbound.unready)
            await inbound.drain()
    assert {failure.code for failure in failed} == {Code.UNAVAILABLE}
    found = {
        int(message.body)
        for queue in (middle, end)
        for message in await asyncio.to_thread(take, url, queue, ready(url, queue))
    }
    assert set(confirmed) <= found, "a confirmed message is lost"


async def _begin_without(url: str) -> None:
    """A gateway that starts while there is no broker works once there is one."""
    queue = name()
    handler = Handler()
    config = endpoint(url)
    async with (
        publishing(config, target(routing_key=queue), ready=False) as (side, (publish,)),
        consuming(config, source(queue), handler, ready=False) as inbound,
    ):
        await until(lambda: "can't reach" in side.unready and "can't reach" in inbound.unready)
        await until(
            lambda: not side.unready and not inbound.unready, lambda: side.unready or inbound.unready, seconds=30
        )
        await publish.call(Message(b"1"), Context())
        await handler.wait(1)


async def test_a_frozen_broker(mortal_rabbitmq: RabbitMQ) -> None:
    url, queue = mortal_rabbitmq.url, name()
    declare(url, queue)
    async with publishing(endpoint(url, heartbeat="1s"), target(routing_key=queue)) as (side, (publish,)):
        await publish.call(Message(b"before"), Context())
        mortal_rabbitmq.signal(signal.SIGSTOP)
        try:
            stuck = asyncio.create_task(publish.call(Message(b"stuck"), Context()))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await publish.call(Message(b"frozen"), Context())
            await until(lambda: bool(side.unready), lambda: "it did not notice", seconds=15)
            with pytest.raises(Failure) as failed:
                await asyncio.wait_for(stuck, 1)
            assert (failed.value.code, failed.value.sent) == (Code.UNAVAILABLE, True)
            with pytest.raises(Failure) as refused:
                await asyncio.wait_for(publish.call(Message(b"never"), Context()), 0.5)
            assert (refused.value.code, refused.value.sent) == (Code.UNAVAILABLE, False)
        finally:
            mortal_rabbitmq.signal(signal.SIGCONT)
        await until_published(publish, Message(b"after"))
    bodies = [message.body for message in await asyncio.to_thread(take, url, queue, ready(url, queue))]
    assert (bodies[0], bodies[-1]) == (b"before", b"after")
    assert b"never" not in bodies


async def test_a_broker_short_of_memory(mortal_rabbitmq: RabbitMQ) -> None:
    url, queue = mortal_rabbitmq.url, name()
    handler = Handler()
    config = endpoint(url)
    async with (
        publishing(config, target(routing_key=queue)) as (side, (publish,)),
        consuming(config, source(queue, prefetch=1), handler) as inbound,
    ):
        release = asyncio.Event()

        async def hold(request: Message) -> None:
            await release.wait()

        handler._outcome = hold
        await publish.call(Message(b"1"), Context())
        await publish.call(Message(b"2"), Context())
        await handler.wait(1)
        await asyncio.to_thread(mortal_rabbitmq.control, "set_vm_memory_high_watermark", "0.0001")
        try:
            held = asyncio.create_task(publish.call(Message(b"3"), Context()))
            await until(lambda: "short of memory" in side.unready, what=lambda: side.unready)
            with pytest.raises(Failure) as refused:
                await publish.call(Message(b"never"), Context())
            assert (refused.value.code, refused.value.sent) == (Code.UNAVAILABLE, False)
            assert not held.done(), "nothing is answered before it is confirmed"
            release.set()
            await handler.wait(2)
            assert not inbound.unready, "consuming and acknowledging go on"
        finally:
            await asyncio.to_thread(mortal_rabbitmq.control, "set_vm_memory_high_watermark", "0.6")
        await asyncio.wait_for(held, 10)
        await handler.wait(3)
        await until(lambda: not side.unready)
    assert handler.bodies == [b"1", b"2", b"3"]


async def test_nothing_is_left_behind(rabbitmq: str) -> None:
    queue = name()
    before = asyncio.all_tasks()
    config = endpoint(rabbitmq)
    handler = Handler()
    async with (
        publishing(config, target(routing_key=queue, mode="reply")) as (_, (ask,)),
        consuming(config, source(queue, replies="one"), handler),
    ):
        for _ in range(20):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await ask.call(Message(b"x"), Context())
    await until(lambda: asyncio.all_tasks() == before, lambda: str(asyncio.all_tasks() - before), seconds=5)
