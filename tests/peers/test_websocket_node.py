"""npm's ws on both sides: as the gateway's caller and as its upstream."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from support.node import Node
from support.websocket_ports import calling, serving

from gateway.message import Context, Message
from gateway.port import Service
from gateway.status import Code, Failure

NODE = Node("ws")


async def _call(url: str, **options: Any) -> Any:
    """What ws as a client made of one connection. options: see client.mjs."""
    return (await NODE.run("client.mjs", url, options))[-1]


async def echo(request: Message, context: Context) -> Message:
    if request.body == b'"bad"':
        raise Failure(Code.INVALID_ARGUMENT, "bad")
    return Message(request.body)


async def three(
    request: Message, more: AsyncIterator[Message] | None, context: Context
) -> AsyncGenerator[Message, None]:
    for number in range(3):
        yield Message(b"%d" % number)
    if "fail" in request.params:
        raise Failure(Code.UNAVAILABLE, "gone")


# -- ws calls the gateway


@pytest.mark.parametrize("deflate", [False, True])
async def test_request_and_reply(deflate: bool) -> None:
    long = json.dumps("ü" * 20_000, ensure_ascii=False)
    async with serving(echo, compression=True, subprotocols=["v2", "v1"]) as served:
        outcome = await _call(
            served.url, messages=['"one"', long, '"bad"'], protocols=["v1"], deflate=deflate, replies=3
        )
    assert outcome["messages"][:2] == ['"one"', long]
    assert json.loads(outcome["messages"][2]) == {"error": {"detail": "bad", "code": "INVALID_ARGUMENT"}}
    assert (outcome["protocol"], outcome["pongs"], outcome["code"], outcome["error"]) == ("v1", 1, 1000, "")
    assert ("permessage-deflate" in outcome["extensions"]) == deflate


async def test_stream_and_its_end() -> None:
    async with serving(three, {"mode": "stream", "requests": "one"}) as served:
        outcome = await _call(served.url, messages=["{}"], replies=None)
        assert (outcome["messages"], outcome["code"]) == (["0", "1", "2"], 1000)
        outcome = await _call(f"{served.url}?fail=1", messages=["{}"], replies=None)
        assert (outcome["messages"][:3], outcome["code"], outcome["reason"]) == (["0", "1", "2"], 1013, "gone")
        assert json.loads(outcome["messages"][3])["error"]["code"] == "UNAVAILABLE"


async def test_too_large_and_foreign() -> None:
    async with serving(echo, max_message_bytes=100) as served:
        outcome = await _call(served.url, messages=["x" * 101], replies=None)
        assert outcome["code"] == 1009
        outcome = await _call(served.url, headers={"Origin": "https://evil.example"})
        assert outcome["error"] == "403"
        outcome = await _call(served.url.replace("/ws", "/none"))
        assert outcome["error"] == "404"


# -- the gateway calls ws


async def replies(service: Service, request: Message, more: AsyncIterator[Message] | None = None) -> list[Any]:
    async with aclosing(service.stream(request, more, Context())) as stream:
        return [json.loads(reply.body) async for reply in stream]


@pytest.mark.parametrize("compression", [False, True])
async def test_calls_to_an_upstream(compression: bool) -> None:
    body = json.dumps({"text": "ü" * 30_000}).encode()
    address = {"path": "/echo", "correlation": {"field": "id"}}
    async with NODE.running("server.mjs") as server:
        port = await server.line()
        async with calling(port, address, compression=compression) as service:
            done = await asyncio.gather(*(service.call(Message(body), Context()) for _ in range(20)))
            assert [json.loads(reply.body)["text"] for reply in done] == ["ü" * 30_000] * 20
        ended = await server.line()
        assert (ended["path"], ended["code"]) == ("/echo", 1001)
        assert ("permessage-deflate" in ended["extensions"]) == compression


async def test_streams_of_an_upstream() -> None:
    async def more() -> AsyncIterator[Message]:
        for number in (1, 2, 3):
            yield Message(b'{"n":%d}' % number)

    stream = {"mode": "stream"}
    async with NODE.running("server.mjs") as server:
        port = await server.line()
        async with calling(port, {**stream, "path": "/count"}) as service:
            assert await replies(service, Message(b'{"n":5}')) == [{"n": number} for number in range(5)]
            assert (await server.line())["code"] == 1000
        many = {**stream, "path": "/sum", "requests": "many", "replies": "one"}
        async with calling(port, many) as service:
            assert await replies(service, Message(None), more()) == [{"total": 6}]
            assert (await server.line())["code"] == 1000
        async with calling(port, {**stream, "path": "/fail"}) as service:
            with pytest.raises(Failure) as failure:
                await replies(service, Message(b"{}"))
            assert (failure.value.code, failure.value.message) == (Code.NOT_FOUND, "no such order")
        async with calling(port, {**stream, "path": "/cut", "requests": "none"}) as service:
            with pytest.raises(Failure) as failure:
                await replies(service, Message(None))
            assert failure.value.code is Code.UNAVAILABLE


# -- records, as bytes


RECORD = {
    "format": "record",
    "record": {"fields": [{"name": "id", "type": "u16"}, {"name": "say", "type": "text", "width": 3}]},
}


async def test_records_of_a_caller() -> None:
    async def keep(request: Message, context: Context) -> Message:
        if request.body.endswith(b"bad"):
            raise Failure(Code.NOT_FOUND, "none")
        return Message(request.body)

    async with serving(keep, {"correlation": {"field": "id"}}, **RECORD) as served:
        outcome = await _call(served.url, messages=["\1\0tea"], replies=1)
        assert (outcome["messages"], outcome["code"]) == ([{"binary": b"\1\0tea".hex()}], 1000)
        outcome = await _call(served.url, messages=["\1\0bad"], replies=None)
        assert (outcome["messages"], outcome["code"], outcome["reason"]) == ([], 4005, "none")


async def test_records_to_an_upstream() -> None:
    async with NODE.running("server.mjs") as server:
        port = await server.line()
        address = {"path": "/echo", "correlation": {"field": "id"}}
        async with calling(port, address, **RECORD) as service:
            done = await asyncio.gather(*(service.call(Message(b"\0\0%03d" % n), Context()) for n in range(20)))
    assert [reply.body[2:] for reply in done] == [b"%03d" % n for n in range(20)]
