"""CloudEvents' and Standard Webhooks' own packages, of Python and Node, on both sides of the events endpoint."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from standardwebhooks import Webhook
from support.events_gateway import Places, receiving, serving
from support.node import Node
from support.ports import free_port

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def _event(identity: str = "e1") -> Any:
    attributes = {
        "id": identity,
        "source": "/shop",
        "type": "order.placed",
        "subject": "größe 1",
        "time": datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
        "tenant": "acme",
        "datacontenttype": "application/json",
        "specversion": "1.0",
    }
    return CloudEvent(attributes, {"id": "7", "note": "日本"})


@pytest.mark.parametrize("mode", ["structured", "binary"])
async def test_the_python_sdk_sends_and_receives(tmp_path: Path, mode: str) -> None:
    """All attributes arrive, whatever the modes of both sides."""
    places, event = Places(), _event()
    message = to_structured_event(event) if mode == "structured" else to_binary_event(event)
    async with receiving() as structured, receiving() as binary, aiohttp.ClientSession() as client:
        webhooks = [
            {"url": structured.url, "topic": "orders.>", "subscription": "a", "secret": SECRET},
            {"url": binary.url, "topic": "*.placed", "subscription": "b", "secret": [OTHER, SECRET], "mode": "binary"},
        ]
        async with serving(tmp_path, places.endpoints(webhooks=webhooks), {"any": _route()}):
            url = f"http://{places.events}/events/orders.placed"
            async with client.post(url, data=message.body, headers=message.headers) as response:
                assert response.status == 202, await response.text()
            await asyncio.gather(structured.wait(1), binary.wait(1))
    for receiver in (structured, binary):
        headers, body = receiver.requests[0]
        Webhook(SECRET).verify(body, headers)
        found = from_http_event(HTTPMessage(headers, body))
        assert found.get_attributes() == event.get_attributes()
        assert found.get_data() == event.get_data()


def _route() -> dict[str, Any]:
    return {"from": {"endpoint": "web", "path": "/"}, "to": {"endpoint": "events", "topic": "orders.placed"}}


def _signed(body: bytes, *, secret: str = SECRET, identity: str = "w1", age: int = 0) -> dict[str, str]:
    now = datetime.fromtimestamp(int(datetime.now(UTC).timestamp()) - age, UTC)
    signature = Webhook(secret).sign(msg_id=identity, timestamp=now, data=body.decode())
    return {
        "content-type": "application/json",
        "webhook-id": identity,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }


async def test_a_signed_webhook_that_knows_no_cloudevents(tmp_path: Path) -> None:
    """Its id becomes the event's, and its `type` the event's type; what is not rightly signed is refused."""
    places = Places()
    body = json.dumps({"type": "invoice.paid", "timestamp": "2026-01-02T03:04:05Z", "data": {"n": 1}}).encode()
    good = _signed(body)
    bad = [
        _signed(body, secret=OTHER),
        _signed(body, age=600),
        _signed(body, age=-600),
        {**good, "webhook-id": "w2"},
        {**good, "webhook-signature": "v1,"},
        {**good, "webhook-signature": good["webhook-signature"].replace("v1,", "v2,")},
        {**good, "webhook-timestamp": "soon"},
        {name: value for name, value in good.items() if name != "webhook-signature"},
    ]
    async with receiving() as hook, aiohttp.ClientSession() as client:
        webhooks = [{"url": hook.url, "topic": ">", "subscription": "all"}]
        endpoints = places.endpoints(webhooks=webhooks, secret=[OTHER.replace("C2", "D2"), SECRET])
        async with serving(tmp_path, endpoints, {"any": _route()}):
            url = f"http://{places.events}/events/invoices"
            for headers in bad:
                async with client.post(url, data=body, headers=headers) as response:
                    assert response.status == 401
                    assert (await response.json(content_type=None))["code"] == "UNAUTHENTICATED"
            async with client.post(url, data=body + b" ", headers=good) as response:
                assert response.status == 401
            async with client.post(url, data=body, headers=good) as response:
                assert response.status == 202
                assert (await response.json())["id"] == "w1"
            await hook.wait(1)
    assert len(hook.requests) == 1
    event = json.loads(hook.requests[0][1])
    assert (event["id"], event["type"], event["source"]) == ("w1", "invoice.paid", "/events")
    assert event["data"] == json.loads(body)


async def test_node(tmp_path: Path) -> None:
    """The Node SDK's events arrive in all modes, and it verifies and parses what is pushed to it."""
    places = Places()
    places.events = f"127.0.0.1:{free_port()}"
    async with Node("events").running("peer.mjs", f"http://{places.events}/events/from.node", SECRET) as node:
        url = (await node.line())["url"]
        webhooks = [
            {"url": url, "topic": "from.*", "subscription": mode, "secret": SECRET, "mode": mode}
            for mode in ("structured", "binary")
        ]
        async with serving(tmp_path, places.endpoints(webhooks=webhooks, secret=SECRET), {"any": _route()}):
            for mode in ("structured", "binary", "batch"):
                await node.send(mode)
                said = [await node.line() for _ in range(3)]
                answer = next(line for line in said if "status" in line)
                assert answer["status"] == 202, answer
                received = [line["received"] for line in said if "received" in line]
                assert len(received) == 2, said
                for event in received:
                    assert event["id"] == mode
                    assert event["subject"] == "size-1"
                    assert event["tenant"] == "acme"
                    assert event["data"] == {"mode": mode}
