"""Two gateways, as processes, that share a stream of events on Apache Kafka or RabbitMQ; and others who speak there."""

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
import pytest
from cloudevents.core.bindings import amqp
from cloudevents.core.bindings import kafka as kafka_binding
from cloudevents.core.bindings import rabbitmq as rabbitmq_binding
from cloudevents.core.v1.event import CloudEvent
from support.events_gateway import Receiver, receiving, sse
from support.gateway_process import GatewayProcess, running_gateway
from support.kafka_brokers import running_broker
from support.kafka_peer import create_topic, produce, read
from support.ports import free_port
from support.rabbitmq_broker import running_broker as running_rabbitmq
from support.until import until
from websockets.asyncio.client import ClientConnection, connect

WINDOW = 16
PARTS = 4


class Shared:
    """A broker, and a stream of this test's own on it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.stream = f"news-{uuid.uuid4().hex[:12]}"
        self.address = str(running_broker("apache") if kind == "kafka" else running_rabbitmq())
        if kind == "kafka":
            create_topic(self.address, self.stream, PARTS)

    @property
    def bus(self) -> dict[str, Any]:
        where = {"bootstrap_servers": [self.address]} if self.kind == "kafka" else {"url": self.address}
        return {"protocol": self.kind, **where}


@pytest.fixture(params=["kafka", "amqp"])
def shared(request: pytest.FixtureRequest) -> Shared:
    return Shared(request.param)


class Node:
    """One gateway's routes: events come over CloudEvents-HTTP, go to a durable route, and stream as SSE."""

    def __init__(self, shared: Shared, folder: Path, name: str, *, hook: str = "", topic: str = "orders.>") -> None:
        self.web, self.events = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.folder = folder / name
        self.folder.mkdir()
        news = {"protocol": "events", "backbone": "bus", "stream": shared.stream, "listen": self.events}
        news["unknown_fields"] = "drop"
        self.routes: dict[str, Any] = {
            "gateway": {"access_log": False},
            "endpoints": {
                "bus": shared.bus,
                "news": news,
                "web": {"protocol": "http", "listen": self.web},
                "sockets": {"protocol": "websocket", "listen": self.web},
            },
            "routes": {
                "feed": {
                    "from": {"endpoint": "web", "method": "GET", "path": "/feed"},
                    "to": {"endpoint": "news", "topic": topic, "mode": "subscribe"},
                    "reply": {"map": {"topic": "$params.topic", "id": "$.id"}},
                },
                "chat": {
                    "from": {"endpoint": "sockets", "path": "/{room}/{guest}", "mode": "stream"},
                    "to": {
                        "endpoint": "news",
                        "mode": "converse",
                        "topic": "chat.{$params.room}.{$params.guest}",
                        "subscribe": "chat.{$params.room}.*",
                        "key": "$params.room",
                    },
                    "request": {"map": {"guest": "$params.guest", "text": "$.text"}},
                },
                "place": {
                    "from": {"endpoint": "web", "path": "/orders"},
                    "to": {"endpoint": "news", "topic": "orders.placed", "key": "$.lane"},
                },
            },
        }
        if hook:
            self.routes["endpoints"]["hook"] = {"protocol": "http", "target": hook.rpartition("/")[0]}
            self.routes["routes"]["relay"] = {
                "from": {
                    "endpoint": "news",
                    "topic": ["orders.>", "*.urgent"],
                    "subscription": "relay",
                    "max_in_flight": WINDOW,
                },
                "to": {"endpoint": "hook", "path": "/hook"},
                "request": {"map": {"topic": "$params.topic", "id": "$.id", "type": "$params.type"}},
            }

    @asynccontextmanager
    async def running(self) -> AsyncIterator[GatewayProcess]:
        """Once its subscriptions are there."""
        async with running_gateway(self.folder, self.routes) as process:
            async with asyncio.timeout(30):
                while json.loads((await process.get("/readyz"))[1]).get("endpoints"):
                    await asyncio.sleep(0.05)
            yield process

    async def publish(self, client: aiohttp.ClientSession, topic: str, identity: str, **more: str) -> None:
        event = {"specversion": "1.0", "id": identity, "source": "/shop", "type": "placed", "data": {"id": identity}}
        url = f"http://{self.events}/events/{topic}"
        headers = {"content-type": "application/cloudevents+json"}
        async with client.post(url, json={**event, **more}, headers=headers) as response:
            assert response.status == 202, await response.text()
            assert await response.json() == {"id": identity, "topic": topic}


