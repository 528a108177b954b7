"""Request and reply over Kafka, with librdkafka as the other side in both roles."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from confluent_kafka.cimpl import NewPartitions
from pydantic import ValidationError
from support.handler import Handler
from support.kafka_brokers import PLAIN_USERS, Bootstrap, apache_kafka
from support.kafka_gateway import endpoint, source
from support.kafka_peer import Record, committed, create_topic, produce, read
from support.kafka_service import answering, echo
from support.until import until

from adapters.kafka.config import Endpoint, Source, Target
from adapters.kafka.inbound import KafkaInbound
from adapters.kafka.outbound import KafkaOutbound
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Binding, Service
from gateway.status import Code, Detail, Failure

both = pytest.mark.parametrize("kafka", ["apache", "tansu"], indirect=True)


@asynccontextmanager
async def requesting(
    config: Endpoint, topic: str, network: Network | None = None, **settings: Any
) -> AsyncIterator[Service]:
    """An outbound's Service that asks over the topic, ready to."""
    side = KafkaOutbound("events", config, network or Network(Path()))
    address = Target.model_validate({"topic": topic, "mode": "reply", "reply_topic": f"{topic}.replies", **settings})
    await side.load()
    contract = side.contract(address)
    assert contract.patterns == {Pattern.REQUEST_REPLY}
    service = side.service(address, contract, Pattern.REQUEST_REPLY)
    await side.start()
    try:
        await until(lambda: not side.unready, lambda: side.unready, seconds=30)
        yield service
    finally:
        await side.stop()


class Echo(Handler):
    """A route that answers."""

    async def call(self, request: Message, context: Context) -> Message:
        await super().call(request, context)
        return Message(b"re:" + request.body, [("tenant", "zürich"), ("gateway-status", "spoofed")])


@asynccontextmanager
async def replying(
    config: Endpoint, topic: str, handler: Handler, network: Network | None = None, **settings: Any
) -> AsyncIterator[KafkaInbound]:
    """An inbound that serves the topic and replies."""
    side = KafkaInbound("events", config, network or Network(Path()))
    address: Source = source(topic, group=topic, replies="one", **settings)
    await side.load()
    contract = side.contract(address)
    side.bind([Binding("test", address, contract, Pattern.REQUEST_REPLY, handler, contract.headers)])
    await side.start()
    try:
        await until(lambda: not side.unready, lambda: side.unready, seconds=30)
        yield side
    finally:
        await side.stop()


def request(topic: str, body: bytes, correlation_id: bytes = b"one", **more: bytes) -> dict[str, Any]:
    headers = [("reply-to", f"{topic}.replies".encode()), ("correlation-id", correlation_id)]
    return {"value": body, "headers": [*headers, *((name.replace("_", "-"), value) for name, value in more.items())]}


def fails(code: Code, **settings: Any) -> Callable[[Message], Awaitable[Failure | None]]:
    async def outcome(request: Message) -> Failure | None:
        return Failure(code, "no good", **settings)

    return outcome


def counter(network: Network, name: str) -> int:
    return network.counters.counter("events", name).value


async def until_committed(kafka: str, topic: str, offset: int) -> None:
    for _ in range(100):
        if (await asyncio.to_thread(committed, kafka, topic, topic))[0] == offset:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{topic} is not committed up to {offset}")


async def replies(kafka: str, topic: str, count: int, settle: float = 0.0) -> list[Record]:
    return await asyncio.to_thread(read, kafka, f"{topic}.replies", count, settle=settle)


# -- configuration


