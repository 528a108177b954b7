"""REST callers, and a REST service."""

from typing import Final

from demo.backends.goods import GOODS
from demo.scene import Scene
from demo.step import Step

_TEA_AND_CUPS: Final = [{"sku": "TEA", "quantity": 2}, {"sku": "CUP", "quantity": 1}]
_TOTAL: Final = 2 * GOODS["TEA"].cents + GOODS["CUP"].cents
_POTS: Final = GOODS["POT"].available + 3


async def rest_to_grpc(scene: Scene) -> None:
    caller, expect = scene.caller, scene.report.expect
    answer = await caller.rest("POST", "/orders", {"customerId": "c-8", "lines": _TEA_AND_CUPS})
    expect("HTTP status", 200, answer.status)
    request = (await scene.arrived(scene.stage.orders.inbox, "PlaceOrder", "protobuf")).value
    expect("channel at the service", "web", request.channel)
    order = answer.json
    expect("customerId", "c-8", order.get("customerId"))
    expect("lines", _TEA_AND_CUPS, order.get("lines"))
    expect("status", "ORDER_STATUS_PLACED", order.get("status"))
    expect("totalCents, as text lest a digit is lost", str(_TOTAL), order.get("totalCents"))
    scene.order_id = order["orderId"]


async def problem(scene: Scene) -> None:
    caller, expect = scene.caller, scene.report.expect
    lines = [{"sku": "TEA", "quantity": 1}, {"sku": "POT", "quantity": _POTS}]
    answer = await caller.rest("POST", "/orders", {"customerId": "c-8", "lines": lines})
    await scene.arrived(scene.stage.orders.inbox, "PlaceOrder", "protobuf")
    expect("HTTP status", 400, answer.status)
    expect("content type", "application/problem+json", answer.content_type)
    expect("code", "FAILED_PRECONDITION", answer.json.get("code"))
    detail = answer.json.get("details", [{}])[0]
    expect("sku", "POT", detail.get("sku"))
    expect("available", GOODS["POT"].available, detail.get("available"))


async def bad_request(scene: Scene) -> None:
    caller, expect = scene.caller, scene.report.expect
    lines = [{"sku": "TEA", "quantity": 1}, {"sku": "CUP", "quantity": "three"}]
    answer = await caller.rest("POST", "/orders", {"customerId": "c-8", "lines": lines})
    expect("HTTP status", 400, answer.status)
    expect("content type", "application/problem+json", answer.content_type)
    expect("code", "INVALID_ARGUMENT", answer.json.get("code"))
    expect("path", "$.lines[1].quantity", answer.json.get("path"))
    expect("calls of the service", 0, len(scene.stage.orders.inbox))


async def get_by_rest(scene: Scene) -> None:
    caller, expect = scene.caller, scene.report.expect
    answer = await caller.rest("GET", f"/orders/{scene.order_id}")
    expect("HTTP status", 200, answer.status)
    request = (await scene.arrived(scene.stage.orders.inbox, "GetOrder", "protobuf")).value
    expect("order_id at the service", scene.order_id, request.order_id)
    expect("orderId", scene.order_id, answer.json.get("orderId"))
    expect("lines", _TEA_AND_CUPS, answer.json.get("lines"))


async def watch(scene: Scene) -> None:
    caller, expect = scene.caller, scene.report.expect
    answer = await caller.rest("POST", "/orders", {"customerId": "c-9", "lines": _TEA_AND_CUPS})
    order_id = answer.json["orderId"]
    caller.report.parts.clear()
    events = await caller.watch(f"/orders/{order_id}/watch?limit=3")
    states = ["ORDER_STATUS_PLACED", "ORDER_STATUS_PAID", "ORDER_STATUS_SHIPPED"]
    expect("orderId of each event", [order_id] * 3, [event.get("orderId") for event in events])
    expect("status of each event", states, [event.get("status") for event in events])


async def upload(scene: Scene) -> None:
    caller, expect = scene.caller, scene.report.expect
    orders = [
        {"customerId": f"c-{number}", "lines": [{"sku": sku, "quantity": 1}]} for number, sku in enumerate(GOODS, 20)
    ]
    answer = await caller.upload("/orders:import", orders)
    expect("HTTP status", 200, answer.status)
    for order in orders:
        request = (await scene.arrived(scene.stage.orders.inbox, "ImportOrders", "protobuf")).value
        expect("customer_id at the service", order["customerId"], request.customer_id)
    total = sum(good.cents for good in GOODS.values())
    expect("summary", {"placed": len(orders), "totalCents": str(total)}, answer.json)


async def grpc_to_rest(scene: Scene) -> None:
    caller, expect = scene.caller, scene.report.expect
    level = await caller.call("shop.stock.v1.Stock/GetStock", sku="POT")
    await scene.arrived(scene.stage.inventory.inbox, "GET", "http")
    expect("sku", "POT", level.sku)
    expect("available", GOODS["POT"].available, level.available)
    expect("warehouse", GOODS["POT"].warehouse, level.warehouse)


STEPS: Final = (
    Step(
        "REST to gRPC",
        "place-order-from-rest",
        "JSON in, protobuf to the service, JSON back. Nothing but the channel is mapped.",
        rest_to_grpc,
    ),
    Step(
        "A failure of the service",
        "place-order-from-rest",
        "The service fails with a detail, OutOfStock. REST gets problem+json (RFC 9457) with the detail's fields.",
        problem,
    ),
    Step(
        "A bad request",
        "place-order-from-rest",
        "The gateway checks JSON against the gRPC type and says what is wrong where. The service never sees it.",
        bad_request,
    ),
    Step("A path variable", "get-order-from-rest", "What the path captures fills the field.", get_by_rest),
    Step(
        "gRPC stream to server-sent events",
        "watch-order",
        "The order's history and then its life, each event when it happens.",
        watch,
    ),
    Step(
        "NDJSON upload to gRPC stream",
        "import-orders",
        "Each line becomes a message of one client stream; one summary comes back.",
        upload,
    ),
    Step("gRPC to REST", "get-stock", "The field that the path needs is taken out of the message.", grpc_to_rest),
)
