"""SOAP clients, and the legacy SOAP service."""

from datetime import UTC, datetime
from typing import Any, Final

from demo.backends.goods import GOODS
from demo.backends.legacy import OLD_ORDERS
from demo.caller import ENVELOPE, ORDERS, child_text, tag
from demo.scene import Scene
from demo.step import Step

_TOTAL: Final = 2 * GOODS["TEA"].cents + GOODS["CUP"].cents
_POTS: Final = GOODS["POT"].available + 3


async def soap_to_grpc(scene: Scene) -> None:
    caller, expect = scene.caller, scene.report.expect
    answer = await caller.soap(
        "PlaceOrder",
        "<buyer><id>c-7</id><name>Ada</name></buyer>"
        "<items><code>TEA</code><qty>2</qty></items><items><code>CUP</code><qty>1</qty></items>",
    )
    expect("HTTP status", 200, answer.status)
    request = (await scene.arrived(scene.stage.orders.inbox, "PlaceOrder", "protobuf")).value
    expect("customer_id at the service", "c-7", request.customer_id)
    expect("lines at the service", [("TEA", 2), ("CUP", 1)], [(line.sku, line.quantity) for line in request.lines])
    expect("channel at the service", "legacy", request.channel)
    expect("reply element", f"{{{ORDERS}}}PlaceOrderResponse", tag(answer.xml))
    expect("order_id", "A-", child_text(answer.xml, "order_id")[:2])
    expect("status", "PLACED", child_text(answer.xml, "status"))
    expect("total_cents", str(_TOTAL), child_text(answer.xml, "total_cents"))
    expect("day of placed_at", datetime.now(UTC).date(), _day(child_text(answer.xml, "placed_at")))


async def fault(scene: Scene) -> None:
    caller, expect = scene.caller, scene.report.expect
    answer = await caller.soap(
        "PlaceOrder", f"<buyer><id>c-7</id></buyer><items><code>POT</code><qty>{_POTS}</qty></items>"
    )
    await scene.arrived(scene.stage.orders.inbox, "PlaceOrder", "protobuf")
    expect("HTTP status", 500, answer.status)
    expect("reply element", f"{{{ENVELOPE}}}Fault", tag(answer.xml))
    detail = answer.xml.find(f"detail/{{{ORDERS}}}OutOfStockFault")
    expect("detail element", f"{{{ORDERS}}}OutOfStockFault", tag(detail))
    expect("sku", "POT", child_text(detail, "sku"))
    expect("available", str(GOODS["POT"].available), child_text(detail, "available"))


async def get_by_soap(scene: Scene) -> None:
    caller, expect = scene.caller, scene.report.expect
    answer = await caller.soap("GetOrder", f"<order_id>{scene.order_id}</order_id>")
    expect("HTTP status", 200, answer.status)
    expect("order_id", scene.order_id, child_text(answer.xml, "order_id"))
    status = child_text(answer.xml, "status")
    expect("status is a name of the WSDL", True, status in ("PLACED", "PAID", "SHIPPED"))
    expect("total_cents", str(_TOTAL), child_text(answer.xml, "total_cents"))


async def grpc_to_soap(scene: Scene) -> None:
    caller, expect = scene.caller, scene.report.expect
    order_id, (status, cents, placed_at) = next(iter(OLD_ORDERS.items()))
    order = await caller.call("shop.orders.v1.Orders/GetOrder", order_id=order_id)
    await scene.arrived(scene.stage.legacy.inbox, "GetOrder", "xml")
    expect("order_id", order_id, order.order_id)
    name = order.DESCRIPTOR.fields_by_name["status"].enum_type.values_by_number[order.status].name
    expect("status", f"ORDER_STATUS_{status}", name)
    expect("total_cents, every digit of it", cents, order.total_cents)
    expect("placed_at", placed_at, order.placed_at.ToJsonString().replace(".500Z", ".5Z"))


def _day(text: str) -> Any:
    return datetime.fromisoformat(text[:10]).date() if text else None


STEPS: Final = (
    Step(
        "SOAP to gRPC",
        "place-order-from-soap",
        "A legacy client orders from the new service; a field map says which name is which.",
        soap_to_grpc,
    ),
    Step(
        "The same, in SOAP",
        "place-order-from-soap",
        "The SOAP client gets the fault that its WSDL declares.",
        fault,
    ),
    Step("One order, another protocol", "get-order-from-soap", "What REST placed, SOAP reads.", get_by_soap),
    Step(
        "gRPC to SOAP",
        "get-legacy-order",
        "A modern client reads an order that only the legacy service has; no digit of 2^53 + 1 is lost.",
        grpc_to_soap,
    ),
)
