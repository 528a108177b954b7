"""gRPC server: grpc.aio speaks HTTP/2, bodies stay bytes."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import grpc

from adapters.grpc.config import Endpoint, Source
from adapters.grpc.contract import ProtoContract, read_files
from adapters.grpc.health import HealthService
from adapters.grpc.metadata import from_metadata, to_metadata
from adapters.grpc.reflection import ReflectionService
from adapters.grpc.status import write_failure
from adapters.grpc.transport import arguments, compression
from gateway.codecs.protobuf.google_status import GoogleStatus
from gateway.message import TRACEPARENT, Context, Message, trace_of
from gateway.net.address import listening
from gateway.net.counters import STALLED_PEERS, Counter, Rejections
from gateway.net.network import Network
from gateway.net.stall import MessageStall
from gateway.net.tls import pem_files
from gateway.pattern import Pattern
from gateway.port import Binding, Contract, loaded
from gateway.status import Code, as_failure

log = logging.getLogger("gateway.grpc")

if TYPE_CHECKING:
    _GenericRpcHandler = grpc.GenericRpcHandler[Any, Any]
else:
    _GenericRpcHandler = grpc.GenericRpcHandler
_FOREVER: Final = 86_400.0  # the caller bounds drain()
_IDLE_MS: Final = 3_600_000


class GrpcInbound:
    """One listener. Health and reflection are served beside the bound methods."""

    def __init__(self, name: str, endpoint: Endpoint, network: Network) -> None:
        self._listen = listening(endpoint.listen)
        self.name = name
        self.port = 0  # the one in use, for `listen` with port 0
        self._endpoint = endpoint
        self._network = network
        self._stalled = network.counters.counter(name, STALLED_PEERS)
        self._contract: ProtoContract | None = None
        self._credentials: grpc.ServerCredentials | None = None
        self._server: grpc.aio.Server | None = None
        self._own: list[HealthService | ReflectionService] = [HealthService()]
        self._rejections = network.counters.rejections(name)
        self._methods = _Methods(self._rejections)

    async def load(self) -> None:
        if self._contract is not None:
            return
        self._credentials = self._read_credentials()
        contract = ProtoContract(read_files(self._endpoint, self._network))
        if self._endpoint.reflection is not False:
            self._own.append(ReflectionService(contract.schema))
        self._contract = contract

    def contract(self, address: Source) -> Contract:
        claim = f"gRPC method {address.name} on {self._listen}"
        return loaded(self._contract).at(address.name, self._endpoint, self._listen, claim=claim)

    def bind(self, bindings: Sequence[Binding]) -> None:
        handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        services = set()
        for binding in bindings:
            operation = binding.contract.wire.name
            services.add(operation.partition("/")[0])
            status = loaded(self._contract).status
            call = _Call(binding, status, self._endpoint.stall_timeout, self._stalled, self._rejections)
            handlers[f"/{operation}"] = call.handler()
        for own in self._own:
            own.set_services(services)
            handlers = own.handlers() | handlers
        self._methods.served = handlers

    async def start(self) -> None:
        server = grpc.aio.server(
            handlers=[self._methods], options=self._arguments(), compression=compression(self._endpoint)
        )
        address = f"[::]{self._listen}" if self._listen.startswith(":") else self._listen
        try:
            if self._credentials is not None:
                self.port = server.add_secure_port(address, self._credentials)
            else:
                self.port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"can't listen on {self._listen}: the address is in use or not ours") from error
        await server.start()
        self._server = server

    async def drain(self) -> None:
        if self._server is None:
            return
        for own in self._own:
            own.drain()
        await self._server.stop(_FOREVER)

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)

    @property
    def unready(self) -> str:
        return "" if self._server is not None else "not listening"

    def _arguments(self) -> list[tuple[str, Any]]:
        endpoint = self._endpoint
        return [
            *arguments(endpoint),
            ("grpc.so_reuseport", int(endpoint.reuse_port)),
            ("grpc.max_concurrent_streams", endpoint.max_concurrent_streams),
            ("grpc.max_allowed_incoming_connections", endpoint.max_connections),
            ("grpc.max_connection_idle_ms", _IDLE_MS),
            ("grpc.server_handshake_timeout_ms", 10_000),
        ]

    def _read_credentials(self) -> grpc.ServerCredentials | None:
        if self._endpoint.tls is None:
            return None
        ca, key, certificate = pem_files(self._endpoint.tls, self._network.path)
        pair = (key or b"", certificate or b"")  # a listener has both: see Endpoint
        return grpc.ssl_server_credentials([pair], ca, require_client_auth=ca is not None)


class _Methods(_GenericRpcHandler):
    """The method table. served: replaced as a whole."""

    def __init__(self, rejections: Rejections) -> None:
        self._rejections = rejections
        self.served: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        method = handler_call_details.method
        return self.served.get(method) or _unknown(method, self.served, self._rejections)


def _unknown(method: str, served: Iterable[str], rejections: Rejections) -> "grpc.RpcMethodHandler[Any, Any]":
    near = get_close_matches(method, served, 1)
    hint = f"; did you mean {near[0]}?" if near else ""

    async def refuse(_: AsyncIterator[bytes], context: Any) -> None:
        rejections.count(Code.UNIMPLEMENTED)
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"no route serves {method[:200]}{hint}")

    return grpc.stream_stream_rpc_method_handler(refuse)


class _Call:
    """Serves the calls of one binding."""

    __slots__ = ("_pattern", "_rejections", "_service", "_stall_seconds", "_stalled_peers", "_status", "_wanted")

    def __init__(
        self,
        binding: Binding,
        status: GoogleStatus,
        stall_seconds: float,
        stalled: Counter,
        rejections: Rejections,
    ) -> None:
        self._stalled_peers = stalled
        self._rejections = rejections
        self._service = binding.service
        self._stall_seconds = stall_seconds
        self._pattern = binding.pattern
        self._wanted = binding.headers
        self._status = status

    def handler(self) -> "grpc.RpcMethodHandler[Any, Any]":
        match self._pattern:
            case Pattern.REQUEST_REPLY:
                return grpc.unary_unary_rpc_method_handler(self._one_to_one)
            case Pattern.SERVER_STREAM:
                return grpc.unary_stream_rpc_method_handler(self._one_to_many)
            case _:  # one reply and many look the same on the wire
                return grpc.stream_stream_rpc_method_handler(self._many_to_many)

    async def _one_to_one(self, body: bytes, context: Any) -> bytes:
        request, call = self._open(body, context)
        try:
            reply = await self._service.call(request, call)
            if reply.headers:
                await context.send_initial_metadata(to_metadata(reply.headers, blame=Code.INTERNAL))
            return reply.body or b""
        except Exception as error:
            self._fail(error, context)
        return b""

    async def _one_to_many(self, body: bytes, context: Any) -> None:
        await self._stream(body, None, context)

    async def _many_to_many(self, bodies: AsyncIterator[bytes], context: Any) -> None:
        await self._stream(None, _messages(bodies), context)

    async def _stream(self, body: bytes | None, more: AsyncIterator[Message] | None, context: Any) -> None:
        request, call = self._open(body, context)
        try:
            with MessageStall(self._stall_seconds, call, self._stalled_peers) as stall:
                async with aclosing(self._service.stream(request, more, call)) as replies:
                    first = True
                    async for reply in replies:
                        if first and reply.headers:
                            await context.send_initial_metadata(to_metadata(reply.headers, blame=Code.INTERNAL))
                        first = False
                        stall.writing()
                        await context.write(reply.body or b"")
                        stall.written()
        except Exception as error:
            self._fail(error, context)

    def _fail(self, error: Exception, context: Any) -> None:
        failure = as_failure(error, "behind a gRPC method", log)
        self._rejections.add(failure)
        write_failure(failure, self._status, context)

    def _open(self, body: bytes | None, context: Any) -> tuple[Message, Context]:
        metadata = context.invocation_metadata()
        trace = ""
        for key, value in metadata:
            if key == TRACEPARENT:
                trace = trace_of(value)
        remaining = context.time_remaining()
        deadline = float("inf") if remaining is None else asyncio.get_running_loop().time() + remaining
        headers = from_metadata(metadata, self._wanted) if self._wanted else ()
        return Message(body, headers), Context(deadline, _peer(context.peer()), trace)


async def _messages(bodies: AsyncIterator[bytes]) -> AsyncGenerator[Message, None]:
    async for body in bodies:
        yield Message(body)


def _peer(text: str) -> str:
    """host:port of "ipv4:127.0.0.1:4711" or "ipv6:%5B::1%5D:4711"."""
    address = text.partition(":")[2]
    return unquote(address) if "%" in address else address
