"""Caller: the tour's clients. Each call puts its request and its reply, as they are on the wire, into the report."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import aiohttp
import grpc
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from google.protobuf import text_format
from lxml import etree

from demo.addresses import Addresses
from demo.contract import Contract
from demo.report import Report

ORDERS: Final = "urn:shop:orders:v1"
ENVELOPE: Final = "http://schemas.xmlsoap.org/soap/envelope/"
WIDTH: Final = 88
"""JSON that fits into so many columns is shown on one line."""


class Answer(NamedTuple):
    """An HTTP reply."""

    status: int
    content_type: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def xml(self) -> Any:
        """The child of the SOAP body."""
        body = etree.fromstring(self.body).find(f"{{{ENVELOPE}}}Body")
        return None if body is None or not len(body) else body[0]


class Caller:
    """An async context manager. The report is replaced for each step."""

    def __init__(self, addresses: Addresses) -> None:
        self.report = Report()
        self._addresses = addresses
        self._contract = Contract("orders.proto", "stock.proto")
        self._http: aiohttp.ClientSession | None = None
        self._grpc: grpc.aio.Channel | None = None

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10))
        self._grpc = grpc.aio.insecure_channel(self._addresses.grpc)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http is not None:
            await self._http.close()
        if self._grpc is not None:
            await self._grpc.close(None)

    async def rest(self, method: str, path: str, body: Any = None) -> Answer:
        """A JSON request."""
        data = None if body is None else json.dumps(body)
        self.report.sent(f"{method} {path}", "" if body is None else shown(body), "json")
        return await self._exchange(method, path, data, {"Content-Type": "application/json"})

    async def upload(self, path: str, lines: Sequence[Any]) -> Answer:
        """A stream of JSON messages."""
        self.report.sent(f"POST {path}  application/x-ndjson", "\n".join(map(json.dumps, lines)), "json")
        data = "".join(json.dumps(line) + "\n" for line in lines)
        return await self._exchange("POST", path, data, {"Content-Type": "application/x-ndjson"})

    async def soap(self, operation: str, content: str) -> Answer:
        """A SOAP 1.1 request; the content is the operation element's."""
        envelope = (
            f'<e:Envelope xmlns:e="{ENVELOPE}"><e:Body>'
            f'<{operation} xmlns="{ORDERS}">{content}</{operation}></e:Body></e:Envelope>'
        )
        action = f'"{ORDERS}:{operation}"'
        self.report.sent(f"POST /soap/orders  SOAPAction: {action}", pretty_xml(envelope.encode()), "xml")
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": action}
        return await self._exchange("POST", "/soap/orders", envelope, headers)

    async def watch(self, path: str) -> list[Any]:
        """The data of all server-sent events, until the stream says that it ends."""
        assert self._http is not None  # noqa: S101  entered
        self.report.sent(f"GET {path}  Accept: text/event-stream")
        events: list[Any] = []
        lines: list[str] = []
        url = f"http://{self._addresses.web}{path}"
        self.report.start()
        async with self._http.get(url, headers={"Accept": "text/event-stream"}) as reply:
            event = ""
            async for raw in reply.content:
                line = raw.decode().rstrip("\r\n")
                name, _, value = line.partition(": ")
                if not line:
                    event = ""
                if name == "event":
                    event = value
                elif name == "data":
                    self.report.stop()
                    lines.append(f"+{self.report.seconds:.2f} s  {f'event: {event}  ' if event else ''}data: {value}")
                    if event == "end":
                        break
                    events.append(json.loads(value))
            self.report.replied(f"{reply.status} {reply.content_type}", "\n".join(lines))
        return events

    async def call(self, method: str, **fields: Any) -> Any:
        """A unary gRPC call. Raises grpc.aio.AioRpcError."""
        assert self._grpc is not None  # noqa: S101  entered
        request_type, reply_type = self._contract.method(method)
        request = request_type(**fields)
        self.report.sent(f"gRPC {method}", text_format.MessageToString(request).rstrip(), "protobuf")
        invoke = self._grpc.unary_unary(
            f"/{method}",
            request_serializer=request_type.SerializeToString,
            response_deserializer=reply_type.FromString,
        )
        self.report.start()
        reply = await invoke(request, timeout=10)
        self.report.stop()
        self.report.replied("OK", text_format.MessageToString(reply).rstrip(), "protobuf")
        return reply

    async def publish(self, topic: str, key: str, value: Any) -> None:
        """A record as any other producer would send it."""
        self.report.sent(f"Kafka record to {topic}, key {key}", shown(value), "json")
        async with AIOKafkaProducer(bootstrap_servers=self._addresses.kafka) as producer:
            await producer.send_and_wait(topic, json.dumps(value).encode(), key.encode())
            self.report.start()

    async def record(self, topic: str, offset: int | None = None) -> ConsumerRecord:
        """The record at this offset, or the oldest one, read back from the broker."""
        where = TopicPartition(topic, 0)
        consumer = AIOKafkaConsumer(bootstrap_servers=self._addresses.kafka, enable_auto_commit=False)
        async with consumer:
            consumer.assign([where])
            if offset is None:
                await consumer.seek_to_beginning(where)
            else:
                consumer.seek(where, offset)
            return await consumer.getone()

    async def _exchange(self, method: str, path: str, data: str | None, headers: Mapping[str, str]) -> Answer:
        assert self._http is not None  # noqa: S101  entered
        self.report.start()
        url = f"http://{self._addresses.web}{path}"
        async with self._http.request(method, url, data=data, headers=headers) as reply:
            answer = Answer(reply.status, reply.content_type, await reply.read())
        self.report.stop()
        text, language = answer.body.decode(errors="replace"), "text"
        if answer.content_type.endswith("json"):
            text, language = shown(answer.json), "json"
        elif answer.content_type.endswith("xml"):
            text, language = pretty_xml(answer.body), "xml"
        self.report.replied(f"{answer.status} {answer.content_type}", text, language)
        return answer


def shown(value: Any) -> str:
    """JSON on one line if it fits, else a line for each member."""
    line = json.dumps(value, ensure_ascii=False)
    if len(line) <= WIDTH or not isinstance(value, dict):
        return line
    members = [f"  {json.dumps(name)}: {json.dumps(member, ensure_ascii=False)}" for name, member in value.items()]
    return "{\n" + ",\n".join(members) + "\n}"


def pretty_xml(data: bytes) -> str:
    parser = etree.XMLParser(remove_blank_text=True, resolve_entities=False, no_network=True)
    root = etree.fromstring(data, parser)
    etree.indent(root)
    return etree.tostring(root, encoding="unicode")
