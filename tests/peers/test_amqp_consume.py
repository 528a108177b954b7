"""What the gateway makes of messages that pika wrote."""

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pika
import pytest
from aiormq.channel import Channel as AmqpChannel
from support.amqp_gateway import binding, consuming, endpoint, name, source
from support.amqp_peer import ask, channel, declare, publish, ready, take
from support.handler import Handler
from support.until import until

from gateway.message import Message
from gateway.net.network import Network
from gateway.status import Code, Detail, Failure, invalid

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_message_with_all_properties(rabbitmq: str) -> None:
    queue, exchange = name(), name("x")
    with channel(rabbitmq) as open_:
        open_.exchange_declare(exchange, "topic")
    address = source(queue, declare={"bindings": [{"exchange": exchange, "routing_key": "order.*"}]})
    handler = Handler()
    wanted = ["message-id", "Correlation-Id", "x-text", "x-number", "x-true", "x-table", "x-bytes", "x-day", "x-none"]
    async with consuming(endpoint(rabbitmq, forward_headers=wanted), address, handler):
        with channel(rabbitmq) as open_:
            headers = {
                "X-Text": "ü",
                "x-number": 7,
                "x-true": True,
                "x-table": {"a": [1, "b"], "d": Decimal("1.5")},
                "x-bytes": b"\xff\x00",
                "x-day": datetime(2026, 1, 31, 13, 30, tzinfo=UTC),
                "x-none": None,
                "secret": "s",
                "traceparent": TRACE,
            }
            properties = pika.BasicProperties(
                content_type="application/json",
                headers=headers,
                priority=3,
                correlation_id="c-1",
                message_id="m-1",
                timestamp=1_700_000_000,
                type="order.placed",
                user_id="guest",
                app_id="shop",
            )
            open_.basic_publish(exchange, "order.placed", b'{"a": 1}', properties)
        await handler.wait(1)
        await until(lambda: ready(rabbitmq, queue) == 0)
    (request,), (context,) = handler.requests, handler.contexts
    assert request.body == b'{"a": 1}'
    assert sorted(request.headers) == [
        ("correlation-id", "c-1"),
        ("message-id", "m-1"),
        ("x-bytes", "\xff\x00".encode("latin-1")),
        ("x-day", "2026-01-31T13:30:00Z"),
        ("x-number", "7"),
        ("x-table", '{"a":[1,"b"],"d":"1.5"}'),
        ("x-text", "ü"),
        ("x-true", "true"),
    ]
    assert request.params == {
        "exchange": exchange,
        "routing_key": "order.placed",
        "redelivered": False,
        "content_type": "application/json",
        "priority": 3,
        "correlation_id": "c-1",
        "reply_to": "",
        "message_id": "m-1",
        "type": "order.placed",
        "user_id": "guest",
        "app_id": "shop",
        "timestamp": 1_700_000_000_000_000_000,
    }
    assert (context.trace, context.peer) == (TRACE, f"{queue}/m-1")


