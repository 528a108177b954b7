"""The gRPC inbound as grpcio's threaded client, buf curl, grpcurl, and the health and reflection clients see it."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from support.grpc_orders import pb2, pb2_grpc
from support.grpc_ports import ORDERS, FunctionService, serving

from gateway.message import Context, Message
from gateway.port import Service
from gateway.status import Code, Failure

BUF = shutil.which("buf") or shutil.which("buf", path=str(Path(sys.executable).parent))


TOLD = "out of stock at $.lines[0].sku"


async def place(request: Message, context: Context) -> Message:
    placed = pb2.PlaceOrderRequest.FromString(request.body)
    if placed.customer_id == "no-stock":
        raise Failure(Code.FAILED_PRECONDITION, "out of stock", path="$.lines[0].sku", retry_after=1.5)
    return Message(pb2.Order(order_id="o-1", customer_id=placed.customer_id, status=2).SerializeToString())


async def watch(request: Message, more: object, context: Context) -> AsyncGenerator[Message, None]:
    wanted = pb2.WatchOrderRequest.FromString(request.body)
    for _ in range(wanted.limit):
        yield Message(pb2.OrderEvent(order_id=wanted.order_id).SerializeToString())
    if wanted.order_id == "breaks":
        raise Failure(Code.DATA_LOSS, "the log is torn")


async def import_(
    request: Message, more: AsyncIterator[Message] | None, context: Context
) -> AsyncGenerator[Message, None]:
    assert more is not None
    placed = 0
    async for _ in more:
        placed += 1
    yield Message(pb2.ImportSummary(placed=placed).SerializeToString())


async def negotiate(
    request: Message, more: AsyncIterator[Message] | None, context: Context
) -> AsyncGenerator[Message, None]:
    assert more is not None
    async for message in more:
        offer = pb2.Offer.FromString(message.body)
        yield Message(pb2.Offer(sku=offer.sku, cents=offer.cents - 1).SerializeToString())


SERVICES: dict[str, Service] = {
    f"{ORDERS}/PlaceOrder": FunctionService(place),
    f"{ORDERS}/WatchOrder": FunctionService(streaming=watch),
    f"{ORDERS}/ImportOrders": FunctionService(streaming=import_),
    f"{ORDERS}/Negotiate": FunctionService(streaming=negotiate),
}


async def in_thread(port: int, use: Callable[[grpc.Channel], Any]) -> Any:
    """What a client without asyncio makes of the server."""

    def run() -> Any:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            return use(channel)

    return await asyncio.to_thread(run)


async def test_all_call_kinds_with_generated_stubs() -> None:
    def use(channel: grpc.Channel) -> None:
        stub = pb2_grpc.OrdersStub(channel)
        assert stub.PlaceOrder(pb2.PlaceOrderRequest(customer_id="ann"), timeout=5).customer_id == "ann"
        events = stub.WatchOrder(pb2.WatchOrderRequest(order_id="o", limit=3), timeout=5)
        assert [event.order_id for event in events] == ["o"] * 3
        requests = iter([pb2.PlaceOrderRequest(customer_id="a"), pb2.PlaceOrderRequest(customer_id="b")])
        assert stub.ImportOrders(requests, timeout=5).placed == 2
        offers = stub.Negotiate(iter([pb2.Offer(sku="tea", cents=9), pb2.Offer(sku="tea", cents=7)]), timeout=5)
        assert [offer.cents for offer in offers] == [8, 6]

    async with serving(SERVICES) as inbound:
        await in_thread(inbound.port, use)


async def test_failures_as_grpcio_sees_them() -> None:
    def use(channel: grpc.Channel) -> None:
        stub = pb2_grpc.OrdersStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.PlaceOrder(pb2.PlaceOrderRequest(customer_id="no-stock"), timeout=5)
        error: Any = caught.value
        assert (error.code(), error.details()) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            TOLD,
        )
        status = status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
        assert (status.code, status.message) == (9, TOLD)
        bad, retry = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
        assert status.details[0].Unpack(bad) and status.details[1].Unpack(retry)
        assert bad.field_violations[0].field == "lines[0].sku"
        assert retry.retry_delay.ToMilliseconds() == 1500
        events = stub.WatchOrder(pb2.WatchOrderRequest(order_id="breaks", limit=1), timeout=5)
        assert next(events).order_id == "breaks"
        with pytest.raises(grpc.RpcError) as caught:
            next(events)
        error = caught.value
        assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "the log is torn")
        calls: tuple[Callable[[], object], ...] = (
            lambda: stub.GetOrder(pb2.GetOrderRequest(), timeout=5),
            lambda: channel.unary_unary("/no.such.Service/Method", None, None)(b"", timeout=5),
            lambda: channel.stream_unary("/no.such.Service/Method", None, None)(iter([b""] * 3), timeout=5),
        )
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call()
            error = caught.value
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED
            assert error.details().startswith("no route serves /")

    async with serving(SERVICES) as inbound:
        await in_thread(inbound.port, use)


async def test_gzip_as_grpcio_sends_and_takes_it() -> None:
    def use(channel: grpc.Channel) -> str:
        stub = pb2_grpc.OrdersStub(channel)
        request = pb2.PlaceOrderRequest(customer_id="a" * 5000)
        name: str = stub.PlaceOrder(request, timeout=5, compression=grpc.Compression.Gzip).customer_id
        return name

    async with serving(SERVICES, compression="gzip") as inbound:
        assert await in_thread(inbound.port, use) == "a" * 5000


async def test_health_checks_and_drain() -> None:
    serving_, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

    def check(channel: grpc.Channel) -> None:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", ORDERS):
            assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status == serving_
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="nope"), timeout=5)
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.NOT_FOUND

    async with serving(SERVICES) as inbound:
        await in_thread(inbound.port, check)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{inbound.port}") as channel:
            watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=ORDERS))
            assert (await watching.read()).status == serving_
            await asyncio.wait_for(inbound.drain(), 5)
            assert (await watching.read()).status == not_serving
            assert await watching.read() is grpc.aio.EOF  # type: ignore[attr-defined]


async def test_reflection_with_grpcios_client() -> None:
    def use(channel: grpc.Channel) -> None:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = set(database.get_services())
        assert {ORDERS, "grpc.health.v1.Health"} <= services
        pool = DescriptorPool(database)
        for service in services:
            assert pool.FindServiceByName(service).full_name == service
        assert pool.FindMessageTypeByName("shop.orders.v1.OutOfStock").fields_by_name["sku"].number == 1
        with pytest.raises(KeyError):
            pool.FindMessageTypeByName("google.rpc.Status")
        method = pool.FindServiceByName(ORDERS).methods_by_name["PlaceOrder"]
        request = GetMessageClass(method.input_type)(customer_id="ann")
        call = channel.unary_unary(f"/{ORDERS}/PlaceOrder", None, GetMessageClass(method.output_type).FromString)
        assert call(request.SerializeToString(), timeout=5).customer_id == "ann"

    async with serving(SERVICES) as inbound:
        await in_thread(inbound.port, use)


async def test_reflection_can_be_turned_off() -> None:
    def use(channel: grpc.Channel) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            ProtoReflectionDescriptorDatabase(channel).get_services()
        error: Any = caught.value
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED

    async with serving(SERVICES, reflection=False) as inbound:
        await in_thread(inbound.port, use)


async def test_a_reflection_client_that_stays_does_not_hold_the_drain() -> None:
    async with serving(SERVICES) as inbound, grpc.aio.insecure_channel(f"127.0.0.1:{inbound.port}") as channel:
        rpc: Any = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", None, None)
        call = rpc()
        await call.write(b"\x3a\x00")
        assert ORDERS.encode() in await call.read()
        await asyncio.wait_for(inbound.drain(), 5)
        assert await call.code() is grpc.StatusCode.OK


async def run(*command: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.skipif(BUF is None, reason="buf (PyPI: buf-bin) is not installed")
async def test_buf_curl_by_reflection() -> None:
    assert BUF is not None
    async with serving(SERVICES) as inbound:
        base = f"http://127.0.0.1:{inbound.port}/{ORDERS}"
        curl = (BUF, "curl", "--protocol", "grpc", "--http2-prior-knowledge")
        status, out, err = await run(
            *curl, "--reflect-protocol", "grpc-v1", "-d", '{"customerId": "ann"}', f"{base}/PlaceOrder"
        )
        assert status == 0, err
        assert json.loads(out) == {"orderId": "o-1", "customerId": "ann", "status": "ORDER_STATUS_PAID"}
        status, out, err = await run(*curl, "-d", '{"orderId": "o", "limit": 2}', f"{base}/WatchOrder")
        assert status == 0, err
        assert out.count('"orderId"') == 2
        status, _, err = await run(*curl, "-d", '{"customerId": "no-stock"}', f"{base}/PlaceOrder")
        error = json.loads(err)
        assert status != 0 and (error["code"], error["message"]) == (
            "failed_precondition",
            TOLD,
        )
        assert [detail["type"] for detail in error["details"]] == ["google.rpc.BadRequest", "google.rpc.RetryInfo"]


@pytest.mark.skipif(shutil.which("grpcurl") is None, reason="grpcurl is not on PATH")
async def test_grpcurl_by_reflection() -> None:
    async with serving(SERVICES) as inbound:
        address = f"127.0.0.1:{inbound.port}"
        status, out, err = await run(
            "grpcurl", "-plaintext", "-d", '{"customer_id": "ann"}', address, f"{ORDERS}/PlaceOrder"
        )
        assert status == 0, err
        assert json.loads(out)["customerId"] == "ann"
        status, out, err = await run("grpcurl", "-plaintext", address, "describe")
        assert status == 0, err
        assert "rpc PlaceOrder" in out
