"""The gRPC inbound through the port: what a Service is given, and what becomes of what it does."""

import asyncio
import gzip
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from support.grpc_ports import ORDERS, FunctionService, bindings, serving

from adapters.grpc.config import Source
from adapters.grpc.inbound import GrpcInbound
from adapters.grpc.status import FROM_WIRE, TO_WIRE
from gateway.codecs.format import Unknown
from gateway.message import Context, Message
from gateway.pattern import Pattern
from gateway.port import ContractError
from gateway.schema.types import Record
from gateway.schema.values import struct_of
from gateway.status import Code, Detail, Failure

PLACE = f"{ORDERS}/PlaceOrder"
WATCH = f"{ORDERS}/WatchOrder"
IMPORT = f"{ORDERS}/ImportOrders"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def client(inbound: GrpcInbound, **options: Any) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{inbound.port}", options=list(options.items()))


def place(channel: grpc.aio.Channel) -> Any:
    return channel.unary_unary(f"/{PLACE}", None, None)


def details_of(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    trailers: Any = error.trailing_metadata()
    return status_pb2.Status.FromString(dict(trailers)["grpc-status-details-bin"])


async def answer(failure: BaseException, **options: Any) -> grpc.aio.AioRpcError:
    async def unary(request: Message, context: Context) -> Message:
        raise failure

    async with serving({PLACE: FunctionService(unary)}, **options) as inbound, client(inbound) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await place(channel)(b"", timeout=5)
        return caught.value


def test_the_codes_are_total_both_ways() -> None:
    assert set(TO_WIRE) == set(Code)
    assert all(status.value[0] == code for code, status in TO_WIRE.items())
    assert {status: FROM_WIRE[status] for status in grpc.StatusCode} == {s: c for c, s in TO_WIRE.items()}


async def test_a_service_gets_body_deadline_trace_peer_and_wanted_headers() -> None:
    seen: list[tuple[Message, Context]] = []

    async def unary(request: Message, context: Context) -> Message:
        seen.append((request, context))
        return Message(b"\x0a\x01x", headers=[("x-reply", "yes"), ("x-blob-bin", b"\0")])

    wanted = frozenset({"x-tenant", "x-raw-bin"})
    async with serving({PLACE: FunctionService(unary)}, headers=wanted) as inbound, client(inbound) as channel:
        metadata = (("x-tenant", "blue"), ("x-raw-bin", b"\0\xff"), ("x-other", "no"), ("traceparent", TRACE))
        call = place(channel)(b"\x0a\x03ann", timeout=5, metadata=metadata)
        assert await call == b"\x0a\x01x"
        replied = dict(await call.initial_metadata())
        await place(channel)(b"", metadata=(("traceparent", "nonsense"),))
        now = asyncio.get_running_loop().time()
    (request, context), (_, unbounded) = seen
    assert request.body == b"\x0a\x03ann"
    assert sorted(request.headers) == [("x-raw-bin", b"\0\xff"), ("x-tenant", "blue")]
    assert context.trace == TRACE and context.peer.startswith("127.0.0.1:")
    assert now < context.deadline < now + 6
    assert unbounded.deadline == float("inf") and unbounded.trace == ""
    assert (replied["x-reply"], replied["x-blob-bin"]) == ("yes", b"\0")


async def test_a_reply_header_that_can_not_be_carried_is_not_the_callers_fault() -> None:
    async def unary(request: Message, context: Context) -> Message:
        return Message(b"", headers=[("x-reply", "zwölf")])

    async with serving({PLACE: FunctionService(unary)}) as inbound, client(inbound) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await place(channel)(b"", timeout=5)
        assert caught.value.code() is grpc.StatusCode.INTERNAL


async def test_a_reply_without_a_body_is_an_empty_message() -> None:
    async def unary(request: Message, context: Context) -> Message:
        return Message(None)

    async with serving({PLACE: FunctionService(unary)}) as inbound, client(inbound) as channel:
        assert await place(channel)(b"", timeout=5) == b""


@pytest.mark.parametrize("code", [code for code in Code if code])
async def test_every_code_reaches_the_caller(code: Code) -> None:
    error = await answer(Failure(code, "grüße: 100 %"))
    assert (error.code(), error.details()) == (TO_WIRE[code], "grüße: 100 %")
    assert not error.trailing_metadata()


async def test_path_retry_and_details() -> None:
    async with serving({}) as inbound:
        record = inbound.contract(Source(method=PLACE)).failure("OutOfStockFault")
    assert isinstance(record, Record) and record.name == "shop.orders.v1.OutOfStock"
    failure = Failure(
        Code.FAILED_PRECONDITION,
        "no",
        path="$.lines[3].sku",
        retry_after=0.25,
        details=[
            Detail(record.name, struct_of(record)(sku="tea", available=2)),
            Detail("Blame", {"who": "us", "times": 3}),
            Detail("google.rpc.LocalizedMessage", {"locale": "de", "message": "nein"}),
            Detail("OutOfStock", {"sku": "tea", "available": 5}),
            Detail("OutOfStock", {"colour": "blue"}),
        ],
    )
    status = details_of(await answer(failure))
    assert [packed.type_url.rpartition("/")[2] for packed in status.details] == [
        "google.rpc.BadRequest",
        "google.rpc.RetryInfo",
        "shop.orders.v1.OutOfStock",
        "google.rpc.ErrorInfo",
        "google.rpc.LocalizedMessage",
        "shop.orders.v1.OutOfStock",
        "google.rpc.ErrorInfo",
    ]
    bad = error_details_pb2.BadRequest.FromString(status.details[0].value)
    assert bad.field_violations[0].field == "lines[3].sku"
    assert status.details[2].value == b"\x0a\x03tea\x10\x02"
    info = error_details_pb2.ErrorInfo.FromString(status.details[3].value)
    assert (info.reason, dict(info.metadata)) == ("Blame", {"who": "us", "times": "3"})
    assert status.details[5].value == b"\x0a\x03tea\x10\x05"


async def test_an_oversized_failure_still_arrives() -> None:
    texts = {"Long": "x" * 2000, "Longer": "x" * 20_000, "Short": "x"}
    details = [Detail(name, {"text": text}) for name, text in texts.items()]
    error = await answer(Failure(Code.INTERNAL, "m" * 10_000, details=details))
    assert error.details() == "m" * 1000
    told = [error_details_pb2.ErrorInfo.FromString(packed.value).reason for packed in details_of(error).details]
    assert told == ["Long", "Short"]


async def test_what_is_no_unicode_does_not_break_the_failure() -> None:
    error = await answer(
        Failure(Code.INTERNAL, "\ud800 bad", path="$.x['\ud800']", details=[Detail("D\ud800", ["\ud800"])])
    )
    assert error.details() == "? bad at $.x['?']"
    assert len(details_of(error).details) == 2


async def test_a_bug_tells_the_caller_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "gateway.grpc"):
        error = await answer(RuntimeError("password=hunter2"))
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
    assert "hunter2" in caplog.text


