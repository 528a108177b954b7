"""The broker whose messages are streamed is away at the beginning, for a moment, and for longer."""

import asyncio
import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import aiohttp
import pika
import pytest
from support.amqp_peer import channel
from support.events_gateway import SseClient, sse
from support.kafka_brokers import ApacheKafka, apache_kafka
from support.kafka_peer import create_topic, produce
from support.ports import free_port
from support.rabbitmq_broker import RabbitMQ
from support.until import until

from gateway.broker import live
from gateway.journal import journal
from gateway.runtime import Runtime

PATIENCE_SECONDS = 60


class Process(Protocol):
    def start(self) -> None: ...

    def kill(self) -> None: ...


class Mortal:
    """A broker, how it is streamed, and who publishes there.

    declare: what is streamed, where it is not there.
    """

    def __init__(
        self,
        process: Process,
        endpoint: dict[str, Any],
        target: dict[str, Any],
        publish: Callable[[bytes], None],
        declare: Callable[[], None],
    ) -> None:
        self.process = process
        self.declare = declare
        self.endpoint = endpoint
        self.target = target
        self._publish = publish

    async def publish(self, number: int) -> None:
        await asyncio.to_thread(self._publish, json.dumps({"n": number}).encode())


@pytest.fixture
def rabbit(mortal_rabbitmq: RabbitMQ) -> Mortal:
    url, name = mortal_rabbitmq.url, f"s-{uuid.uuid4().hex[:12]}"

    def declare() -> None:
        with channel(url) as open_:
            open_.exchange_declare(name, "topic", durable=True)

    def publish(body: bytes) -> None:
        with channel(url) as open_:
            open_.basic_publish(name, "order.a", body, pika.BasicProperties(delivery_mode=2))

    target = {"exchange": name, "routing_key": "order.*"}
    declare()
    return Mortal(mortal_rabbitmq, {"protocol": "amqp", "url": url}, target, publish, declare)


@pytest.fixture(scope="module")
def mortal_kafka() -> Iterator[ApacheKafka]:
    with apache_kafka() as broker:
        yield broker


@pytest.fixture
def kafka(mortal_kafka: ApacheKafka) -> Mortal:
    address, name = mortal_kafka.bootstrap, f"s-{uuid.uuid4().hex[:12]}"
    create_topic(address, name)
    endpoint = {"protocol": "kafka", "bootstrap_servers": address}
    target = {"topic": name}
    return Mortal(mortal_kafka, endpoint, target, lambda body: produce(address, name, [{"value": body}]), lambda: None)


@pytest.mark.parametrize("kind", ["rabbit", "kafka"])
async def test_a_broker_that_is_away(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes while nothing can be streamed is told so; a stream outlives a short absence and ends over a longer one,
    for then there may be a gap."""
    broker: Mortal = request.getfixturevalue(kind)
    web = f"127.0.0.1:{free_port()}"
    file = tmp_path / "routes.yaml"
    file.write_text(
        json.dumps(
            {
                "gateway": {"admin": {"enabled": False}, "access_log": False},
                "endpoints": {"bus": broker.endpoint, "web": {"protocol": "http", "listen": web}},
                "routes": {
                    "feed": {
                        "from": {"endpoint": "web", "method": "GET", "path": "/feed"},
                        "to": {"endpoint": "bus", "mode": "subscribe", **broker.target},
                    }
                },
            }
        )
    )
    monkeypatch.setattr(journal, "OPEN_SECONDS", 0.0)
    await asyncio.to_thread(broker.process.kill)
    runtime = Runtime(file)

    async def back() -> None:
        await asyncio.to_thread(broker.process.start)
        # RabbitMQ syncs what was declared some time later: a broker that is killed may come back without it.
        await asyncio.to_thread(broker.declare)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(runtime.unready().values()):
                await asyncio.sleep(0.05)

    async def begun(stream: SseClient, number: int) -> None:
        """It is given what is published."""
        reading = asyncio.create_task(stream.next())
        for _ in range(100):
            await broker.publish(number)
            if (await asyncio.wait([reading], timeout=0.3))[0]:
                break
        assert (await reading)[2] == {"n": number}

    async def after(stream: SseClient, last: int) -> int:
        """What comes after what was published before, which may come twice."""
        found = last
        while found == last:
            found = (await stream.next())[2]["n"]
        return found

    try:
        await runtime.start()
        async with aiohttp.ClientSession() as client:
            headers = {"Accept": "text/event-stream"}
            async with client.get(f"http://{web}/feed", headers=headers) as response:
                assert (response.status, (await response.json())["code"]) == (503, "UNAVAILABLE")
            await back()
            async with sse(client, f"http://{web}/feed") as stream:
                await begun(stream, 1)
                await asyncio.to_thread(broker.process.kill)
                await until(lambda: any(runtime.unready().values()))
                await back()
                await broker.publish(2)
                assert await after(stream, 1) == 2
                monkeypatch.setattr(live, "AWAY_SECONDS", 0.5)
                await asyncio.to_thread(broker.process.kill)
                async with asyncio.timeout(PATIENCE_SECONDS):
                    assert b"UNAVAILABLE" in await stream.response.content.read()
            async with client.get(f"http://{web}/feed", headers=headers) as response:
                assert response.status == 503
            await back()
            async with sse(client, f"http://{web}/feed") as stream:
                await begun(stream, 3)
    finally:
        await runtime.stop()
