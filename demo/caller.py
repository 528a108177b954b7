"""Caller: the tour's clients. Each call puts its request and its reply, as they are on the wire, into the report."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
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

    async def rest(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """A JSON request."""
        data = None if body is None else json.dumps(body)
        lines = [f"{name}: {value}" for name, value in (headers or {}).items()]
        text = "\n".join([*lines, *([] if body is None else [shown(body)])])
        self.report.sent(f"{method} {path}", text, "text" if lines else "json")
        return await self._exchange(method, path, data, {"Content-Type": "application/json", **(headers or {})})

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

    async def watch(self, path: str, count: int = 0, last: str = "") -> list[Any]:
        """The data of server-sent events, until the stream says that it ends, or of so many.

        last: id of the event after which the stream goes on.
        """
        assert self._http is not None  # noqa: S101  entered
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        self.report.sent(f"GET {path}  " + "  ".join(f"{name}: {value}" for name, value in headers.items()))
        events: list[Any] = []
        lines: list[str] = []
        self.report.start()
        async with self._http.get(self._url(path), headers=headers) as reply:
            event = identity = ""
            async for raw in reply.content:
                line = raw.decode().rstrip("\r\n")
                name, _, value = line.partition(": ")
                if not line:
                    event = identity = ""
                elif name == "event":
                    event = value
                elif name == "id":
                    identity = f"id: {value}  "
                elif name == "data":
                    self.report.stop()
                    kind = f"event: {event}  " if event else ""
                    lines.append(f"+{self.report.seconds:.2f} s  {identity}{kind}data: {value}")
                    if event == "end":
                        break
                    events.append(json.loads(value))
                    if len(events) == count:
                        break
            self.report.replied(f"{reply.status} {reply.content_type}", "\n".join(lines))
        return events

    async def graphql(self, document: str, variables: Mapping[str, Any] | None = None) -> Answer:
        """A query or a mutation."""
        self.report.sent("POST /graphql", _asked(document, variables), "graphql")
        body = json.dumps({"query": document, "variables": variables or {}})
        return await self._exchange("POST", "/graphql", body, {"Content-Type": "application/json"})

    async def subscribe(self, document: str, variables: Mapping[str, Any]) -> list[Any]:
        """The results of a subscription, by graphql-transport-ws."""
        assert self._http is not None  # noqa: S101  entered
        self.report.sent("WebSocket /graphql  graphql-transport-ws", _asked(document, variables), "graphql")
        results: list[Any] = []
        self.report.start()
        async with self._http.ws_connect(self._url("/graphql"), protocols=("graphql-transport-ws",)) as socket:
            await socket.send_json({"type": "connection_init"})
            await socket.receive_json()
            payload = {"query": document, "variables": variables}
            await socket.send_json({"id": "1", "type": "subscribe", "payload": payload})
            while (message := await socket.receive_json())["type"] == "next":
                self.report.stop()
                results.append(message["payload"])
        self.report.replied(message["type"], "\n".join(map(json.dumps, results)), "json")
        return results

    @asynccontextmanager
    async def socket(self, path: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket; what goes over it is not reported."""
        assert self._http is not None  # noqa: S101  entered
        async with self._http.ws_connect(self._url(path)) as socket:
            yield socket

    async def call(self, method: str, **fields: Any) -> Any:
        """A unary gRPC call. Raises grpc.aio.AioRpcError."""
        assert self._grpc is not None  # noqa: S101  entered
        request_type, reply_type = self._contract.method(method)
        request = request_type(**fields)
        self.report.sent(f"gRPC {method}", text_format.MessageToString(request, as_one_line=True), "protobuf")
        invoke = self._grpc.unary_unary(
            f"/{method}",
            request_serializer=request_type.SerializeToString,
            response_deserializer=reply_type.FromString,
        )
        self.report.start()
        reply = await invoke(request, timeout=10)
        self.report.stop()
        self.report.replied("OK", text_format.MessageToString(reply, as_one_line=True), "protobuf")
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

    def _url(self, path: str) -> str:
        return f"http://{self._addresses.web}{path}"

    async def _exchange(self, method: str, path: str, data: str | None, headers: Mapping[str, str]) -> Answer:
        assert self._http is not None  # noqa: S101  entered
        self.report.start()
        async with self._http.request(method, self._url(path), data=data, headers=headers) as reply:
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
    """What a SOAP body has in it, or else all."""
    parser = etree.XMLParser(remove_blank_text=True, resolve_entities=False, no_network=True)
    root = etree.fromstring(data, parser)
    body = root.find(f"{{{ENVELOPE}}}Body")
    if body is not None and len(body):
        root = body[0]
        etree.cleanup_namespaces(root)
    etree.indent(root)
    return etree.tostring(root, encoding="unicode", with_tail=False)


def tag(element: Any) -> str:
    """Its name with its namespace."""
    return "" if element is None else str(element.tag)


def child_text(element: Any, name: str) -> str:
    """Text of a child in the namespace of the orders."""
    found = None if element is None else element.find(f"{{{ORDERS}}}{name}")
    return "" if found is None else found.text or ""


def _asked(document: str, variables: Mapping[str, Any] | None) -> str:
    return f"{document}\n{json.dumps(variables)}" if variables else document
