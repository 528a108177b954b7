"""pika as the independent speaker: what it writes the gateway must read, and the other way round."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import pika
from pika.adapters.blocking_connection import BlockingChannel


class Received(NamedTuple):
    """A message as pika sees it."""

    exchange: str
    routing_key: str
    redelivered: bool
    properties: pika.BasicProperties
    body: bytes

    @property
    def headers(self) -> dict[str, Any]:
        return dict(self.properties.headers or {})


@contextmanager
def channel(url: str) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        yield connection.channel()
    finally:
        if connection.is_open:
            connection.close()


def declare(url: str, queue: str, arguments: Mapping[str, Any] | None = None) -> None:
    """A durable queue."""
    with channel(url) as open_:
        open_.queue_declare(queue, durable=True, arguments=dict(arguments or {}))


def publish(url: str, queue: str, *bodies: bytes, **properties: Any) -> None:
    """Persistent messages to a queue, each confirmed."""
    with channel(url) as open_:
        open_.confirm_delivery()
        for body in bodies:
            sent = pika.BasicProperties(delivery_mode=2, **properties)
            open_.basic_publish("", queue, body, sent, mandatory=True)


def take(url: str, queue: str, count: int = 1, seconds: float = 15) -> list[Received]:
    """The first messages of a queue, acknowledged; fails where so many don't come."""
    found: list[Received] = []
    with channel(url) as open_:
        deadline = time.monotonic() + seconds
        while len(found) < count:
            method, properties, body = open_.basic_get(queue, auto_ack=True)
            if method is None:
                assert time.monotonic() < deadline, f"{len(found)} of {count} messages in {queue}"
                time.sleep(0.02)
            else:
                found.append(Received(method.exchange, method.routing_key, method.redelivered, properties, body))
    return found


def ready(url: str, queue: str) -> int:
    """Messages of the queue that no consumer has."""
    with channel(url) as open_:
        return int(open_.queue_declare(queue, passive=True).method.message_count)


def ask(url: str, queue: str, body: bytes, seconds: float = 15, **properties: Any) -> Received:
    """A request by direct reply-to, and its reply."""
    found: list[Received] = []

    def take_reply(_: Any, method: Any, properties: pika.BasicProperties, reply: bytes) -> None:
        found.append(Received(method.exchange, method.routing_key, method.redelivered, properties, reply))

    with channel(url) as open_:
        open_.basic_consume("amq.rabbitmq.reply-to", take_reply, auto_ack=True)
        sent = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="c-1", **properties)
        open_.basic_publish("", queue, body, sent)
        deadline = time.monotonic() + seconds
        while not found:
            assert time.monotonic() < deadline, "no reply"
            open_.connection.process_data_events(0.05)
    return found[0]
