"""Node's kafkajs on the other side of the brokers."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support.events_gateway import serving
from support.grpc_orders import OrdersServer
from support.handler import Handler
from support.http_gateway import upstream
from support.kafka_brokers import Bootstrap
from support.kafka_gateway import consuming, endpoint, publisher, publishing, source
from support.kafka_peer import create_topic
from support.node import ROOT, Node
from support.ports import free_port

from gateway.message import Context, Message

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PROTO = str(ROOT / "schemas" / "orders.proto")
PLACE_ORDER = "shop.orders.v1.Orders/PlaceOrder"
ORDER = {"customer_id": "zoë", "lines": [{"sku": "tea", "quantity": 2}]}
NODE = Node("kafka")


async def _run(broker: str, command: str, **arguments: Any) -> Any:
    """What kafkajs made of one command of peer.mjs."""
    return (await NODE.run("peer.mjs", str(broker), command, arguments))[-1]


@asynccontextmanager
async def _gateway(folder: Path, broker: str, routes: dict[str, Any], **endpoints: Any) -> AsyncIterator[str]:
    """A gateway between kafkajs, an HTTP endpoint `web`, whose URL this is, and further ones."""
    listen = f"127.0.0.1:{free_port()}"
    given = {
        "web": {"protocol": "http", "listen": listen, "forward_headers": ["x-tenant"]},
        "kafka": {"protocol": "kafka", "bootstrap_servers": str(broker), "forward_headers": ["x-tenant", "x-trace"]},
        **endpoints,
    }
    async with serving(folder, given, routes):
        yield f"http://{listen}"


# -- kafkajs publishes


BATCHES = [
    {},
    {"compression": "GZIP"},
    {"idempotent": True, "compression": "GZIP"},
    {"transactionalId": "node", "idempotent": True},
    {"acks": 0},
]


@pytest.mark.parametrize("kafka", ["apache"], indirect=True)
@pytest.mark.parametrize("options", BATCHES, ids=lambda options: "-".join(options) or "plain")
async def test_what_kafkajs_publishes(kafka: Bootstrap, topic: str, options: dict[str, Any]) -> None:
    """Of transactions, only what was committed."""
    create_topic(kafka, topic)
    if "transactionalId" in options:
        options = {**options, "transactionalId": topic}
    messages = [
        {
            "key": "k",
            "value": "näher",
            "timestamp": "1700000000123",
            "headers": {"Tenant": "zürich", "many": ["a", "b"], "blob": {"bytes": [255]}, "traceparent": TRACE},
        },
        {"key": {"bytes": [0, 255]}, "value": {"bytes": [0, 255]}},
        {"key": None, "value": ""},
        {"key": "gone", "value": None},
        *({"value": "x" * 1000} for _ in range(20)),
    ]
    handler = Handler()
    async with consuming(endpoint(kafka, forward_headers=["tenant", "blob", "many"]), source(topic), handler):
        await _run(kafka, "produce", topic=topic, messages=messages, options=options)
        await handler.wait(24)
    arrived = sorted(handler.requests, key=lambda request: request.params["offset"])
    assert [(request.key, request.body) for request in arrived] == [
        (b"k", "näher".encode()),
        (b"\x00\xff", b"\x00\xff"),
        (None, b""),
        (b"gone", None),
        *[(None, b"x" * 1000)] * 20,
    ]
    assert list(arrived[0].headers) == [("tenant", "zürich"), ("many", "a"), ("many", "b"), ("blob", b"\xff")]
    assert arrived[0].params["timestamp"] == 1_700_000_000_123_000_000
    assert TRACE in {context.trace for context in handler.contexts}


async def _ask(broker: str, topic: str, value: Any, **headers: str) -> Any:
    """The reply that kafkajs gets, in a topic of its own."""
    replies = f"{topic}.{uuid.uuid4().hex}"
    create_topic(broker, replies, 3)
    return await _run(broker, "ask", topic=topic, replies=replies, value=json.dumps(value), headers=headers)


async def test_kafkajs_asks_a_grpc_backend(kafka: Bootstrap, topic: str, tmp_path: Path) -> None:
    create_topic(kafka, topic)
    routes = {
        "place": {
            "from": {"endpoint": "kafka", "topic": topic, "replies": "one"},
            "to": {"endpoint": "orders", "method": PLACE_ORDER},
        }
    }
    with OrdersServer() as backend:
        orders = {"protocol": "grpc", "target": f"127.0.0.1:{backend.port}", "proto": PROTO}
        async with _gateway(tmp_path, kafka, routes, orders=orders):
            placed = await _ask(kafka, topic, ORDER, traceparent=TRACE)
            metadata = backend.shop.metadata
            refused = await _ask(kafka, topic, {"customer_id": "no-stock"})
            wrong = await _ask(kafka, topic, {"lines": [{"quantity": "many"}]})
    reply = json.loads(placed["value"])
    assert (reply["orderId"], reply["lines"], reply["totalCents"]) == ("o-1", ORDER["lines"], str(2**62))
    assert "gateway-status" not in placed["headers"]
    assert metadata["traceparent"] == TRACE
    assert refused["headers"]["gateway-status"] == "FAILED_PRECONDITION"
    problem = json.loads(refused["value"])
    assert problem["detail"] == "the shop says no"
    assert problem["details"] == [{"type": "shop.orders.v1.OutOfStock", "sku": "tea", "available": 2}]
    assert wrong["headers"]["gateway-status"] == "INVALID_ARGUMENT"
    assert json.loads(wrong["value"])["path"] == "$.lines[0].quantity"


async def test_kafkajs_asks_an_http_backend(kafka: Bootstrap, topic: str, tmp_path: Path) -> None:
    create_topic(kafka, topic)
    routes = {
        "place": {
            "from": {"endpoint": "kafka", "topic": topic, "replies": "one"},
            "to": {"endpoint": "shop", "method": "POST", "path": "/orders"},
        }
    }

    async def handle(request: web.Request) -> web.StreamResponse:
        return web.json_response({"order_id": "o-1", "tenant": request.headers.get("x-tenant")})

    async with upstream(handle) as backend:
        shop = {"protocol": "http", "target": backend.url, "forward_headers": ["x-tenant"]}
        async with _gateway(tmp_path, kafka, routes, shop=shop):
            placed = await _ask(kafka, topic, ORDER, **{"x-tenant": "acme"})
    assert json.loads(placed["value"]) == {"order_id": "o-1", "tenant": "acme"}
    assert [json.loads(body) for body in backend.bodies] == [ORDER]


# -- kafkajs consumes


@pytest.mark.parametrize("compression", ["none", "gzip"])
async def test_what_kafkajs_reads(kafka: Bootstrap, topic: str, compression: str) -> None:
    create_topic(kafka, topic)
    messages = [
        Message("näher".encode(), [("x-text", "ü"), ("x-blob", b"\xff")], key=b"k"),
        Message(b"\x00\xff", key=b"\x00\xff"),
        Message(b""),
        Message(None, key=b"gone"),
        *[Message(b"x" * 10_000)] * 20,
    ]
    async with publishing(endpoint(kafka, compression=compression)) as side:
        publish = publisher(side, topic)
        for message in messages:
            await publish.call(message, Context(float("inf"), "", TRACE))
    records = await _run(kafka, "read", topic=topic, count=len(messages))
    assert [(record["key"], record["value"]) for record in records] == [
        ("k", "näher"),
        ({"bytes": [0, 255]}, {"bytes": [0, 255]}),
        (None, ""),
        ("gone", None),
        *[(None, "x" * 10_000)] * 20,
    ]
    headers = records[0]["headers"]
    assert (headers["x-text"], headers["x-blob"]) == ("ü", {"bytes": [255]})
    assert {record["headers"]["traceparent"] for record in records} == {TRACE}
    assert len({record["headers"]["message-id"] for record in records}) == len(records)


async def test_http_to_kafkajs(kafka: Bootstrap, topic: str, tmp_path: Path) -> None:
    create_topic(kafka, topic, 3)
    routes = {
        "place": {
            "from": {"endpoint": "web", "method": "POST", "path": "/orders"},
            "to": {"endpoint": "kafka", "topic": topic, "key": "$.customer_id"},
        }
    }
    headers = {"traceparent": TRACE, "x-tenant": "acme", "x-secret": "s"}
    async with _gateway(tmp_path, kafka, routes) as url, aiohttp.ClientSession() as session:
        for quantity in range(5):
            body = {**ORDER, "lines": [{"sku": "tea", "quantity": quantity}]}
            async with session.post(f"{url}/orders", json=body, headers=headers) as answer:
                assert answer.status == 202, await answer.text()
                receipt = await answer.json()
        records = await _run(kafka, "read", topic=topic, count=5)
    assert [json.loads(record["value"])["lines"][0]["quantity"] for record in records] == list(range(5))
    assert {(record["key"], record["partition"]) for record in records} == {("zoë", receipt["partition"])}
    for record in records:
        assert record["headers"]["traceparent"].split("-")[1] == TRACE.split("-")[1]
        assert record["headers"]["x-tenant"] == "acme"
        assert "x-secret" not in record["headers"]


async def test_http_to_a_kafkajs_worker(kafka: Bootstrap, topic: str, tmp_path: Path) -> None:
    create_topic(kafka, topic)
    create_topic(kafka, f"{topic}.replies", 3)
    routes = {
        "place": {
            "from": {"endpoint": "web", "method": "POST", "path": "/orders"},
            "to": {"endpoint": "kafka", "topic": topic, "mode": "reply", "reply_topic": f"{topic}.replies"},
        }
    }
    serve = {"topic": topic, "reply": '{"order_id": "ö-1"}'}
    async with (
        NODE.running("peer.mjs", str(kafka), "serve", serve) as worker,
        _gateway(tmp_path, kafka, routes) as url,
        aiohttp.ClientSession() as session,
    ):
        assert await worker.line() == "ready"

        async def place(customer: str) -> tuple[int, Any]:
            body, headers = {"customer_id": customer}, {"traceparent": TRACE}
            async with session.post(f"{url}/orders", json=body, headers=headers) as answer:
                return answer.status, await answer.json(content_type=None)

        answers = await asyncio.gather(*(place(f"c{number}") for number in range(20)))
        assert answers == [(200, {"order_id": "ö-1"})] * 20
        status, problem = await place("refused")
    assert (status, problem["code"], problem["detail"]) == (404, "NOT_FOUND", "no such customer at $.customer_id")
