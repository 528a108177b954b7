"""A subscription as a WebSocket's and a gRPC call's stream, broken and gone on with."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from support.events_gateway import Places, serving
from support.ports import free_port
from support.specimen_proto import PACKAGE, Messages
from websockets.asyncio.client import connect

ROUTES: dict[str, Any] = {
    "place": {
        "from": {"endpoint": "web", "path": "/orders/{order}"},
        "to": {"endpoint": "events", "topic": "orders.{$params.order}"},
        "request": {"map": {"order_id": "$params.order", "note": "$.note"}},
    },
}


async def _place(client: aiohttp.ClientSession, order: str, note: str) -> None:
    async with client.post(f"/orders/{order}", json={"note": note}) as response:
        assert response.status == 202, await response.text()


async def test_websocket(tmp_path: Path) -> None:
    places, listen = Places(), f"127.0.0.1:{free_port()}"
    watch = {
        "from": {"endpoint": "sockets", "path": "/watch", "mode": "stream", "requests": "none"},
        "to": {"endpoint": "events", "topic": "orders.*", "mode": "subscribe", "start": "earliest"},
        "reply": {"map": {"at": "$params.position", "order": "$.order_id", "note": "$.note"}},
    }
    endpoints = places.endpoints() | {"sockets": {"protocol": "websocket", "listen": listen}}
    async with (
        serving(tmp_path, endpoints, {**ROUTES, "watch": watch}),
        aiohttp.ClientSession(f"http://{places.web}") as client,
    ):
        await _place(client, "o1", "first")
        async with connect(f"ws://{listen}/watch") as link:
            assert json.loads(await link.recv()) == {"at": "1", "order": "o1", "note": "first"}
            await _place(client, "o2", "second")
            assert json.loads(await link.recv())["at"] == "2"
        await _place(client, "o1", "third")
        async with connect(f"ws://{listen}/watch", additional_headers={"Last-Event-ID": "2"}) as link:
            assert json.loads(await link.recv())["note"] == "third"


async def test_grpc(tmp_path: Path) -> None:
    """The request says which topic it is; the metadata, after which event."""
    places, listen = Places(), f"127.0.0.1:{free_port()}"
    (tmp_path / "watch.proto").write_text(
        f'syntax = "proto3"; package {PACKAGE};'
        "message Watch { string order = 1; } message Change { string order_id = 1; string note = 2; int64 at = 3; }"
        "service Shop { rpc Follow(Watch) returns (stream Change); }"
    )
    follow = {
        "from": {"endpoint": "rpc", "method": f"{PACKAGE}.Shop/Follow"},
        "to": {"endpoint": "events", "topic": "orders.{$.order}", "mode": "subscribe", "start": "earliest"},
        "reply": {"map": {"at": "$params.position"}},
    }
    endpoints = places.endpoints() | {"rpc": {"protocol": "grpc", "listen": listen, "proto": "watch.proto"}}
    messages = Messages(tmp_path, "watch.proto")
    async with (
        serving(tmp_path, endpoints, {**ROUTES, "follow": follow}),
        aiohttp.ClientSession(f"http://{places.web}") as client,
        grpc.aio.insecure_channel(listen) as channel,
    ):
        call = channel.unary_stream(f"/{PACKAGE}.Shop/Follow", None, messages["Change"].FromString)
        request = messages["Watch"](order="o1").SerializeToString()
        for order, note in (("o1", "a"), ("o2", "b"), ("o1", "c")):
            await _place(client, order, note)
        stream = call(request, timeout=10)
        found = [await stream.read() for _ in range(2)]
        assert [(change.order_id, change.note, change.at) for change in found] == [("o1", "a", 1), ("o1", "c", 3)]
        stream.cancel()
        again = call(request, timeout=10, metadata=[("last-event-id", "1")])
        assert (await again.read()).at == 3
        again.cancel()
        wrong = call(request, timeout=10, metadata=[("last-event-id", "99")])
        assert await wrong.code() is grpc.StatusCode.OUT_OF_RANGE
