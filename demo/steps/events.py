"""Events: webhooks in, and streams that go on where they broke. Webhooks out are with the datagrams."""

import json
import time
from typing import Final

from demo.backends.partner import signature
from demo.scene import Scene
from demo.step import Step
from demo.steps.udp import send

_TOPIC: Final = "stock.delivered"
_DELIVERY: Final = {"sku": "CUP", "pieces": 24}


def _signed(scene: Scene, identity: str) -> dict[str, str]:
    """A CloudEvent in binary mode, signed after Standard Webhooks."""
    now, body = str(int(time.time())), json.dumps(_DELIVERY).encode()
    return {
        "ce-specversion": "1.0",
        "ce-id": identity,
        "ce-source": "/supplier",
        "ce-type": _TOPIC,
        "webhook-id": identity,
        "webhook-timestamp": now,
        "webhook-signature": signature(scene.stage.addresses.secret, identity, now, body),
    }


async def webhook(scene: Scene) -> None:
    answer = await scene.caller.rest("POST", f"/events/{_TOPIC}", _DELIVERY, _signed(scene, "d-1"))
    received = await scene.arrived(scene.stage.inventory.inbox, "POST", "http")
    scene.report.expect("HTTP status", 202, answer.status)
    scene.report.expect("id of the receipt", "d-1", answer.json["id"])
    scene.report.expect("delivery at the service", {"pieces": 24}, received.value)


async def forged(scene: Scene) -> None:
    headers = _signed(scene, "d-2") | {"webhook-id": "d-3"}
    answer = await scene.caller.rest("POST", f"/events/{_TOPIC}", _DELIVERY, headers)
    scene.report.expect("HTTP status", 401, answer.status)
    scene.report.expect("code", "UNAUTHENTICATED", answer.json["code"])


async def follow(scene: Scene) -> None:
    measured = [f"cold-2,{celsius},2025-06-01T08:0{minute}:00Z" for minute, celsius in enumerate(("3.9", "4.1", "4.0"))]
    await send(scene, *measured)
    events = await scene.caller.watch("/telemetry/cold-2", count=3)
    scene.report.expect("degrees", {"3.9", "4.1", "4.0"}, {event["celsius"] for event in events})


async def resume(scene: Scene) -> None:
    first = scene.report.parts
    await scene.caller.watch("/telemetry/cold-2", count=2)
    position = first[-1].text.splitlines()[-1].partition("id: ")[2].split()[0]
    events = await scene.caller.watch("/telemetry/cold-2", count=1, last=position)
    scene.report.expect("events after the break", 1, len(events))
    scene.report.expect("minute of the event", True, events[0]["at"] not in first[1].text)


STEPS: Final = (
    Step(
        "A signed webhook to REST",
        "delivery-to-inventory",
        "202 once the event is stored. The subscription then calls the service, until that has answered.",
        webhook,
    ),
    Step("A forged one", "delivery-to-inventory", "The signature covers id, time and body.", forged),
    Step(
        "Events to server-sent events",
        "follow-sensor",
        "Datagrams became events; a browser follows one sensor, from the oldest on.",
        follow,
    ),
    Step(
        "A stream that broke",
        "follow-sensor",
        "Browsers send the last id that they saw, and get what came after it.",
        resume,
    ),
)
