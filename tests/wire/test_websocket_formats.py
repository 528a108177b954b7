"""WebSocket messages that are text, bytes and records: a whole gateway between HTTP and the websockets package."""

import asyncio
import json
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web
from support.http_gateway import gateway, planned, upstream
from support.websocket_ports import peer
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from gateway.problem import ConfigError

FIELDS = [
    {"name": "id", "type": "u16"},
    {"name": "sku", "type": "text", "width": 4},
    {"name": "count", "type": "packed", "digits": 3},
]
PLAIN = {"format": "record", "record": {"charset": "cp037", "fields": FIELDS[1:]}}
NUMBERED = {"format": "record", "record": {"charset": "cp037", "fields": FIELDS}}
ROW = {"format": "record", "record": {"separator": ";", "columns": [{"name": "sku"}, {"name": "say"}]}}
TEA = bytes.fromhex("e3c5c140012c")  # TEA in EBCDIC, 12 packed
BY_ID = {"correlation": {"field": "id"}}


def outwards(port: int, endpoint: dict[str, Any], address: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "endpoints": {
            "web": {"protocol": "http", "listen": "127.0.0.1:0"},
            "sockets": {"protocol": "websocket", "target": f"ws://127.0.0.1:{port}", **endpoint},
        },
        "routes": {
            "out": {
                "from": {"endpoint": "web", "method": "POST", "path": "/out"},
                "to": {"endpoint": "sockets", "path": "/", **(address or {})},
            }
        },
    }


def inwards(url: str, endpoint: dict[str, Any], address: dict[str, Any] | None = None) -> dict[str, Any]:
    """The endpoints share a port."""
    return {
        "endpoints": {
            "web": {"protocol": "http", "listen": "127.0.0.1:0"},
            "sockets": {"protocol": "websocket", "listen": "127.0.0.1:0", **endpoint},
            "service": {"protocol": "http", "target": url},
        },
        "routes": {
            "web": {
                "from": {"endpoint": "web", "method": "GET", "path": "/none"},
                "to": {"endpoint": "service", "method": "GET", "path": "/none"},
            },
            "in": {
                "from": {"endpoint": "sockets", "path": "/in/{shop}", **(address or {})},
                "to": {"endpoint": "service", "method": "POST", "path": "/"},
            },
        },
    }


async def answer(request: web.Request) -> web.Response:
    body = await request.json()
    if body.get("sku") == "PIE":
        return web.json_response({"detail": "no pie"}, status=404)
    return web.json_response(body)


# -- out


async def test_a_record_goes_out_in_a_binary_frame() -> None:
    received: list[str | bytes] = []

    async def handle(link: ServerConnection) -> None:
        async for message in link:
            received.append(message)
            await link.send(TEA[:5] + b"\x3c" if message == TEA else b"?")

    async with peer(handle) as server, gateway(outwards(server.port, PLAIN)) as served:
        status, _, body = await served.request("POST", "/out", json={"sku": "TEA", "count": 12})
        assert (status, body) == (200, {"sku": "TEA", "count": "13"})
        status, _, body = await served.request("POST", "/out", json={"sku": "COFFEE", "count": 1})
        assert (status, body["path"]) == (400, "$.sku")
        status, _, body = await served.request("POST", "/out", json={"sku": "OX", "count": 1})
        assert status == 500, "a reply that is no record"
    assert received[0] == TEA


async def test_records_are_correlated_by_a_number() -> None:
    async def handle(link: ServerConnection) -> None:
        """Pairs are answered backwards."""
        while True:
            one, two = await link.recv(), await link.recv()
            assert isinstance(one, bytes) and isinstance(two, bytes)
            assert one[:2] != two[:2]
            await link.send(two)
            await link.send(one)

    async with peer(handle) as server:
        routes = outwards(server.port, NUMBERED, {**BY_ID, "connections": 1})
        async with gateway(routes) as served:
            calls = [served.request("POST", "/out", json={"sku": sku, "count": 1}) for sku in ("A", "B", "C", "D")]
            replies = [body["sku"] for _, _, body in await asyncio.gather(*calls)]
    assert replies == ["A", "B", "C", "D"]


