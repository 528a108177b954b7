"""Node's amqplib on the other side of the broker."""

import asyncio
import json
from typing import Any

import pytest
from support.amqp_gateway import consuming, endpoint, name, publishing, source, target
from support.amqp_peer import declare
from support.handler import Handler
from support.node import Node

from gateway.message import Context, Message
from gateway.status import Code, Failure, invalid

NODE = Node("amqp")


async def _run(url: str, command: str, **arguments: Any) -> Any:
    """What amqplib made of one command of peer.mjs."""
    return (await NODE.run("peer.mjs", url, command, arguments))[-1]


async def test_amqplib_reads_what_is_published(rabbitmq: str) -> None:
    queue = name()
    declare(rabbitmq, queue)
    address = target(routing_key=queue, type="order.placed", expiration="60s")
    async with publishing(endpoint(rabbitmq), address) as (_, (publish,)):
        reply = await publish.call(Message(b'{"a": "\xc3\xbc"}', [("x-text", "ü"), ("x-bytes", b"\xff")]), Context())
    got = await _run(rabbitmq, "get", queue=queue)
    properties = got["properties"]
    assert got["body"] == '{"a": "ü"}'
    assert properties["messageId"] == reply.params["id"]
    assert (properties["contentType"], properties["deliveryMode"], properties["type"], properties["expiration"]) == (
        "application/json",
        2,
        "order.placed",
        "60000",
    )
    assert properties["headers"]["x-text"] == "ü"
    assert properties["headers"]["x-bytes"]["data"] == [255]


async def test_what_amqplib_publishes_is_read_and_dead_lettered_as_it_came(rabbitmq: str) -> None:
    queue = name()
    declare(rabbitmq, queue)

    async def outcome(request: Message) -> Failure:
        return invalid("no")

    handler = Handler(outcome)
    headers = {"x-double": 0.1, "x-large": 2**40, "x-true": True, "x-list": [1, "a", {"b": 1.5}], "x-null": None}
    moment = {"!": "timestamp", "value": 1_700_000_000}
    options = {"headers": {**headers, "x-moment": moment}, "messageId": "n-1", "persistent": True, "priority": 2}
    config = endpoint(rabbitmq, forward_headers=list(options["headers"]))
    async with consuming(config, source(queue, declare=None), handler):
        await _run(rabbitmq, "publish", queue=queue, body="{}", options=options)
        await handler.wait(1)
        letter = await _run(rabbitmq, "get", queue=f"{queue}.dead-letters")
    assert dict(handler.requests[0].headers) == {
        "x-double": "0.1",
        "x-large": str(2**40),
        "x-true": "true",
        "x-list": '[1,"a",{"b":1.5}]',
        "x-moment": "2023-11-14T22:13:20Z",
    }
    kept = letter["properties"]["headers"]
    assert {key: kept[key] for key in headers} == headers
    assert kept["x-moment"] == moment
    assert (letter["properties"]["messageId"], letter["properties"]["priority"]) == ("n-1", 2)
    assert kept["dead-letter-reason"] == "INVALID_ARGUMENT: no"


async def test_amqplib_asks_the_gateway(rabbitmq: str) -> None:
    queue = name()

    async def outcome(request: Message) -> Failure | Message:
        if request.body == b"refused":
            return Failure(Code.NOT_FOUND, "no such order")
        return Message(request.body.upper())

    async with consuming(endpoint(rabbitmq), source(queue, replies="one"), Handler(outcome)):
        fine, refused = await asyncio.gather(
            _run(rabbitmq, "ask", queue=queue, body="hello", options={}),
            _run(rabbitmq, "ask", queue=queue, body="refused", options={}),
        )
    assert (fine["body"], fine["properties"]["correlationId"]) == ("HELLO", "n-1")
    assert refused["properties"]["headers"] == {"gateway-status": "NOT_FOUND"}
    assert json.loads(refused["body"]) == {"detail": "no such order", "code": "NOT_FOUND"}


async def test_the_gateway_asks_amqplib(rabbitmq: str) -> None:
    queue = name()
    declare(rabbitmq, queue)
    config = endpoint(rabbitmq, forward_headers=["x-number"])
    async with (
        NODE.running("peer.mjs", rabbitmq, "serve", {"queue": queue}) as worker,
        publishing(config, target(routing_key=queue, mode="reply")) as (_, (ask,)),
    ):
        assert await worker.line() == "ready"
        reply = await asyncio.wait_for(ask.call(Message(b"hello"), Context()), 10)
        assert (reply.body, reply.headers) == (b"HELLO", [("x-number", "7.5")])
        with pytest.raises(Failure, match="no such order") as failed:
            await ask.call(Message(b"refused"), Context())
        assert failed.value.code is Code.NOT_FOUND
