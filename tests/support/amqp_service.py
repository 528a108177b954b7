"""A service over AMQP that nobody here wrote the client of: pika takes requests and replies to them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pika

from support.amqp_peer import channel

Respond = Callable[[pika.BasicProperties, bytes], list[tuple[dict[str, Any], bytes]]]


@contextmanager
def server(url: str, queue: str, respond: Respond) -> Iterator[None]:
    """An RPC server of pika's tutorial: answers each request with properties and bodies."""
    started, stopping = threading.Event(), threading.Event()

    def run() -> None:
        with channel(url) as open_:
            open_.queue_declare(queue, durable=True)

            def answer(channel_: Any, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
                for more, reply in respond(properties, body):
                    sent = pika.BasicProperties(**{"correlation_id": properties.correlation_id, **more})
                    channel_.basic_publish("", properties.reply_to, reply, sent)
                channel_.basic_ack(method.delivery_tag)

            open_.basic_consume(queue, answer)
            started.set()
            while not stopping.is_set():
                open_.connection.process_data_events(0.02)

    thread = threading.Thread(target=run)
    thread.start()
    assert started.wait(10)
    try:
        yield
    finally:
        stopping.set()
        thread.join()
