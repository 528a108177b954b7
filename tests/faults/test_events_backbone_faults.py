"""The broker that bears a gateway's events goes away, for a moment and for longer."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from support.events_gateway import Places, receiving, serving, sse
from support.rabbitmq_broker import RabbitMQ
from support.until import until

from gateway.broker import live

# RabbitMQ forgets a quorum queue that was declared less than some seconds before it is killed.
SETTLED_SECONDS = 5.0


async def test_streams_and_a_broker_that_is_away(
    mortal_rabbitmq: RabbitMQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream outlives a short absence without a gap, and ends over a longer one, for then there may be one. Nothing
    is taken meanwhile that would be lost, and a durable subscription misses nothing."""
    places, broker = Places(), mortal_rabbitmq
    async with receiving() as hook, aiohttp.ClientSession() as client:
        endpoints = places.endpoints()
        webhook = {"url": hook.url, "topic": "a.>", "subscription": "hook", "mode": "binary"}
        endpoints["events"] = {
            "protocol": "events",
            "backbone": "rabbit",
            "listen": places.events,
            "webhooks": [webhook],
        }
        endpoints["rabbit"] = {"protocol": "amqp", "url": broker.url}
        feed = {
            "from": {"endpoint": "web", "method": "GET", "path": "/feed"},
            "to": {"endpoint": "events", "topic": "a.*", "mode": "subscribe"},
        }
        async with serving(tmp_path, endpoints, {"feed": feed}) as runtime:

            async def publish(number: int) -> int:
                headers = {"ce-specversion": "1.0", "ce-id": str(number), "ce-source": "/s", "ce-type": "t"}
                headers["content-type"] = "application/json"
                url = f"http://{places.events}/events/a.b"
                async with client.post(url, data=f'{{"n": {number}}}', headers=headers) as response:
                    return response.status

            async def back() -> None:
                await asyncio.to_thread(broker.start)
                await until(lambda: not any(runtime.unready().values()), lambda: str(runtime.unready()))

            async with sse(client, f"http://{places.web}/feed") as stream:
                assert await publish(1) == 202
                assert (await stream.next())[2] == {"n": 1}
                await asyncio.sleep(SETTLED_SECONDS)
                await asyncio.to_thread(broker.kill)
                await until(lambda: any(runtime.unready().values()))
                assert await publish(2) == 503
                await back()
                assert await publish(3) == 202
                told = [(await stream.next())[2]["n"]]
                while told[-1] == 1:  # its acknowledgement may have died with the broker
                    told.append((await stream.next())[2]["n"])
                assert told[-1] == 3
                monkeypatch.setattr(live, "AWAY_SECONDS", 0.5)
                await asyncio.to_thread(broker.kill)
                ended = await _end(stream.response)
                assert b"UNAVAILABLE" in ended
            await back()
            async with sse(client, f"http://{places.web}/feed") as stream:
                assert await publish(4) == 202
                number = (await stream.next())[2]["n"]
                while number == 3:  # its acknowledgement may have died with the broker
                    number = (await stream.next())[2]["n"]
                assert number == 4
            await hook.wait(3)
    assert {headers["ce-id"] for headers, _ in hook.requests} == {"1", "3", "4"}


async def _end(response: Any) -> bytes:
    """What came until the stream ended."""
    async with asyncio.timeout(20):
        found: bytes = await response.content.read()
    return found
