"""The HTTP front: what it takes, what it refuses and how, and the validation handshake."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.events_gateway import Places, serving, sse

ROUTES: dict[str, Any] = {
    "watch": {
        "from": {"endpoint": "web", "method": "GET", "path": "/watch/{room}"},
        "to": {"endpoint": "events", "topic": "rooms.{$params.room}", "mode": "subscribe", "start": "earliest"},
        "reply": {"map": {"data": "$", "id": "$params.id", "source": "$params.source", "topic": "$params.topic"}},
    }
}
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
EVENT: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": {"a": 1}}
HEADERS = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}


class Front:
    def __init__(self, client: aiohttp.ClientSession, places: Places) -> None:
        self.client = client
        self.places = places

    async def post(self, topic: str, body: bytes, **headers: str) -> tuple[int, Any]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://{self.places.events}/events/{topic}"
        async with self.client.post(url, data=body, headers=given) as response:
            return response.status, await response.json(content_type=None)


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    places = Places()
    endpoints = places.endpoints(max_message_bytes=4096, webhook_origins=["shop.example"])
    async with serving(tmp_path, endpoints, ROUTES), aiohttp.ClientSession() as client:
        yield Front(client, places)


async def test_batch(front: Front) -> None:
    """All of a batch or nothing, under positions that follow each other."""
    events = [{**EVENT, "id": str(number)} for number in range(3)]
    status, receipts = await front.post("rooms.a", json.dumps(events).encode(), content_type=BATCH)
    assert status == 202
    assert receipts == [{"id": str(n), "topic": "rooms.a", "position": str(n + 1)} for n in range(3)]
    bad = json.dumps([EVENT, {**EVENT, "type": ""}]).encode()
    status, problem = await front.post("rooms.a", bad, content_type=BATCH)
    assert (status, problem["code"]) == (400, "INVALID_ARGUMENT")
    assert await front.post("rooms.a", b"[]", content_type=BATCH) == (202, [])
    status, receipt = await front.post("rooms.a", json.dumps(EVENT).encode(), content_type=STRUCTURED)
    assert receipt["position"] == "4"


async def test_attributes_reach_a_mapping(front: Front) -> None:
    await front.post("rooms.b", b'{"no": 1}', content_type="application/json", **HEADERS)
    await front.post("rooms.a", b'{"say": "hi"}', content_type="application/json", **HEADERS)
    async with sse(front.client, f"http://{front.places.web}/watch/a") as watch:
        identity, _, data = await watch.next()
    assert identity == "2"
    assert data == {"data": {"say": "hi"}, "id": "1", "source": "/s", "topic": "rooms.a"}


@pytest.mark.parametrize(
    ("topic", "body", "headers", "status", "words"),
    [
        ("rooms.a", b"{}", {"content-type": "application/json"}, 415, "cloudevents+json"),
        ("rooms.a", b"<a/>", {"content-type": "text/xml"}, 415, "text/xml"),
        ("rooms.a", b"{}", {"content-type": f"{STRUCTURED}; charset=utf-16"}, 415, "utf-16"),
        ("rooms.a", b"{}", {"content-type": STRUCTURED, "content-encoding": "compress"}, 415, "compress is not read"),
        ("rooms.a", b"<a/>", {"content-type": "text/xml", **HEADERS}, 400, "data is JSON here"),
        ("rooms.a", b"{", {"content-type": "application/json", **HEADERS}, 400, "malformed JSON"),
        ("rooms.a", b"{", {"content-type": STRUCTURED}, 400, "malformed CloudEvent"),
        ("rooms.a", b"{}", {"content-type": STRUCTURED}, 400, "specversion"),
        ("rooms.a", b"x" * 5000, {"content-type": STRUCTURED}, 413, "4096"),
        ("rooms.*", b"{}", {"content-type": STRUCTURED}, 404, "topic"),
        ("rooms..a", b"{}", {"content-type": STRUCTURED}, 404, "topic"),
        ("r%20a", b"{}", {"content-type": STRUCTURED}, 404, "topic"),
        ("a" * 300, b"{}", {"content-type": STRUCTURED}, 404, "topic"),
    ],
)
async def test_refused(front: Front, topic: str, body: bytes, headers: dict[str, str], status: int, words: str) -> None:
    given, problem = await front.post(topic, body, **headers)
    assert given == status, problem
    assert words in problem["detail"]


async def test_other_methods_and_paths(front: Front) -> None:
    url = f"http://{front.places.events}/events/rooms.a"
    async with front.client.get(url) as response:
        assert response.status == 405
        assert set(response.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    async with front.client.post(url + "/more", data=b"") as response:
        assert response.status == 404


async def test_validation_handshake(front: Front) -> None:
    """http-webhook.md, 4: permission is granted to the senders that are configured."""
    url = f"http://{front.places.events}/events/rooms.a"
    asked = {"WebHook-Request-Origin": "Shop.example", "WebHook-Request-Rate": "120"}
    async with front.client.options(url, headers=asked) as response:
        assert response.status == 200
        assert response.headers["WebHook-Allowed-Origin"] == "Shop.example"
        assert response.headers["WebHook-Allowed-Rate"] == "*"
        assert "POST" in response.headers["Allow"]
    async with front.client.options(url, headers={"WebHook-Request-Origin": "evil.example"}) as response:
        assert response.status == 403
        assert "WebHook-Allowed-Origin" not in response.headers
    async with front.client.options(url) as response:
        assert response.status == 204
        assert "WebHook-Allowed-Origin" not in response.headers


async def test_a_room_is_one_level(front: Front) -> None:
    url = f"http://{front.places.web}/watch/"
    for room in ("*", "a.b", "%3E", "a%20b"):
        async with front.client.get(url + room, headers={"Accept": "text/event-stream"}) as response:
            assert response.status == 400, room
            assert "one level" in (await response.json(content_type=None))["detail"]
