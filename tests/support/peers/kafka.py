"""Kafka through librdkafka, on a real broker; the variant is the broker's kind.

A consumed record has no reply: what the gateway makes of a call that failed is a dead letter.
"""

import asyncio
import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, Self

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from gateway.status import Code
from support.kafka_brokers import KAFKA, running_broker
from support.peers import Case, Place, Record, RefusedError, until
from support.specimen import REFUSED_BYTES, Specimen
from support.specimen_json import Dialect, dumps, from_json, to_json

VARIANTS: Final = {"apache": f"Apache Kafka {KAFKA}", "tansu": "Tansu"}
LARGEST: Final = REFUSED_BYTES
"""What the gateway publishes at most: a refused specimen, in base64, is larger."""
SETTLE_SECONDS: Final = 0.3


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
    """A topic per case, and another for its dead letters."""

    typed = False
    dialect: Dialect | None = None
    tells_detail = False

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self._bootstrap = running_broker(variant)
        self._dialect = dialect
        self._topics = {case.id: f"in-{uuid.uuid4().hex[:8]}-{case.id}" for case in cases}
        self._letters: dict[str, list[Any]] = {}
        self._producer = Producer({"bootstrap.servers": str(self._bootstrap), "linger.ms": 0, "log_level": 0})
        self._reader: _Reader | None = None

    async def __aenter__(self) -> Self:
        letters = [f"{topic}.dead-letters" for topic in self._topics.values()]
        await asyncio.to_thread(_create, self._bootstrap, [*self._topics.values(), *letters])
        self._letters = {topic: [] for topic in letters}
        self._reader = _Reader(self._bootstrap, letters, lambda record: self._letters[record.topic()].append(record))
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
        return "records", endpoint, {"topic": topic, "group": topic, "session_timeout": "6s"}

    async def call(self, case: Case, specimens: Sequence[Specimen]) -> list[Any]:
        """Returns once the record is taken; a dead letter that comes by then is the gateway's refusal."""
        (specimen,) = specimens
        refused = specimen["id"] == "refused"
        return await self._send(case, dumps(to_json(specimen, self._dialect)), refused=refused)

    async def misspeak(self, case: Case) -> list[Any]:
        return await self._send(case, b'{"id": "un', refused=True)

    def code(self, code: Code, case: Case, *, declared: bool) -> str:
        return code.name

    async def _send(self, case: Case, value: bytes, *, refused: bool) -> list[Any]:
        topic = self._topics[case.id]
        letters = self._letters[f"{topic}.dead-letters"]
        known = len(letters)
        await self._publish(topic, value)
        if not refused:
            return []
        await until(lambda: len(letters) > known, lambda: f"{topic} has no dead letter")
        assert letters[-1].value() == value, "a dead letter is the record as it came"
        code, _, text = dict(letters[-1].headers())["dead-letter-reason"].decode().partition(": ")
        raise RefusedError(code, text)

    async def _publish(self, topic: str, value: bytes) -> None:
        confirmed: Future[None] = Future()

        def on_delivery(error: Any, _: Any) -> None:
            if error is None:
                confirmed.set_result(None)
            else:
                confirmed.set_exception(AssertionError(str(error)))

        self._producer.produce(topic, value, on_delivery=on_delivery)
        await asyncio.to_thread(self._producer.flush, 10)
        confirmed.result(0)


class Backend:
    """One topic for all cases."""

    typed = False
    dialect: Dialect | None = None
    receipt: tuple[str, ...] = ("topic", "partition", "offset", "id")

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self.record = Record()
        self._bootstrap = running_broker(variant)
        self._dialect = dialect
        self._topic = f"out-{uuid.uuid4().hex[:8]}"
        self._receipts: list[Mapping[str, Any]] = []
        self._reader: _Reader | None = None

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(_create, self._bootstrap, [self._topic])
        self._reader = _Reader(self._bootstrap, [self._topic], self._take)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._reader is not None:
            await self._reader.close()

    def target(self, case: Case) -> Place:
        endpoint = {
            "protocol": "kafka",
            "bootstrap_servers": str(self._bootstrap),
            "idempotent": self._bootstrap.idempotent,
            "max_message_bytes": LARGEST,
        }
        return "broker", endpoint, {"topic": self._topic}

    def refusal(self, case: Case) -> tuple[Code, bool]:
        """A broker knows no data: the message is larger than the gateway may publish."""
        return Code.INVALID_ARGUMENT, False

    def receipts(self) -> list[Mapping[str, Any]]:
        return self._receipts[-len(self.record.calls) :] if self.record.calls else []

    def _take(self, message: Any) -> None:
        value = json.loads(message.value())
        batch = isinstance(value, list)
        self._receipts.append(
            {
                "topic": message.topic(),
                "partition": message.partition(),
                "offset": message.offset(),
                "timestamp": message.timestamp()[1] * 1_000_000,
                "id": dict(message.headers())["message-id"].decode(),
            }
        )
        self.record.add([from_json(one, self._dialect) for one in value] if batch else from_json(value, self._dialect))
