"""What the gateway publishes and asks, as pika and the broker see it."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pika
import pytest
from support.amqp_gateway import endpoint, name, publishing, target
from support.amqp_peer import channel, declare, ready, take
from support.amqp_service import server
from support.until import until

from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.status import Code, Detail, Failure

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_message_with_all_properties(rabbitmq: str) -> None:
    exchange, queue = name("x"), name()
    address = target(
        exchange=exchange,
        declare={"type": "topic"},
        routing_key="$.region",
        type="order.placed",
        app_id="shop",
        priority=3,
        expiration="60s",
        headers={"tenant": "acme", "region": "$.region"},
    )
    async with publishing(endpoint(rabbitmq), address) as (side, (publish,)):
        assert side.contract(address).sources == {"routing_key": "$.region", "header region": "$.region"}
        with channel(rabbitmq) as open_:
            open_.queue_declare(queue)
            open_.queue_bind(queue, exchange, "eu.*")
        headers = [("message-id", "m-1"), ("correlation-id", "c-1"), ("x-text", "ü"), ("x-bytes", b"\xff\x00")]
        request = Message(b'{"a": 1}', headers, {"routing_key": "eu.west", "header region": "eu.west"})
        reply = await publish.call(request, Context(trace=TRACE))
        assert reply.body is None
        assert reply.params == {"id": "m-1", "exchange": exchange, "routing_key": "eu.west"}
        (got,) = await asyncio.to_thread(take, rabbitmq, queue)
    assert (got.exchange, got.routing_key, got.body) == (exchange, "eu.west", b'{"a": 1}')
    properties = got.properties
    assert (properties.message_id, properties.correlation_id) == ("m-1", "c-1")
    assert (properties.content_type, properties.delivery_mode, properties.priority) == ("application/json", 2, 3)
    assert (properties.type, properties.app_id, properties.expiration) == ("order.placed", "shop", "60000")
    assert properties.timestamp > 1_700_000_000
    assert got.headers == {
        "x-text": "ü",
        "x-bytes": b"\xff\x00",
        "tenant": "acme",
        "region": "eu.west",
        "traceparent": TRACE,
    }


async def test_what_can_not_be_published(rabbitmq: str) -> None:
    queue = name()
    declare(rabbitmq, queue)
    address = target(routing_key="$params.queue")
    async with publishing(endpoint(rabbitmq, max_message_bytes=100_000), address) as (_, (publish,)):
        bad: list[tuple[Message, Code, str]] = [
            (Message(b"x" * 100_001), Code.INVALID_ARGUMENT, "larger than the limit of 100000"),
            (Message(b"x", params={"routing_key": "k" * 256}), Code.INVALID_ARGUMENT, "routing key is longer"),
            (Message(b"x", params={"routing_key": ""}), Code.INVALID_ARGUMENT, "routing key needs a value"),
            (Message(b"x", [("h" * 256, "v")]), Code.INVALID_ARGUMENT, "header's name is longer than 255"),
            (Message(b"x", [("message-id", "v" * 256)]), Code.INVALID_ARGUMENT, "message_id is longer than 255"),
            (Message(b"x", [("h", "v" * 140_000)]), Code.INVALID_ARGUMENT, "headers are larger"),
            (Message(b"x", params={"routing_key": name()}), Code.NOT_FOUND, "no queue takes"),
        ]
        for message, code, text in bad:
            message.params = {"routing_key": queue, **message.params}
            with pytest.raises(Failure, match=text) as refused:
                await publish.call(message, Context())
            assert (refused.value.code, refused.value.sent) == (code, False)
        await publish.call(Message(b"good", params={"routing_key": queue}), Context())
        assert [got.body for got in await asyncio.to_thread(take, rabbitmq, queue)] == [b"good"]
        assert ready(rabbitmq, queue) == 0


async def test_the_same_message_id_at_once_is_not_confused(rabbitmq: str) -> None:
    queue = name()
    declare(rabbitmq, queue)
    address = target(routing_key="$params.queue")
    async with publishing(endpoint(rabbitmq), address) as (_, (publish,)):

        async def one(number: int) -> bool:
            key = queue if number % 3 else name()
            try:
                await publish.call(Message(b"x", [("message-id", "same")], {"routing_key": key}), Context())
            except Failure as failure:
                return failure.code is not Code.NOT_FOUND
            return True

        outcomes = await asyncio.wait_for(asyncio.gather(*(one(number) for number in range(60))), 10)
    assert outcomes == [bool(number % 3) for number in range(60)]
    assert ready(rabbitmq, queue) == sum(outcomes)


async def test_a_missing_exchange(rabbitmq: str) -> None:
    exchange = name("x")
    queue = name()
    declare(rabbitmq, queue)
    addresses = target(exchange=exchange, routing_key="k"), target(routing_key=queue)
    async with publishing(endpoint(rabbitmq), *addresses, ready=False) as (side, (lacking, fine)):
        await until(lambda: exchange in side.unready)
        with pytest.raises(Failure, match="does not exist") as refused:
            await asyncio.wait_for(lacking.call(Message(b"x"), Context()), 1)
        assert refused.value.code is Code.NOT_FOUND
        assert exchange not in refused.value.message
        await fine.call(Message(b"x"), Context())
        with channel(rabbitmq) as open_:
            open_.exchange_declare(exchange)
            open_.queue_bind(queue, exchange, "k")
        await until(lambda: not side.unready)
        await lacking.call(Message(b"x"), Context())
        with channel(rabbitmq) as open_:
            open_.exchange_delete(exchange)
        with pytest.raises(Failure) as refused:
            await lacking.call(Message(b"x"), Context())
        assert refused.value.code is Code.NOT_FOUND
        await fine.call(Message(b"x"), Context())


async def test_a_full_queue_refuses(rabbitmq: str) -> None:
    queue = name()
    declare(rabbitmq, queue, {"x-max-length": 1, "x-overflow": "reject-publish"})
    async with publishing(endpoint(rabbitmq), target(routing_key=queue)) as (_, (publish,)):
        calls = (publish.call(Message(b"x"), Context()) for _ in range(20))
        with pytest.raises(Failure) as refused:
            await asyncio.gather(*calls)
        assert refused.value.code is Code.RESOURCE_EXHAUSTED


async def test_no_broker(rabbitmq: str) -> None:
    address = target(routing_key="q")
    async with publishing(endpoint("amqp://u:secret@127.0.0.1:1"), address, ready=False) as (side, (publish,)):
        await until(lambda: "127.0.0.1:1" in side.unready)
        with pytest.raises(Failure, match="can't be reached") as refused:
            await asyncio.wait_for(publish.call(Message(b"x"), Context()), 0.5)
        assert (refused.value.code, refused.value.sent) == (Code.UNAVAILABLE, False)
        assert "secret" not in side.unready


async def test_a_refused_login_and_a_missing_virtual_host(rabbitmq: str) -> None:
    place = rabbitmq.partition("@")[2]
    for url, told in (
        (f"amqp://guest:wrong@{place}", "refuses the login"),
        (f"amqp://guest:guest@{place}/nowhere", "nowhere"),
    ):
        async with publishing(endpoint(url), target(routing_key="q"), ready=False) as (side, (publish,)):
            await until(lambda told=told, side=side: told in side.unready, what=lambda side=side: side.unready)
            with pytest.raises(Failure) as refused:
                await publish.call(Message(b"x"), Context())
            assert refused.value.code is Code.UNAVAILABLE
            assert "wrong" not in side.unready


async def test_request_and_reply(rabbitmq: str) -> None:
    queue = name()
    seen: list[pika.BasicProperties] = []

    def respond(properties: pika.BasicProperties, body: bytes) -> list[tuple[dict[str, Any], bytes]]:
        seen.append(properties)
        return [({"headers": {"X-Shelf": 7, "secret": "s"}}, body.upper())]

    config = endpoint(rabbitmq, forward_headers=["x-shelf"])
    with server(rabbitmq, queue, respond):
        async with publishing(config, target(routing_key=queue, mode="reply")) as (_, (ask,)):
            deadline = asyncio.get_running_loop().time() + 30
            replies = await asyncio.gather(
                *(ask.call(Message(b"a%d" % number), Context(deadline=deadline)) for number in range(50))
            )
    assert [reply.body for reply in replies] == [b"A%d" % number for number in range(50)]
    assert replies[0].headers == [("x-shelf", "7")]
    assert len({properties.correlation_id for properties in seen}) == 50
    assert all(29_000 < int(properties.expiration) <= 30_000 for properties in seen)


async def test_error_replies(rabbitmq: str) -> None:
    queue = name()
    problem = {
        "code": "FAILED_PRECONDITION",
        "detail": "the shelf is empty at $.sku",
        "path": "$.sku",
        "details": [{"type": "OutOfStock", "sku": "A", "available": 0}],
        "retry_after": 2,
    }
    replies: dict[bytes, tuple[Any, bytes]] = {
        b"number": (7, b"{}"),
        b"problem": ("FAILED_PRECONDITION", json.dumps(problem).encode()),
        b"bare": ("NOT_FOUND", b"\xff no JSON"),
        b"strange": ("TEAPOT", b"{}"),
        b"fine": ("OK", b"fine"),
    }

    def respond(properties: pika.BasicProperties, body: bytes) -> list[tuple[dict[str, Any], bytes]]:
        status, reply = replies[body]
        return [({"headers": {"gateway-status": status}}, reply)]

    with server(rabbitmq, queue, respond):
        async with publishing(endpoint(rabbitmq), target(routing_key=queue, mode="reply")) as (_, (ask,)):
            with pytest.raises(Failure) as failed:
                await ask.call(Message(b"problem"), Context())
            failure = failed.value
            assert (failure.code, failure.message, failure.path) == (
                Code.FAILED_PRECONDITION,
                "the shelf is empty",
                "$.sku",
            )
            assert failure.details == (Detail("OutOfStock", {"sku": "A", "available": 0}),)
            assert failure.retry_after == 2
            with pytest.raises(Failure, match="answered NOT_FOUND"):
                await ask.call(Message(b"bare"), Context())
            for strange in (b"strange", b"number"):
                with pytest.raises(Failure) as failed:
                    await ask.call(Message(strange), Context())
                assert failed.value.code is Code.UNKNOWN
            assert (await ask.call(Message(b"fine"), Context())).body == b"fine"


async def test_late_double_and_oversized_replies(rabbitmq: str) -> None:
    queue = name()
    release = threading.Event()

    def respond(properties: pika.BasicProperties, body: bytes) -> list[tuple[dict[str, Any], bytes]]:
        match body:
            case b"slow":
                release.wait(10)
                return [({}, b"late")]
            case b"twice":
                return [({}, b"one"), ({}, b"two")]
            case b"stranger":
                return [({"correlation_id": "someone else's"}, b"not yours"), ({}, b"yours")]
            case _:
                return [({}, b"x" * 1001)]

    config = endpoint(rabbitmq, max_message_bytes=1000)
    network = Network(Path())
    unmatched = network.counters.counter("rabbit", "unmatched_replies")
    with server(rabbitmq, queue, respond):
        async with publishing(config, target(routing_key=queue, mode="reply"), network=network) as (_, (ask,)):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await ask.call(Message(b"slow"), Context())
            release.set()
            await until(lambda: unmatched.value == 1)
            assert (await ask.call(Message(b"twice"), Context())).body == b"one"
            await until(lambda: unmatched.value == 2)
            assert (await ask.call(Message(b"stranger"), Context())).body == b"yours"
            assert unmatched.value == 3
            with pytest.raises(Failure, match="larger than 1000 bytes") as failed:
                await ask.call(Message(b"large"), Context())
            assert failed.value.code is Code.INTERNAL


async def test_nobody_to_ask(rabbitmq: str) -> None:
    async with publishing(endpoint(rabbitmq), target(routing_key=name(), mode="reply")) as (_, (ask,)):
        with pytest.raises(Failure) as refused:
            await asyncio.wait_for(ask.call(Message(b"x"), Context()), 2)
        assert refused.value.code is Code.NOT_FOUND