@pytest.mark.parametrize(
    ("model", "given", "complaint"),
    [
        (Target, {"topic": "t", "mode": "reply"}, "needs a reply_topic"),
        (Target, {"topic": "t", "reply_topic": "r"}, "go with `mode: reply`"),
        (Target, {"topic": "t", "reply_partition": 0}, "go with `mode: reply`"),
        (Target, {"topic": "t", "mode": "reply", "reply_topic": "t"}, "the topic of the requests"),
        (Target, {"topic": "t", "mode": "reply", "reply_topic": "no topic"}, "match pattern"),
        (Source, {"topic": "t", "reply_topics": ["r"]}, "goes with `replies: one`"),
        (Source, {"topic": "t", "replies": "one", "reply_topics": ["r?"]}, "match pattern"),
    ],
)
def test_addresses_that_make_no_sense(model: type[Source | Target], given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        model.model_validate(given)


# -- outbound


@both
async def test_ask(kafka: Bootstrap, topic: str) -> None:
    config = endpoint(kafka, forward_headers=["tenant"])
    with answering(kafka, topic, lambda body, _: (b"re:" + body, {"Tenant": b"x", "secret": b"y"})) as service:
        async with requesting(config, topic) as ask:
            given = [("tenant", "a"), ("reply-to", "elsewhere"), ("correlation-id", "mine")]
            reply = await ask.call(Message(b"1", given, key=b"k"), Context())
            assert (reply.body, list(reply.headers)) == (b"re:1", [("tenant", "x")])
            both_ways = await asyncio.gather(*(ask.call(Message(b"%d" % n), Context()) for n in range(50)))
            assert [found.body for found in both_ways] == [b"re:%d" % n for n in range(50)]
    (first, *_) = service.requests
    assert first["reply-to"] == f"{topic}.replies".encode()
    assert first["tenant"] == b"a"
    assert len({headers["correlation-id"] for headers in service.requests}) == 51
    assert str(uuid.UUID(first["correlation-id"].decode())).encode() == first["correlation-id"]


@both
async def test_error_reply(kafka: Bootstrap, topic: str) -> None:
    problem = {"detail": "sold out", "path": "$.sku", "details": [{"type": "OutOfStock", "sku": "A1"}]}

    def refuse(body: bytes, _: Mapping[str, bytes]) -> tuple[bytes, dict[str, bytes]]:
        if body == b"odd":
            return b"\xff", {"gateway-status": b"NO_SUCH"}
        return json.dumps(problem).encode(), {"gateway-status": b"FAILED_PRECONDITION"}

    with answering(kafka, topic, refuse):
        async with requesting(endpoint(kafka), topic) as ask:
            with pytest.raises(Failure) as told:
                await ask.call(Message(b"1"), Context())
            with pytest.raises(Failure) as odd:
                await ask.call(Message(b"odd"), Context())
    failure = told.value
    assert (failure.code, failure.message, failure.path) == (Code.FAILED_PRECONDITION, "sold out", "$.sku")
    assert failure.details == (Detail("OutOfStock", {"sku": "A1"}),)
    assert odd.value.code is Code.UNKNOWN


@both
async def test_late_reply_is_counted_and_no_other(kafka: Bootstrap, topic: str) -> None:
    network = Network(Path())

    def answer(body: bytes, headers: Mapping[str, bytes]) -> tuple[bytes, dict[str, bytes]] | None:
        return None if body == b"slow" else echo(body, headers)

    with answering(kafka, topic, answer) as service:
        async with requesting(endpoint(kafka), topic, network) as ask:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await ask.call(Message(b"slow"), Context())
            await until(lambda: len(service.requests) == 1)
            assert counter(network, "late_replies") == 0
            stranger = {**service.requests[0], "correlation-id": b"nobody's"}
            await asyncio.to_thread(service.reply, stranger, b"x", {})
            await asyncio.to_thread(service.reply, service.requests[0], b"x", {}, 2)
            await until(lambda: counter(network, "late_replies") == 1)
            assert (await ask.call(Message(b"2"), Context())).body == b"re:2"
            assert len(ask._replies._pending) == 0  # type: ignore[attr-defined]
    assert counter(network, "late_replies") == 1


@both
async def test_instances_share_a_reply_topic(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, f"{topic}.replies", 3)
    networks = Network(Path()), Network(Path())
    with answering(kafka, topic):
        async with (
            requesting(endpoint(kafka), topic, networks[0]) as one,
            requesting(endpoint(kafka), topic, networks[1]) as two,
        ):
            calls = [(ask, b"%d" % n) for n in range(30) for ask in (one, two)]
            found = await asyncio.gather(*(ask.call(Message(body), Context()) for ask, body in calls))
    assert [reply.body for reply in found] == [b"re:" + body for _, body in calls]
    assert [counter(network, "late_replies") for network in networks] == [0, 0]


@both
async def test_reply_partition(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, f"{topic}.replies", 3)
    with answering(kafka, topic) as service:
        async with requesting(endpoint(kafka), topic, reply_partition=2) as ask:
            assert (await ask.call(Message(b"1"), Context())).body == b"re:1"
    assert service.requests[0]["reply-partition"] == b"2"
    assert [record.partition for record in await replies(kafka, topic, 1)] == [2]


async def test_replies_from_before_are_not_read_and_large_ones_refused(kafka: Bootstrap, topic: str) -> None:
    produce(kafka, f"{topic}.replies", [{"value": b"old"}] * 3)
    with answering(kafka, topic, lambda body, _: (b"x" * 1001, {})):
        async with requesting(endpoint(kafka, max_message_bytes=1000), topic) as ask:
            assert list(ask._replies._next.values()) == [3]  # type: ignore[attr-defined]
            with pytest.raises(Failure, match="larger than 1000 bytes") as told:
                await ask.call(Message(b"1"), Context())
    assert told.value.code is Code.INTERNAL


async def test_a_partition_that_the_reply_topic_gains(
    kafka: Bootstrap, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it got before it was known counts, too."""
    monkeypatch.setattr("adapters.kafka.replies.METADATA_MILLISECONDS", 200)
    create_topic(kafka, f"{topic}.replies")
    with answering(kafka, topic, lambda body, _: None) as service:
        async with requesting(endpoint(kafka), topic) as ask:
            waiting = [asyncio.create_task(ask.call(Message(b"%d" % n), Context())) for n in range(2)]
            await until(lambda: len(service.requests) == 2)
            admin = AdminClient({"bootstrap.servers": str(kafka)})
            for created in admin.create_partitions([NewPartitions(f"{topic}.replies", 2)]).values():
                await asyncio.to_thread(created.result, 10)
            for partition, headers in ((b"1", service.requests[0]), (b"0", service.requests[1])):
                await asyncio.to_thread(service.reply, {**headers, "reply-partition": partition}, partition, {})
            async with asyncio.timeout(15):
                assert {(await call).body for call in waiting} == {b"0", b"1"}


async def test_a_reply_while_the_broker_was_away(topic: str) -> None:
    """The gateway goes on reading where it was, so nothing that the brokers have is missed."""
    with apache_kafka() as broker, answering(broker.bootstrap, topic, lambda body, _: None) as service:
        async with requesting(endpoint(broker.bootstrap), topic) as ask:
            waiting = asyncio.create_task(ask.call(Message(b"1"), Context()))
            await until(lambda: len(service.requests) == 1)
            broker.kill()
            await asyncio.to_thread(broker.start)
            await asyncio.to_thread(service.reply, service.requests[0], b"late but in time", {})
            async with asyncio.timeout(30):
                assert (await waiting).body == b"late but in time"


async def test_stopping_fails_what_waits(kafka: Bootstrap, topic: str) -> None:
    with answering(kafka, topic, lambda body, _: None) as service:
        async with requesting(endpoint(kafka), topic) as ask:
            waiting = asyncio.create_task(ask.call(Message(b"1"), Context()))
            await until(lambda: len(service.requests) == 1)
    with pytest.raises(Failure) as told:
        await waiting
    assert (told.value.code, told.value.sent) == (Code.UNAVAILABLE, True)
    with pytest.raises(Failure) as told:
        await ask.call(Message(b"2"), Context())
    assert (told.value.code, told.value.sent) == (Code.UNAVAILABLE, False)


# -- inbound


@both
async def test_reply(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, f"{topic}.replies", 2)
    network, handler = Network(Path()), Echo()
    produce(
        kafka,
        topic,
        [
            request(topic, b"1", b"\xffraw"),
            request(topic, b"2", b"two", reply_partition=b"1"),
            {"value": b"3"},
            {"value": b"4", "headers": [("reply-to", f"{topic}.replies".encode())]},
        ],
    )
    async with replying(endpoint(kafka), topic, handler, network):
        found = await replies(kafka, topic, 2, settle=0.5)
        await until_committed(kafka, topic, 4)
    by_id = {record.headers["correlation-id"]: record for record in found}
    assert {correlation_id: record.value for correlation_id, record in by_id.items()} == {
        b"\xffraw": b"re:1",
        b"two": b"re:2",
    }
    assert by_id[b"two"].partition == 1
    assert by_id[b"two"].headers.keys() == {"content-type", "correlation-id", "message-id", "tenant"}
    assert by_id[b"two"].headers["content-type"] == b"application/json"
    assert sorted(body or b"" for body in handler.bodies) == [b"1", b"2", b"3", b"4"]
    assert counter(network, "discarded_replies") == 2


@both
async def test_failures_are_replies(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, f"{topic}.replies")
    network = Network(Path())
    detail = Detail("OutOfStock", {"sku": "A1"})
    handler = Handler(fails(Code.FAILED_PRECONDITION, path="$.sku", details=[detail]))
    produce(kafka, topic, [request(topic, b"1")])
    async with replying(endpoint(kafka), topic, handler, network):
        (found,) = await replies(kafka, topic, 1)
        await until_committed(kafka, topic, 1)
    assert found.headers["gateway-status"] == b"FAILED_PRECONDITION"
    assert found.headers["content-type"] == b"application/problem+json"
    assert json.loads(found.value or b"") == {
        "detail": "no good at $.sku",
        "code": "FAILED_PRECONDITION",
        "path": "$.sku",
        "details": [{"type": "OutOfStock", "sku": "A1"}],
    }
    assert len(handler.requests) == 1
    assert counter(network, "dead_letters") == 0


async def test_what_may_pass_is_tried_again_and_then_told(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, f"{topic}.replies")
    handler = Handler(fails(Code.UNAVAILABLE))
    produce(kafka, topic, [request(topic, b"1")])
    async with replying(endpoint(kafka), topic, handler, max_deliveries=3):
        (found,) = await replies(kafka, topic, 1)
    assert found.headers["gateway-status"] == b"UNAVAILABLE"
    assert len(handler.requests) == 3


async def test_without_an_address_failures_are_dead_letters(kafka: Bootstrap, topic: str) -> None:
    network = Network(Path())
    produce(kafka, topic, [{"value": b"1"}])
    async with replying(endpoint(kafka), topic, Handler(fails(Code.INVALID_ARGUMENT)), network):
        (letter,) = await asyncio.to_thread(read, kafka, f"{topic}.dead-letters", 1)
        await until(lambda: counter(network, "dead_letters") == 1)
    assert letter.headers["dead-letter-reason"] == b"INVALID_ARGUMENT: no good"


@pytest.mark.parametrize(
    ("headers", "settings"),
    [
        ({"reply-to": "{topic}"}, {}),
        ({"reply-to": "{topic}.dead-letters"}, {}),
        ({"reply-to": "__consumer_offsets"}, {}),
        ({"reply-to": "no topic\n"}, {}),
        ({"reply-to": "{topic}.replies\n"}, {}),
        ({"reply-to": "{topic}.replies", "reply-partition": "-1"}, {}),
        ({"reply-to": "{topic}.replies"}, {"reply_topics": ["answers.*", "{topic}"]}),
    ],
)
async def test_addresses_that_are_refused(
    kafka: Bootstrap, topic: str, headers: dict[str, str], settings: dict[str, list[str]]
) -> None:
    """None of these is handled; each comes to light as a dead letter."""
    handler = Echo()
    sent = [(name, text.replace("{topic}", topic).encode()) for name, text in headers.items()]
    allowed: dict[str, Any] = {
        name: [text.replace("{topic}", topic) for text in texts] for name, texts in settings.items()
    }
    produce(kafka, topic, [{"value": b"1", "headers": [*sent, ("correlation-id", b"one")]}])
    async with replying(endpoint(kafka), topic, handler, **allowed):
        (letter,) = await asyncio.to_thread(read, kafka, f"{topic}.dead-letters", 1)
    assert (letter.headers["dead-letter-reason"] or b"").startswith(b"INVALID_ARGUMENT: the header reply-")
    assert letter.value == b"1"
    assert handler.requests == []


async def test_allowed_topics(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, f"{topic}.replies")
    produce(kafka, topic, [request(topic, b"1")])
    async with replying(endpoint(kafka), topic, Echo(), reply_topics=["other", "t-*.replies"]):
        (found,) = await replies(kafka, topic, 1)
    assert found.value == b"re:1"


async def test_undeliverable_replies_hold_up_nobody(kafka: Bootstrap, topic: str) -> None:
    network = Network(Path())
    create_topic(kafka, f"{topic}.replies")
    nowhere = [("reply-to", b".."), ("correlation-id", b"one")]
    produce(
        kafka,
        topic,
        [
            {"value": b"1", "headers": nowhere},
            request(topic, b"2", reply_partition=b"7"),
            request(topic, b"3", b"three"),
        ],
    )
    async with replying(endpoint(kafka), topic, Echo(), network):
        (found,) = await replies(kafka, topic, 1)
        await until_committed(kafka, topic, 3)
    assert (found.value, found.headers["correlation-id"]) == (b"re:3", b"three")
    assert counter(network, "undeliverable_replies") == 2


async def test_topics_that_the_gateway_may_not_write_hold_up_nobody(topic: str) -> None:
    network = Network(Path())
    with apache_kafka() as broker:
        allowed, refused, unseen = f"{topic}.replies", f"{topic}.secret", f"{topic}.unseen"
        for name in (topic, allowed, refused, unseen):
            create_topic(broker.bootstrap, name)
        rules = [
            AclBinding(kind, name, ResourcePatternType.LITERAL, "User:alice", "*", operation, AclPermissionType.ALLOW)
            for kind, name, operation in (
                (ResourceType.TOPIC, topic, AclOperation.READ),
                (ResourceType.GROUP, topic, AclOperation.READ),
                (ResourceType.TOPIC, allowed, AclOperation.WRITE),
                (ResourceType.TOPIC, refused, AclOperation.DESCRIBE),
            )
        ]
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        for done in admin.create_acls(rules).values():
            await asyncio.to_thread(done.result, 10)
        asked = [{**request(topic, b"1"), "headers": [("reply-to", name), ("correlation-id", b"x")]}
                 for name in (refused, unseen)]  # fmt: skip
        produce(broker.bootstrap, topic, [*asked, request(topic, b"3")])
        sasl = {"mechanism": "PLAIN", "username": "alice", "password": PLAIN_USERS["alice"]}
        async with replying(endpoint(broker.sasl, sasl=sasl), topic, Echo(), network):
            (found,) = await replies(broker.bootstrap, topic, 1)
            await until_committed(broker.bootstrap, topic, 3)
        assert read(broker.bootstrap, refused, 1, seconds=1) == []
    assert found.value == b"re:3"
    assert counter(network, "undeliverable_replies") == 2


async def test_a_reply_that_is_too_large_is_told(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, f"{topic}.replies")
    produce(kafka, topic, [request(topic, b"x" * 99)])
    async with replying(endpoint(kafka, max_message_bytes=100), topic, Echo()):
        (found,) = await replies(kafka, topic, 1)
    assert found.headers["gateway-status"] == b"INTERNAL"
    assert b"larger than the limit of 100 bytes" in (found.value or b"")


async def test_drain_answers_what_runs(kafka: Bootstrap, topic: str) -> None:
    """Handled once, replied to once, committed."""
    create_topic(kafka, f"{topic}.replies")
    go = asyncio.Event()

    async def outcome(request: Message) -> None:
        await go.wait()

    produce(kafka, topic, [request(topic, b"1")])
    handler = Echo(outcome)
    async with replying(endpoint(kafka), topic, handler) as side:
        await handler.wait(1)
        draining = asyncio.create_task(side.drain())
        await asyncio.sleep(0.1)
        assert not draining.done()
        go.set()
        await draining
        assert committed(kafka, topic, topic) == {0: 1}
    (found,) = await replies(kafka, topic, 1, settle=0.3)
    assert found.value == b"re:1"


@both
async def test_gateways_ask_each_other(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, topic)
    async with replying(endpoint(kafka), topic, Echo()), requesting(endpoint(kafka), topic) as ask:
        assert (await ask.call(Message(b"1"), Context())).body == b"re:1"
