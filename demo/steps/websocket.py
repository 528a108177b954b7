"""WebSocket: a chat room, and a carrier's stream."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any, Final

from demo.backends.carrier import STOPS
from demo.scene import Scene
from demo.step import Step


async def say(scene: Scene) -> None:
    caller = scene.caller
    async with AsyncExitStack() as stack:
        ears = {guest: await stack.enter_async_context(caller.socket("/rooms/tea")) for guest in ("ada", "bob")}
        elsewhere = await stack.enter_async_context(caller.socket("/rooms/garden"))
        mouths = {guest: await stack.enter_async_context(caller.socket(f"/rooms/tea/{guest}/say")) for guest in ears}
        heard: dict[str, list[Any]] = {guest: [] for guest in ears}
        scene.report.start()
        for guest, text in (("ada", "Is there tea?"), ("bob", "Sencha, still warm.")):
            scene.report.sent(f"WebSocket /rooms/tea/{guest}/say", f'{{"text": "{text}"}}', "json")
            await mouths[guest].send_json({"text": text})
            # The next guest answers what was heard.
            for listener, ear in ears.items():
                heard[listener].append(await ear.receive_json())
        scene.report.stop()
        for guest, messages in heard.items():
            scene.report.replied(f"{guest} hears on /rooms/tea", "\n".join(map(json.dumps, messages)), "json")
        said = [{"text": "Is there tea?"}, {"text": "Sencha, still warm."}]
        scene.report.expect("what each of both heard", [said, said], list(heard.values()))
        try:
            async with asyncio.timeout(0.1):
                found = await elsewhere.receive_json()
        except TimeoutError:
            found = None
        scene.report.expect("what was heard in another room", None, found)


async def late(scene: Scene) -> None:
    async with scene.caller.socket("/rooms/tea") as ear:
        heard = [await ear.receive_json() for _ in range(2)]
    scene.report.sent("WebSocket /rooms/tea")
    scene.report.replied("eve reads", "\n".join(map(json.dumps, heard)), "json")
    scene.report.expect("first message", {"text": "Is there tea?"}, heard[0])


async def track(scene: Scene) -> None:
    events = await scene.caller.watch("/parcels/P-9")
    await scene.arrived(scene.stage.carrier.inbox, "track")
    scene.report.expect("stops", list(STOPS), [event["at"] for event in events])
    scene.report.expect("last event", True, events[-1]["arrived"])


STEPS: Final = (
    Step(
        "A chat room",
        "say-in-room",
        "What a guest says is an event of topic chat.tea.GUEST. Who listens in the room subscribed to chat.tea.*",
        say,
    ),
    Step("A late guest", "listen-in-room", "Events are kept: who comes later reads what was said.", late),
    Step("WebSocket to server-sent events", "track-parcel", "The carrier's stream, until it closes.", track),
)
