"""A Kafka topic and a RabbitMQ exchange as streams to callers: SSE, gRPC and WebSocket, and foreign producers."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pika
import pytest
from confluent_kafka.admin import AdminClient
from support.amqp_peer import channel
from support.events_gateway import SseClient, serving, sse
from support.kafka_brokers import running_broker
from support.kafka_peer import create_topic, produce
from support.ports import free_port
from support.rabbitmq_broker import running_broker as running_rabbitmq
from support.specimen_proto import PACKAGE, Messages
from websockets.asyncio.client import connect

from gateway.runtime import Runtime

PROTO = (
    f'syntax = "proto3"; package {PACKAGE};'
    "message Watch {} message Change { int64 n = 1; string at = 2; }"
    "service Shop { rpc Follow(Watch) returns (stream Change); }"
)


class Broker:
    """One topic or exchange of a test's own, and who publishes to it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = f"s-{uuid.uuid4().hex[:12]}"
        self.endpoint: dict[str, Any] = {"protocol": kind, "forward_headers": ["tenant"]}
        self.target: dict[str, Any] = {"endpoint": "bus", "mode": "subscribe"}
        if kind == "kafka":
            self._address = str(running_broker("apache"))
            create_topic(self._address, self.name)
            self.endpoint["bootstrap_servers"] = self._address
            self.target["topic"] = self.name
            self.at = "key"
        else:
            self._address = running_rabbitmq()
            with channel(self._address) as open_:
                open_.exchange_declare(self.name, "topic", durable=True)
            self.endpoint["url"] = self._address
            self.target |= {"exchange": self.name, "routing_key": "order.#"}
            self.at = "routing_key"

    async def publish(self, *bodies: bytes, at: str = "order.a") -> None:
        await asyncio.to_thread(self._publish, bodies, at)

    def _publish(self, bodies: tuple[bytes, ...], at: str) -> None:
        if self.kind == "kafka":
            headers = {"tenant": "t1", "other": "x"}
            produce(self._address, self.name, [{"key": at, "value": body, "headers": headers} for body in bodies])
            return
        with channel(self._address) as open_:
            for body in bodies:
                sent = pika.BasicProperties(headers={"tenant": "t1", "other": "x"})
                open_.basic_publish(self.name, at, body, sent)

    async def number(self, number: int, at: str = "order.a") -> None:
        await self.publish(json.dumps({"n": number}).encode(), at=at)

    def consumers(self) -> int:
        """Of the topic's groups: their members."""
        admin = AdminClient({"bootstrap.servers": self._address})
        groups = [g.group_id for g in admin.list_consumer_groups().result().valid if g.group_id.startswith(self.name)]
        return sum(len(f.result().members) for f in admin.describe_consumer_groups(groups).values())


@pytest.fixture(params=["kafka", "amqp"])
def broker(request: pytest.FixtureRequest) -> Broker:
    return Broker(request.param)


class Gateway:
    """SSE, WebSocket and gRPC callers of one topic."""

    def __init__(self, broker: Broker) -> None:
        self.web, self.rpc = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.broker = broker

    @asynccontextmanager
    async def running(self, folder: Path, **more: Any) -> AsyncIterator[Runtime]:
        (folder / "watch.proto").write_text(PROTO)
        endpoints = {
            "bus": {**self.broker.endpoint, **more},
            "web": {"protocol": "http", "listen": self.web, "forward_headers": ["tenant", "other"]},
            "sockets": {"protocol": "websocket", "listen": self.web},
            "rpc": {"protocol": "grpc", "listen": self.rpc, "proto": "watch.proto"},
        }
        reply = {"map": {"n": "$.n", "at": f"$params.{self.broker.at}"}}
        sources = {
            "feed": {"endpoint": "web", "method": "GET", "path": "/feed"},
            "socket": {"endpoint": "sockets", "path": "/watch", "mode": "stream", "requests": "none"},
            "call": {"endpoint": "rpc", "method": f"{PACKAGE}.Shop/Follow"},
        }
        routes = {name: {"from": source, "to": self.broker.target, "reply": reply} for name, source in sources.items()}
        async with serving(folder, endpoints, routes) as runtime:
            yield runtime

    async def live(self, *reads: Callable[[], Awaitable[Any]]) -> None:
        """Return once all these callers were given something, and nothing more is to come."""
        waiting = [asyncio.ensure_future(read()) for read in reads]
        sent = 0
        while not all(task.done() for task in waiting):
            await self.broker.number(-1)
            sent += 1
            assert sent < 100
            await asyncio.wait(waiting, timeout=0.2)
        await self.broker.number(0)
        for read, task in zip(reads, waiting, strict=True):
            value = await task
            while value["n"] != 0:
                assert value["n"] == -1
                value = await read()