def _ids(hook: Receiver) -> list[str]:
    return [json.loads(body)["id"] for _, body in hook.requests]


async def test_published_at_one_delivered_at_the_other(shared: Shared, tmp_path: Path) -> None:
    """To the durable route, by its patterns, and to SSE subscribers of both."""
    async with receiving() as hook, aiohttp.ClientSession() as client:
        first = Node(shared, tmp_path, "first")
        second = Node(shared, tmp_path, "second", hook=hook.url, topic="*.placed")
        async with first.running(), second.running():
            async with (
                sse(client, f"http://{first.web}/feed") as one,
                sse(client, f"http://{second.web}/feed") as other,
            ):
                topics = ["orders", "orders.placed", "orders.placed.late", "bills.urgent", "bills.placed"]
                for number, topic in enumerate(topics):
                    await first.publish(client, topic, f"e{number}")
                await hook.wait(3)
                streamed = [await one.next() for _ in range(2)]
                told = [(await other.next())[2] for _ in range(2)]
                assert sorted(kind["id"] for _, _, kind in streamed) == ["e1", "e2"]
                assert {identity for identity, _, _ in streamed} == {""}, "a position that nothing goes on from"
                assert sorted(map(str, told)) == sorted(
                    map(str, ({"topic": "orders.placed", "id": "e1"}, {"topic": "bills.placed", "id": "e4"}))
                )
                # A position is refused in the caller's protocol.
                headers = {"Accept": "text/event-stream", "Last-Event-ID": "1"}
                async with client.get(f"http://{first.web}/feed", headers=headers) as response:
                    assert response.status == 501
                    assert (await response.json())["code"] == "UNIMPLEMENTED"
            await asyncio.sleep(0.3)
            assert sorted(_ids(hook)) == ["e1", "e2", "e3"]
            assert json.loads(hook.requests[0][1])["type"] == "placed"


async def test_a_chat_on_two_gateways(shared: Shared, tmp_path: Path) -> None:
    """All hear all of their room, whichever gateway they are at: in each guest's order, and on Kafka, where a room is a
    key, in the same order. RabbitMQ keeps none between publishers for two queues."""
    first, second = Node(shared, tmp_path, "first"), Node(shared, tmp_path, "second")
    places = [(first, "tea/ada"), (second, "tea/bob"), (second, "garden/eve")]
    async with first.running(), second.running(), AsyncExitStack() as stack, asyncio.timeout(60):
        sockets = [await stack.enter_async_context(connect(f"ws://{node.web}/{path}")) for node, path in places]

        async def heard(socket: ClientConnection, count: int) -> list[Any]:
            found: list[Any] = []
            while len(found) < count:
                said = json.loads(await socket.recv())
                found += [] if said["text"] == "hello" else [said]
            return found

        for socket in sockets:
            await socket.send('{"text": "hello"}')
            await socket.recv()  # so that it is known to listen
        for number in range(20):
            await asyncio.gather(*(socket.send(json.dumps({"text": str(number)})) for socket in sockets))
        ada, bob = [await heard(socket, 40) for socket in sockets[:2]]
        assert shared.kind == "amqp" or ada == bob
        for guest, room in itertools.product(("ada", "bob"), (ada, bob)):
            assert [said["text"] for said in room if said["guest"] == guest] == [str(number) for number in range(20)]
        alone = await heard(sockets[2], 20)
        assert {said["guest"] for said in alone} == {"eve"}


