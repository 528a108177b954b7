"""Kafka through librdkafka, on a real broker; the variant is the broker's kind.

A record that asks for no reply has none: what the gateway makes of a call that failed is a dead letter.
"""

import asyncio
import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from gateway.broker.endpoint import STREAMED
from gateway.pattern import Pattern
from gateway.status import Code
from support.answers import answers, refuses
from support.kafka_brokers import KAFKA, running_broker
from support.peers import PATIENCE_SECONDS, Case, Place, Record, RefusedError, Shape, names_out_of_stock
from support.specimen import DETAIL, REFUSED_BYTES, Specimen, timestamp_of
from support.specimen_json import Dialect, dumps, from_json, to_json
from support.until import until

VARIANTS: Final = {"apache": f"Apache Kafka {KAFKA}", "tansu": "Tansu"}
LARGEST: Final = REFUSED_BYTES
"""What the gateway publishes at most where it does not ask: a refused specimen, in base64, is larger."""
BACKOFF: Final = "10ms"
BAD: Final = b'{"id": "un'
_RECEIPT: Final[Mapping[str, Callable[[Any], Any]]] = {"partition": int, "offset": int, "timestamp": timestamp_of}


def _create(bootstrap: str, topics: Sequence[str]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = [NewTopic(topic, num_partitions=1, replication_factor=1) for topic in topics]
    for created in admin.create_topics(wanted).values():
        created.result(15)


class _Reader:
    """Consumes topics from their beginning on a thread of its own, and hands each record to the loop's."""

    def __init__(self, bootstrap: str, topics: Sequence[str], take: Callable[[Any], None]) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": uuid.uuid4().hex,
                "enable.auto.commit": False,
                # A broker that does not answer a waiting fetch when a record comes is asked often.
                "fetch.wait.max.ms": 20,
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(topic, 0, 0) for topic in topics])
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._stopping = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping:
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                self._loop.call_soon_threadsafe(self._take, message)
        self._consumer.close()

    async def close(self) -> None:
        self._stopping = True
        await asyncio.to_thread(self._thread.join)


class Caller:
    """A topic per case, another for its dead letters, and one that takes all replies."""

    typed = False
    dialect: Dialect | None = None
    tells_detail = True

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self._bootstrap = running_broker(variant)
        self._dialect = dialect
        self._topics = {case.id: f"in-{uuid.uuid4().hex[:8]}-{case.id}" for case in cases}
        self._letters: dict[str, list[Any]] = {}
        self._reply_topic = f"in-{uuid.uuid4().hex[:8]}-replies"
        self._replies: dict[bytes, asyncio.Future[Any]] = {}
        self._producer = Producer({"bootstrap.servers": str(self._bootstrap), "linger.ms": 0, "log_level": 0})
        self._reader: _Reader | None = None

    async def __aenter__(self) -> Self:
        letters = [f"{topic}.dead-letters" for topic in self._topics.values()]
        await asyncio.to_thread(_create, self._bootstrap, [*self._topics.values(), *letters, self._reply_topic])
        self._letters = {topic: [] for topic in letters}
        self._reader = _Reader(self._bootstrap, [*letters, self._reply_topic], self._take)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reader is not None:
            await self._reader.close()

    def source(self, case: Case) -> Place:
        endpoint = {
            "protocol": "kafka",
            "bootstrap_servers": str(self._bootstrap),
            "idempotent": self._bootstrap.idempotent,
        }
        topic = self._topics[case.id]
        replies = "one" if case.inbound is Pattern.REQUEST_REPLY else "none"
        source = {"topic": topic, "group": topic, "session_timeout": "6s", "replies": replies, "backoff": BACKOFF}
        return "records", endpoint, source

    async def call(self, case: Case, specimens: Sequence[Specimen]) -> list[Any]:
        """Without a reply it returns once the record is published; a dead letter is the gateway's refusal."""
        (specimen,) = specimens
        value = dumps(to_json(specimen, self._dialect))
        if case.inbound is Pattern.REQUEST_REPLY:
            return [self._read(case, json.loads(await self._ask(case, value)))]
        return await self._send(case, value, refused=specimen["id"] == "refused")

    async def misspeak(self, case: Case) -> None:
        if case.inbound is Pattern.REQUEST_REPLY:
            await self._ask(case, BAD)
        else:
            await self._send(case, BAD, refused=True)

    def code(self, code: Code, case: Case, *, declared: bool) -> str:
        return code.name

    def _take(self, record: Any) -> None:
        if record.topic() == self._reply_topic:
            self._replies[dict(record.headers())["correlation-id"]].set_result(record)
        else:
            self._letters[record.topic()].append(record)

    def _read(self, case: Case, value: Any) -> Any:
        match case.reply_shape:
            case Shape.SPECIMEN:
                return from_json(value, self._dialect)
            case Shape.BATCH:
                items = value["specimens"] if isinstance(value, dict) else value
                return [from_json(item, self._dialect) for item in items]
            case Shape.RECEIPT:
                return {name: _RECEIPT.get(name, str)(value) for name, value in value.items()}

    async def _ask(self, case: Case, value: bytes) -> bytes:
        correlation_id = uuid.uuid4().bytes
        waiting = self._replies[correlation_id] = asyncio.get_running_loop().create_future()
        headers = {"reply-to": self._reply_topic.encode(), "correlation-id": correlation_id}
        await _publish(self._producer, self._topics[case.id], value, headers)
        record = await asyncio.wait_for(waiting, PATIENCE_SECONDS)
        status = dict(record.headers()).get("gateway-status")
        reply: bytes = record.value()
        if status is None:
            return reply
        problem = json.loads(reply)
        assert problem["code"] == status.decode()
        raise RefusedError(status.decode(), problem["detail"], _detail(problem.get("details", ())))

    async def _send(self, case: Case, value: bytes, *, refused: bool) -> list[Any]:
        topic = self._topics[case.id]
        letters = self._letters[f"{topic}.dead-letters"]
        known = len(letters)
        await _publish(self._producer, topic, value)
        if not refused:
            return []
        await until(lambda: len(letters) > known, lambda: f"{topic} has no dead letter")
        assert letters[-1].value() == value, "a dead letter is the record as it came"
        headers = dict(letters[-1].headers())
        code, _, text = headers["dead-letter-reason"].decode().partition(": ")
        raise RefusedError(code, text, _detail(json.loads(headers.get("dead-letter-details", b"[]"))))


