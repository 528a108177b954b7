"""Texts, bytes and a mainframe's records over Kafka and RabbitMQ, as librdkafka and pika write and read them."""

import asyncio
import json
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import aiohttp.web
import pika
import pytest
from support.amqp_peer import ask as ask_pika
from support.amqp_peer import channel, declare, take
from support.amqp_peer import publish as publish_pika
from support.amqp_service import server
from support.events_gateway import serving, sse
from support.kafka_brokers import running_broker
from support.kafka_peer import create_topic, produce, read
from support.kafka_service import answering
from support.ports import free_port
from support.rabbitmq_broker import running_broker as running_rabbitmq

ORDER = {
    "charset": "cp037",
    "fields": [
        {"name": "code", "type": "text", "width": 4},
        {"name": "amount", "type": "packed", "digits": 7, "places": 2},
    ],
}
STATE = {"charset": "cp037", "fields": [{"name": "state", "type": "text", "width": 2}]}
RECORDS = {"format": "record", "record": "order.yaml", "reply_record": STATE}
SENT = "POT ".encode("cp037") + bytes.fromhex("0012345c")
JSON = {"code": "POT", "amount": "123.45"}

FORMATS: list[tuple[dict[str, Any], bytes, Any, str]] = [
    ({"format": "text"}, "21.5 °C".encode(), {"text": "21.5 °C"}, "text/plain; charset=utf-8"),
    (
        {"format": "text", "charset": "latin-1"},
        "21.5 °C".encode("latin-1"),
        {"text": "21.5 °C"},
        "text/plain; charset=iso-8859-1",
    ),
    ({"format": "raw"}, b"\x00\xff", {"data": "AP8="}, "application/octet-stream"),
    (RECORDS, SENT, JSON, "application/octet-stream"),
]
formats = pytest.mark.parametrize(
    ("options", "wire", "value", "content_type"), FORMATS, ids=["text", "latin-1", "raw", "record"]
)


class Letter(NamedTuple):
    """A message as a foreign client sees it."""

    body: bytes | None
    content_type: str
    headers: dict[str, Any]


class Broker:
    """One topic or queue of a test's own, and foreign clients of it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = f"f-{uuid.uuid4().hex[:12]}"
        self.address = str(running_broker("apache")) if kind == "kafka" else running_rabbitmq()
        place = "bootstrap_servers" if kind == "kafka" else "url"
        self.endpoint: dict[str, Any] = {"protocol": kind, place: self.address}
        self.letters = f"{self.name}.dead-letters"
        for name in (self.name, self.letters):
            self.create(name)

    def create(self, name: str) -> None:
        create = create_topic if self.kind == "kafka" else declare
        create(self.address, name)

    def source(self, **more: Any) -> dict[str, Any]:
        where = {"topic": self.name} if self.kind == "kafka" else {"queue": self.name}
        return {"endpoint": "bus", **where, **more}

    def target(self, name: str, **more: Any) -> dict[str, Any]:
        if self.kind == "amqp":
            return {"endpoint": "bus", "routing_key": name, **more}
        replies = {"reply_topic": f"{name}.replies"} if more.get("mode") == "reply" else {}
        for topic in replies.values():
            self.create(topic)
        return {"endpoint": "bus", "topic": name, **replies, **more}

    async def publish(self, *bodies: bytes | None, content_type: str = "") -> None:
        if self.kind == "kafka":
            headers = {"content-type": content_type} if content_type else {}
            records = [{"key": b"k", "value": body, "headers": headers} for body in bodies]
            await asyncio.to_thread(produce, self.address, self.name, records)
        else:
            told = {"content_type": content_type} if content_type else {}
            await asyncio.to_thread(publish_pika, self.address, self.name, *bodies, **told)  # type: ignore[arg-type]

    async def read(self, name: str, count: int = 1) -> list[Letter]:
        if self.kind == "kafka":
            records = await asyncio.to_thread(read, self.address, name, count, settle=0.3)
            return [
                Letter(
                    record.value,
                    (record.headers.get("content-type") or b"").decode(),
                    {header: (value or b"").decode() for header, value in record.headers.items()},
                )
                for record in records
            ]
        taken = await asyncio.to_thread(take, self.address, name, count)
        return [Letter(one.body, one.properties.content_type or "", one.headers) for one in taken]

    def answering(self, answer: Callable[[bytes], bytes], content_type: str) -> AbstractContextManager[Any]:
        """A foreign service."""
        if self.kind == "amqp":
            told = {"content_type": content_type}
            return server(self.address, f"{self.name}.asked", lambda _, body: [(told, answer(body))])
        headers = {"content-type": content_type.encode()}
        return answering(self.address, f"{self.name}.asked", lambda body, _: (answer(body), headers))

    async def ask(self, body: bytes) -> Letter:
        """A foreign caller's request, and its reply."""
        if self.kind == "amqp":
            got = await asyncio.to_thread(ask_pika, self.address, self.name, body)
            return Letter(got.body, got.properties.content_type or "", got.headers)
        replies = f"{self.name}.answers"
        self.create(replies)
        headers = {"reply-to": replies, "correlation-id": "c-1"}
        await asyncio.to_thread(produce, self.address, self.name, [{"value": body, "headers": headers}])
        (reply,) = await self.read(replies)
        assert reply.headers["correlation-id"] == "c-1"
        return reply


