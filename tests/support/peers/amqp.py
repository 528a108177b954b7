"""AMQP through pika, on a real RabbitMQ.

A message that asks for no reply has none: what the gateway makes of a call that failed is a dead letter.
"""

import asyncio
import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import pika
from pika.adapters.blocking_connection import BlockingChannel

from gateway.broker.endpoint import STREAMED
from gateway.pattern import Pattern
from gateway.status import Code
from support.answers import answers, refuses
from support.peers import PATIENCE_SECONDS, Case, Place, Record, RefusedError, Shape, names_out_of_stock
from support.rabbitmq_broker import running_broker
from support.specimen import DETAIL, REFUSED_BYTES, Specimen, timestamp_of
from support.specimen_json import Dialect, dumps, from_json, to_json
from support.until import until

LARGEST: Final = REFUSED_BYTES
"""What the gateway publishes at most where it does not ask: a refused specimen, in base64, is larger."""
REPLY_TO: Final = "amq.rabbitmq.reply-to"
BACKOFF: Final = "10ms"
BAD: Final = b'{"id": "un'
_RECEIPT: Final = {"partition": int, "offset": int, "timestamp": timestamp_of}

Take = Callable[[BlockingChannel, Any, pika.BasicProperties, bytes], None]


class _Link:
    """A connection on a thread of its own. prepare: declares and consumes. Deliveries are taken on that thread."""

    def __init__(self, url: str, prepare: Callable[[BlockingChannel], None]) -> None:
        self._url = url
        self._prepare = prepare
        self._connection: pika.BlockingConnection | None = None
        self._channel: BlockingChannel | None = None
        self._stopping = False
        self._started: Future[None] = Future()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._started.result(PATIENCE_SECONDS)

    def _run(self) -> None:
        try:
            connection = self._connection = pika.BlockingConnection(pika.URLParameters(self._url))
            self._channel = connection.channel()
            self._prepare(self._channel)
        except BaseException as error:
            self._started.set_exception(error)
            raise
        self._started.set_result(None)
        while not self._stopping:
            connection.process_data_events(0.1)
        connection.close()

    async def publish(self, routing_key: str, body: bytes, *, exchange: str = "", **properties: Any) -> None:
        """To a queue of this name, unless there is an exchange."""
        sent = pika.BasicProperties(delivery_mode=2, **properties)
        assert self._connection is not None
        channel = self._channel
        assert channel is not None
        self._connection.add_callback_threadsafe(lambda: channel.basic_publish(exchange, routing_key, body, sent))

    async def close(self) -> None:
        self._stopping = True
        await asyncio.to_thread(self._thread.join)