async def _publish(producer: Producer, topic: str, value: bytes, headers: Mapping[str, bytes] | None = None) -> None:
    """Returns once the broker has it."""
    confirmed: Future[None] = Future()

    def on_delivery(error: Any, _: Any) -> None:
        if error is None:
            confirmed.set_result(None)
        else:
            confirmed.set_exception(AssertionError(str(error)))

    producer.produce(topic, value, headers=dict(headers or {}), on_delivery=on_delivery)
    await asyncio.to_thread(producer.flush, 10)
    confirmed.result(0)


def _detail(details: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    for entry in details:
        if names_out_of_stock(entry["type"]):
            return {"sku": entry["sku"], "available": int(entry["available"])}
    return None


class Backend:
    """A topic for what is accepted, one for what is asked, and one for the answers, each for all cases; and one per
    case that is streamed."""

    typed = False
    dialect: Dialect | None = None
    receipt: tuple[str, ...] = ("topic", "partition", "offset", "id")
    endless: ClassVar[frozenset[Pattern]] = STREAMED

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self.record = Record()
        self._bootstrap = running_broker(variant)
        self._dialect = dialect
        self._topic = f"out-{uuid.uuid4().hex[:8]}"
        self._asked, self._replies = f"{self._topic}-asked", f"{self._topic}-replies"
        self._streamed = {case.id: f"{self._topic}-{case.id}" for case in cases if case.endless}
        self._producer = Producer({"bootstrap.servers": str(self._bootstrap), "linger.ms": 0, "log_level": 0})
        self._receipts: list[Mapping[str, Any]] = []
        self._reader: _Reader | None = None

    async def __aenter__(self) -> Self:
        topics = [self._topic, self._asked, self._replies, *self._streamed.values()]
        await asyncio.to_thread(_create, self._bootstrap, topics)
        self._reader = _Reader(self._bootstrap, [self._topic, self._asked], self._take)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reader is not None:
            await self._reader.close()

    def target(self, case: Case) -> Place:
        endpoint = {
            "protocol": "kafka",
            "bootstrap_servers": str(self._bootstrap),
            "idempotent": self._bootstrap.idempotent,
        }
        if case.outbound is Pattern.REQUEST_REPLY:
            return "services", endpoint, {"topic": self._asked, "mode": "reply", "reply_topic": self._replies}
        if case.endless:
            return "streams", endpoint, {"topic": self._streamed[case.id], "mode": "subscribe"}
        return "broker", {**endpoint, "max_message_bytes": LARGEST}, {"topic": self._topic}

    def refusal(self, case: Case) -> tuple[Code, bool]:
        """A broker knows no data: the message is larger than the gateway may publish."""
        asked = case.outbound is Pattern.REQUEST_REPLY
        return (Code.FAILED_PRECONDITION if asked else Code.INVALID_ARGUMENT), asked

    async def publish(self, case: Case, specimen: Specimen) -> None:
        await _publish(self._producer, self._streamed[case.id], dumps(to_json(specimen, self._dialect)))

    async def misspeak(self, case: Case) -> None:
        await _publish(self._producer, self._streamed[case.id], BAD)

    def receipts(self) -> list[Mapping[str, Any]]:
        return self._receipts[-len(self.record.calls) :] if self.record.calls else []

    def _take(self, message: Any) -> None:
        value = json.loads(message.value())
        batch = isinstance(value, list)
        found = [from_json(one, self._dialect) for one in value] if batch else from_json(value, self._dialect)
        headers = dict(message.headers())
        if message.topic() == self._asked:
            self._answer(found, headers)
        else:
            self._receipts.append(
                {
                    "topic": message.topic(),
                    "partition": message.partition(),
                    "offset": message.offset(),
                    "timestamp": message.timestamp()[1] * 1_000_000,
                    "id": headers["message-id"].decode(),
                }
            )
        self.record.add(found)

    def _answer(self, value: Any, headers: Mapping[str, bytes]) -> None:
        sent: dict[str, str | bytes | None] = {"correlation-id": headers["correlation-id"]}
        if refuses([value]):
            sent["gateway-status"] = b"FAILED_PRECONDITION"
            reply = dumps({"detail": "the shelf is empty", "details": [{"type": "OutOfStock", **DETAIL}]})
        else:
            (found,) = answers(Pattern.REQUEST_REPLY, [value])
            reply = dumps(to_json(found, self._dialect))
        self._producer.produce(headers["reply-to"].decode(), reply, headers=sent)
        self._producer.poll(0)
