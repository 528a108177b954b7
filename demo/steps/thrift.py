"""Thrift clients, and a Thrift service."""

from typing import Final

from demo.backends.goods import GOODS
from demo.backends.pricing import DISCOUNT
from demo.scene import Scene
from demo.step import Step
from demo.thrift_client import ThriftClient


async def to_grpc(scene: Scene) -> None:
    client = ThriftClient(scene.stage.addresses.thrift, scene.report)
    order = await client.place_order("c-50", {"TEA": 3})
    await scene.arrived(scene.stage.orders.inbox, "PlaceOrder", "protobuf")
    scene.report.expect("customer_id", "c-50", order.customer_id)
    scene.report.expect("status, as the IDL numbers it", 1, order.status)
    scene.report.expect("total_cents", 3 * GOODS["TEA"].cents, order.total_cents)


async def exception(scene: Scene) -> None:
    client = ThriftClient(scene.stage.addresses.thrift, scene.report)
    refused = await client.place_order("c-50", {"POT": 5})
    scene.report.expect("exception", "OutOfStock", type(refused).__name__)
    scene.report.expect("its fields", ("POT", GOODS["POT"].available), (refused.sku, refused.available))


async def from_rest(scene: Scene) -> None:
    answer = await scene.caller.rest("GET", "/prices/TEA?quantity=10")
    await scene.arrived(scene.stage.pricing.inbox, "quote")
    total = round(10 * GOODS["TEA"].cents * (1 - DISCOUNT))
    quote = {"sku": "TEA", "quantity": 10, "total_cents": str(total), "discount": DISCOUNT}
    scene.report.expect("HTTP status", 200, answer.status)
    scene.report.expect("quote", quote, answer.json)


async def unknown(scene: Scene) -> None:
    answer = await scene.caller.rest("GET", "/prices/PIE?quantity=1")
    scene.report.expect("HTTP status", 404, answer.status)
    scene.report.expect("content type", "application/problem+json", answer.content_type)
    scene.report.expect("the exception's field", "PIE", answer.json["details"][0]["sku"])


STEPS: Final = (
    Step("Thrift to gRPC", "place-order-from-thrift", "Names and types agree: nothing is mapped.", to_grpc),
    Step(
        "The same, in Thrift",
        "place-order-from-thrift",
        "The exception that its IDL declares is raised.",
        exception,
    ),
    Step("REST to Thrift", "get-price", "Path and query are the function's arguments.", from_rest),
    Step("A declared exception", "get-price", "The route says that UnknownSku is 404.", unknown),
)
