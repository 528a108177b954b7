"""gRPC through grpcio's asyncio API and protobuf's own runtime, compiled by protoc when the suite runs."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import grpc
from google.protobuf import any_pb2
from google.rpc import status_pb2

from gateway.pattern import Count, Pattern
from gateway.status import Code
from support.answers import answers, refuses
from support.peers import Case, Place, Record, RefusedError, Shape
from support.ports import free_port
from support.specimen import DETAIL, Specimen
from support.specimen_json import Dialect
from support.specimen_proto import PACKAGE, SCHEMAS, Messages, specimen_of

FILE: Final = "cases.proto"
SERVICES: Final = "test.cases.v1"
DETAILS: Final = "grpc-status-details-bin"
_KINDS: Final = {
    Pattern.REQUEST_REPLY: "unary_unary",
    Pattern.SERVER_STREAM: "unary_stream",
    Pattern.CLIENT_STREAM: "stream_unary",
    Pattern.BIDI: "stream_stream",
}
_MESSAGES: Final = {Shape.SPECIMEN: "Specimen", Shape.BATCH: "Batch", Shape.RECEIPT: "Receipt"}


def _contract(folder: Path, cases: Sequence[Case]) -> Messages:
    """Writes a method per case: of service In as the caller sees it, of service Out as the backend does."""
    services: dict[str, list[str]] = {"In": [], "Out": []}
    for case in cases:
        sides = {
            "In": (case.inbound, Shape.SPECIMEN, case.reply_shape),
            "Out": (case.outbound, case.request_shape, Shape.SPECIMEN),
        }
        for service, (pattern, request, reply) in sides.items():
            if pattern in _KINDS:
                taken = _streamed(pattern.requests, request)
                given = _streamed(pattern.replies, reply)
                services[service].append(f"  rpc {case.name}({taken}) returns ({given});")
    lines = ['syntax = "proto3";', f"package {SERVICES};", 'import "specimen.proto";']
    for service, methods in services.items():
        lines += [f"service {service} {{", *methods, "}"]
    (folder / FILE).write_text("\n".join(lines) + "\n")
    return Messages(folder, FILE)


def _streamed(count: Count, shape: Shape) -> str:
    return f"{'stream ' if count is Count.MANY else ''}{PACKAGE}.{_MESSAGES[shape]}"


def _endpoint(**where: str) -> Mapping[str, Any]:
    return {"protocol": "grpc", "proto": FILE, "include": str(SCHEMAS), **where}


class Caller:
    typed = True
    dialect: Dialect | None = Dialect.PROTO
    tells_detail = True

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self._messages = _contract(folder, cases)
        self._listen = f"127.0.0.1:{free_port()}"
        self._channel: Any = None

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._listen)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    def source(self, case: Case) -> Place:
        return "rpc", _endpoint(listen=self._listen), {"method": f"{SERVICES}.In/{case.name}"}

    async def call(self, case: Case, specimens: Sequence[Specimen]) -> list[Any]:
        told: list[Any] = []
        await self.listen(case, specimens, told)
        return told

    async def listen(self, case: Case, specimens: Sequence[Specimen], told: list[Any]) -> None:
        await self._exchange(case, [self._messages.specimen(one).SerializeToString() for one in specimens], told)

    async def misspeak(self, case: Case) -> None:
        await self._exchange(case, [b"\x0a\x7fcut off"], [])

    def code(self, code: Code, case: Case, *, declared: bool) -> str:
        return code.name

    async def _exchange(self, case: Case, bodies: list[bytes], told: list[Any]) -> None:
        method = getattr(self._channel, _KINDS[case.inbound])
        stub = method(
            f"/{SERVICES}.In/{case.name}", lambda body: body, self._messages[_MESSAGES[case.reply_shape]].FromString
        )
        turns: asyncio.Queue[None] | None = asyncio.Queue() if case.paced else None
        request: Any = bodies[0] if case.inbound.requests is Count.ONE else _paced(bodies, turns)
        call = stub(request, timeout=20)
        try:
            if case.inbound.replies is Count.ONE:
                told.append(self._reply(case, await call))
                return
            async for message in call:
                told.append(self._reply(case, message))
                if turns is not None:
                    turns.put_nowait(None)
        except grpc.aio.AioRpcError as error:
            raise self._refusal(error) from error

    def _reply(self, case: Case, message: Any) -> Any:
        match case.reply_shape:
            case Shape.SPECIMEN:
                return specimen_of(message)
            case Shape.BATCH:
                return [specimen_of(one) for one in message.specimens]
            case Shape.RECEIPT:
                return {field.name: value for field, value in message.ListFields()}

    def _refusal(self, error: Any) -> RefusedError:
        detail = None
        for key, value in error.trailing_metadata() or ():
            if key != DETAILS:
                continue
            for packed in status_pb2.Status.FromString(value).details:
                message = self._messages["OutOfStock"]()
                if packed.Unpack(message):
                    detail = {"sku": message.sku, "available": message.available}
        return RefusedError(error.code().name, error.details(), detail)


async def _paced(bodies: list[bytes], turns: "asyncio.Queue[None] | None") -> AsyncIterator[bytes]:
    """The messages; with turns, each after the reply to the one before."""
    for number, body in enumerate(bodies):
        if number and turns is not None:
            await turns.get()
        yield body


class Backend:
    typed = True
    dialect: Dialect | None = Dialect.PROTO
    receipt: tuple[str, ...] = ()

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self.record = Record()
        self._messages = _contract(folder, cases)
        self._server = grpc.aio.server()
        handlers = {
            case.name: self._handler(case.outbound, _MESSAGES[case.request_shape])
            for case in cases
            if case.outbound in _KINDS
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"{SERVICES}.Out", handlers),))
        self._port = self._server.add_insecure_port("127.0.0.1:0")

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)

    def target(self, case: Case) -> Place:
        return "upstream", _endpoint(target=f"127.0.0.1:{self._port}"), {"method": f"{SERVICES}.Out/{case.name}"}

    def refusal(self, case: Case) -> tuple[Code, bool]:
        return Code.FAILED_PRECONDITION, True

    def receipts(self) -> list[Mapping[str, Any]]:
        return []

    def _handler(self, pattern: Pattern, message: str) -> Any:
        answer = {
            Pattern.REQUEST_REPLY: self._one_to_one,
            Pattern.SERVER_STREAM: self._one_to_many,
            Pattern.CLIENT_STREAM: self._many_to_one,
            Pattern.BIDI: self._many_to_many,
        }[pattern]
        make = getattr(grpc, f"{_KINDS[pattern]}_rpc_method_handler")
        return make(answer, self._messages[message].FromString, lambda reply: reply.SerializeToString())

    async def _one_to_one(self, request: Any, context: Any) -> Any:
        call = await self._take(request, context)
        return self._messages.specimen(answers(Pattern.REQUEST_REPLY, call)[0])

    async def _one_to_many(self, request: Any, context: Any) -> AsyncIterator[Any]:
        call = await self._take(request, context)
        for reply in answers(Pattern.SERVER_STREAM, call):
            yield self._messages.specimen(reply)

    async def _many_to_one(self, requests: AsyncIterator[Any], context: Any) -> Any:
        call = self.record.begin()
        try:
            async for request in requests:
                call.append(specimen_of(request))
                await self._judge(call, context)
        finally:
            self.record.end()
        return self._messages.specimen(answers(Pattern.CLIENT_STREAM, call)[0])

    async def _many_to_many(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        call = self.record.begin()
        try:
            async for request in requests:
                call.append(specimen_of(request))
                await self._judge(call, context)
                for reply in answers(Pattern.BIDI, call[-1:]):
                    yield self._messages.specimen(reply)
        finally:
            self.record.end()

    async def _take(self, request: Any, context: Any) -> list[Any]:
        batch = request.DESCRIPTOR.name == "Batch"
        call = [[specimen_of(one) for one in request.specimens] if batch else specimen_of(request)]
        self.record.add(call[0])
        await self._judge(call, context)
        return call

    async def _judge(self, call: list[Any], context: Any) -> None:
        """Refuse what is labelled so, with the declared detail."""
        if refuses(call):
            packed = any_pb2.Any()
            packed.Pack(self._messages["OutOfStock"](**DETAIL))
            status = status_pb2.Status(code=9, message="the shelf is empty", details=[packed])
            trailers = ((DETAILS, status.SerializeToString()),)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the shelf is empty", trailers)
