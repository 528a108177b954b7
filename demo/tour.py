"""Tour: one step for each translation of the shipped routes.yaml, with real calls and checked replies."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from demo.backends.goods import GOODS
from demo.backends.inbox import Inbox, Received
from demo.backends.legacy import OLD_ORDERS
from demo.caller import ENVELOPE, ORDERS, Caller
from demo.stage import Stage

_TEA_AND_CUPS: Final = [{"sku": "TEA", "quantity": 2}, {"sku": "CUP", "quantity": 1}]
_TOTAL: Final = 2 * GOODS["TEA"].cents + GOODS["CUP"].cents
_POTS: Final = GOODS["POT"].available + 3


class Tour:
    """The steps, in order; some go on with the order that an earlier one placed."""

    def __init__(self, stage: Stage, caller: Caller) -> None:
        self._stage = stage
        self._caller = caller
        self._order_id = ""

    async def soap_to_grpc(self) -> None:
        caller, expect = self._caller, self._caller.report.expect
        answer = await caller.soap(
            "PlaceOrder",
            "<buyer><id>c-7</id><name>Ada</name></buyer>"
            "<items><code>TEA</code><qty>2</qty></items><items><code>CUP</code><qty>1</qty></items>",
        )
        expect("HTTP status", 200, answer.status)
        request = (await self._arrived(self._stage.orders.inbox, "PlaceOrder", "protobuf")).value
        expect("customer_id at the service", "c-7", request.customer_id)
        expect("lines at the service", [("TEA", 2), ("CUP", 1)], [(line.sku, line.quantity) for line in request.lines])
        expect("channel at the service", "legacy", request.channel)
        expect("reply element", f"{{{ORDERS}}}PlaceOrderResponse", _tag(answer.xml))
        expect("order_id", "A-", _text(answer.xml, "order_id")[:2])
        expect("status", "PLACED", _text(answer.xml, "status"))
        expect("total_cents", str(_TOTAL), _text(answer.xml, "total_cents"))
        expect("day of placed_at", datetime.now(UTC).date(), _day(_text(answer.xml, "placed_at")))

    async def fault(self) -> None:
        caller, expect = self._caller, self._caller.report.expect
        answer = await caller.soap(
            "PlaceOrder", f"<buyer><id>c-7</id></buyer><items><code>POT</code><qty>{_POTS}</qty></items>"
        )
        await self._arrived(self._stage.orders.inbox, "PlaceOrder", "protobuf")
        expect("HTTP status", 500, answer.status)
        expect("reply element", f"{{{ENVELOPE}}}Fault", _tag(answer.xml))
        detail = answer.xml.find(f"detail/{{{ORDERS}}}OutOfStockFault")
        expect("detail element", f"{{{ORDERS}}}OutOfStockFault", _tag(detail))
        expect("sku", "POT", _text(detail, "sku"))
        expect("available", str(GOODS["POT"].available), _text(detail, "available"))

    async def rest_to_grpc(self) -> None:
        caller, expect = self._caller, self._caller.report.expect
        answer = await caller.rest("POST", "/orders", {"customerId": "c-8", "lines": _TEA_AND_CUPS})
        expect("HTTP status", 200, answer.status)
        request = (await self._arrived(self._stage.orders.inbox, "PlaceOrder", "protobuf")).value
        expect("channel at the service", "web", request.channel)
        order = answer.json
        expect("customerId", "c-8", order.get("customerId"))
        expect("lines", _TEA_AND_CUPS, order.get("lines"))
        expect("status", "ORDER_STATUS_PLACED", order.get("status"))
        expect("totalCents, as text lest a digit is lost", str(_TOTAL), order.get("totalCents"))
        self._order_id = order["orderId"]

    async def problem(self) -> None:
        caller, expect = self._caller, self._caller.report.expect
        lines = [{"sku": "TEA", "quantity": 1}, {"sku": "POT", "quantity": _POTS}]
        answer = await caller.rest("POST", "/orders", {"customerId": "c-8", "lines": lines})
        await self._arrived(self._stage.orders.inbox, "PlaceOrder", "protobuf")
        expect("HTTP status", 400, answer.status)
        expect("content type", "application/problem+json", answer.content_type)
        expect("code", "FAILED_PRECONDITION", answer.json.get("code"))
        detail = answer.json.get("details", [{}])[0]
        expect("sku", "POT", detail.get("sku"))
        expect("available", GOODS["POT"].available, detail.get("available"))

    async def bad_request(self) -> None:
        caller, expect = self._caller, self._caller.report.expect
        lines = [{"sku": "TEA", "quantity": 1}, {"sku": "CUP", "quantity": "three"}]
        answer = await caller.rest("POST", "/orders", {"customerId": "c-8", "lines": lines})
        expect("HTTP status", 400, answer.status)
        expect("content type", "application/problem+json", answer.content_type)
        expect("code", "INVALID_ARGUMENT", answer.json.get("code"))
        expect("path", "$.lines[1].quantity", answer.json.get("path"))
        expect("calls of the service", 0, len(self._stage.orders.inbox))

    async def get_by_rest(self) -> None:
        caller, expect = self._caller, self._caller.report.expect
        answer = await caller.rest("GET", f"/orders/{self._order_id}")
        expect("HTTP status", 200, answer.status)
        request = (await self._arrived(self._stage.orders.inbox, "GetOrder", "protobuf")).value
        expect("order_id at the service", self._order_id, request.order_id)
        expect("orderId", self._order_id, answer.json.get("orderId"))
        expect("lines", _TEA_AND_CUPS, answer.json.get("lines"))

    async def get_by_soap(self) -> None:
        caller, expect = self._caller, self._caller.report.expect
        answer = await caller.soap("GetOrder", f"<order_id>{self._order_id}</order_id>")
        expect("HTTP status", 200, answer.status)
        expect("order_id", self._order_id, _text(answer.xml, "order_id"))
        status = _text(answer.xml, "status")
        expect("status is a name of the WSDL", True, status in ("PLACED", "PAID", "SHIPPED"))
        expect("total_cents", str(_TOTAL), _text(answer.xml, "total_cents"))

    async def watch(self) -> None:
        caller, expect = self._caller, self._caller.report.expect
        answer = await caller.rest("POST", "/orders", {"customerId": "c-9", "lines": _TEA_AND_CUPS})
        order_id = answer.json["orderId"]
        caller.report.parts.clear()
        events = await caller.watch(f"/orders/{order_id}/watch?limit=3")
        states = ["ORDER_STATUS_PLACED", "ORDER_STATUS_PAID", "ORDER_STATUS_SHIPPED"]
        expect("orderId of each event", [order_id] * 3, [event.get("orderId") for event in events])
        expect("status of each event", states, [event.get("status") for event in events])

    async def upload(self) -> None:
        caller, expect = self._caller, self._caller.report.expect
        orders = [
            {"customerId": f"c-{number}", "lines": [{"sku": sku, "quantity": 1}]}
            for number, sku in enumerate(GOODS, 20)
        ]
        answer = await caller.upload("/orders:import", orders)
        expect("HTTP status", 200, answer.status)
        for order in orders:
            request = (await self._arrived(self._stage.orders.inbox, "ImportOrders", "protobuf")).value
            expect("customer_id at the service", order["customerId"], request.customer_id)
        total = sum(good.cents for good in GOODS.values())
        expect("summary", {"placed": len(orders), "totalCents": str(total)}, answer.json)

    async def grpc_to_soap(self) -> None:
        caller, expect = self._caller, self._caller.report.expect
        order_id, (status, cents, placed_at) = next(iter(OLD_ORDERS.items()))
        order = await caller.call("shop.orders.v1.Orders/GetOrder", order_id=order_id)
        await self._arrived(self._stage.legacy.inbox, "GetOrder", "xml")
        expect("order_id", order_id, order.order_id)
        name = order.DESCRIPTOR.fields_by_name["status"].enum_type.values_by_number[order.status].name
        expect("status", f"ORDER_STATUS_{status}", name)
        expect("total_cents, every digit of it", cents, order.total_cents)
        expect("placed_at", placed_at, order.placed_at.ToJsonString().replace(".500Z", ".5Z"))

    async def grpc_to_rest(self) -> None:
        caller, expect = self._caller, self._caller.report.expect
        level = await caller.call("shop.stock.v1.Stock/GetStock", sku="POT")
        await self._arrived(self._stage.inventory.inbox, "GET", "http")
        expect("sku", "POT", level.sku)
        expect("available", GOODS["POT"].available, level.available)
        expect("warehouse", GOODS["POT"].warehouse, level.warehouse)

    async def rest_to_kafka(self) -> None:
        caller, expect = self._caller, self._caller.report.expect
        await self._stage.settled()
        event = {"status": "PAID", "at": "2025-06-01T08:30:00.000000001Z"}
        answer = await caller.rest("POST", f"/orders/{self._order_id}/events", event)
        expect("HTTP status", 202, answer.status)
        receipt = answer.json
        expect("topic", "orders", receipt.get("topic"))
        record = await caller.record("orders", int(receipt["offset"]))
        headers = {name: value.decode() for name, value in record.headers}
        text = f"key: {record.key.decode()}\nmessage-id: {headers.get('message-id')}\n{record.value.decode()}"
        caller.report.arrived(f"read back from Kafka: {record.topic}, offset {record.offset}", text, "yaml")
        expect("key of the record", self._order_id, record.key.decode())
        expect("value of the record", event, _json(record.value))
        expect("message id of the record", receipt.get("id"), headers.get("message-id"))

    async def kafka_to_soap(self) -> None:
        caller, expect = self._caller, self._caller.report.expect
        await caller.publish("orders", self._order_id, {"status": "SHIPPED", "at": "2025-06-02T10:00:00Z"})
        inbox = self._stage.legacy.inbox
        earlier = await inbox.take("RegisterEvent")
        expect("the event of the step before came first", "PAID", earlier.value.get("status"))
        expect("its time, to the nanosecond", "2025-06-01T08:30:00.000000001Z", earlier.value.get("at"))
        received = await self._arrived(inbox, "RegisterEvent", "xml")
        caller.report.stop()
        expect("order_id at the service", self._order_id, received.value.get("order_id"))
        expect("status at the service", "SHIPPED", received.value.get("status"))
        expect("at at the service", "2025-06-02T10:00:00Z", received.value.get("at"))

    async def dead_letter(self) -> None:
        caller, expect = self._caller, self._caller.report.expect
        await caller.publish("orders", self._order_id, {"status": "SHIPPED", "at": "yesterday"})
        record = await caller.record("orders.dead-letters")
        caller.report.stop()
        headers = {name: value.decode() for name, value in record.headers}
        shown = "\n".join(f"{name}: {value}" for name, value in headers.items())
        caller.report.arrived(f"Kafka record in {record.topic}", f"{shown}\n{record.value.decode()}", "yaml")
        expect("value of the dead letter", {"status": "SHIPPED", "at": "yesterday"}, _json(record.value))
        expect("code of its reason", "INVALID_ARGUMENT", headers.get("dead-letter-reason", "").partition(":")[0])
        expect("path of its reason", "$.at", headers.get("dead-letter-path"))

    async def _arrived(self, inbox: Inbox, operation: str, language: str) -> Received:
        """What the service got, put into the report before the caller's reply."""
        received = await inbox.take(operation)
        self._caller.report.arrived(f"{inbox.name} received {operation}", received.text, language)
        return received


