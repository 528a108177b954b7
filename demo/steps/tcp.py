"""The mainframe that calls over TCP, and the warehouse controller that is called."""

import asyncio
import struct
from typing import Final

from demo.addresses import split
from demo.backends.goods import GOODS
from demo.backends.warehouse import COUNTED
from demo.scene import Scene
from demo.step import Step

EBCDIC: Final = "cp037"


def _order(customer: str, lines: dict[str, int]) -> bytes:
    """As a COBOL program writes it: PIC X(8), PIC 9(4) COMP, and a PIC X(6) and S9(5) COMP-3 for each line."""
    record = f"ORD1{customer:<8}".encode(EBCDIC) + struct.pack(">H", len(lines))
    for sku, quantity in lines.items():
        record += f"{sku:<6}".encode(EBCDIC) + bytes.fromhex(f"{quantity:05}C")
    return record


async def _exchange(scene: Scene, record: bytes) -> bytes:
    scene.report.sent(f"TCP, {len(record)} bytes after their length", record.hex(" ", 4))
    reader, writer = await asyncio.open_connection(*split(scene.stage.addresses.mainframe))
    try:
        scene.report.start()
        writer.write(struct.pack(">H", len(record)) + record)
        (length,) = struct.unpack(">H", await reader.readexactly(2))
        reply = await reader.readexactly(length)
        scene.report.stop()
    finally:
        writer.close()
    text = reply[:11].decode(EBCDIC)
    scene.report.replied(f"{length} bytes", f"{reply.hex(' ', 4)}\n{text!r} and {reply[11:].hex()} (packed)")
    return reply


async def from_mainframe(scene: Scene) -> None:
    reply = await _exchange(scene, _order("c-60", {"TEA": 2, "CUP": 1}))
    request = (await scene.arrived(scene.stage.orders.inbox, "PlaceOrder", "protobuf")).value
    scene.report.expect("customer_id at the service", "c-60", request.customer_id)
    lines = [(line.sku, line.quantity) for line in request.lines]
    scene.report.expect("lines at the service", [("TEA", 2), ("CUP", 1)], lines)
    scene.report.expect("status", "P", reply[:1].decode(EBCDIC))
    total = 2 * GOODS["TEA"].cents + GOODS["CUP"].cents
    scene.report.expect("total_cents, packed", f"{total:09}c", reply[11:].hex())


async def refused(scene: Scene) -> None:
    reply = await _exchange(scene, _order("c-60", {"PIE": 1}))
    scene.report.expect("status", "E", reply[:1].decode(EBCDIC))
    scene.report.expect("order_id", " " * 10, reply[1:11].decode(EBCDIC))


async def to_warehouse(scene: Scene) -> None:
    answer = await scene.caller.rest("GET", "/shelves/CUP")
    asked = await scene.arrived(scene.stage.warehouse.inbox, "query")
    scene.report.expect("line at the controller", "QCUP   ", asked.value)
    scene.report.expect("HTTP status", 200, answer.status)
    day = f"{COUNTED[:4]}-{COUNTED[4:6]}-{COUNTED[6:]}"
    pieces = str(GOODS["CUP"].available)
    shelf = {"sku": "CUP", "shelf": "A-02", "pieces": pieces, "counted": day}
    scene.report.expect("shelf", shelf, answer.json)


STEPS: Final = (
    Step(
        "Mainframe records to gRPC",
        "place-order-from-mainframe",
        "EBCDIC text, a binary count and packed decimals, declared in schemas/mainframe_order.yaml.",
        from_mainframe,
    ),
    Step(
        "The mainframe's error",
        "place-order-from-mainframe",
        "Its records have no room for more: the route says which reply means no.",
        refused,
    ),
    Step("REST to a legacy controller", "find-shelf", "Lines of fixed columns over one kept connection.", to_warehouse),
)
