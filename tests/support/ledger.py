"""What a test has sent, told apart by ids, and a gRPC backend that notes what arrives of it."""

import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import json_format

from support.grpc_orders import pb2

PLACE = "shop.orders.v1.Orders/PlaceOrder"


def order(number: int) -> dict[str, Any]:
    """The order of this number, always the same one, as JSON has it."""
    dice = random.Random(number)
    lines = [
        {"sku": f"sku-{dice.getrandbits(64):x}", "quantity": dice.randint(1, 999)} for _ in range(dice.randint(1, 4))
    ]
    return {"customerId": f"customer-{number}-{'é' * dice.randint(0, 40)}", "lines": lines, "channel": "payments"}


def name_of(number: int) -> str:
    """The message id of the order of this number."""
    return f"order-{number}"


def body_of(number: int) -> bytes:
    """The order as a broker carries it."""
    return json.dumps(order(number)).encode()


def request_of(number: int) -> Any:
    """The order as gRPC carries it."""
    return json_format.ParseDict(order(number), pb2.PlaceOrderRequest())


@dataclass
class Ledger:
    """Arrivals, each with the id that it bore: the order as JSON has it."""

    arrivals: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def note(self, name: str, found: Mapping[str, Any]) -> None:
        self.arrivals.append((name, found))
        self.seen.add(name)

    def __len__(self) -> int:
        """Different ids."""
        return len(self.seen)

    @property
    def duplicates(self) -> int:
        return len(self.arrivals) - len(self.seen)

    @property
    def most_often(self) -> int:
        """How often the one came that came most often."""
        return max(Counter(name for name, _ in self.arrivals).values(), default=0)

    def lost(self, numbers: Iterable[int]) -> list[int]:
        """Those that have not arrived."""
        return [number for number in numbers if name_of(number) not in self.seen]

    def strangers(self, sent: range) -> list[tuple[str, Mapping[str, Any]]]:
        """What arrived without having been sent so: under another id, or with another payload."""
        orders = {name_of(number): number for number in sent}
        return [(name, found) for name, found in self.arrivals if name not in orders or found != order(orders[name])]


@asynccontextmanager
async def ledger_server(ledger: Ledger) -> AsyncIterator[int]:
    """A backend whose PlaceOrder notes each order with the metadata message-id. Gives its port."""

    async def place(request: bytes, context: Any) -> bytes:
        metadata = dict(context.invocation_metadata())
        found = json_format.MessageToDict(pb2.PlaceOrderRequest.FromString(request))
        ledger.note(str(metadata.get("message-id", "")), found)
        return bytes(pb2.Order(order_id=found.get("customerId", "")).SerializeToString())

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(place)
    service, method = PLACE.split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)