async def test_a_poison_message_becomes_a_dead_letter_as_it_came(rabbitmq: str) -> None:
    queue = name()

    async def outcome(request: Message) -> Failure | None:
        match request.body:
            case b"poison":
                return invalid("a text is expected", "$.sku")
            case b"broken":
                return Failure(Code.INTERNAL, "oops")
            case b"bug":
                raise KeyError("bug")
        return None

    handler = Handler(outcome)
    address = source(queue, max_deliveries=3)
    async with consuming(endpoint(rabbitmq, max_message_bytes=1000), address, handler):
        headers = {"x-big": 2**40, "CC": [name()]}
        sent = {"headers": headers, "message_id": "m-1", "type": "t", "priority": 3, "expiration": "60000"}
        large = b"x" * 1001
        for body in (b"poison", b"broken", b"bug", large, b"fine"):
            publish(rabbitmq, queue, body, **sent)
        letters = await asyncio.to_thread(take, rabbitmq, f"{queue}.dead-letters", 4)
        await until(lambda: b"fine" in handler.bodies)
    found = {letter.body: letter for letter in letters}
    assert set(found) == {b"poison", b"broken", b"bug", large}
    for letter in letters:
        properties = letter.properties
        assert (properties.message_id, properties.type, properties.priority) == ("m-1", "t", 3)
        assert properties.delivery_mode == 2
        assert (properties.expiration, letter.headers["dead-letter-expiration"]) == (None, "60000")
        assert (letter.headers.get("CC"), letter.headers["dead-letter-CC"]) == (None, headers["CC"])
        assert letter.headers["x-big"] == 2**40
        assert letter.headers["dead-letter-queue"] == queue
        assert (letter.headers["dead-letter-exchange"], letter.headers["dead-letter-routing-key"]) == ("", queue)
    reasons = {body: letter.headers for body, letter in found.items()}
    assert reasons[b"poison"]["dead-letter-reason"] == "INVALID_ARGUMENT: a text is expected"
    assert reasons[b"poison"]["dead-letter-path"] == "$.sku"
    assert reasons[b"poison"]["dead-letter-deliveries"] == "1"
    assert reasons[b"broken"]["dead-letter-reason"] == "INTERNAL: oops"
    assert reasons[b"broken"]["dead-letter-deliveries"] == "3"
    assert reasons[b"bug"]["dead-letter-reason"] == "INTERNAL: internal error"
    assert "limit of 1000 bytes" in reasons[large]["dead-letter-reason"]
    assert handler.bodies.count(b"broken") == 3


@pytest.mark.parametrize("timestamp", [1_700_000_000_000, 2**63])
async def test_properties_that_other_clients_choke_on(rabbitmq: str, timestamp: int) -> None:
    queue = name()
    handler = Handler()
    async with consuming(endpoint(rabbitmq, forward_headers=["x-odd"]), source(queue), handler):
        publish(rabbitmq, queue, b"1", timestamp=timestamp, headers={"x-odd": b"\xff"})
        publish(rabbitmq, queue, b"2")
        await handler.wait(2)
    odd = next(request for request in handler.requests if request.body == b"1")
    known = odd.params.get("timestamp")
    assert known == (timestamp * 1_000_000 if timestamp < 2**62 else None)
    assert odd.headers == [("x-odd", b"\xff")]


async def test_what_may_pass_is_tried_again_in_place(rabbitmq: str) -> None:
    queue = name()
    failing = 20

    async def outcome(request: Message) -> Failure | None:
        nonlocal failing
        if request.body == b"first" and failing:
            failing -= 1
            return Failure(Code.UNAVAILABLE, "down")
        return None

    handler = Handler(outcome)
    async with consuming(endpoint(rabbitmq), source(queue, prefetch=1, max_deliveries=2), handler):
        publish(rabbitmq, queue, b"first", b"second")
        await handler.wait(22)
        await until(lambda: ready(rabbitmq, queue) == 0)
    assert handler.bodies == [b"first"] * 21 + [b"second"], "prefetch 1 keeps the order, whatever fails"
    assert all(not request.params["redelivered"] for request in handler.requests)
    assert ready(rabbitmq, f"{queue}.dead-letters") == 0


async def test_prefetch_bounds_what_is_held(rabbitmq: str) -> None:
    queue = name()
    release = asyncio.Event()

    async def outcome(request: Message) -> None:
        await release.wait()

    declare(rabbitmq, queue)
    publish(rabbitmq, queue, *[b"x" * 100_000] * 50)
    handler = Handler(outcome)
    async with consuming(endpoint(rabbitmq), source(queue, declare=None, prefetch=8), handler):
        await handler.wait(8)
        await asyncio.sleep(0.2)
        assert len(handler.requests) == 8
        assert ready(rabbitmq, queue) == 42
        release.set()
        await handler.wait(50)


async def test_drain_finishes_what_runs_and_gives_back_the_rest(rabbitmq: str) -> None:
    queue = name()
    release = asyncio.Event()

    async def outcome(request: Message) -> Failure | None:
        if request.body == b"runs":
            await release.wait()
            return None
        return Failure(Code.UNAVAILABLE, "down")

    handler = Handler(outcome)
    async with consuming(endpoint(rabbitmq), source(queue, backoff="30s", max_backoff="30s"), handler) as side:
        publish(rabbitmq, queue, b"runs", b"waits")
        await handler.wait(2)
        draining = asyncio.create_task(side.drain())
        await until(lambda: ready(rabbitmq, queue) == 1)
        publish(rabbitmq, queue, b"new")
        assert not draining.done()
        release.set()
        await asyncio.wait_for(draining, 5)
        assert len(handler.requests) == 2
    left = await asyncio.to_thread(take, rabbitmq, queue, 2)
    assert {(message.body, message.redelivered) for message in left} == {(b"waits", True), (b"new", False)}


