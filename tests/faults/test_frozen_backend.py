"""A backend that freezes behind a broker: the broker keeps what has no room, nothing is lost, and it goes on."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from confluent_kafka.admin import AdminClient
from support.amqp_peer import declare, ready
from support.flow_backend import FlowBackend
from support.gateway_process import ROOT, GatewayProcess, running_gateway
from support.kafka_brokers import Bootstrap
from support.kafka_peer import create_topic, produce
from support.ledger import PLACE, name_of
from support.ports import free_ports

TOTAL, EARLY, WINDOW = 3000, 300, 32
BODY = json.dumps({"customerId": "ada", "channel": "c" * 16 * 1024}).encode()
PROTO = str(ROOT / "schemas/orders.proto")


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[FlowBackend]:
    backend = FlowBackend(free_ports(4), tmp_path / "backend.log")
    await backend.start()
    yield backend
    await backend.kill()


def routes(backend: FlowBackend, broker: Mapping[str, Any], source: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "endpoints": {
            "broker": {**broker, "forward_headers": ["message-id"]},
            "shop": {"protocol": "grpc", "target": f"127.0.0.1:{backend.grpc}", "proto": PROTO},
        },
        "routes": {
            "relay": {
                "from": {"endpoint": "broker", **source, "max_backoff": "1s"},
                "to": {"endpoint": "shop", "method": PLACE},
                "deadline": "2s",
            }
        },
    }


async def until_arrived(backend: FlowBackend, count: int, seconds: float, gateway: GatewayProcess) -> dict[str, int]:
    end = time.monotonic() + seconds
    while len(found := await backend.orders()) < count:
        assert time.monotonic() < end, f"{len(found)} of {count}\n{gateway.log.read_text()[-3000:]}"
        await asyncio.sleep(0.02)
    return found


async def freeze_in_the_middle(
    folder: Path,
    config: Mapping[str, Any],
    backend: FlowBackend,
    look: Callable[[], Awaitable[tuple[Any, int]]],
    frozen_seconds: float,
) -> None:
    """look: who consumes, and how many messages wait for it in the broker."""
    async with running_gateway(folder, config) as gateway:
        await until_arrived(backend, EARLY, 30, gateway)
        member, _ = await look()
        backend.freeze()
        before = peak = memory(gateway)
        calls = 0
        _, first = await look()
        waiting = first
        start = time.monotonic()
        while time.monotonic() < start + frozen_seconds:
            calls = max(calls, await in_flight(gateway))
            peak = max(peak, memory(gateway))
            now, waiting = await look()
            assert now == member, "the membership was lost"
            await asyncio.sleep(0.2)
        backend.thaw()
        thawed = time.monotonic()
        found = await until_arrived(backend, TOTAL, 40, gateway)
        seconds = time.monotonic() - thawed
        assert (await look())[0] == member
        growth = peak - before
        text = f"{calls} calls in flight, growth {growth / 2**20:.1f} MiB, all done {seconds:.1f} s after it went on"
        print(text)
        assert set(found) == {name_of(number) for number in range(TOTAL)}
        assert 0 < calls <= WINDOW, text
        assert first - waiting <= WINDOW, f"{first - waiting} taken while nothing was settled: {text}"
        assert growth < 24 * 2**20, text


def memory(gateway: GatewayProcess) -> int:
    """Resident bytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{gateway.process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


async def in_flight(gateway: GatewayProcess) -> int:
    page = (await gateway.get("/metrics"))[1].decode()
    found = re.search(r'gateway_calls_in_flight\{route="relay"\} ([\d.]+)', page)
    return int(float(found[1])) if found else 0


@pytest.mark.parametrize("kafka", ["apache"], indirect=True)
async def test_kafka(kafka: Bootstrap, topic: str, tmp_path: Path, backend: FlowBackend) -> None:
    await asyncio.to_thread(create_topic, kafka, topic)
    records = [
        {"key": b"%d" % number, "value": BODY, "headers": [("message-id", name_of(number).encode())]}
        for number in range(TOTAL)
    ]
    await asyncio.to_thread(produce, kafka, topic, records)
    admin = AdminClient({"bootstrap.servers": kafka})

    async def look() -> tuple[Any, int]:
        group = await asyncio.to_thread(admin.describe_consumer_groups([topic])[topic].result, 10)
        return [member.member_id for member in group.members], 0

    source = {"topic": topic, "group": topic, "max_in_flight": WINDOW, "session_timeout": "6s"}
    config = routes(backend, {"protocol": "kafka", "bootstrap_servers": kafka}, source)
    await freeze_in_the_middle(tmp_path, config, backend, look, 7)  # longer than the group's session timeout


async def test_amqp(rabbitmq: str, topic: str, tmp_path: Path, backend: FlowBackend) -> None:
    await asyncio.to_thread(declare, rabbitmq, topic, {"x-queue-type": "quorum"})
    connection = await aio_pika.connect(rabbitmq)
    async with connection:
        channel = await connection.channel()
        for first in range(0, TOTAL, 500):
            await asyncio.gather(
                *(
                    channel.default_exchange.publish(aio_pika.Message(BODY, message_id=name_of(number)), topic)
                    for number in range(first, first + 500)
                )
            )

    async def look() -> tuple[Any, int]:
        return None, await asyncio.to_thread(ready, rabbitmq, topic)

    config = routes(backend, {"protocol": "amqp", "url": rabbitmq}, {"queue": topic, "prefetch": WINDOW})
    await freeze_in_the_middle(tmp_path, config, backend, look, 3)
