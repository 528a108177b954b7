"""The gRPC outbound against grpcio's own threaded server with generated code."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
from support.grpc_orders import OrdersServer, pb2
from support.grpc_ports import ORDERS, ROOT, calling, service_of

from gateway.message import Context, Message
from gateway.port import ContractError
from gateway.schema.idl.proto.reader import compile_files
from gateway.status import Code, Detail, Failure


def order(customer: str) -> Message:
    return Message(
        pb2.PlaceOrderRequest(customer_id=customer, lines=[pb2.OrderLine(sku="tea", quantity=2)]).SerializeToString()
    )


async def messages(*bodies: bytes) -> AsyncIterator[Message]:
    for body in bodies:
        yield Message(body)


async def collect(replies: AsyncGenerator[Message, None], into: list[bytes]) -> None:
    async with aclosing(replies):
        async for reply in replies:
            into.append(reply.body)


async def failure_of(port: int, customer: str, **options: Any) -> Failure:
    async with calling(port, **options) as outbound:
        service, _ = service_of(outbound, f"{ORDERS}/PlaceOrder")
        with pytest.raises(Failure) as caught:
            await service.call(order(customer), Context())
        return caught.value


async def test_unary_with_deadline_metadata_and_trace() -> None:
    with OrdersServer() as server:
        async with calling(server.port) as outbound:
            service, contract = service_of(outbound, f"/{ORDERS}/PlaceOrder")
            request = order("ann")
            request.headers = [("x-tenant", "blue"), ("x-raw-bin", b"\x00\xff"), ("x-text-bin", "AP8=")]
            trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            context = Context(deadline=asyncio.get_running_loop().time() + 5, trace=trace)
            reply = await service.call(request, context)
        assert pb2.Order.FromString(reply.body).customer_id == "ann"
        assert contract.describe == f"gRPC unary {ORDERS}/PlaceOrder at 127.0.0.1:{server.port}"
        seen = server.shop.metadata
        assert (seen["x-tenant"], seen["x-raw-bin"], seen["x-text-bin"]) == ("blue", b"\x00\xff", b"\x00\xff")
        assert seen["traceparent"] == trace
        assert server.shop.remaining is not None and 0 < server.shop.remaining < 5.2


async def test_only_wanted_reply_metadata_comes_back() -> None:
    with OrdersServer() as server:
        async with calling(server.port, forward_headers=["X-First", "x-last", "x-blob-bin"]) as outbound:
            service, contract = service_of(outbound, f"{ORDERS}/PlaceOrder")
            reply = await service.call(order("headers"), Context())
    assert contract.headers == {"x-first", "x-last", "x-blob-bin"}
    assert sorted(reply.headers) == [("x-blob-bin", b"\x00\xff"), ("x-first", "1"), ("x-last", "2")]


async def test_a_declared_failure_comes_as_its_record() -> None:
    with OrdersServer() as server:
        failure = await failure_of(server.port, "no-stock")
    assert (failure.code, failure.message, failure.sent) == (Code.FAILED_PRECONDITION, "the shop says no", True)
    (detail,) = failure.details
    assert detail.name == "shop.orders.v1.OutOfStock"
    assert (detail.value.sku, detail.value.available) == ("tea", 2)


async def test_a_bad_request_becomes_a_path() -> None:
    with OrdersServer() as server:
        failure = await failure_of(server.port, "bad-line")
    assert (failure.code, failure.path, failure.details) == (Code.INVALID_ARGUMENT, "$.lines[0].quantity", ())


async def test_retry_info_and_error_info() -> None:
    with OrdersServer() as server:
        failure = await failure_of(server.port, "busy")
    assert (failure.code, failure.retry_after) == (Code.RESOURCE_EXHAUSTED, 2.5)
    info = {"reason": "QUOTA", "domain": "shop", "metadata": {"limit": "5"}}
    assert failure.details == (Detail("google.rpc.ErrorInfo", info),)


async def test_a_deadline_is_the_peers_too() -> None:
    with OrdersServer() as server:
        async with calling(server.port) as outbound:
            service, _ = service_of(outbound, f"{ORDERS}/PlaceOrder")
            with pytest.raises(Failure) as caught:
                await service.call(order("slow"), Context(deadline=asyncio.get_running_loop().time() + 0.2))
            assert caught.value.code is Code.DEADLINE_EXCEEDED
            assert await asyncio.to_thread(server.shop.cancelled.wait, 5)
            with pytest.raises(Failure) as caught:
                await service.call(order("ann"), Context(deadline=asyncio.get_running_loop().time() - 1))
            assert (caught.value.code, caught.value.sent) == (Code.DEADLINE_EXCEEDED, False)


async def test_cancelling_the_call_cancels_upstream() -> None:
    with OrdersServer() as server:
        async with calling(server.port) as outbound:
            service, _ = service_of(outbound, f"{ORDERS}/PlaceOrder")
            task = asyncio.create_task(service.call(order("slow"), Context()))
            assert await asyncio.to_thread(server.shop.started.wait, 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(server.shop.cancelled.wait, 5)


async def test_stopping_during_a_call_is_a_failure() -> None:
    with OrdersServer() as server:
        async with calling(server.port) as outbound:
            service, _ = service_of(outbound, f"{ORDERS}/PlaceOrder")
            task = asyncio.create_task(service.call(order("slow"), Context()))
            assert await asyncio.to_thread(server.shop.started.wait, 5)
            await outbound.stop()
            with pytest.raises(Failure) as caught:
                await task
            assert caught.value.code is Code.UNAVAILABLE
            with pytest.raises(Failure) as caught:
                await service.call(order("ann"), Context())
            assert caught.value.code is Code.UNAVAILABLE


async def test_limits() -> None:
    with OrdersServer() as server:
        failure = await failure_of(server.port, "huge", max_message_bytes=100_000)
        assert (failure.code, failure.sent) == (Code.RESOURCE_EXHAUSTED, True)
        failure = await failure_of(server.port, "x" * 2000, max_message_bytes=1000)
        assert (failure.code, failure.sent) == (Code.RESOURCE_EXHAUSTED, False)
        assert server.shop.metadata.get("x") is None


async def test_gzip_both_ways() -> None:
    with OrdersServer() as server:
        async with calling(server.port, compression="gzip") as outbound:
            service, _ = service_of(outbound, f"{ORDERS}/PlaceOrder")
            reply = await service.call(order("a" * 5000), Context())
    assert pb2.Order.FromString(reply.body).customer_id == "a" * 5000


async def test_server_stream_and_its_end() -> None:
    with OrdersServer() as server:
        async with calling(server.port) as outbound:
            service, contract = service_of(outbound, f"{ORDERS}/WatchOrder")
            request = Message(pb2.WatchOrderRequest(order_id="o", limit=3).SerializeToString())
            async with aclosing(service.stream(request, None, Context())) as replies:
                bodies = [reply.body async for reply in replies]
            assert [pb2.OrderEvent.FromString(body).order_id for body in bodies] == ["o"] * 3
            request = Message(pb2.WatchOrderRequest(order_id="breaks", limit=2).SerializeToString())
            seen: list[bytes] = []
            with pytest.raises(Failure) as caught:
                await collect(service.stream(request, None, Context()), seen)
    assert (len(seen), caught.value.code, caught.value.message) == (2, Code.DATA_LOSS, "the log is torn")
    assert "server stream" in contract.describe


async def test_a_slow_reader_slows_the_peer_and_leaving_cancels_it() -> None:
    with OrdersServer() as server:
        async with calling(server.port) as outbound:
            service, _ = service_of(outbound, f"{ORDERS}/WatchOrder")
            request = Message(pb2.WatchOrderRequest().SerializeToString())
            async with aclosing(service.stream(request, None, Context())) as replies:
                await anext(replies)
                before = -1
                while before != server.shop.written:
                    before = server.shop.written
                    await asyncio.sleep(0.2)
                assert before < 2000  # of 10 kB each: the windows filled up
            assert await asyncio.to_thread(server.shop.cancelled.wait, 5)


async def test_client_stream() -> None:
    with OrdersServer() as server:
        async with calling(server.port) as outbound:
            service, _ = service_of(outbound, f"{ORDERS}/ImportOrders")
            more = messages(order("a").body, order("b").body)
            async with aclosing(service.stream(Message(None), more, Context())) as replies:
                bodies = [reply.body async for reply in replies]
            assert [pb2.ImportSummary.FromString(body).placed for body in bodies] == [2]
            more = messages(*[order(name).body for name in ("a", "stop", *["x"] * 100)])
            with pytest.raises(Failure) as caught:
                async with aclosing(service.stream(Message(None), more, Context())) as replies:
                    await anext(replies)
    assert (caught.value.code, caught.value.message) == (Code.ABORTED, "enough")


async def test_a_failure_in_the_callers_stream_ends_the_call_with_it() -> None:
    async def breaking() -> AsyncIterator[Message]:
        yield order("a")
        await asyncio.to_thread(server.shop.started.wait, 5)
        raise Failure(Code.INVALID_ARGUMENT, "line 2 is broken", path="$[1]")

    with OrdersServer() as server:
        async with calling(server.port) as outbound:
            for method in ("ImportOrders", "Negotiate"):
                server.shop.started.clear()
                server.shop.cancelled.clear()
                service, _ = service_of(outbound, f"{ORDERS}/{method}")
                with pytest.raises(Failure) as caught:
                    await collect(service.stream(Message(None), breaking(), Context()), [])
                assert (caught.value.message, caught.value.path) == ("line 2 is broken", "$[1]")
                assert await asyncio.to_thread(server.shop.cancelled.wait, 5)


async def test_bidi_answers_while_it_listens() -> None:
    asked: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def more() -> AsyncIterator[Message]:
        while (body := await asked.get()) is not None:
            yield Message(body)

    with OrdersServer() as server:
        async with calling(server.port) as outbound:
            service, _ = service_of(outbound, f"{ORDERS}/Negotiate")
            async with aclosing(service.stream(Message(None), more(), Context())) as replies:
                for cents in (9, 7):
                    asked.put_nowait(pb2.Offer(sku="tea", cents=cents).SerializeToString())
                    assert pb2.Offer.FromString((await anext(replies)).body).cents == cents - 1
                asked.put_nowait(None)
                assert await anext(replies, None) is None
            # The peer may end first: the caller's open stream does not hold the call.
            async with aclosing(service.stream(Message(None), more(), Context())) as replies:
                asked.put_nowait(pb2.Offer(sku="bye").SerializeToString())
                assert await anext(replies, None) is None


async def test_a_peer_that_is_down_and_comes_back() -> None:
    with OrdersServer() as server:
        port = server.port
    async with calling(port) as outbound:
        service, _ = service_of(outbound, f"{ORDERS}/PlaceOrder")
        with pytest.raises(Failure) as caught:
            await service.call(order("ann"), Context())
        failure = caught.value
        assert (failure.code, failure.sent, failure.message) == (
            Code.UNAVAILABLE,
            False,
            "the upstream can't be reached",
        )
        assert outbound.unready == "no connection to the target"
        stream, _ = service_of(outbound, f"{ORDERS}/Negotiate")
        with pytest.raises(Failure) as caught:
            async with aclosing(stream.stream(Message(None), messages(b""), Context())) as replies:
                await anext(replies)
        assert (caught.value.code, caught.value.sent) == (Code.UNAVAILABLE, False)
        with OrdersServer(port):
            for _ in range(40):
                with suppress(Failure):
                    await service.call(order("ann"), Context())
                    break
                await asyncio.sleep(0.05)
            else:
                pytest.fail("two seconds after the peer came back it is not used")
            assert outbound.unready == ""


async def test_several_targets_share_the_calls() -> None:
    with OrdersServer() as one, OrdersServer() as two:
        async with calling(one.port, two.port) as outbound:
            service, _ = service_of(outbound, f"{ORDERS}/PlaceOrder")
            for _ in range(40):
                await service.call(order("ann"), Context())
                if one.shop.metadata and two.shop.metadata:
                    break
        assert one.shop.metadata and two.shop.metadata


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_the_contract_by_reflection(version: str) -> None:
    with OrdersServer(reflection=version) as server:
        async with calling(server.port, reflection=True) as outbound:
            service, contract = service_of(outbound, f"{ORDERS}/PlaceOrder")
            reply = await service.call(order("ann"), Context())
            assert contract.failure("OutOfStock") is not None
    assert pb2.Order.FromString(reply.body).order_id == "o-1"


async def test_reflection_that_can_not_be_had(tmp_path: Path) -> None:
    with OrdersServer() as server:
        with pytest.raises(ContractError, match="no reflection service"):
            async with calling(server.port, reflection=True):
                pass
        pinned = tmp_path / "orders.binpb"
        pinned.write_bytes(compile_files([ROOT / "schemas" / "orders.proto"], []).SerializeToString())
        async with calling(server.port, reflection=True, descriptor_set=str(pinned)) as outbound:
            service, _ = service_of(outbound, f"{ORDERS}/PlaceOrder")
            await service.call(order("ann"), Context())
    with pytest.raises(Failure) as caught:
        async with calling(server.port, reflection=True):
            pass
    assert caught.value.code is Code.UNAVAILABLE
