"""What the gateway publishes, as librdkafka reads it from real brokers."""

import asyncio
import time

import pytest
from support.kafka_brokers import Bootstrap, Tansu
from support.kafka_gateway import endpoint, publisher, publishing, until_published
from support.kafka_peer import create_topic, read
from support.until import until

from gateway.message import Context, Header, Message
from gateway.status import Code, Failure

BROKERS = ["apache", "tansu"]
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

both = pytest.mark.parametrize("kafka", BROKERS, indirect=True)


@both
async def test_record_and_receipt(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, topic)
    headers: list[Header] = [("tenant", "zürich"), ("blob-bin", b"\x00\xff")]
    async with publishing(endpoint(kafka)) as side:
        publish = publisher(side, topic)
        before = time.time_ns()
        first = await publish.call(Message(b'{"a":1}', headers, key=b"k1"), Context(trace=TRACE))
        second = await publish.call(Message(b"", [("message-id", "mine")]), Context())
    records = read(kafka, topic, 2)
    assert [(record.key, record.value) for record in records] == [(b"k1", b'{"a":1}'), (None, b"")]
    assert records[0].headers == {
        "tenant": "zürich".encode(),
        "blob-bin": b"\x00\xff",
        "content-type": b"application/json",
        "message-id": first.params["id"].encode(),
        "traceparent": TRACE.encode(),
    }
    assert records[1].headers == {"content-type": b"application/json", "message-id": b"mine"}
    assert first.body is None
    assert dict(first.params) == {
        "topic": topic,
        "partition": 0,
        "offset": records[0].offset,
        "timestamp": records[0].timestamp * 1_000_000,
        "id": first.params["id"],
    }
    assert second.params["offset"] == records[1].offset
    assert second.params["id"] == "mine"
    assert abs(first.params["timestamp"] - before) < 60 * 10**9


@both
async def test_tombstone_needs_a_key(kafka: Bootstrap, topic: str) -> None:
    async with publishing(endpoint(kafka)) as side:
        publish = publisher(side, topic)
        await publish.call(Message(None, key=b"gone"), Context())
        with pytest.raises(Failure, match="needs a key") as refused:
            await publish.call(Message(None), Context())
    assert (refused.value.code, refused.value.sent) == (Code.INVALID_ARGUMENT, False)
    (record,) = read(kafka, topic, 1)
    assert (record.key, record.value) == (b"gone", None)
    assert set(record.headers) == {"message-id"}


@both
@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_compression(kafka: Bootstrap, topic: str, compression: str) -> None:
    body = b"0123456789" * 2000
    async with publishing(endpoint(kafka, compression=compression)) as side:
        await publisher(side, topic).call(Message(body), Context())
    assert [record.value for record in read(kafka, topic, 1)] == [body]


@both
async def test_order_of_a_key_and_none_lost_under_concurrency(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, topic, 3)
    async with publishing(endpoint(kafka)) as side:
        publish = publisher(side, topic)
        receipts = await asyncio.gather(
            *(publish.call(Message(b"%d" % number, key=b"k%d" % (number % 7)), Context()) for number in range(700))
        )
    places = {(receipt.params["partition"], receipt.params["offset"]) for receipt in receipts}
    assert len(places) == 700
    records = read(kafka, topic, 700)
    assert len({record.partition for record in records}) > 1
    for key in range(7):
        numbers = [int(record.value or b"") for record in records if record.key == b"k%d" % key]
        assert numbers == list(range(key, 700, 7))


@both
async def test_limit(kafka: Bootstrap, topic: str) -> None:
    async with publishing(endpoint(kafka, max_message_bytes=600_000)) as side:
        publish = publisher(side, topic)
        with pytest.raises(Failure, match="larger") as refused:
            await publish.call(Message(b"x" * 600_000), Context())
        assert (refused.value.code, refused.value.sent) == (Code.INVALID_ARGUMENT, False)
        await publish.call(Message(b"x" * 590_000), Context())
    (record,) = read(kafka, topic, 1)
    assert len(record.value or b"") == 590_000


async def test_brokers_own_limit_and_what_follows(kafka: Bootstrap, topic: str) -> None:
    if kafka.kind != "apache":
        pytest.skip(f"the broker {kafka.kind} has no message.max.bytes")
    async with publishing(endpoint(kafka, max_message_bytes=8 * 1024 * 1024)) as side:
        publish = publisher(side, topic)
        await publish.call(Message(b"before"), Context())
        with pytest.raises(Failure, match="larger") as refused:
            await publish.call(Message(b"x" * 4 * 1024 * 1024), Context())
        assert refused.value.code is Code.INVALID_ARGUMENT
        await until_published(publish, Message(b"after"))
    assert [record.value for record in read(kafka, topic, 2)] == [b"before", b"after"]


@both
async def test_partition(kafka: Bootstrap, topic: str) -> None:
    create_topic(kafka, topic, 3)
    async with publishing(endpoint(kafka)) as side:
        receipt = await publisher(side, topic, partition=2).call(Message(b"x", key=b"k"), Context())
        assert receipt.params["partition"] == 2
        with pytest.raises(Failure, match="no partition 3") as refused:
            await publisher(side, topic, partition=3).call(Message(b"x"), Context())
    assert (refused.value.code, refused.value.sent) == (Code.FAILED_PRECONDITION, False)
    assert [record.partition for record in read(kafka, topic, 1)] == [2]


async def test_without_a_broker_calls_fail_at_once_and_work_once_it_is_there(topic: str) -> None:
    broker = Tansu()
    try:
        async with publishing(endpoint(broker.bootstrap, idempotent=False), ready=False) as side:
            publish = publisher(side, topic)
            await until(lambda: "reach" in side.unready)
            assert broker.bootstrap in side.unready
            async with asyncio.timeout(1):
                with pytest.raises(Failure, match="can't be reached") as refused:
                    await publish.call(Message(b"early"), Context())
            assert (refused.value.code, refused.value.sent) == (Code.UNAVAILABLE, False)
            assert broker.bootstrap not in refused.value.text
            await asyncio.to_thread(broker.start)
            await until(lambda: not side.unready, lambda: side.unready, seconds=10)
            await publish.call(Message(b"late"), Context())
            await asyncio.to_thread(broker.kill)
            with pytest.raises((Failure, TimeoutError)):
                async with asyncio.timeout(2):
                    await publish.call(Message(b"never"), Context())
            await until(lambda: bool(side.unready), seconds=10)
            async with asyncio.timeout(1):
                with pytest.raises(Failure) as refused:
                    await publish.call(Message(b"never"), Context())
            assert (refused.value.code, refused.value.sent) == (Code.UNAVAILABLE, False)
    finally:
        broker.stop()


@pytest.mark.parametrize("kafka", ["tansu"], indirect=True)
async def test_a_broker_without_idempotent_producers_is_named(kafka: Bootstrap) -> None:
    async with publishing(endpoint(kafka, idempotent=True), ready=False) as side:
        await until(lambda: "idempotent: false" in side.unready, lambda: side.unready, seconds=10)
