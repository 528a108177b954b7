"""librdkafka as the independent speaker: what it writes the gateway must read, and the other way round."""

import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic


class Record(NamedTuple):
    """A record as librdkafka sees it."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes | None]


def create_topic(bootstrap: str, topic: str, partitions: int = 1) -> None:
    """Return when the broker has it."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics([NewTopic(topic, num_partitions=partitions, replication_factor=1)]).values():
        created.result(15)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = admin.list_topics(topic, timeout=5).topics[topic]
        if len(found.partitions) == partitions and all(part.leader >= 0 for part in found.partitions.values()):
            return
        time.sleep(0.05)
    raise AssertionError(f"topic {topic} has no leaders")


def produce(bootstrap: str, topic: str, records: Iterable[dict[str, Any]], **settings: Any) -> None:
    """Publish records (key, value, headers, partition, timestamp as librdkafka names them) and see them confirmed.

    A topic that is not there is created with one partition.
    """
    if topic not in AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics:
        create_topic(bootstrap, topic)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 2, **settings})
    errors: list[KafkaError] = []
    for record in records:
        producer.produce(topic, on_delivery=lambda error, _: errors.append(error) if error else None, **record)
        producer.poll(0)
    assert producer.flush(20) == 0, "not all was confirmed"
    assert not errors, errors


def read(bootstrap: str, topic: str, count: int, *, seconds: float = 15, settle: float = 0.0) -> list[Record]:
    """The first records of all partitions, in the order of each; `settle`: wait so long for more than `count`."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"reader-{topic}", "enable.auto.commit": False})
    found: list[Record] = []
    try:
        known = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in known or (0,)])
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if len(found) >= count:
                deadline = min(deadline, time.monotonic() + settle)
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                found.append(_record(message))
    finally:
        consumer.close()
    return found


def committed(bootstrap: str, group: str, topic: str, partitions: Sequence[int] = (0,)) -> dict[int, int]:
    """The group's committed offsets; -1001 where there is none."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        found = consumer.committed([TopicPartition(topic, partition) for partition in partitions], timeout=10)
        return {part.partition: part.offset for part in found}
    finally:
        consumer.close()


def _record(message: Any) -> Record:
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        dict(message.headers() or ()),
    )
