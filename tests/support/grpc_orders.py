"""A shop that nobody here wrote the protocol of: grpcio's threaded server with code generated from orders.proto."""

import sys
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from support.grpc_ports import ORDERS, ROOT

if str(ROOT / "schemas") not in sys.path:
    sys.path.append(str(ROOT / "schemas"))
pb2: Any
pb2_grpc: Any
pb2, pb2_grpc = grpc.protos_and_services("orders.proto")

V1 = "grpc.reflection.v1.ServerReflection"


class _Shop(pb2_grpc.OrdersServicer):  # type: ignore[misc]
    """Its answers follow from the customer's name or the order's."""

    def __init__(self) -> None:
        self.metadata: dict[str, str | bytes] = {}
        self.remaining: float | None = None
        self.started = threading.Event()
        self.cancelled = threading.Event()
        self.received: list[str] = []
        self.written = 0

    def PlaceOrder(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.metadata = dict(context.invocation_metadata())
        self.remaining = context.time_remaining()
        match request.customer_id:
            case "no-stock":
                self._abort(context, grpc.StatusCode.FAILED_PRECONDITION, pb2.OutOfStock(sku="tea", available=2))
            case "bad-line":
                violation = error_details_pb2.BadRequest.FieldViolation(field="lines[0].quantity", description="is 0")
                bad = error_details_pb2.BadRequest(field_violations=[violation])
                self._abort(context, grpc.StatusCode.INVALID_ARGUMENT, bad)
            case "busy":
                retry = error_details_pb2.RetryInfo()
                retry.retry_delay.FromMilliseconds(2500)
                quota = error_details_pb2.ErrorInfo(reason="QUOTA", domain="shop", metadata={"limit": "5"})
                self._abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, retry, quota)
            case "slow":
                self._begin(context)
                self.cancelled.wait(10)
            case "huge":
                return pb2.Order(order_id="x" * 200_000)
            case "headers":
                context.send_initial_metadata((("x-first", "1"), ("x-blob-bin", b"\0\xff")))
                context.set_trailing_metadata((("x-last", "2"), ("x-secret", "3")))
        return pb2.Order(order_id="o-1", customer_id=request.customer_id, lines=request.lines, total_cents=2**62)

    def _begin(self, context: Any) -> None:
        if not context.add_callback(self.cancelled.set):
            self.cancelled.set()
        self.started.set()

    def _abort(self, context: Any, code: grpc.StatusCode, *details: Any) -> None:
        status = status_pb2.Status(code=code.value[0], message="the shop says no")
        for detail in details:
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(code, "the shop says no")

    def WatchOrder(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self._begin(context)
        self.written = 0
        while context.is_active() and (request.limit == 0 or self.written < request.limit):
            self.written += 1
            yield pb2.OrderEvent(order_id=request.order_id or "e" * 10_000, status=2)
        if request.order_id == "breaks":
            context.abort(grpc.StatusCode.DATA_LOSS, "the log is torn")

    def ImportOrders(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
        self._begin(context)
        placed = 0
        for request in requests:
            placed += 1
            self.received.append(request.customer_id)
            if request.customer_id == "stop":
                context.abort(grpc.StatusCode.ABORTED, "enough")
        return pb2.ImportSummary(placed=placed)

    def Negotiate(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        self._begin(context)
        for offer in requests:
            if offer.sku == "bye":
                return
            yield pb2.Offer(sku=offer.sku, cents=offer.cents - 1)


class OrdersServer:
    """Context manager; `port` is the one it serves on, `shop` what it saw.

    reflection: "v1", "v1alpha" or "" for none.
    """

    def __init__(self, port: int = 0, reflection: str = "", credentials: grpc.ServerCredentials | None = None) -> None:
        self.shop = _Shop()
        self._pool = futures.ThreadPoolExecutor(8)
        self._server = grpc.server(self._pool, options=[("grpc.so_reuseport", 0)])
        pb2_grpc.add_OrdersServicer_to_server(self.shop, self._server)
        if reflection:
            _reflect(self._server, reflection)
        self.port = _bind(self._server, port, credentials)

    def __enter__(self) -> "OrdersServer":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shop.cancelled.set()
        self._server.stop(None).wait()
        self._pool.shutdown()


def _bind(server: grpc.Server, port: int, credentials: grpc.ServerCredentials | None) -> int:
    for _ in range(50):
        try:
            if credentials is not None:
                return server.add_secure_port(f"127.0.0.1:{port}", credentials)
            return server.add_insecure_port(f"127.0.0.1:{port}")
        except RuntimeError:
            time.sleep(0.05)  # a port just left may linger
    raise RuntimeError(f"port {port} is taken")


def _reflect(server: grpc.Server, version: str) -> None:
    if version == "v1alpha":
        reflection.enable_server_reflection((ORDERS, reflection.SERVICE_NAME), server)
        return
    servicer = reflection.ReflectionServicer((ORDERS, V1))
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(V1, {"ServerReflectionInfo": handler}),))
