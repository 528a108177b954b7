"""The modern order service: gRPC, orders in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import UTC, datetime
from itertools import count
from typing import Any, Final, NoReturn

import grpc
from google.protobuf import text_format
from google.rpc import status_pb2

from demo.backends.goods import GOODS
from demo.backends.inbox import Inbox
from demo.contract import Contract

SERVICE: Final = "shop.orders.v1.Orders"
PROGRESS: Final = (("ORDER_STATUS_PAID", 0.3), ("ORDER_STATUS_SHIPPED", 0.3))
"""What happens to every order by itself, each after so many seconds."""


class OrderService:
    """All five methods of schemas/orders.proto."""

    def __init__(self) -> None:
        self.inbox = Inbox("the gRPC order service")
        self._contract = Contract("orders.proto")
        self._order = self._contract.message("shop.orders.v1.Order")
        self._event = self._contract.message("shop.orders.v1.OrderEvent")
        self._orders: dict[str, Any] = {}
        self._events: dict[str, list[Any]] = {}
        self._changed = asyncio.Condition()
        self._numbers = count(1001)
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: grpc.aio.Server | None = None

    async def start(self, address: str) -> None:
        server = self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        methods = {
            "PlaceOrder": (grpc.unary_unary_rpc_method_handler, self._place),
            "GetOrder": (grpc.unary_unary_rpc_method_handler, self._get),
            "WatchOrder": (grpc.unary_stream_rpc_method_handler, self._watch),
            "ImportOrders": (grpc.stream_unary_rpc_method_handler, self._import),
            "Negotiate": (grpc.stream_stream_rpc_method_handler, self._negotiate),
        }
        handlers = {name: self._handler(name, kind, method) for name, (kind, method) in methods.items()}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        server.add_insecure_port(address)
        await server.start()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            await self._server.stop(0.2)

    def _handler(self, name: str, kind: Callable[..., Any], method: Callable[..., Any]) -> Any:
        request, reply = self._contract.method(f"{SERVICE}/{name}")
        return kind(method, request_deserializer=request.FromString, response_serializer=reply.SerializeToString)

    async def _place(self, request: Any, context: Any) -> Any:
        await self._received("PlaceOrder", request)
        await self._refuse_if_short(request, context)
        return await self._accept(request)

    async def _get(self, request: Any, context: Any) -> Any:
        await self._received("GetOrder", request)
        return await self._find(request.order_id, context)

    async def _watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._received("WatchOrder", request)
        await self._find(request.order_id, context)
        events = self._events[request.order_id]
        for at in count() if not request.limit else range(request.limit):
            async with self._changed:
                while len(events) <= at:
                    await self._changed.wait()
            yield events[at]

    async def _import(self, requests: AsyncIterator[Any], context: Any) -> Any:
        summary = self._contract.message("shop.orders.v1.ImportSummary")()
        async for request in requests:
            await self._received("ImportOrders", request)
            await self._refuse_if_short(request, context)
            summary.placed += 1
            summary.total_cents += (await self._accept(request)).total_cents
        return summary

    async def _negotiate(self, offers: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for offer in offers:
            await self._received("Negotiate", offer)
            price = GOODS[offer.sku].cents if offer.sku in GOODS else offer.cents
            yield type(offer)(sku=offer.sku, cents=max(offer.cents, price))

    async def _received(self, method: str, request: Any) -> None:
        await self.inbox.put(method, text_format.MessageToString(request, as_one_line=True), request)

    async def _find(self, order_id: str, context: Any) -> Any:
        order = self._orders.get(order_id)
        if order is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"there is no order {order_id}")
        return order

    async def _refuse_if_short(self, request: Any, context: Any) -> None:
        if not request.lines:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "an order needs lines")
        for line in request.lines:
            if line.sku not in GOODS:
                await context.abort(grpc.StatusCode.NOT_FOUND, f"the shop has no {line.sku}")
            if line.quantity < 1:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{line.quantity} of {line.sku} can't be ordered")
            if line.quantity > GOODS[line.sku].available:
                await self._out_of_stock(line.sku, context)

    async def _out_of_stock(self, sku: str, context: Any) -> NoReturn:
        """The rich error model: a google.rpc.Status with the declared detail."""
        detail = self._contract.message("shop.orders.v1.OutOfStock")(sku=sku, available=GOODS[sku].available)
        status = status_pb2.Status(code=9, message=f"not enough {sku} in stock")
        status.details.add().Pack(detail)
        await context.abort(
            grpc.StatusCode.FAILED_PRECONDITION,
            status.message,
            (("grpc-status-details-bin", status.SerializeToString()),),
        )
        raise AssertionError("abort() raises")

    async def _accept(self, request: Any) -> Any:
        order = self._order(
            order_id=f"A-{next(self._numbers)}",
            customer_id=request.customer_id,
            lines=request.lines,
            total_cents=_total(request.lines),
        )
        order.placed_at.FromDatetime(datetime.now(UTC))
        self._orders[order.order_id] = order
        self._events[order.order_id] = []
        await self._advance(order, "ORDER_STATUS_PLACED")
        task = asyncio.create_task(self._progress(order))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # A copy: the reply tells of the order as it is now.
        reply = self._order()
        reply.CopyFrom(order)
        return reply

    async def _progress(self, order: Any) -> None:
        for status, seconds in PROGRESS:
            await asyncio.sleep(seconds)
            await self._advance(order, status)

    async def _advance(self, order: Any, status: str) -> None:
        event = self._event(order_id=order.order_id, status=status)
        event.at.FromDatetime(datetime.now(UTC))
        async with self._changed:
            order.status = event.status
            self._events[order.order_id].append(event)
            self._changed.notify_all()


def _total(lines: Iterable[Any]) -> int:
    return sum(GOODS[line.sku].cents * line.quantity for line in lines)
