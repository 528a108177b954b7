"""A service over Kafka that nobody here wrote the client of: librdkafka takes requests and publishes replies."""

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from support.kafka_peer import create_topic

Answer = Callable[[bytes, Mapping[str, bytes]], tuple[bytes, dict[str, bytes]] | None]
"""(body, headers) -> (reply, headers beside the correlation id), or None for no reply."""


def echo(body: bytes, headers: Mapping[str, bytes]) -> tuple[bytes, dict[str, bytes]]:
    return b"re:" + body, {}


class Answering:
    """A service that nobody here wrote the client of: answers the records of a topic on a thread of its own.

    requests: the headers of each, in order. late: answers to be given when asked for.
    """

    def __init__(self, bootstrap: str, topic: str, answer: Answer) -> None:
        self.requests: list[dict[str, bytes]] = []
        self._bootstrap = bootstrap
        self._topic = topic
        self._answer = answer
        self._stopping = False
        self._producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
        self._thread = threading.Thread(target=self._run)

    def reply(self, headers: Mapping[str, bytes], body: bytes, more: Mapping[str, bytes], times: int = 1) -> None:
        """Publish the reply to the request that bore these headers."""
        partition = int(headers["reply-partition"]) if "reply-partition" in headers else -1
        sent: dict[str, str | bytes | None] = {"correlation-id": headers["correlation-id"], **more}
        for _ in range(times):
            self._producer.produce(headers["reply-to"].decode(), body, partition=partition, headers=sent)
        assert self._producer.flush(10) == 0

    def _run(self) -> None:
        consumer = Consumer(
            {"bootstrap.servers": self._bootstrap, "group.id": uuid.uuid4().hex, "fetch.wait.max.ms": 20}
        )
        consumer.assign([TopicPartition(self._topic, 0, 0)])
        while not self._stopping:
            message = consumer.poll(0.05)
            if message is None or message.error() is not None:
                continue
            sent: Any = message.headers()
            headers = dict(sent)
            self.requests.append(headers)
            answer = self._answer(message.value() or b"", headers)
            if answer is not None:
                self.reply(headers, *answer)
        consumer.close()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        self._thread.join()


@contextmanager
def answering(bootstrap: str, topic: str, answer: Answer = echo) -> Iterator[Answering]:
    create_topic(bootstrap, topic)
    service = Answering(bootstrap, topic, answer)
    service.start()
    try:
        yield service
    finally:
        service.stop()