class Caller:
    """A queue per case, another for its dead letters, and one channel that takes all replies."""

    typed = False
    dialect: Dialect | None = None
    tells_detail = True

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self._url = running_broker()
        self._dialect = dialect
        self._queues = {case.id: f"in-{uuid.uuid4().hex[:8]}-{case.id}" for case in cases}
        self._letters: dict[str, list[tuple[Mapping[str, Any], bytes]]] = {}
        self._replies: dict[str, asyncio.Future[tuple[pika.BasicProperties, bytes]]] = {}
        self._link: _Link | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()

        def letter(queue: str) -> Take:
            kept = self._letters[queue] = []
            return lambda channel, method, properties, body: loop.call_soon_threadsafe(
                kept.append, (properties.headers, body)
            )

        def reply(channel: BlockingChannel, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
            waiting = self._replies[properties.correlation_id]
            loop.call_soon_threadsafe(waiting.set_result, (properties, body))

        def prepare(channel: BlockingChannel) -> None:
            channel.basic_consume(REPLY_TO, reply, auto_ack=True)
            for queue in self._queues.values():
                channel.queue_declare(queue, durable=True)
                channel.queue_declare(f"{queue}.dead-letters", durable=True)
                channel.basic_consume(f"{queue}.dead-letters", letter(queue), auto_ack=True)

        self._link = await asyncio.to_thread(_Link, self._url, prepare)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._link is not None:
            await self._link.close()

    def source(self, case: Case) -> Place:
        endpoint = {"protocol": "amqp", "url": self._url}
        replies = "one" if case.inbound is Pattern.REQUEST_REPLY else "none"
        return "queues", endpoint, {"queue": self._queues[case.id], "replies": replies, "backoff": BACKOFF}

    async def call(self, case: Case, specimens: Sequence[Specimen]) -> list[Any]:
        """Without a reply it returns once the message is published; a dead letter is the gateway's refusal."""
        (specimen,) = specimens
        body = dumps(to_json(specimen, self._dialect))
        if case.inbound is Pattern.REQUEST_REPLY:
            return [self._read(case, json.loads(await self._ask(case, body)))]
        return await self._send(case, body, refused=specimen["id"] == "refused")

    async def misspeak(self, case: Case) -> None:
        if case.inbound is Pattern.REQUEST_REPLY:
            await self._ask(case, BAD)
        else:
            await self._send(case, BAD, refused=True)

    def code(self, code: Code, case: Case, *, declared: bool) -> str:
        return code.name

    def _read(self, case: Case, value: Any) -> Any:
        match case.reply_shape:
            case Shape.SPECIMEN:
                return from_json(value, self._dialect)
            case Shape.BATCH:
                items = value["specimens"] if isinstance(value, dict) else value
                return [from_json(item, self._dialect) for item in items]
            case Shape.RECEIPT:
                return {name: _RECEIPT.get(name, str)(value) for name, value in value.items()}

    async def _ask(self, case: Case, body: bytes) -> bytes:
        assert self._link is not None
        correlation_id = uuid.uuid4().hex
        waiting = self._replies[correlation_id] = asyncio.get_running_loop().create_future()
        await self._link.publish(self._queues[case.id], body, reply_to=REPLY_TO, correlation_id=correlation_id)
        properties, reply = await asyncio.wait_for(waiting, PATIENCE_SECONDS)
        status = (properties.headers or {}).get("gateway-status")
        if status is None:
            assert properties.content_type == "application/json"
            return reply
        problem = json.loads(reply)
        assert problem["code"] == status
        raise RefusedError(status, problem["detail"], _detail(problem.get("details", ())))

    async def _send(self, case: Case, body: bytes, *, refused: bool) -> list[Any]:
        assert self._link is not None
        letters = self._letters[self._queues[case.id]]
        known = len(letters)
        await self._link.publish(self._queues[case.id], body)
        if not refused:
            return []
        await until(lambda: len(letters) > known, lambda: f"{self._queues[case.id]} has no dead letter")
        headers, letter = letters[-1]
        assert letter == body, "a dead letter is the message as it came"
        code, _, text = headers["dead-letter-reason"].partition(": ")
        raise RefusedError(code, text, _detail(json.loads(headers.get("dead-letter-details", "[]"))))


def _detail(details: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    for entry in details:
        if names_out_of_stock(entry["type"]):
            return {"sku": entry["sku"], "available": int(entry["available"])}
    return None


class Backend:
    """An exchange for what is accepted and what is streamed, and a queue for what is asked, each for all cases."""

    typed = False
    dialect: Dialect | None = None
    receipt: tuple[str, ...] = ("id",)
    endless: ClassVar[frozenset[Pattern]] = STREAMED

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self.record = Record()
        self._url = running_broker()
        self._dialect = dialect
        name = uuid.uuid4().hex[:8]
        self._exchange, self._queue, self._asked = f"out-{name}", f"out-{name}", f"asked-{name}"
        self._receipts: list[Mapping[str, Any]] = []
        self._link: _Link | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()

        def take(channel: BlockingChannel, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
            receipt = {"id": properties.message_id, "exchange": method.exchange, "routing_key": method.routing_key}
            loop.call_soon_threadsafe(self._take, receipt, body)

        def answer(channel: BlockingChannel, method: Any, properties: pika.BasicProperties, body: bytes) -> None:
            value = self._read(body)
            loop.call_soon_threadsafe(self.record.add, value)
            sent = pika.BasicProperties(correlation_id=properties.correlation_id)
            if refuses([value]):
                sent.headers = {"gateway-status": "FAILED_PRECONDITION"}
                reply = dumps({"detail": "the shelf is empty", "details": [{"type": "OutOfStock", **DETAIL}]})
            else:
                (found,) = answers(Pattern.REQUEST_REPLY, [value])
                reply = dumps(to_json(found, self._dialect))
            channel.basic_publish("", properties.reply_to, reply, sent)

        def prepare(channel: BlockingChannel) -> None:
            channel.exchange_declare(self._exchange, "topic", durable=True)
            for queue in (self._queue, self._asked):
                channel.queue_declare(queue, durable=True)
            channel.queue_bind(self._queue, self._exchange, "specimen.#")
            channel.basic_consume(self._queue, take, auto_ack=True)
            channel.basic_consume(self._asked, answer, auto_ack=True)

        self._link = await asyncio.to_thread(_Link, self._url, prepare)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._link is not None:
            await self._link.close()

    def target(self, case: Case) -> Place:
        endpoint = {"protocol": "amqp", "url": self._url}
        if case.outbound is Pattern.REQUEST_REPLY:
            return "consumers", endpoint, {"routing_key": self._asked, "mode": "reply"}
        if case.endless:
            return "streams", endpoint, {"exchange": self._exchange, "routing_key": case.id, "mode": "subscribe"}
        limited = {**endpoint, "max_message_bytes": LARGEST}
        return "exchange", limited, {"exchange": self._exchange, "routing_key": "specimen.new"}

    def refusal(self, case: Case) -> tuple[Code, bool]:
        """A broker knows no data: the message is larger than the gateway may publish."""
        asked = case.outbound is Pattern.REQUEST_REPLY
        return (Code.FAILED_PRECONDITION if asked else Code.INVALID_ARGUMENT), asked

    async def publish(self, case: Case, specimen: Specimen) -> None:
        await self._publish(case.id, dumps(to_json(specimen, self._dialect)))

    async def misspeak(self, case: Case) -> None:
        await self._publish(case.id, BAD)

    async def _publish(self, routing_key: str, body: bytes) -> None:
        assert self._link is not None
        await self._link.publish(routing_key, body, exchange=self._exchange)

    def receipts(self) -> list[Mapping[str, Any]]:
        return self._receipts[-len(self.record.calls) :] if self.record.calls else []

    def _take(self, receipt: Mapping[str, Any], body: bytes) -> None:
        self._receipts.append(receipt)
        self.record.add(self._read(body))

    def _read(self, body: bytes) -> Any:
        value = json.loads(body)
        if isinstance(value, list):
            return [from_json(one, self._dialect) for one in value]
        return from_json(value, self._dialect)
