"""RabbitMQ: a call over a queue and back, and a queue that is consumed."""

import json
from typing import Final

import aiormq
from pamqp.commands import Basic

from demo.scene import Scene, SkippedError
from demo.step import Step


async def _require(scene: Scene) -> None:
    if absent := await scene.stage.rabbit_started():
        raise SkippedError(f"RabbitMQ: {absent}")


async def pay(scene: Scene) -> None:
    await _require(scene)
    await scene.stage.settled("rabbit")
    answer = await scene.caller.rest("POST", "/payments", {"order_id": scene.order_id, "cents": 1600})
    await scene.arrived(scene.stage.payments.inbox, "payment", "yaml")
    scene.report.expect("HTTP status", 200, answer.status)
    scene.report.expect("reply", {"order_id": scene.order_id, "cents": 1600, "paid": True}, answer.json)


async def to_soap(scene: Scene) -> None:
    await _require(scene)
    message = {"order_id": scene.order_id, "at": "2025-06-03T09:00:00Z"}
    scene.report.sent("AMQP message to queue returns", json.dumps(message), "json")
    connection = await aiormq.connect(scene.stage.addresses.amqp_url)
    try:
        channel = await connection.channel()
        scene.report.start()
        properties = Basic.Properties(content_type="application/json", delivery_mode=2)
        await channel.basic_publish(json.dumps(message).encode(), routing_key="returns", properties=properties)
        received = await scene.arrived(scene.stage.legacy.inbox, "RegisterEvent", "xml")
        scene.report.stop()
    finally:
        await connection.close()
    scene.report.expect("order_id at the service", scene.order_id, received.value["order_id"])
    scene.report.expect("status, a constant of the route", "RETURNED", received.value["status"])


STEPS: Final = (
    Step(
        "REST to RabbitMQ, and back",
        "pay",
        "A worker takes the request from a queue and answers by direct reply-to, as it would to any client.",
        pay,
    ),
    Step(
        "RabbitMQ to SOAP",
        "return-to-legacy",
        "A message is acknowledged once the legacy service has answered.",
        to_soap,
    ),
)
