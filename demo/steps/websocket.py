"""WebSocket: a chat room, and a carrier's stream."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any, Final

from demo.backends.carrier import STOPS
from demo.scene import Scene
from demo.step import Step

_SAID: Final = (("ada", "Is there tea?"), ("bob", "Sencha, still warm."))
_TALK: Final = [{"guest": guest, "text": text} for guest, text in _SAID]


async def chat(scene: Scene) -> None:
    caller = scene.caller
    async with AsyncExitStack() as stack:
        guests = {name: await stack.enter_async_context(caller.socket(f"/rooms/tea/{name}")) for name, _ in _SAID}
        elsewhere = await stack.enter_async_context(caller.socket("/rooms/garden/eve"))
        heard: dict[str, list[Any]] = {name: [] for name in guests}
        scene.report.start()
        for name, text in _SAID:
            scene.report.sent(f"WebSocket /rooms/tea/{name}", f'{{"text": "{text}"}}', "json")
            await guests[name].send_json({"text": text})
            # The next guest answers what was heard.
            for listener, socket in guests.items():
                heard[listener].append(await socket.receive_json())
        scene.report.stop()
        for name, messages in heard.items():
            scene.report.replied(f"{name} hears on the same connection", "\n".join(map(json.dumps, messages)), "json")
        scene.report.expect("what each of both heard", [_TALK, _TALK], list(heard.values()))
        try:
            async with asyncio.timeout(0.1):
                found = await elsewhere.receive_json()
        except TimeoutError:
            found = None
        scene.report.expect("what was heard in another room", None, found)


async def read_along(scene: Scene) -> None:
    scene.report.expect("what was said before", _TALK, await scene.caller.watch("/rooms/tea", count=len(_TALK)))


async def track(scene: Scene) -> None:
    events = await scene.caller.watch("/parcels/P-9")
    await scene.arrived(scene.stage.carrier.inbox, "track")
    scene.report.expect("stops", list(STOPS), [event["at"] for event in events])
    scene.report.expect("last event", True, events[-1]["arrived"])


STEPS: Final = (
    Step(
        "A chat room",
        "chat",
        "What a guest says is an event of topic chat.tea.GUEST; on the same connection each hears chat.tea.*",
        chat,
    ),
    Step("Who only listens", "read-along", "Events are kept: who comes later reads what was said.", read_along),
    Step("WebSocket to server-sent events", "track-parcel", "The carrier's stream, until it closes.", track),
)