@pytest.mark.parametrize(
    ("endpoint", "given", "sent"),
    [
        ({"format": "text"}, {"text": "für"}, "für"),
        ({"format": "text", "frames": "binary"}, {"text": "für"}, "für".encode()),
        ({"format": "raw"}, {"data": "/wA="}, b"\xff\0"),
        ({"format": "raw", "frames": "text"}, {"data": "w7w="}, "ü"),
        ({**ROW, "frames": "text"}, {"sku": "TEA", "say": "a;b"}, 'TEA;"a;b"'),
    ],
)
async def test_frames(endpoint: dict[str, Any], given: dict[str, Any], sent: str | bytes) -> None:
    received: list[str | bytes] = []

    async def handle(link: ServerConnection) -> None:
        async for message in link:
            received.append(message)
            await link.send(message)

    async with peer(handle) as server, gateway(outwards(server.port, endpoint)) as served:
        assert (await served.request("POST", "/out", json=given))[2] == given
    assert received == [sent]


async def test_text_frames_carry_no_other_bytes() -> None:
    async def handle(link: ServerConnection) -> None:
        async for message in link:
            await link.send(message)

    endpoint = {"format": "raw", "frames": "text"}
    async with peer(handle) as server, gateway(outwards(server.port, endpoint)) as served:
        status, _, body = await served.request("POST", "/out", json={"data": "/wA="})
        assert status == 400
        assert "frames: binary" in body["detail"]
        assert (await served.request("POST", "/out", json={"data": "w7w="}))[0] == 200, "the connection is whole"


async def test_an_error_in_json_is_no_error_among_records() -> None:
    """Only where messages are JSON has one of them to be looked at."""
    text = '{"error":{"code":"NOT_FOUND","detail":"gone"}}'

    async def handle(link: ServerConnection) -> None:
        async for _ in link:
            await link.send(text)

    async with peer(handle) as server, gateway(outwards(server.port, {"format": "text"})) as served:
        assert (await served.request("POST", "/out", json={"text": "?"}))[2] == {"text": text}


