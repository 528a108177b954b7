"""What librdkafka published on real brokers, as the gateway consumes, settles and dead-letters it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from support.handler import Handler
from support.kafka_brokers import Bootstrap, Tansu
from support.kafka_gateway import binding, consuming, endpoint, inbound, source
from support.kafka_peer import committed, create_topic, produce, read
from support.until import until

from gateway.message import Message
from gateway.schema.types import INT32, INT64, STRING, TIMESTAMP
from gateway.status import Code, Failure

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

both = pytest.mark.parametrize("kafka", ["apache", "tansu"], indirect=True)


def fails(code: Code, *bodies: bytes | None) -> Callable[[Message], Awaitable[Failure | None]]:
    """An outcome: these bodies fail with this code, always."""

    async def outcome(request: Message) -> Failure | None:
        return Failure(code, "no good", path="$.a[0]") if request.body in bodies else None

    return outcome


@both
async def test_record(kafka: Bootstrap, topic: str) -> None:
    produce(
        kafka,
        topic,
        [
            {
                "key": b"k",
                "value": b'{"a":1}',
                "headers": [("Tenant", b"z\xc3\xbcrich"), ("blob", b"\xff"), ("secret", b"s"), ("traceparent", TRACE)],
                "timestamp": 1_700_000_000_123,
            },
            {"value": b"", "headers": [("traceparent", b"not\r\none"), ("tenant", None)]},
            {"key": b"gone", "value": None},
        ],
    )
    handler = Handler()
    async with consuming(endpoint(kafka, forward_headers=["Tenant", "BLOB"]), source(topic), handler) as side:
        await handler.wait(3)
        contract = side.contract(source(topic))
    first, second, third = sorted(handler.requests, key=lambda request: request.params["offset"])
    assert (first.body, first.key) == (b'{"a":1}', b"k")
    assert list(first.headers) == [("tenant", "zürich"), ("blob", b"\xff")]
    assert dict(first.params) == {
        "topic": topic,
        "partition": 0,
        "offset": 0,
        "timestamp": 1_700_000_000_123_000_000,
    }
    assert (second.body, second.key, list(second.headers)) == (b"", None, [])
    assert (third.body, third.key) == (None, b"gone")
    contexts = {context.peer: context for context in handler.contexts}
    assert contexts[f"{topic}/0/0"].trace == TRACE
    assert contexts[f"{topic}/0/1"].trace == ""
    assert contexts[f"{topic}/0/0"].deadline == float("inf")
    assert contract.metadata == {"topic": STRING, "partition": INT32, "offset": INT64, "timestamp": TIMESTAMP}
    assert contract.claim == f"consumer group events.{topic} of topic {topic}"


@both
async def test_what_can_not_be_right_is_dead_lettered_at_once_and_the_rest_moves(kafka: Bootstrap, topic: str) -> None:
    letters = f"{topic}.dead-letters"
    create_topic(kafka, letters)
    produce(
        kafka,
        topic,
        [{"key": b"k", "value": b"%d" % number, "headers": [("mine", b"\xff")]} for number in range(5)],
    )
    handler = Handler(fails(Code.INVALID_ARGUMENT, b"2"))
    address = source(topic, group=f"{topic}-group")
    async with consuming(endpoint(kafka), address, handler) as side:
        await handler.wait(5)
        await side.drain()
    (letter,) = read(kafka, letters, 1, settle=0.3)
    assert (letter.key, letter.value) == (b"k", b"2")
    assert letter.headers == {
        "mine": b"\xff",
        "dead-letter-reason": b"INVALID_ARGUMENT: no good",
        "dead-letter-path": b"$.a[0]",
        "dead-letter-topic": topic.encode(),
        "dead-letter-partition": b"0",
        "dead-letter-offset": b"2",
        "dead-letter-deliveries": b"1",
    }
    assert handler.bodies == [b"0", b"1", b"2", b"3", b"4"]
    assert committed(kafka, f"{topic}-group", topic) == {0: 5}


async def test_what_may_be_a_bug_is_tried_a_bounded_number_of_times(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, "graveyard-" + topic)
    produce(kafka, topic, [{"value": b"poison"}, {"value": b"fine"}])

    async def outcome(request: Message) -> Failure | None:
        if request.body == b"poison":
            raise ZeroDivisionError("a bug in the route")
        return None

    handler = Handler(outcome)
    address = source(topic, max_deliveries=3, dead_letters="graveyard-" + topic)
    async with consuming(endpoint(kafka), address, handler) as side:
        await handler.wait(4)
        await side.drain()
    assert handler.bodies == [b"poison"] * 3 + [b"fine"]
    (letter,) = read(kafka, "graveyard-" + topic, 1)
    assert letter.value == b"poison"
    assert letter.headers["dead-letter-deliveries"] == b"3"
    assert letter.headers["dead-letter-reason"] == b"INTERNAL: internal error"


@both
async def test_an_upstream_that_is_down_holds_its_key_and_nothing_else(kafka: Bootstrap, topic: str) -> None:
    produce(
        kafka,
        topic,
        [{"key": b"a", "value": b"a1"}, {"key": b"a", "value": b"a2"}]
        + [{"key": b"b%d" % number, "value": b"b"} for number in range(4)],
    )
    down = True

    async def outcome(request: Message) -> Failure | None:
        return Failure(Code.UNAVAILABLE, "down", retry_after=0.01) if request.body == b"a1" and down else None

    handler = Handler(outcome)
    address = source(topic, max_deliveries=2, group=f"{topic}-group")
    async with consuming(endpoint(kafka), address, handler) as side:
        await until(lambda: Counter(handler.bodies)[b"b"] == 4 and Counter(handler.bodies)[b"a1"] > 4)
        assert b"a2" not in handler.bodies
        await asyncio.sleep(1.2)  # longer than it takes to commit now and then
        assert committed(kafka, f"{topic}-group", topic)[0] < 1
        down = False
        await until(lambda: b"a2" in handler.bodies)
        await side.drain()
        assert committed(kafka, f"{topic}-group", topic) == {0: 6}
    assert handler.bodies[-2:] == [b"a1", b"a2"]


async def test_the_window_bounds_what_is_taken(kafka: Bootstrap, topic: str) -> None:
    produce(kafka, topic, [{"key": b"k%d" % number, "value": b"%d" % number} for number in range(50)])
    gate = asyncio.Event()

    async def outcome(request: Message) -> Failure | None:
        if request.body == b"3":
            await gate.wait()
        return None

    handler = Handler(outcome)
    address = source(topic, max_in_flight=8, group=f"{topic}-group")
    async with consuming(endpoint(kafka), address, handler) as side:
        await handler.wait(3 + 8)
        await asyncio.sleep(0.3)
        assert handler.bodies == [b"%d" % number for number in range(3 + 8)]
        await until(lambda: committed(kafka, f"{topic}-group", topic) == {0: 3})
        gate.set()
        await handler.wait(50)
        await side.drain()
    assert committed(kafka, f"{topic}-group", topic) == {0: 50}


async def test_records_without_a_key_keep_the_order_of_their_partition(kafka: Bootstrap, topic: str) -> None:
    produce(kafka, topic, [{"value": b"%d" % number} for number in range(30)])
    running = 0

    async def outcome(request: Message) -> Failure | None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0.001)
        running -= 1
        return None

    handler = Handler(outcome)
    async with consuming(endpoint(kafka), source(topic), handler):
        await handler.wait(30)
    assert handler.bodies == [b"%d" % number for number in range(30)]


async def test_a_record_over_the_limit_is_dead_lettered_whole(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, f"{topic}.dead-letters")
    produce(kafka, topic, [{"value": b"x" * 5000}, {"value": b"small"}])
    handler = Handler()
    async with consuming(endpoint(kafka, max_message_bytes=4096), source(topic), handler) as side:
        await handler.wait(1)
        await side.drain()
    assert handler.bodies == [b"small"]
    (letter,) = read(kafka, f"{topic}.dead-letters", 1)
    assert letter.value == b"x" * 5000


async def test_a_record_as_large_as_the_brokers_take_is_dead_lettered_too(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, f"{topic}.dead-letters")
    largest = b"x" * (1_048_588 - 78)
    produce(kafka, topic, [{"value": largest}], **{"message.max.bytes": 2_000_000})
    handler = Handler()
    async with consuming(endpoint(kafka, max_message_bytes=4096), source(topic), handler):
        (letter,) = await asyncio.to_thread(read, kafka, f"{topic}.dead-letters", 1)
    assert letter.value == largest


async def test_drain_finishes_what_runs_and_gives_the_rest_to_the_next(kafka: Bootstrap, topic: str) -> None:
    produce(kafka, topic, [{"key": b"k", "value": b"%d" % number} for number in range(10)])
    gate = asyncio.Event()

    async def outcome(request: Message) -> Failure | None:
        if request.body == b"4":
            await gate.wait()
        return None

    first, second = Handler(outcome), Handler()
    address = source(topic, group=f"{topic}-group")
    async with consuming(endpoint(kafka), address, first) as side:
        await first.wait(5)
        draining = asyncio.create_task(side.drain())
        await asyncio.sleep(0.1)
        assert not draining.done()
        gate.set()
        await asyncio.wait_for(draining, 10)
    assert first.bodies == [b"%d" % number for number in range(5)]
    async with consuming(endpoint(kafka), address, second):
        await second.wait(5)
    assert second.bodies == [b"%d" % number for number in range(5, 10)]


async def test_a_replaced_route_keeps_its_place(kafka: Bootstrap, topic: str) -> None:
    first, second = Handler(), Handler()
    address = source(topic)
    create_topic(kafka, topic)
    async with consuming(endpoint(kafka), address, first) as side:
        produce(kafka, topic, [{"value": b"1"}])
        await first.wait(1)
        side.bind([binding(side, address, second)])
        assert side.unready == ""
        produce(kafka, topic, [{"value": b"2"}])
        await second.wait(1)
        side.bind([])
        assert side.unready == ""
        produce(kafka, topic, [{"value": b"3"}])
        await until(lambda: not side._consumers._leaving)
    assert (first.bodies, second.bodies) == ([b"1"], [b"2"])


async def test_latest_skips_the_past_but_not_an_absence(kafka: Bootstrap, topic: str) -> None:
    produce(kafka, topic, [{"value": b"past"}])
    first, second = Handler(), Handler()
    address = source(topic, start="latest")
    async with consuming(endpoint(kafka), address, first):
        pass
    produce(kafka, topic, [{"value": b"while away"}])
    async with consuming(endpoint(kafka), address, second):
        await second.wait(1)
    assert first.bodies == []
    assert second.bodies == [b"while away"]


async def test_rebalance_loses_nothing_and_keeps_each_keys_order(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, topic, 4)
    total, window = 400, 16
    log: list[tuple[bytes | None, int]] = []
    taken: dict[str, set[int]] = {"one": set(), "two": set()}

    def handler(name: str) -> Handler:
        async def outcome(request: Message) -> Failure | None:
            await asyncio.sleep(0.02)
            log.append((request.key, int(request.body)))
            taken[name].add(request.params["partition"])
            return None

        return Handler(outcome)

    def records(start: int) -> list[dict[str, bytes]]:
        return [{"key": b"k%d" % (number % 20), "value": b"%d" % number} for number in range(start, start + total // 2)]

    address = source(topic, max_in_flight=window, group=f"{topic}-group")
    produce(kafka, topic, records(0))
    async with consuming(endpoint(kafka), address, handler("one")):
        await until(lambda: len(log) > 40)
        async with consuming(endpoint(kafka), address, handler("two")):
            produce(kafka, topic, records(total // 2))
            await until(
                lambda: len({number for _, number in log}) == total, lambda: f"{len(log)} records came", seconds=40
            )
        assert taken["two"]
    seen: dict[bytes | None, int] = {}
    for key, number in log:
        assert number in (seen.get(key, -1) + 20, *range(0, seen.get(key, -1) + 1)) or key not in seen
        seen[key] = max(number, seen.get(key, -1))
    assert len(log) - total <= 2 * 4 * window


async def test_dead_letters_that_can_not_be_put_anywhere_hold_the_offset(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, topic)
    handler = Handler(fails(Code.INVALID_ARGUMENT, b"bad"))
    address = source(topic, group=f"{topic}-group")
    async with consuming(endpoint(kafka), address, handler) as side:
        healthy = side._producer.publish

        async def refuse(*_: object) -> None:
            raise Failure(Code.UNAVAILABLE, "no room")

        side._producer.publish = refuse  # type: ignore[assignment]
        produce(kafka, topic, [{"key": b"a", "value": b"bad"}, {"key": b"b", "value": b"good"}])
        await handler.wait(2)
        await until(lambda: "can't be put into" in side.unready, lambda: side.unready, seconds=5)
        await asyncio.sleep(1.2)
        assert committed(kafka, f"{topic}-group", topic)[0] < 1
        side._producer.publish = healthy  # type: ignore[method-assign]
        await until(lambda: not side.unready, lambda: side.unready, seconds=5)
        await side.drain()
    assert committed(kafka, f"{topic}-group", topic) == {0: 2}
    assert [letter.value for letter in read(kafka, f"{topic}.dead-letters", 1)] == [b"bad"]
    assert handler.bodies.count(b"bad") == 1


async def test_a_broker_that_comes_later_is_consumed(topic: str) -> None:
    broker = Tansu()
    handler = Handler()
    config = endpoint(broker.bootstrap, idempotent=False)
    try:
        async with consuming(config, source(topic), handler, ready=False) as side:
            await until(lambda: "can't reach" in side.unready)
            await asyncio.to_thread(broker.start)
            await asyncio.to_thread(produce, broker.bootstrap, topic, [{"value": b"1"}])
            await handler.wait(1)
            await until(lambda: not side.unready, lambda: side.unready, seconds=10)
    finally:
        broker.stop()


async def test_stop_before_start_and_twice() -> None:
    side = inbound(endpoint("127.0.0.1:1"))
    await side.stop()
    await side.start()
    await side.stop()
    await side.stop()