@pytest.fixture(params=["kafka", "amqp"])
def broker(request: pytest.FixtureRequest) -> Broker:
    return Broker(request.param)


class Service:
    """A REST service that keeps what it is sent. answer: of each."""

    def __init__(self, answer: Any) -> None:
        self.listen = f"127.0.0.1:{free_port()}"
        self.given: list[Any] = []
        self._answer = answer

    async def __aenter__(self) -> "Service":
        async def handle(request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
            self.given.append(await request.json())
            answer = self._answer
            if isinstance(answer, int):
                return aiohttp.web.json_response({"detail": "there is no such order"}, status=answer)
            return aiohttp.web.json_response(answer)

        self._runner = aiohttp.web.ServerRunner(aiohttp.web.Server(handle))
        await self._runner.setup()
        host, port = self.listen.split(":")
        await aiohttp.web.TCPSite(self._runner, host, int(port)).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


def endpoints(broker: Broker, options: dict[str, Any], folder: Path, service: Service | None = None) -> dict[str, Any]:
    (folder / "order.yaml").write_text(json.dumps(ORDER))
    listen = f"127.0.0.1:{free_port()}"
    web = {"protocol": "http", "listen": listen}
    more = {} if service is None else {"service": {"protocol": "http", "target": f"http://{service.listen}"}}
    return {"bus": {**broker.endpoint, **options}, "web": web, **more}


@formats
async def test_published_and_consumed(
    broker: Broker, tmp_path: Path, options: dict[str, Any], wire: bytes, value: Any, content_type: str
) -> None:
    """REST to the broker, as a foreign client reads it; and what a foreign client writes, to REST."""
    out = f"{broker.name}.out"
    broker.create(out)
    async with Service({}) as service, aiohttp.ClientSession() as client:
        sides = endpoints(broker, options, tmp_path, service)
        routes = {
            "publish": {
                "from": {"endpoint": "web", "method": "POST", "path": "/messages"},
                "to": broker.target(out),
            },
            "consume": {"from": broker.source(), "to": {"endpoint": "service", "method": "POST", "path": "/messages"}},
        }
        async with serving(tmp_path, sides, routes):
            async with client.post(f"http://{sides['web']['listen']}/messages", json=value) as answer:
                assert answer.status == 202, await answer.text()
            (letter,) = await broker.read(out)
            assert (letter.body, letter.content_type) == (wire, content_type)
            await broker.publish(wire)
            await broker.publish(wire, content_type=content_type)
            for _ in range(200):
                if len(service.given) == 2:
                    break
                await asyncio.sleep(0.05)
    assert service.given == [value, value]


async def test_requests_and_replies_are_records(broker: Broker, tmp_path: Path) -> None:
    """A REST caller asks a foreign service, and a foreign caller a REST service; a failure is problem+json."""
    asked = broker.target(f"{broker.name}.asked", mode="reply")
    state = "OK".encode("cp037")
    async with Service({"state": "NO"}) as service, aiohttp.ClientSession() as client:
        sides = endpoints(broker, RECORDS, tmp_path, service)
        routes = {
            "ask": {"from": {"endpoint": "web", "method": "POST", "path": "/orders"}, "to": asked},
            "answer": {
                "from": broker.source(replies="one"),
                "to": {"endpoint": "service", "method": "POST", "path": "/orders"},
            },
        }
        given: list[bytes] = []

        def answer(body: bytes) -> bytes:
            given.append(body)
            return state

        with broker.answering(answer, "application/octet-stream"):
            async with serving(tmp_path, sides, routes):
                async with client.post(f"http://{sides['web']['listen']}/orders", json=JSON) as reply:
                    assert (reply.status, await reply.json()) == (200, {"state": "OK"})
                assert given == [SENT]
                told = await broker.ask(SENT)
                assert (told.body, told.content_type) == ("NO".encode("cp037"), "application/octet-stream")
                assert service.given == [JSON]


@pytest.mark.parametrize("body", [b"short", "POT ".encode("cp037") + b"\xff\xff\xff\xff"])
async def test_a_failure_of_a_record_is_told_as_a_problem(broker: Broker, tmp_path: Path, body: bytes) -> None:
    async with Service(404) as service:
        sides = endpoints(broker, RECORDS, tmp_path, service)
        answer = {"from": broker.source(replies="one"), "to": {"endpoint": "service", "method": "POST", "path": "/o"}}
        async with serving(tmp_path, sides, {"answer": answer}):
            told = await broker.ask(body)
            assert told.content_type == "application/problem+json"
            assert told.headers["gateway-status"] == "INVALID_ARGUMENT"
            assert b'"code":"INVALID_ARGUMENT"' in (told.body or b"")
    assert service.given == []


async def test_what_is_no_such_message_is_dead_lettered_as_it_came(broker: Broker, tmp_path: Path) -> None:
    """Too short a record, a digit that is none, and another charset; a good one between them comes through."""
    bad = "POT ".encode("cp037") + bytes.fromhex("0012a45c")
    async with Service({}) as service:
        sides = endpoints(broker, RECORDS, tmp_path, service)
        consume = {"from": broker.source(), "to": {"endpoint": "service", "method": "POST", "path": "/o"}}
        async with serving(tmp_path, sides, {"consume": consume}):
            await broker.publish(b"\xd7\xd6", bad, SENT)
            letters = {letter.body: letter for letter in await broker.read(broker.letters, 2)}
            for _ in range(200):
                if service.given:
                    break
                await asyncio.sleep(0.05)
    assert service.given == [JSON]
    assert letters.keys() == {b"\xd7\xd6", bad}
    assert letters[bad].headers["dead-letter-path"] == "$.amount"
    assert letters[b"\xd7\xd6"].headers["dead-letter-path"] == "$.code"
    for letter in letters.values():
        assert letter.headers["dead-letter-reason"].startswith("INVALID_ARGUMENT")


async def test_a_text_in_another_charset_is_dead_lettered_as_it_came(broker: Broker, tmp_path: Path) -> None:
    async with Service({}) as service:
        sides = endpoints(broker, {"format": "text", "charset": "latin-1"}, tmp_path, service)
        consume = {"from": broker.source(), "to": {"endpoint": "service", "method": "POST", "path": "/o"}}
        async with serving(tmp_path, sides, {"consume": consume}):
            await broker.publish("°".encode(), content_type="text/plain; charset=utf-8")
            (letter,) = await broker.read(broker.letters)
            assert (letter.body, letter.content_type) == ("°".encode(), "text/plain; charset=utf-8")
            assert "charset 'utf-8', and iso8859-1 is declared" in letter.headers["dead-letter-reason"]
    assert service.given == []


@formats
async def test_streamed(
    broker: Broker, tmp_path: Path, options: dict[str, Any], wire: bytes, value: Any, content_type: str
) -> None:
    place = {"topic": broker.name} if broker.kind == "kafka" else {"exchange": "amq.fanout", "routing_key": "any"}
    sides = endpoints(broker, options, tmp_path)
    feed = {
        "from": {"endpoint": "web", "method": "GET", "path": "/feed"},
        "to": {"endpoint": "bus", **place, "mode": "subscribe"},
    }

    def publish() -> None:
        if broker.kind == "kafka":
            produce(broker.address, broker.name, [{"value": wire, "headers": {"content-type": content_type}}])
            return
        with channel(broker.address) as open_:
            open_.basic_publish("amq.fanout", "any", wire, pika.BasicProperties(content_type=content_type))

    async with (
        serving(tmp_path, sides, {"feed": feed}),
        aiohttp.ClientSession() as client,
        sse(client, f"http://{sides['web']['listen']}/feed") as stream,
    ):
        reading = asyncio.ensure_future(stream.next())
        for _ in range(100):
            await asyncio.to_thread(publish)
            if (await asyncio.wait((reading,), timeout=0.2))[0]:
                break
        assert (await reading)[2] == value


async def test_tombstones_pass_where_bytes_do_and_are_refused_else(tmp_path: Path) -> None:
    broker = Broker("kafka")
    copy = f"{broker.name}.copy"
    broker.create(copy)
    async with Service({}) as service:
        sides = endpoints(broker, {"format": "raw"}, tmp_path, service)
        routes = {
            "mirror": {"from": broker.source(group=f"{broker.name}.mirror"), "to": broker.target(copy)},
            "consume": {"from": broker.source(), "to": {"endpoint": "service", "method": "POST", "path": "/o"}},
        }
        async with serving(tmp_path, sides, routes):
            await broker.publish(None, b"")
            copies = await broker.read(copy, 2)
            (letter,) = await broker.read(broker.letters)
    assert [one.body for one in copies] == [None, b""]
    assert letter.body is None
    assert letter.headers["dead-letter-reason"] == "INVALID_ARGUMENT: the message has no body"
    assert service.given == [{"data": ""}] or service.given == [{}]


async def test_events_are_cloudevents_whatever_the_format(broker: Broker, tmp_path: Path) -> None:
    """On a backbone whose own messages are text in a charset that events are not in."""
    async with Service({}) as service, aiohttp.ClientSession() as client:
        sides = endpoints(broker, {"format": "text", "charset": "cp037"}, tmp_path, service)
        sides["news"] = {"protocol": "events", "backbone": "bus", "stream": f"{broker.name}.news"}
        if broker.kind == "kafka":
            broker.create(f"{broker.name}.news")
        routes = {
            "publish": {
                "from": {"endpoint": "web", "method": "POST", "path": "/news"},
                "to": {"endpoint": "news", "topic": "orders.placed"},
            },
            "deliver": {
                "from": {"endpoint": "news", "topic": "orders.>", "subscription": "all"},
                "to": {"endpoint": "service", "method": "POST", "path": "/news"},
            },
        }
        async with serving(tmp_path, sides, routes):
            async with client.post(f"http://{sides['web']['listen']}/news", json={"a": "ü"}) as answer:
                assert answer.status == 202, await answer.text()
            for _ in range(200):
                if service.given:
                    break
                await asyncio.sleep(0.05)
    assert service.given == [{"a": "ü"}]