async def test_leaving_callers_and_passed_deadlines_cancel_the_service() -> None:
    cancelled = asyncio.Semaphore(0)

    async def unary(request: Message, context: Context) -> Message:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.release()
            raise
        return request

    async def stream(request: Message, more: object, context: Context) -> AsyncGenerator[Message, None]:
        try:
            while True:
                yield Message(b"")
                await asyncio.sleep(0.01)
        finally:
            cancelled.release()

    services = {PLACE: FunctionService(unary), WATCH: FunctionService(streaming=stream)}
    async with serving(services) as inbound, client(inbound) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await place(channel)(b"", timeout=0.1)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.wait_for(cancelled.acquire(), 5)
        call: Any = channel.unary_stream(f"/{WATCH}", None, None)(b"")
        await call.read()
        call.cancel()
        await asyncio.wait_for(cancelled.acquire(), 5)


async def test_a_slow_caller_slows_the_service() -> None:
    sent = 0

    async def stream(request: Message, more: object, context: Context) -> AsyncGenerator[Message, None]:
        nonlocal sent
        while True:
            sent += 1
            yield Message(b"\x0a\xff\x7f" + b"x" * 16383)

    async with serving({WATCH: FunctionService(streaming=stream)}) as inbound, client(inbound) as channel:
        call: Any = channel.unary_stream(f"/{WATCH}", None, None)(b"")
        await call.read()
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 1000
        call.cancel()


