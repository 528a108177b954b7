"""What a stream's call says once, with its handshake: each message's mapping reads it, and only what may cross does."""

import asyncio
import json
from pathlib import Path
from typing import Any

from support.events_gateway import serving
from support.ports import free_port
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve


async def test_metadata_of_a_stream(tmp_path: Path) -> None:
    told: list[tuple[str | None, str | None]] = []

    async def echo(backend: ServerConnection) -> None:
        assert backend.request is not None
        told.append((backend.request.headers.get("x-user"), backend.request.headers.get("x-tenant")))
        async for message in backend:
            await backend.send(message)

    listen = f"127.0.0.1:{free_port()}"
    async with asyncio.timeout(20), serve(echo, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        endpoints: dict[str, Any] = {
            "sockets": {"protocol": "websocket", "listen": listen, "forward_headers": ["x-tenant"]},
            "backend": {"protocol": "websocket", "target": f"ws://127.0.0.1:{port}"},
        }
        route = {
            "from": {"endpoint": "sockets", "path": "/{room}", "mode": "stream"},
            "to": {"endpoint": "backend", "path": "/echo", "mode": "stream", "requests": "many"},
            "request": {"map": {"room": "$params.room", "user": "$headers.x-user", "text": "$.text"}},
        }
        headers = {"X-User": "ada", "X-Tenant": "acme"}
        async with (
            serving(tmp_path, endpoints, {"talk": route}),
            connect(f"ws://{listen}/tea", additional_headers=headers) as caller,
        ):
            for text in ("one", "two"):
                await caller.send(json.dumps({"text": text}))
                assert json.loads(await caller.recv()) == {"room": "tea", "user": "ada", "text": text}
    assert told == [(None, "acme")]
