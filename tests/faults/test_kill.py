"""kill -9 of the gateway while it carries payments: nothing acknowledged is lost, nothing comes that was not sent.

Each test runs both ways at once: 10,000 messages from a broker to a gRPC backend, and calls that are published to the
broker, while the gateway is killed at random moments and started again.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aio_pika
import grpc
import pytest
from support.gateway_process import ROOT, GatewayProcess, running_gateway
from support.grpc_orders import pb2
from support.kafka_brokers import Bootstrap
from support.kafka_peer import create_topic, produce, read
from support.ledger import PLACE, Ledger, body_of, ledger_server, name_of, request_of
from support.ports import free_port
from support.until import until

TOTAL = 10_000
FRESH = range(TOTAL, TOTAL + 1)  # sent after the last restart
CALLERS = 4
FRESH_SECONDS = 10.0
PATIENCE_SECONDS = 60.0
SEED = int(os.environ.get("GATEWAY_TEST_SEED", random.SystemRandom().randrange(10**6)))
PROTO = str(ROOT / "schemas/orders.proto")

Routes = Mapping[str, Any]


@dataclass
class Calls:
    """Calls to be published, each id once. sent: how many numbers were taken. acknowledged: which."""

    acknowledged: list[int] = field(default_factory=list)
    refused: int = 0
    sent: int = 0
    over: bool = False

    async def run(self, port: int) -> None:
        numbers = iter(range(10**9))
        options = [("grpc.max_reconnect_backoff_ms", 200), ("grpc.initial_reconnect_backoff_ms", 50)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
            place = channel.unary_unary(
                f"/{PLACE}",
                request_serializer=pb2.PlaceOrderRequest.SerializeToString,
                response_deserializer=pb2.Order.FromString,
            )

            async def caller() -> None:
                while not self.over:
                    number = next(numbers)
                    try:
                        await place(request_of(number), timeout=10, metadata=(("message-id", name_of(number)),))
                    except grpc.aio.AioRpcError:
                        self.refused += 1
                        await asyncio.sleep(0.05)
                    else:
                        self.acknowledged.append(number)

            await asyncio.gather(*(caller() for _ in range(CALLERS)))
            self.sent = next(numbers)


def routes(listen: int, backend: int, broker: Mapping[str, Any], source: Routes, target: Routes) -> Routes:
    grpc_in = {"protocol": "grpc", "listen": f"127.0.0.1:{listen}", "proto": PROTO}
    grpc_out = {"protocol": "grpc", "target": f"127.0.0.1:{backend}", "proto": PROTO}
    forward = {"forward_headers": ["message-id"]}
    return {
        "gateway": {"access_log": False},
        "endpoints": {"calls": {**grpc_in, **forward}, "shop": grpc_out, "broker": {**broker, **forward}},
        "routes": {
            "relay": {"from": {"endpoint": "broker", **source}, "to": {"endpoint": "shop", "method": PLACE}},
            "publish": {"from": {"endpoint": "calls", "method": PLACE}, "to": {"endpoint": "broker", **target}},
        },
    }


async def arrived(ledger: Ledger, count: int, gateway: GatewayProcess) -> None:
    """Return once so many different ones have."""
    await until(
        lambda: len(ledger) >= count,
        lambda: f"seed {SEED}: {len(ledger)} of {count} before a kill\n{gateway.log.read_text()[-3000:]}",
        seconds=PATIENCE_SECONDS,
    )


@asynccontextmanager
async def killed_again_and_again(
    folder: Path, config: Routes, ledger: Ledger, kills: int, dice: random.Random
) -> AsyncIterator[GatewayProcess]:
    """Gives the last gateway, once all others were killed while they relayed."""
    early = dice.sample(range(TOTAL * 5 // 100, TOTAL * 85 // 100), kills - 1)
    # The last one late: a fresh message has to wait for those before it.
    moments = [*sorted(early), dice.randrange(TOTAL * 85 // 100, TOTAL * 95 // 100)]
    for life, moment in enumerate(moments):
        place = folder / f"life-{life}"
        place.mkdir()
        async with running_gateway(place, config) as gateway:
            await arrived(ledger, moment, gateway)
            await asyncio.sleep(dice.uniform(0, 0.02))
            gateway.process.kill()
            await gateway.process.wait()
    assert len(ledger) < TOTAL, "it was killed in the middle"
    async with running_gateway(folder, config) as gateway:
        yield gateway


async def relay(
    folder: Path, config: Routes, listen: int, ledger: Ledger, kills: int, window: int, publish: Callable[[int], Any]
) -> tuple[Calls, str]:
    """Kills the gateway while messages that are in the broker already are relayed, and judges what arrived."""
    dice, calls = random.Random(SEED), Calls()
    calling = asyncio.create_task(calls.run(listen))
    start = time.monotonic()
    async with killed_again_and_again(folder, config, ledger, kills, dice) as gateway:
        restarted = time.monotonic()
        await publish(FRESH[0])
        await until(
            lambda: name_of(FRESH[0]) in ledger.seen,
            lambda: f"seed {SEED}: no fresh message, {len(ledger)} arrived\n{gateway.log.read_text()[-3000:]}",
            seconds=PATIENCE_SECONDS,
        )
        fresh = time.monotonic() - restarted
        await until(
            lambda: len(ledger) > TOTAL,
            lambda: f"seed {SEED}: lost {ledger.lost(range(TOTAL))[:20]}\n{gateway.log.read_text()[-3000:]}",
            seconds=PATIENCE_SECONDS,
        )
        seconds = time.monotonic() - start
        before = len(calls.acknowledged)
        await until(
            lambda: len(calls.acknowledged) > before,
            lambda: "calls are not published after the last restart",
            seconds=PATIENCE_SECONDS,
        )
        await asyncio.sleep(0.3)  # for what would come twice
        calls.over = True
        await calling
        assert await gateway.terminate() == 0
    figures = (
        f"seed {SEED}: {TOTAL} messages, {kills} kills, {ledger.duplicates} duplicates (at most {kills} x {window}), "
        f"{seconds:.1f} s, a fresh one after {fresh:.2f} s; {calls.sent} calls, {len(calls.acknowledged)} acknowledged"
    )
    print(figures)
    assert ledger.lost(range(TOTAL)) == [], figures
    assert ledger.strangers(range(TOTAL + 1)) == [], figures
    assert ledger.duplicates <= kills * window, figures
    assert ledger.most_often <= 1 + kills, figures
    assert fresh < FRESH_SECONDS, figures
    assert calls.refused > 0, f"no call met a kill: {figures}"
    return calls, figures


def check_published(calls: Calls, published: Ledger, figures: str) -> None:
    """Each call was made once, so that none may be there twice, and those that were not acknowledged may be there."""
    assert published.lost(calls.acknowledged) == [], figures
    assert published.strangers(range(calls.sent)) == [], figures
    assert published.duplicates == 0, figures


@pytest.mark.parametrize("kafka", ["apache"], indirect=True)
async def test_kafka(kafka: Bootstrap, topic: str, tmp_path: Path) -> None:
    partitions, window, kills = 2, 64, 2
    events = f"{topic}-events"
    await asyncio.to_thread(create_topic, kafka, topic, partitions)
    await asyncio.to_thread(create_topic, kafka, events)

    def record(number: int) -> dict[str, Any]:
        headers = [("message-id", name_of(number).encode())]
        return {"key": b"%d" % (number % 500), "value": body_of(number), "headers": headers}

    async def publish(number: int) -> None:
        await asyncio.to_thread(produce, kafka, topic, [record(number)], acks="all")

    await asyncio.to_thread(produce, kafka, topic, map(record, range(TOTAL)), acks="all")
    ledger, listen = Ledger(), free_port()
    async with ledger_server(ledger) as backend:
        source = {"topic": topic, "group": topic, "max_in_flight": window, "session_timeout": "6s"}
        broker = {"protocol": "kafka", "bootstrap_servers": kafka}
        config = routes(listen, backend, broker, source, {"topic": events})
        calls, figures = await relay(tmp_path, config, listen, ledger, kills, partitions * window, publish)
    published = Ledger()
    for found in await asyncio.to_thread(read, kafka, events, len(calls.acknowledged), settle=1.0):
        published.note((found.headers["message-id"] or b"").decode(), json.loads(found.value or b""))
    check_published(calls, published, figures)


async def test_amqp(rabbitmq: str, topic: str, tmp_path: Path) -> None:
    window, kills = 64, 3
    events = f"{topic}-events"
    connection = await aio_pika.connect(rabbitmq)
    async with connection, ledger_server(ledger := Ledger()) as backend:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        for name in (topic, events):
            await channel.declare_queue(name, durable=True, arguments={"x-queue-type": "quorum"})

        async def publish(number: int) -> None:
            message = aio_pika.Message(
                body_of(number),
                message_id=name_of(number),
                content_type="application/json",
                delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            )
            await channel.default_exchange.publish(message, topic)

        for first in range(0, TOTAL, 500):
            await asyncio.gather(*(publish(number) for number in range(first, first + 500)))
        broker, listen = {"protocol": "amqp", "url": rabbitmq}, free_port()
        source = {"queue": topic, "prefetch": window}
        config = routes(listen, backend, broker, source, {"routing_key": events})
        calls, figures = await relay(tmp_path, config, listen, ledger, kills, window, publish)
        published = Ledger()
        queue = await channel.get_queue(events)
        while (found := await queue.get(no_ack=True, fail=False)) is not None:
            published.note(found.message_id or "", json.loads(found.body))
    check_published(calls, published, figures)