class Step(NamedTuple):
    """route: of routes.yaml. story: one sentence for the visitor."""

    title: str
    route: str
    story: str
    run: Callable[[Tour], Awaitable[None]]


STEPS: Final = (
    Step(
        "SOAP to gRPC",
        "place-order-from-soap",
        "A legacy client orders from the new service; a field map says which name is which.",
        Tour.soap_to_grpc,
    ),
    Step(
        "A declared fault",
        "place-order-from-soap",
        "The gRPC service fails with an OutOfStock detail; the SOAP client gets the fault that its WSDL declares.",
        Tour.fault,
    ),
    Step(
        "REST to gRPC",
        "place-order-from-rest",
        "JSON in, protobuf to the service, JSON back. Nothing but the channel is mapped.",
        Tour.rest_to_grpc,
    ),
    Step(
        "The same failure for REST",
        "place-order-from-rest",
        "Each caller is told in its own way: here as problem+json (RFC 9457) with the detail's fields.",
        Tour.problem,
    ),
    Step(
        "A bad request",
        "place-order-from-rest",
        "The gateway checks JSON against the gRPC type and says what is wrong where. The service never sees it.",
        Tour.bad_request,
    ),
    Step("A path variable", "get-order-from-rest", "What the path captures fills the field.", Tour.get_by_rest),
    Step("One order, another protocol", "get-order-from-soap", "What REST placed, SOAP reads.", Tour.get_by_soap),
    Step(
        "gRPC stream to server-sent events",
        "watch-order",
        "The order's history and then its life, each event when it happens.",
        Tour.watch,
    ),
    Step(
        "NDJSON upload to gRPC stream",
        "import-orders",
        "Each line becomes a message of one client stream; one summary comes back.",
        Tour.upload,
    ),
    Step(
        "gRPC to SOAP",
        "get-legacy-order",
        "A modern client reads an order that only the legacy service has; no digit of 2^53 + 1 is lost.",
        Tour.grpc_to_soap,
    ),
    Step("gRPC to REST", "get-stock", "The field that the path needs is taken out of the message.", Tour.grpc_to_rest),
    Step(
        "REST to Kafka",
        "order-event-from-rest",
        "202 once the broker has confirmed, with the receipt. Read back through Kafka's own protocol.",
        Tour.rest_to_kafka,
    ),
    Step(
        "Kafka to SOAP",
        "order-event-to-legacy",
        "Each record calls the legacy service, its key becomes the order_id. Committed only after that answered.",
        Tour.kafka_to_soap,
    ),
    Step(
        "A record that can't be right",
        "order-event-to-legacy",
        "It goes to the dead letters with its reason, unchanged, and the rest moves on.",
        Tour.dead_letter,
    ),
)


def _tag(element: Any) -> str:
    return "" if element is None else str(element.tag)


def _text(element: Any, name: str) -> str:
    found = None if element is None else element.find(f"{{{ORDERS}}}{name}")
    return "" if found is None else found.text or ""


def _day(text: str) -> Any:
    return datetime.fromisoformat(text[:10]).date() if text else None


def _json(data: bytes | None) -> Any:
    return json.loads(data or b"null")
