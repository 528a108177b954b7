"""GraphQL clients, and a GraphQL service."""

from typing import Final

from demo.backends.catalog import PRODUCTS
from demo.backends.goods import GOODS
from demo.scene import Scene
from demo.step import Step

_ORDER: Final = "query ($id: ID!) { order(orderId: $id) { status totalCents lines { sku quantity } } }"
_PLACE: Final = (
    'mutation { placeOrder(customerId: "c-40", lines: [{sku: "CUP", quantity: 2}]) { orderId status totalCents } }'
)
_SHORT: Final = 'mutation { placeOrder(customerId: "c-40", lines: [{sku: "POT", quantity: 5}]) { orderId } }'
_WATCH: Final = "subscription ($id: ID!) { orderEvents(orderId: $id, limit: 2) { status at } }"


async def mutation(scene: Scene) -> None:
    answer = await scene.caller.graphql(_PLACE)
    request = (await scene.arrived(scene.stage.orders.inbox, "PlaceOrder", "protobuf")).value
    scene.report.expect("channel at the service, the schema's default", "graphql", request.channel)
    order = answer.json["data"]["placeOrder"]
    scene.report.expect("status", "PLACED", order["status"])
    scene.report.expect("totalCents", str(2 * GOODS["CUP"].cents), str(order["totalCents"]))


async def query(scene: Scene) -> None:
    answer = await scene.caller.graphql(_ORDER, {"id": scene.order_id})
    order = answer.json["data"]["order"]
    scene.report.expect("members, only those selected", ["status", "totalCents", "lines"], list(order))
    scene.report.expect("first line", {"sku": "TEA", "quantity": 2}, order["lines"][0])


async def error(scene: Scene) -> None:
    answer = await scene.caller.graphql(_SHORT)
    scene.report.expect("HTTP status", 200, answer.status)
    found = answer.json["errors"][0]
    scene.report.expect("path", ["placeOrder"], found["path"])
    scene.report.expect("code", "FAILED_PRECONDITION", found["extensions"]["code"])
    scene.report.expect("available", GOODS["POT"].available, found["extensions"]["details"][0]["available"])


async def subscription(scene: Scene) -> None:
    events = await scene.caller.subscribe(_WATCH, {"id": scene.order_id})
    states = [event["data"]["orderEvents"]["status"] for event in events]
    scene.report.expect("status of each event", ["PLACED", "PAID"], states)


async def to_graphql(scene: Scene) -> None:
    answer = await scene.caller.rest("GET", "/products/TEA")
    await scene.arrived(scene.stage.catalog.inbox, "query", "graphql")
    scene.report.expect("HTTP status", 200, answer.status)
    scene.report.expect("product", {"sku": "TEA", **PRODUCTS["TEA"]}, answer.json)


STEPS: Final = (
    Step("A mutation to gRPC", "place-order-from-graphql", "Its arguments are the request.", mutation),
    Step(
        "The same, in GraphQL",
        "place-order-from-graphql",
        "An error with its path, the code and the detail in its extensions.",
        error,
    ),
    Step("A query to gRPC", "order-from-graphql", "The caller gets what it selects.", query),
    Step(
        "A subscription",
        "watch-order-from-graphql",
        "A gRPC stream over graphql-transport-ws, here with the order's history.",
        subscription,
    ),
    Step("REST to GraphQL", "get-product", "The gateway writes the document; data comes back as JSON.", to_graphql),
)
