"""The straight line: publish over HTTP and with CloudEvents, subscribe by SSE and durably, push to a URL."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.events_gateway import Places, receiving, serving, sse

ROUTES: dict[str, Any] = {
    "place": {
        "from": {"endpoint": "web", "path": "/orders"},
        "to": {"endpoint": "events", "topic": "orders.placed", "key": "$.id"},
    },
    "watch": {
        "from": {"endpoint": "web", "method": "GET", "path": "/watch"},
        "to": {"endpoint": "events", "topic": "orders.*", "mode": "subscribe"},
    },
    "replay": {
        "from": {"endpoint": "web", "method": "GET", "path": "/replay"},
        "to": {"endpoint": "events", "topic": "orders.>", "mode": "subscribe", "start": "earliest"},
    },
}


@pytest.mark.parametrize("store", ["memory", "events.db"])
async def test_publish_and_watch(tmp_path: Path, store: str) -> None:
    places = Places()
    async with (
        serving(tmp_path, places.endpoints(store=store), ROUTES),
        aiohttp.ClientSession(f"http://{places.web}") as client,
        sse(client, "/watch") as watch,
    ):
        for number in range(3):
            async with client.post("/orders", json={"id": str(number)}) as response:
                assert response.status == 202
                receipt = await response.json()
                assert receipt["topic"] == "orders.placed"
                assert receipt["position"] == str(number + 1)
                assert receipt["id"]
        assert [await watch.next() for _ in range(3)] == [
            (str(number + 1), "", {"id": str(number)}) for number in range(3)
        ]
        async with sse(client, "/replay") as replay:
            assert (await replay.next())[0] == "1"
        async with sse(client, "/watch", "1") as again:
            assert [await again.next() for _ in range(2)] == [("2", "", {"id": "1"}), ("3", "", {"id": "2"})]


async def test_durable_subscription_and_webhook(tmp_path: Path) -> None:
    places = Places()
    async with receiving() as hook, receiving() as backend:
        backend.answers = [(200, {"content-type": "application/json"})] * 9
        webhooks = [{"url": hook.url, "topic": "orders.>", "subscription": "hook"}]
        endpoints = places.endpoints(store="events.db", webhooks=webhooks)
        endpoints["backend"] = {"protocol": "http", "target": backend.url}
        relay = {
            "from": {"endpoint": "events", "topic": "orders.*", "subscription": "relay"},
            "to": {"endpoint": "backend", "path": "/taken"},
            "request": {"map": {"order": "$.id", "event": "$params.id", "topic": "$params.topic"}},
        }
        async with (
            serving(tmp_path, endpoints, {**ROUTES, "relay": relay}),
            aiohttp.ClientSession() as client,
        ):
            event = {"specversion": "1.0", "id": "e1", "source": "/shop", "type": "placed", "data": {"id": "7"}}
            headers = {"Content-Type": "application/cloudevents+json"}
            url = f"http://{places.events}/events/orders.placed"
            async with client.post(url, data=json.dumps(event), headers=headers) as response:
                assert response.status == 202, await response.text()
                assert await response.json() == {"id": "e1", "topic": "orders.placed", "position": "1"}
            await asyncio.gather(hook.wait(1), backend.wait(1))
        sent, body = hook.requests[0]
        assert sent["content-type"] == "application/cloudevents+json; charset=utf-8"
        assert json.loads(body) == event
        assert json.loads(backend.requests[0][1]) == {"order": "7", "event": "e1", "topic": "orders.placed"}
        # What was handled does not come again.
        async with serving(tmp_path, endpoints, {**ROUTES, "relay": relay}), aiohttp.ClientSession() as client:
            async with client.post(f"http://{places.web}/orders", json={"id": "8"}) as response:
                assert response.status == 202
            await asyncio.gather(hook.wait(2), backend.wait(2))
        assert json.loads(backend.requests[1][1])["order"] == "8"
        assert len(backend.requests) == len(hook.requests) == 2