async def test_one_that_was_away_goes_on(shared: Shared, tmp_path: Path) -> None:
    async with receiving() as hook, aiohttp.ClientSession() as client:
        first, second = Node(shared, tmp_path, "first"), Node(shared, tmp_path, "second", hook=hook.url)
        async with first.running():
            async with second.running() as process:
                await first.publish(client, "orders.placed", "a")
                await hook.wait(1)
                assert await process.terminate() == 0
            await first.publish(client, "orders.placed", "b")
            async with second.running():
                await hook.wait(2)
            assert _ids(hook) == ["a", "b"]


async def test_what_fails_is_the_brokers(shared: Shared, tmp_path: Path) -> None:
    """Tried again while the receiver is away; dead-lettered by the broker's adapter where it refuses."""
    async with receiving() as hook, aiohttp.ClientSession() as client:
        node = Node(shared, tmp_path, "node", hook=hook.url)
        hook.answers = [(503, {}), (422, {})]
        async with node.running():
            await node.publish(client, "orders.placed", "a")
            await hook.wait(2)
            letters = f"{shared.stream}.relay.dead-letters"
            headers = await _first(shared, letters)
            assert headers["dead-letter-reason"].startswith(b"INVALID_ARGUMENT")
            assert [value for name, value in headers.items() if name.lower() in ("ce_id", "cloudevents:id")] == [b"a"]


async def _first(shared: Shared, place: str) -> dict[str, bytes]:
    """The headers of the first message of a Kafka topic or a queue."""
    if shared.kind == "kafka":
        (record,) = await asyncio.to_thread(read, shared.address, place, 1)
        return {name: value or b"" for name, value in record.headers.items()}
    async with await aio_pika.connect(shared.address) as link, asyncio.timeout(15):
        channel = await link.channel()
        while True:
            try:
                queue = await channel.get_queue(place)
                message = await queue.get(timeout=5, fail=False)
            except aio_pika.exceptions.ChannelNotFoundEntity:
                channel, message = await link.channel(), None
            if message is not None:
                await message.ack()
                return {name: str(value).encode() for name, value in message.headers.items()}
            await asyncio.sleep(0.05)


async def test_one_subscription_of_two_gateways(shared: Shared, tmp_path: Path) -> None:
    """Each event is delivered by one of the two; where one is killed while it relays, the other goes on. None is lost,
    and no more come twice than were in flight."""
    async with receiving() as hook, aiohttp.ClientSession() as client:
        nodes = [Node(shared, tmp_path, name, hook=hook.url) for name in ("first", "second", "third")]
        accepted: set[str] = set()
        over = False

        async def publish(worker: int) -> None:
            number = 0
            while not over:
                identity = f"{worker}-{number}"
                number += 1
                body = {"id": identity, "lane": str(worker)}
                async with client.post(f"http://{nodes[2].web}/orders", json=body) as response:
                    assert response.status == 202, await response.text()
                accepted.add(identity)

        del nodes[2].routes["routes"]["relay"]
        async with nodes[2].running(), nodes[0].running() as victim, nodes[1].running():
            publishers = [asyncio.create_task(publish(worker)) for worker in range(8)]
            await until(lambda: len(hook.requests) > 150, lambda: f"{len(hook.requests)} requests")
            victim.process.kill()
            await victim.process.wait()
            count = len(accepted)
            await until(lambda: len(accepted) > count + 100)
            over = True
            await asyncio.gather(*publishers)
            async with asyncio.timeout(60):
                while accepted - set(_ids(hook)):
                    await asyncio.sleep(0.1)
    found = _ids(hook)
    assert len(found) - len(set(found)) <= WINDOW * PARTS, "more came twice than were in flight"


