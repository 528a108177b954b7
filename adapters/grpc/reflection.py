"""Server reflection, both sides: https://github.com/grpc/grpc/blob/master/doc/server-reflection.md.

v1 and v1alpha have the same messages and differ in the service's name only.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from typing import Any, Final, cast

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection, reflection_pb2

from adapters.grpc import health
from adapters.grpc.status import FROM_WIRE
from adapters.grpc.streaming import write_message
from gateway.schema.idl.proto import ProtoSchema
from gateway.status import Code, Failure

SERVICES: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
# The type stubs know neither.
_servicer: Final[Any] = cast(Any, reflection).aio.ReflectionServicer
_EOF: Final[Any] = cast(Any, grpc.aio).EOF
_METHODS: Final = tuple(f"/{service}/ServerReflectionInfo" for service in SERVICES)
_OWN: Final = (health.SERVICE, SERVICES[1])  # whose files grpcio brings along
_TIMEOUT: Final = 5.0
_FILES: Final = 10_000


class Reflection:
    """Serves the contract of the bound services from the endpoint's own pool."""

    def __init__(self, schema: ProtoSchema) -> None:
        self._pool = _Pools(schema.pool, descriptor_pool.Default())
        self._servicer = _servicer(_OWN, pool=self._pool)
        self._drained = asyncio.Event()

    def set_services(self, services: Collection[str]) -> None:
        self._servicer = _servicer((*services, *_OWN), pool=self._pool)

    def drain(self) -> None:
        """Ends the streams of clients that are still asking."""
        self._drained.set()

    def handlers(self) -> dict[str, "grpc.RpcMethodHandler[Any, Any]"]:
        return {method: grpc.stream_stream_rpc_method_handler(self._serve) for method in _METHODS}

    async def _serve(self, _: Any, context: Any) -> None:
        try:
            async for response in self._servicer.ServerReflectionInfo(self._requests(context), context):
                await context.write(response.SerializeToString())
        except DecodeError:
            context.set_code(grpc.StatusCode.INVALID_ARGUMENT)
            context.set_details("the bytes are not a ServerReflectionRequest")

    async def _requests(self, context: Any) -> AsyncIterator[Any]:
        drained = asyncio.ensure_future(self._drained.wait())
        try:
            while True:
                read = asyncio.ensure_future(context.read())
                try:
                    await asyncio.wait((read, drained), return_when=asyncio.FIRST_COMPLETED)
                    if not read.done():
                        return
                finally:
                    read.cancel()
                body = read.result()
                if body is _EOF:
                    return
                yield reflection_pb2.ServerReflectionRequest.FromString(body)
        finally:
            drained.cancel()


class _Pools:
    """The contract's pool, and behind it the one that knows health and reflection."""

    def __init__(self, *pools: descriptor_pool.DescriptorPool) -> None:
        self._pools = pools

    def FindFileByName(self, name: str) -> Any:
        return self._find("FindFileByName", name)

    def FindFileContainingSymbol(self, name: str) -> Any:
        return self._find("FindFileContainingSymbol", name)

    def FindMessageTypeByName(self, name: str) -> Any:
        return self._pools[0].FindMessageTypeByName(name)

    def FindExtensionByNumber(self, message: Any, number: int) -> Any:
        return self._pools[0].FindExtensionByNumber(message, number)

    def FindAllExtensions(self, message: Any) -> Any:
        return self._pools[0].FindAllExtensions(message)

    def _find(self, function: str, name: str) -> Any:
        try:
            return getattr(self._pools[0], function)(name)
        except KeyError:
            found = getattr(self._pools[1], function)(name)
            file = getattr(found, "name", "")
            if not str(file).startswith(("grpc/health/", "grpc_health/", "grpc_reflection/", "grpc/reflection/")):
                raise
            return found


async def read_reflection(channel: grpc.aio.Channel) -> descriptor_pb2.FileDescriptorSet:
    """The contract of every service that the peer lists. Raises Failure: UNAVAILABLE when the peer can't be reached,
    FAILED_PRECONDITION when it does not reflect."""
    for method in _METHODS:
        try:
            return await _Client(channel, method).read()
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                continue
            code = FROM_WIRE[error.code()]
            if code in (Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED):
                raise Failure(Code.UNAVAILABLE, "the target can't be asked for its contract", sent=False) from error
            raise Failure(Code.FAILED_PRECONDITION, f"the target's reflection failed with {code.name}") from error
    raise Failure(Code.FAILED_PRECONDITION, "the target has no reflection service")


class _Client:
    """One stream of questions and answers."""

    def __init__(self, channel: grpc.aio.Channel, method: str) -> None:
        rpc: Any = channel.stream_stream(method, None, None)
        self._call = rpc(timeout=_TIMEOUT)
        self._files: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    async def read(self) -> descriptor_pb2.FileDescriptorSet:
        try:
            listed = await self._ask(list_services="")
            for service in listed.list_services_response.service:
                if service.name not in (*SERVICES, health.SERVICE):
                    self._add(await self._ask(file_containing_symbol=service.name))
            while missing := self._missing():
                for name in missing:
                    self._add(await self._ask(file_by_filename=name))
            await self._call.done_writing()
        finally:
            self._call.cancel()
        return descriptor_pb2.FileDescriptorSet(file=[self._files[name] for name in sorted(self._files)])

    async def _ask(self, **question: str) -> Any:
        with suppress(grpc.aio.InternalError):  # the stream is over; reading says why
            await write_message(self._call, reflection_pb2.ServerReflectionRequest(**question).SerializeToString())
        body = await self._call.read()
        if body is _EOF:
            raise Failure(Code.FAILED_PRECONDITION, "the target's reflection stopped before it answered")
        try:
            answer = reflection_pb2.ServerReflectionResponse.FromString(body)
        except DecodeError as error:
            raise Failure(Code.FAILED_PRECONDITION, "the target's reflection answers with broken bytes") from error
        if answer.HasField("error_response"):
            asked = next(iter(question.values()))
            raise Failure(Code.FAILED_PRECONDITION, f"the target's reflection does not know {asked}")
        return answer

    def _add(self, answer: Any) -> None:
        for data in answer.file_descriptor_response.file_descriptor_proto:
            try:
                file = descriptor_pb2.FileDescriptorProto.FromString(data)
            except DecodeError as error:
                raise Failure(Code.FAILED_PRECONDITION, "the target's reflection sends broken descriptors") from error
            self._files.setdefault(file.name, file)
        if len(self._files) > _FILES:
            raise Failure(Code.FAILED_PRECONDITION, f"the target's contract has more than {_FILES} files")

    def _missing(self) -> list[str]:
        imports = {name for file in self._files.values() for name in file.dependency}
        return sorted(imports - set(self._files))
