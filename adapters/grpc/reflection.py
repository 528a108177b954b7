"""Server reflection, both sides; v1 and v1alpha differ in the service's name only."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Any, Final

import grpc
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from adapters.grpc import health
from adapters.grpc.status import FROM_WIRE
from adapters.grpc.transport import EOF, write_message
from gateway.net.tasks import first
from gateway.schema.idl.proto.reader import ProtoError, ProtoSchema
from gateway.schema.idl.proto.reflection import Reflection, asked_contract
from gateway.status import Code, Failure

SERVICES: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
_METHODS: Final = tuple(f"/{service}/ServerReflectionInfo" for service in SERVICES)
_OWN: Final = (health.SERVICE, SERVICES[1])
_OWN_FILES: Final = (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR)
_TIMEOUT: Final = 5.0


class ReflectionService:
    """Serves the contract of the bound services, and health and reflection."""

    def __init__(self, schema: ProtoSchema) -> None:
        self._reflection = Reflection(schema.pool, _OWN_FILES)
        self._drained = asyncio.Event()

    def set_services(self, services: Collection[str]) -> None:
        self._reflection.services = (*services, *_OWN)

    def drain(self) -> None:
        """Ends the streams of clients that are still asking."""
        self._drained.set()

    def handlers(self) -> dict[str, "grpc.RpcMethodHandler[Any, Any]"]:
        return {method: grpc.stream_stream_rpc_method_handler(self._serve) for method in _METHODS}

    async def _serve(self, _: Any, context: Any) -> None:
        try:
            while True:
                done = await first(context.read(), self._drained.wait())
                question = EOF if self._drained.is_set() else done[0].result()
                if question is EOF:
                    return
                await context.write(self._reflection.answer(question))
        except ProtoError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))


async def read_reflection(channel: grpc.aio.Channel) -> FileDescriptorSet:
    """The contract of every service that the peer lists. Raises Failure: UNAVAILABLE when the peer can't be reached,
    FAILED_PRECONDITION when it does not reflect."""
    for method in _METHODS:
        rpc: Any = channel.stream_stream(method, None, None)
        call = rpc(timeout=_TIMEOUT)
        try:
            return await _ask(call)
        except ProtoError as error:
            raise Failure(Code.FAILED_PRECONDITION, str(error)) from error
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                continue
            code = FROM_WIRE[error.code()]
            if code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                raise Failure(Code.UNAVAILABLE, "the target can't be asked for its contract", sent=False) from error
            raise Failure(Code.FAILED_PRECONDITION, f"the target's reflection failed with {code.name}") from error
        finally:
            call.cancel()
    raise Failure(Code.FAILED_PRECONDITION, "the target has no reflection service")


async def _ask(call: Any) -> FileDescriptorSet:
    asking = asked_contract(leave_out=(*SERVICES, health.SERVICE))
    question = next(asking)
    while True:
        with suppress(grpc.aio.InternalError):  # the stream is over; reading says why
            await write_message(call, question)
        answer = await call.read()
        if answer is EOF:
            raise ProtoError("the target's reflection stopped before it answered")
        try:
            question = asking.send(answer)
        except StopIteration as told:
            found: FileDescriptorSet = told.value
            await call.done_writing()
            return found