async def test_an_empty_message_that_would_end_the_stream() -> None:
    received: list[str | bytes] = []

    async def handle(link: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            async for message in link:
                received.append(message)

    async with peer(handle) as server:
        routes = outwards(server.port, {"format": "raw"}, {"mode": "stream", "requests": "many", "replies": "one"})
        async with gateway(routes) as served:
            status, _, body = await served.request("POST", "/out", json=[{"data": ""}])
    assert (status, body["detail"]) == (400, "an empty message would end the stream")
    assert received == []


# -- in


async def test_records_that_come_in() -> None:
    async with upstream(answer) as service, gateway(inwards(service.url, PLAIN)) as served:
        url = f"ws://127.0.0.1:{sockets(served)}/in/kyoto"
        async with connect(url) as client:
            await client.send(TEA)
            assert await client.recv() == TEA
        assert service.bodies == [b'{"sku":"TEA","count":"12"}']
        async with connect(url) as client:
            await client.send(TEA[:3])
            with pytest.raises(ConnectionClosed):
                await client.recv()
        assert client.close_code == 1007
        assert "count" in client.close_reason or "sku" in client.close_reason
        async with connect(f"{url}?x=1") as client:
            await client.send(TEA)
            with pytest.raises(ConnectionClosed):
                await client.recv()
        assert (client.close_code, client.close_reason) == (1007, "the query has no place in the messages here")


async def test_what_was_asked_before_a_failure_is_answered_first() -> None:
    async def slow(request: web.Request) -> web.Response:
        body = await request.json()
        if body["sku"] == "PIE":
            return web.json_response({"detail": "no pie"}, status=404)
        await asyncio.sleep(0.1)
        return web.json_response(body)

    async with upstream(slow) as service, gateway(inwards(service.url, {**ROW, "frames": "text"})) as served:
        async with connect(f"ws://127.0.0.1:{sockets(served)}/in/kyoto") as client:
            await client.send(b"TEA;one")
            await client.send("PIE;two")
            assert await client.recv() == "TEA;one"
            with pytest.raises(ConnectionClosed):
                await client.recv()
        assert (client.close_code, client.close_reason) == (4005, "no pie")


async def test_a_record_that_tells_of_failures() -> None:
    endpoint = {**NUMBERED, "on_failure": {"reply": {"sku": "ERR", "count": 0}}}
    tea, pie = b"\7\0" + TEA, b"\x08\0" + bytes.fromhex("d7c9c540001c")
    async with upstream(answer) as service, gateway(inwards(service.url, endpoint, BY_ID)) as served:
        async with connect(f"ws://127.0.0.1:{sockets(served)}/in/kyoto") as client:
            await client.send(pie)
            assert await client.recv() == b"\x08\0" + bytes.fromhex("c5d9d940000c")
            await client.send(tea)
            assert await client.recv() == tea
        assert service.bodies[1] == b'{"sku":"TEA","count":"12"}', "the field is no part of the message"


async def test_a_stream_of_records_and_json() -> None:
    """From records to JSON and back, both ways; the caller's last one is none."""
    heard: list[Any] = []

    async def handle(link: ServerConnection) -> None:
        async for message in link:
            if not message:
                break
            heard.append(json.loads(message))
            await link.send(message)

    stream = {"mode": "stream", "requests": "many", "replies": "many"}
    async with peer(handle) as server:
        routes = inwards("http://127.0.0.1:1", PLAIN, stream)
        routes["endpoints"]["json"] = {"protocol": "websocket", "target": f"ws://127.0.0.1:{server.port}"}
        routes["routes"]["in"]["to"] = {"endpoint": "json", "path": "/", **stream}
        async with gateway(routes) as served:
            url = f"ws://127.0.0.1:{sockets(served)}/in/kyoto"
            async with connect(url) as client:
                for _ in range(3):
                    await client.send(TEA)
                    assert await client.recv() == TEA
                await client.send(b"")
                await client.wait_closed()
            assert client.close_code == 1000
            async with connect(url) as client:
                await client.send(TEA[:2])
                await client.wait_closed()
            assert client.close_code == 1007, "no error in JSON among records"
    assert heard == [{"sku": "TEA", "count": "12"}] * 3


async def test_what_the_path_captures_is_mapped() -> None:
    routes = inwards("", PLAIN)
    routes["routes"]["in"]["request"] = {"map": {"sku": "$.sku", "count": "$.count", "shop": "$params.shop"}}
    async with upstream(answer) as service:
        routes["endpoints"]["service"]["target"] = service.url
        async with gateway(routes) as served, connect(f"ws://127.0.0.1:{sockets(served)}/in/kyoto") as client:
            await client.send(TEA)
            await client.recv()
        assert b'"shop":"kyoto"' in service.bodies[0]


def sockets(served: Any) -> int:
    port: int = served.plan.inbounds["sockets"]._server.port
    return port


@pytest.mark.parametrize(
    ("endpoint", "address", "told"),
    [
        ({"format": "text", "charset": "latin-1"}, {}, "UTF-8"),
        ({"format": "record"}, {}, "go together"),
        ({"format": "raw"}, BY_ID, "no fields to correlate by"),
        ({"format": "record", "record": "none.yaml"}, {}, "can't be read"),
        ({**PLAIN, "on_failure": "error"}, {}, "no form for errors"),
        ({**PLAIN, "on_failure": {"reply": {"sku": "TOO LONG", "count": 0}}}, {}, "sku"),
        ({"on_failure": {"reply": {"id": 1}}}, BY_ID, "put into the reply"),
    ],
)
async def test_what_can_not_be(endpoint: dict[str, Any], address: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        await planned(inwards("http://127.0.0.1:1", endpoint, address))