def _reader(stream: SseClient) -> Callable[[], Awaitable[Any]]:
    async def read() -> Any:
        identity, _, data = await stream.next()
        assert identity == "", "a place that nothing goes on from"
        return data

    return read


async def test_callers_of_three_protocols(broker: Broker, tmp_path: Path) -> None:
    """Each is given what comes from now on, in its order; one that leaves takes nothing from the others. A gateway that
    stops ends them all, and does not wait for them."""
    gateway = Gateway(broker)
    (tmp_path / "watch.proto").write_text(PROTO)
    messages = Messages(tmp_path, "watch.proto")
    change = messages["Change"].FromString
    await broker.number(99)
    async with (
        gateway.running(tmp_path) as runtime,
        aiohttp.ClientSession() as client,
        AsyncExitStack() as leaving,
        sse(client, f"http://{gateway.web}/feed") as one,
        connect(f"ws://{gateway.web}/watch") as socket,
        grpc.aio.insecure_channel(gateway.rpc) as link,
    ):
        other = await leaving.enter_async_context(sse(client, f"http://{gateway.web}/feed"))
        stream = link.unary_stream(f"/{PACKAGE}.Shop/Follow", None, change)(messages["Watch"]().SerializeToString())

        async def received() -> Any:
            return json.loads(await asyncio.wait_for(socket.recv(), 15))

        async def called() -> Any:
            found = await asyncio.wait_for(stream.read(), 15)
            return {"n": found.n, "at": found.at}

        readers = [_reader(one), received, called]
        await gateway.live(*readers, _reader(other))
        for number in range(1, 6):
            await broker.number(number, f"order.{number}")
        for read in (*readers, _reader(other)):
            told = [await read() for _ in range(5)]
            assert [(int(value["n"]), value["at"]) for value in told] == [(n, f"order.{n}") for n in range(1, 6)]
        await leaving.aclose()
        if broker.kind == "kafka":
            assert await asyncio.to_thread(broker.consumers) == 1
        else:
            await broker.number(6, "bill.6")
        await broker.number(7)
        for read in readers:
            assert int((await read())["n"]) == 7
        async with asyncio.timeout(12):  # half of the time for draining
            await runtime.drain()
            assert b'"code":"UNAVAILABLE"' in await one.response.content.read()
            assert "UNAVAILABLE" in str(await socket.recv())
            await socket.wait_closed()
            assert socket.close_code == 1013
            assert await stream.code() is grpc.StatusCode.UNAVAILABLE


async def test_what_can_not_be_streamed_ends_the_stream(broker: Broker, tmp_path: Path) -> None:
    gateway = Gateway(broker)
    bad = {"too large": b'{"n": "' + b"x" * 2000 + b'"}', "no JSON": b"{"}
    async with gateway.running(tmp_path, max_message_bytes=1000), aiohttp.ClientSession() as client:
        for body in bad.values():
            async with sse(client, f"http://{gateway.web}/feed") as stream:
                await gateway.live(_reader(stream))
                await broker.publish(body)
                ended = (await asyncio.wait_for(stream.response.content.read(), 15)).decode()
                assert "event: error" in ended, ended
        async with sse(client, f"http://{gateway.web}/feed") as stream:
            await gateway.live(_reader(stream))


async def test_a_position_is_refused(broker: Broker, tmp_path: Path) -> None:
    gateway = Gateway(broker)
    async with gateway.running(tmp_path), aiohttp.ClientSession() as client:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": "7"}
        async with client.get(f"http://{gateway.web}/feed", headers=headers) as response:
            told = await response.json(content_type=None)
            assert (response.status, told["code"]) == (501, "UNIMPLEMENTED")
