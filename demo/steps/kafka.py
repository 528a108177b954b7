"""Kafka: a topic that is published to and consumed from."""

import json
from typing import Any, Final

from demo.scene import Scene
from demo.step import Step


async def rest_to_kafka(scene: Scene) -> None:
    caller, expect = scene.caller, scene.report.expect
    await scene.stage.settled("kafka")
    event = {"status": "PAID", "at": "2025-06-01T08:30:00.000000001Z"}
    answer = await caller.rest("POST", f"/orders/{scene.order_id}/events", event)
    expect("HTTP status", 202, answer.status)
    receipt = answer.json
    expect("topic", "orders", receipt.get("topic"))
    record = await caller.record("orders", int(receipt["offset"]))
    headers = {name: value.decode() for name, value in record.headers}
    text = f"key: {record.key.decode()}\nmessage-id: {headers.get('message-id')}\n{record.value.decode()}"
    caller.report.arrived(f"read back from Kafka: {record.topic}, offset {record.offset}", text, "yaml")
    expect("key of the record", scene.order_id, record.key.decode())
    expect("value of the record", event, _json(record.value))
    expect("message id of the record", receipt.get("id"), headers.get("message-id"))


async def kafka_to_soap(scene: Scene) -> None:
    caller, expect = scene.caller, scene.report.expect
    await caller.publish("orders", scene.order_id, {"status": "SHIPPED", "at": "2025-06-02T10:00:00Z"})
    inbox = scene.stage.legacy.inbox
    earlier = await inbox.take("RegisterEvent")
    expect("the event of the step before came first", "PAID", earlier.value.get("status"))
    expect("its time, to the nanosecond", "2025-06-01T08:30:00.000000001Z", earlier.value.get("at"))
    received = await scene.arrived(inbox, "RegisterEvent", "xml")
    caller.report.stop()
    expect("order_id at the service", scene.order_id, received.value.get("order_id"))
    expect("status at the service", "SHIPPED", received.value.get("status"))
    expect("at at the service", "2025-06-02T10:00:00Z", received.value.get("at"))


async def dead_letter(scene: Scene) -> None:
    caller, expect = scene.caller, scene.report.expect
    await caller.publish("orders", scene.order_id, {"status": "SHIPPED", "at": "yesterday"})
    record = await caller.record("orders.dead-letters")
    caller.report.stop()
    headers = {name: value.decode() for name, value in record.headers}
    shown = "\n".join(f"{name}: {value}" for name, value in headers.items())
    caller.report.arrived(f"Kafka record in {record.topic}", f"{shown}\n{record.value.decode()}", "yaml")
    expect("value of the dead letter", {"status": "SHIPPED", "at": "yesterday"}, _json(record.value))
    expect("code of its reason", "INVALID_ARGUMENT", headers.get("dead-letter-reason", "").partition(":")[0])
    expect("path of its reason", "$.at", headers.get("dead-letter-path"))


def _json(data: bytes | None) -> Any:
    return json.loads(data or b"null")


STEPS: Final = (
    Step(
        "REST to Kafka",
        "order-event-from-rest",
        "202 once the broker has confirmed, with the receipt. Read back through Kafka's own protocol.",
        rest_to_kafka,
    ),
    Step(
        "Kafka to SOAP",
        "order-event-to-legacy",
        "Each record calls the legacy service, its key becomes the order_id. Committed only after that answered.",
        kafka_to_soap,
    ),
    Step(
        "A record that can't be right",
        "order-event-to-legacy",
        "It goes to the dead letters with its reason, unchanged, and the rest moves on.",
        dead_letter,
    ),
)