@pytest.mark.parametrize("shared", ["kafka"], indirect=True)
async def test_a_foreign_reader_and_writer_on_kafka(shared: Shared, tmp_path: Path) -> None:
    """librdkafka and the cloudevents package read what the gateway publishes, and the gateway what they write."""
    async with receiving() as hook, aiohttp.ClientSession() as client:
        node = Node(shared, tmp_path, "node", hook=hook.url)
        async with node.running():
            await node.publish(client, "orders.placed", "größe", partitionkey="k1", tenant="acme")
            (record,) = await asyncio.to_thread(read, shared.address, shared.stream, 1)
            assert record.key == b"k1"
            headers = {name: value or b"" for name, value in record.headers.items()}
            found = kafka_binding.from_kafka_event(kafka_binding.KafkaMessage(headers, record.key, record.value or b""))
            assert (found.get_id(), found.get_type(), found.get_source()) == ("größe", "placed", "/shop")
            assert found.get_extension("tenant") == "acme"
            assert found.get_data() == {"id": "größe"}
            for identity, write in (
                ("binary", kafka_binding.to_binary_event),
                ("structured", kafka_binding.to_structured_event),
            ):
                message = write(_event(identity))
                record_of = {"key": message.key, "value": message.value, "headers": list(message.headers.items())}
                await asyncio.to_thread(produce, shared.address, shared.stream, [record_of])
            await hook.wait(3)
    told = [json.loads(body) for _, body in hook.requests[1:]]
    assert {entry["id"] for entry in told} == {"binary", "structured"}
    # Of one that names no topic, its type is it.
    assert {entry["topic"] for entry in told} == {"orders.foreign"}


@pytest.mark.parametrize("shared", ["amqp"], indirect=True)
async def test_a_foreign_reader_and_writer_on_rabbitmq(shared: Shared, tmp_path: Path) -> None:
    """aio-pika and the cloudevents package read what the gateway publishes, and the gateway what they write."""
    async with receiving() as hook, aiohttp.ClientSession() as client:
        node = Node(shared, tmp_path, "node", hook=hook.url)
        async with node.running(), await aio_pika.connect(shared.address) as link:
            channel = await link.channel()
            exchange = await channel.get_exchange(shared.stream)
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind(exchange, "orders.#")
            await node.publish(client, "orders.placed", "größe", partitionkey="k1", tenant="acme")
            message = await queue.get(timeout=10)
            assert message is not None
            assert (message.routing_key, message.content_type) == ("orders.placed", "application/json")
            properties = {"content-type": message.content_type}
            found = amqp.from_amqp_event(amqp.AMQPMessage(properties, dict(message.headers), message.body))
            assert (found.get_id(), found.get_type(), found.get_source()) == ("größe", "placed", "/shop")
            assert found.get_extension("tenant") == "acme"
            assert found.get_data() == {"id": "größe"}
            writers: dict[str, Callable[[Any], Any]] = {
                "binary": amqp.to_binary_event,
                "structured": amqp.to_structured_event,
                "knative": rabbitmq_binding.to_binary_event,
            }
            for identity, write in writers.items():
                made = write(_event(identity))
                if isinstance(made, amqp.AMQPMessage):
                    kind, headers, body = (
                        made.properties["content-type"],
                        made.application_properties,
                        made.application_data,
                    )
                else:
                    kind, headers, body = made.content_type, made.headers, made.body
                foreign = aio_pika.Message(body, headers=headers, content_type=kind)
                await exchange.publish(foreign, "orders.foreign")
            await hook.wait(4)
    assert sorted(_ids(hook)) == sorted(["größe", *writers])


def _event(identity: str) -> Any:
    attributes = {
        "id": identity,
        "source": "/foreign",
        "type": "orders.foreign",
        "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "datacontenttype": "application/json",
        "specversion": "1.0",
    }
    return CloudEvent(attributes, {"id": identity})
