"""Sensors that send datagrams, and a display board that receives them."""

import asyncio
from typing import Final

from demo.addresses import split
from demo.scene import Scene
from demo.step import Step

_FAILED: Final = 'gateway_endpoint_events_total{endpoint="sensors",event="failed"}'


async def send(scene: Scene, *datagrams: str) -> None:
    """Datagrams to the gateway, as the sensors of the cold store send them."""
    scene.report.sent(f"UDP datagram{'s' if len(datagrams) > 1 else ''}", "\n".join(datagrams))
    loop = asyncio.get_running_loop()
    address = split(scene.stage.addresses.sensors)
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=address)
    scene.report.start()
    for datagram in datagrams:
        transport.sendto(datagram.encode())
    transport.close()


async def to_events(scene: Scene) -> None:
    await send(scene, "cold-1,4.50,2025-06-01T08:00:00Z", "cold-1,warm,2025-06-01T08:00:30Z")
    partner = scene.stage.partner.inbox
    received = await scene.arrived(partner, "POST")
    scene.report.stop()
    scene.report.expect("type of the event", "telemetry.cold-1", received.value["type"])
    measured = {"sensor": "cold-1", "celsius": "4.50", "at": "2025-06-01T08:00:00Z"}
    scene.report.expect("data, to the last zero", measured, received.value["data"])
    await scene.stage.counted(_FAILED)
    scene.report.checked.append("a datagram was counted as failed")
    scene.report.expect("events besides", 0, len(partner))


async def from_rest(scene: Scene) -> None:
    answer = await scene.caller.rest("POST", "/board", {"text": "A-1001 is ready"})
    shown = await scene.arrived(scene.stage.board.inbox, "datagram")
    scene.report.expect("HTTP status", 202, answer.status)
    scene.report.expect("datagram", "A-1001 is ready", shown.value)


STEPS: Final = (
    Step(
        "Datagrams to events, and to a webhook",
        "measurement",
        "A partner subscribed to telemetry.* and verifies the signature. The second datagram is dropped and counted.",
        to_events,
    ),
    Step("REST to UDP", "show-on-board", "202: best effort is all that UDP promises.", from_rest),
)
