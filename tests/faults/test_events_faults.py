"""The gateway killed while events come and go, a full store, a store that is taken."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sized
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
from support.events_gateway import Places, Receiver, receiving, serving
from support.gateway_process import running_gateway
from support.until import until

from gateway.runtime import Runtime

WINDOW = 8


def _routes(places: Places, hook: Receiver, **settings: Any) -> dict[str, Any]:
    webhook = {"url": hook.url, "topic": "orders.*", "subscription": "hook", "max_in_flight": WINDOW}
    return {
        "gateway": {"access_log": False},
        "endpoints": places.endpoints(store="events.db", webhooks=[webhook], **settings),
        "routes": {
            "place": {
                "from": {"endpoint": "web", "path": "/orders"},
                "to": {"endpoint": "events", "topic": "orders.placed", "key": "$.lane"},
            }
        },
    }


async def test_killed_while_events_come_and_go(tmp_path: Path) -> None:
    """Every event that was accepted arrives; what comes twice bears the same id, and is no more than the windows."""
    places, kills = Places(), 3
    accepted: dict[str, str] = {}
    sent = iter(range(10**9))
    over = False

    async def publish(client: aiohttp.ClientSession) -> None:
        while not over:
            number = next(sent)
            body = {"id": str(number), "lane": str(number % 5)}
            try:
                async with client.post(f"http://{places.web}/orders", json=body) as response:
                    receipt = await response.json()
                if response.status == 202:
                    accepted[str(number)] = receipt["id"]
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.02)

    async with receiving() as hook, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(10)) as client:
        routes = _routes(places, hook)
        publishers = [asyncio.create_task(publish(client)) for _ in range(8)]
        for _ in range(kills):
            least = random.randint(20, 60)
            both = (accepted, hook.requests)
            async with running_gateway(tmp_path, routes) as gateway:
                await asyncio.gather(*(_grown(found, len(found) + least) for found in both))
                gateway.process.kill()
                await gateway.process.wait()
        over = True
        await asyncio.gather(*publishers)
        async with running_gateway(tmp_path, routes):
            events = [json.loads(body) for _, body in hook.requests]
            missing = set(accepted) - {event["data"]["id"] for event in events}
            count = len(hook.requests)
            await until(lambda: len(hook.requests) >= count + len(missing))
            quiet = 0
            while quiet < 20:
                quiet = quiet + 1 if len(hook.requests) == count else 0
                count = len(hook.requests)
                await asyncio.sleep(0.01)
    events = [json.loads(body) for _, body in hook.requests]
    identities: dict[str, set[str]] = {}
    lanes: dict[str, list[int]] = {}
    for event in events:
        number, lane = event["data"]["id"], event["data"]["lane"]
        assert event["data"] == {"id": number, "lane": str(int(number) % 5)}
        identities.setdefault(number, set()).add(event["id"])
        lanes.setdefault(lane, []).append(int(number))
    assert set(accepted) <= set(identities), "an accepted event is lost"
    assert all(identities[number] == {identity} for number, identity in accepted.items())
    assert all(len(found) == 1 for found in identities.values()), "a duplicate has another id"
    assert len(events) - len(identities) <= kills * WINDOW, Counter(event["id"] for event in events).most_common(3)


async def _grown(found: Sized, count: int) -> None:
    await until(lambda: len(found) >= count)


async def test_a_full_store_refuses_and_drains(tmp_path: Path) -> None:
    """New events are refused as soon as the store is full; what it has still goes out, and makes room."""
    places = Places()
    async with receiving() as hook, aiohttp.ClientSession() as client:
        hook.answers = [(503, {})] * 10_000
        routes = _routes(places, hook, max_bytes=1024 * 1024)
        routes["endpoints"]["events"]["webhooks"][0] |= {"backoff": "50ms", "max_backoff": "50ms"}
        async with serving(tmp_path, routes["endpoints"], routes["routes"]):
            taken = 0
            while True:
                body = {"id": str(taken), "lane": "x", "note": "x" * 16_000}
                async with client.post(f"http://{places.web}/orders", json=body) as response:
                    problem = await response.json()
                if response.status != 202:
                    break
                taken += 1
            assert response.status == 429
            assert problem["code"] == "RESOURCE_EXHAUSTED"
            assert 50 < taken < 65
            assert (tmp_path / "events.db").stat().st_size <= 1024 * 1024
            hook.answers.clear()

            async def drained() -> None:
                found: set[str] = set()
                while len(found) < taken:
                    found = {json.loads(body)["data"]["id"] for _, body in hook.requests}
                    await asyncio.sleep(0.02)

            await asyncio.wait_for(drained(), 20)
            async with asyncio.timeout(10):
                status = 429
                while status == 429:
                    async with client.post(f"http://{places.web}/orders", json={"id": "last"}) as response:
                        status = response.status
                    await asyncio.sleep(0.02)
            assert status == 202


async def test_a_store_that_another_process_uses(tmp_path: Path) -> None:
    """The second one is not ready, refuses, and takes over once the first has gone."""
    places = Places()
    async with receiving() as hook, aiohttp.ClientSession() as client:
        first, second = Places(), places
        former = _routes(first, hook)
        async with running_gateway(tmp_path, former):
            (tmp_path / "second").mkdir()
            routes = _routes(second, hook)
            routes["endpoints"]["events"]["store"] = str(tmp_path / "events.db")
            follower = asyncio.create_task(_served(tmp_path / "second", routes, client, second))
            await asyncio.sleep(0.5)
            assert not follower.done()
        assert await asyncio.wait_for(follower, 20) == [503, 202]


async def _served(folder: Path, routes: dict[str, Any], client: aiohttp.ClientSession, places: Places) -> list[int]:
    """The different statuses that a caller sees until it is served."""
    quiet = {"gateway": {"admin": {"enabled": False}, "access_log": False}}
    (folder / "routes.yaml").write_text(json.dumps({**routes, **quiet}))
    runtime = Runtime(folder / "routes.yaml")
    statuses: list[int] = []
    try:
        await runtime.start()
        await until(lambda: "another process uses it" in runtime.unready()["events"])
        while 202 not in statuses:
            with suppress(aiohttp.ClientError):
                async with client.post(f"http://{places.web}/orders", json={"id": "1", "lane": "1"}) as response:
                    if response.status not in statuses:
                        statuses.append(response.status)
            await asyncio.sleep(0.05)
    finally:
        await runtime.stop()
    return statuses