async def test_a_client_stream_reaches_the_service_as_it_is_sent() -> None:
    seen: list[bytes] = []

    async def stream(
        request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        assert request.body is None and more is not None
        async for message in more:
            seen.append(message.body)
            if message.body == b"stop":
                break
        yield Message(b"done")

    async with serving({IMPORT: FunctionService(streaming=stream)}) as inbound, client(inbound) as channel:
        rpc: Any = channel.stream_unary(f"/{IMPORT}", None, None)
        call = rpc(timeout=5)
        await call.write(b"one")
        while not seen:
            await asyncio.sleep(0.01)
        await call.write(b"stop")
        assert await call == b"done"
    assert seen == [b"one", b"stop"]


async def test_limits_are_refused_by_the_transport() -> None:
    async def unary(request: Message, context: Context) -> Message:
        return Message(b"x" * (1000 if request.body == b"more" else 1))

    services = {PLACE: FunctionService(unary)}
    async with serving(services, max_message_bytes=500, max_metadata_bytes=1024) as inbound, client(inbound) as channel:
        for body, words in ((b"x" * 501, "larger than max"), (b"more", "larger than max")):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await place(channel)(body, timeout=5)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert words in str(caught.value.details())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await place(channel)(b"", timeout=5, metadata=(("x-big", "y" * 4000),))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert len(gzip.compress(b"\0" * 100_000)) < 500
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await place(channel)(b"\0" * 100_000, timeout=5, compression=grpc.Compression.Gzip)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_bind_replaces_all_routes_at_once() -> None:
    def saying(text: bytes) -> Callable[[Message, Context], Awaitable[Message]]:
        async def unary(request: Message, context: Context) -> Message:
            return Message(text)

        return unary

    async with serving({PLACE: FunctionService(saying(b"old"))}) as inbound, client(inbound) as channel:
        assert await place(channel)(b"", timeout=5) == b"old"
        inbound.bind(bindings(inbound, {f"{ORDERS}/GetOrder": FunctionService(saying(b"new"))}))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await place(channel)(b"", timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        rpc: Any = channel.unary_unary(f"/{ORDERS}/GetOrder", None, None)
        assert await rpc(b"", timeout=5) == b"new"


async def test_drain_finishes_what_is_in_flight_and_takes_nothing_new() -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def unary(request: Message, context: Context) -> Message:
        entered.set()
        await release.wait()
        return Message(b"finished")

    async with serving({PLACE: FunctionService(unary)}) as inbound, client(inbound) as channel:
        call = asyncio.ensure_future(place(channel)(b"", timeout=10))
        await entered.wait()
        draining = asyncio.ensure_future(inbound.drain())
        await asyncio.sleep(0.05)
        async with client(inbound, **{"grpc.use_local_subchannel_pool": 1}) as late:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await place(late)(b"", timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert not draining.done()
        release.set()
        assert await call == b"finished"
        await asyncio.wait_for(draining, 5)


async def test_a_drain_that_is_given_up_and_stop_end_everything() -> None:
    entered = asyncio.Event()

    async def unary(request: Message, context: Context) -> Message:
        entered.set()
        await asyncio.sleep(60)
        return request

    async with serving({PLACE: FunctionService(unary)}) as inbound, client(inbound) as channel:
        call = asyncio.ensure_future(place(channel)(b"", timeout=60))
        await entered.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(inbound.drain(), 0.1)
        await asyncio.wait_for(inbound.stop(), 5)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        await inbound.stop()


async def test_a_taken_port_is_an_os_error() -> None:
    async with serving({}) as first:
        second = GrpcInbound(
            "second", first._endpoint.model_copy(update={"listen": f"127.0.0.1:{first.port}"}), first._network
        )
        await second.load()
        second.bind([])
        await second.stop()
        with pytest.raises(OSError, match=r"can't listen on 127\.0\.0\.1"):
            await second.start()
        assert second.unready and not first.unready


async def test_the_contract() -> None:
    async with serving({}) as inbound:
        contract = inbound.contract(Source(method=f"/{PLACE}"))
        assert contract.patterns == {Pattern.REQUEST_REPLY}
        assert contract.unknown is Unknown.REJECT
        assert contract.claim == f"gRPC method {PLACE} on 127.0.0.1:0"
        assert contract.describe == f"gRPC unary {PLACE} at 127.0.0.1:0"
        assert (
            str(contract.request) == "shop.orders.v1.PlaceOrderRequest"
            and str(contract.reply) == "shop.orders.v1.Order"
        )
        with pytest.raises(ContractError) as caught:
            inbound.contract(Source(method=f"{ORDERS}/PlaceOrdr"))
        assert caught.value.field == ("method",) and caught.value.hint == f"did you mean {PLACE}?"


@given(st.binary(max_size=64), st.sampled_from(["Check", "Watch"]))
@settings(max_examples=25, deadline=None)
def test_health_takes_any_bytes(body: bytes, method: str) -> None:
    async def run() -> None:
        async with serving({}) as inbound, client(inbound) as channel:
            rpc: Any = channel.unary_unary(f"/grpc.health.v1.Health/{method}", None, None)
            try:
                await rpc(body, timeout=0.05)
            except grpc.aio.AioRpcError as error:
                expected = ("INVALID_ARGUMENT", "NOT_FOUND", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL")
                if error.code().name not in expected:
                    raise

    asyncio.run(run())