async def test_a_drain_while_it_begins_to_consume(rabbitmq: str, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = name()
    declare(rabbitmq, queue)
    publish(rabbitmq, queue, b"1", b"2", b"3")
    consume = AmqpChannel.basic_consume
    handler = Handler()
    async with consuming(endpoint(rabbitmq), source(queue, declare=None), handler, ready=False) as side:

        async def late(*given: Any, **more: Any) -> Any:
            await side.drain()
            return await consume(*given, **more)

        monkeypatch.setattr(AmqpChannel, "basic_consume", late)
        await until(lambda: not side.unready, lambda: side.unready)
        with channel(rabbitmq) as open_:
            state = open_.queue_declare(queue, passive=True).method
            assert state.consumer_count == 0
        await until(lambda: ready(rabbitmq, queue) == 3)
    assert not handler.requests


async def test_stop_gives_back_what_runs(rabbitmq: str) -> None:
    queue = name()

    async def outcome(request: Message) -> None:
        await asyncio.Event().wait()

    handler = Handler(outcome)
    async with consuming(endpoint(rabbitmq), source(queue), handler):
        publish(rabbitmq, queue, b"1")
        await handler.wait(1)
    assert [message.body for message in await asyncio.to_thread(take, rabbitmq, queue)] == [b"1"]


async def test_it_stops_at_any_moment_of_its_beginning(rabbitmq: str) -> None:
    for moment in range(40):
        async with asyncio.timeout(20):
            async with consuming(endpoint(rabbitmq), source(name()), Handler(), ready=False):
                await asyncio.sleep(moment * 0.001)


async def test_replies(rabbitmq: str) -> None:
    queue = name()

    async def outcome(request: Message) -> Failure | Message:
        match request.body:
            case b"refused":
                details = [Detail("OutOfStock", {"sku": "A"})]
                return Failure(Code.NOT_FOUND, "no such order", path="$.id", details=details)
            case b"down":
                return Failure(Code.UNAVAILABLE, "down", retry_after=0.01)
            case b"large":
                return Message(b"x" * 1001)
        return Message(request.body.upper(), [("x-shelf", "7")])

    handler = Handler(outcome)
    config = endpoint(rabbitmq, max_message_bytes=1000)
    network = Network(Path())
    async with consuming(config, source(queue, replies="one", max_deliveries=3), handler, network=network):

        async def asked(body: bytes) -> tuple[pika.BasicProperties, bytes]:
            reply = await asyncio.to_thread(ask, rabbitmq, queue, body)
            assert reply.properties.correlation_id == "c-1"
            return reply.properties, reply.body

        properties, body = await asked(b"hello")
        assert (body, properties.content_type, properties.headers) == (
            b"HELLO",
            "application/json",
            {"x-shelf": "7"},
        )
        properties, body = await asked(b"refused")
        assert properties.content_type == "application/problem+json"
        assert properties.headers == {"gateway-status": "NOT_FOUND"}
        assert json.loads(body) == {
            "detail": "no such order at $.id",
            "code": "NOT_FOUND",
            "path": "$.id",
            "details": [{"type": "OutOfStock", "sku": "A"}],
        }
        properties, body = await asked(b"down")
        assert properties.headers == {"gateway-status": "UNAVAILABLE"}
        assert json.loads(body) == {"detail": "down", "code": "UNAVAILABLE", "retry_after": 0.01}
        assert handler.bodies.count(b"down") == 3
        properties, body = await asked(b"large")
        assert properties.headers == {"gateway-status": "INTERNAL"}

        publish(rabbitmq, queue, b"refused")
        (letter,) = await asyncio.to_thread(take, rabbitmq, f"{queue}.dead-letters")
        assert letter.headers["dead-letter-reason"] == "NOT_FOUND: no such order", "nobody else is told"
        publish(rabbitmq, queue, b"gone", reply_to="nobody", correlation_id="c")
        publish(rabbitmq, queue, b"silent")
        await until(lambda: b"silent" in handler.bodies)
        expected = {"dead_letters": 1, "undeliverable_replies": 1, "discarded_replies": 1}
        counted = lambda: {name: value for _, name, value in network.counters}  # noqa: E731
        await until(lambda: counted() == expected, what=lambda: str(counted()))
    assert ready(rabbitmq, queue) == 0


async def test_a_request_is_not_tried_longer_than_its_caller_waits(rabbitmq: str) -> None:
    queue = name()

    async def outcome(request: Message) -> Failure:
        return Failure(Code.UNAVAILABLE, "down")

    handler = Handler(outcome)
    address = source(queue, replies="one", max_deliveries=1000, backoff="50ms", max_backoff="50ms")
    async with consuming(endpoint(rabbitmq), address, handler):
        reply = await asyncio.to_thread(ask, rabbitmq, queue, b"x", 10, expiration="300")
    assert reply.headers == {"gateway-status": "DEADLINE_EXCEEDED"}
    now = asyncio.get_running_loop().time()
    assert all(context.deadline < now for context in handler.contexts)


async def test_a_missing_queue(rabbitmq: str) -> None:
    queue = name()
    handler = Handler()
    async with consuming(endpoint(rabbitmq), source(queue, declare=None), handler, ready=False) as side:
        await until(lambda: "NOT_FOUND" in side.unready, what=lambda: side.unready)
        declare(rabbitmq, queue)
        await until(lambda: not side.unready, what=lambda: side.unready)
        with channel(rabbitmq) as open_:
            open_.queue_delete(queue)
        await until(lambda: "NOT_FOUND" in side.unready, what=lambda: side.unready)
        declare(rabbitmq, queue)
        publish(rabbitmq, queue, b"1")
        await handler.wait(1)


async def test_a_queue_that_is_declared_otherwise(rabbitmq: str) -> None:
    queue = name()
    declare(rabbitmq, queue)
    async with consuming(endpoint(rabbitmq), source(queue, declare={}), Handler(), ready=False) as side:
        await until(lambda: "PRECONDITION_FAILED" in side.unready, what=lambda: side.unready)


async def test_a_quorum_queue_with_its_dead_letters_in_an_exchange(rabbitmq: str) -> None:
    queue, exchange, letters = name(), name("x"), name()
    with channel(rabbitmq) as open_:
        open_.exchange_declare(exchange, "direct", durable=True)
    handler = Handler(lambda request: _refuse())
    address = source(queue, declare={}, dead_letters={"exchange": exchange, "routing_key": "bad"})
    async with consuming(endpoint(rabbitmq), address, handler) as side:
        publish(rabbitmq, queue, b"1")
        await until(lambda: "no queue takes" in side.unready, what=lambda: side.unready)
        declare(rabbitmq, letters)
        with channel(rabbitmq) as open_:
            open_.queue_bind(letters, exchange, "bad")
        (letter,) = await asyncio.to_thread(take, rabbitmq, letters)
        assert (letter.body, letter.headers["dead-letter-reason"]) == (b"1", "INVALID_ARGUMENT: no")
        await until(lambda: not side.unready, what=lambda: side.unready)
    assert len(handler.requests) == 1, "a message is handled once, however long its dead letter takes"


async def _refuse() -> Failure:
    return invalid("no")


async def test_a_reload_keeps_what_stays(rabbitmq: str) -> None:
    queue, other = name(), name()
    before, after = Handler(), Handler()
    address = source(queue)
    async with consuming(endpoint(rabbitmq), address, before) as side:
        publish(rabbitmq, queue, b"1")
        await before.wait(1)
        side.bind([binding(side, source(queue), after), binding(side, source(other), after)])
        publish(rabbitmq, queue, b"2")
        await after.wait(1)
        await until(lambda: not side.unready)
        publish(rabbitmq, other, b"3")
        await after.wait(2)
        side.bind([])
        await side.drain()
        assert not side.unready
        publish(rabbitmq, queue, b"4")
    assert (before.bodies, after.bodies) == ([b"1"], [b"2", b"3"])
    assert ready(rabbitmq, queue) == 1
