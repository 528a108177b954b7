"""gRPC client: one grpc.aio channel, whose calls are bytes in and bytes out."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, Final

import grpc

from adapters.grpc.config import Endpoint, Target
from adapters.grpc.contract import ProtoContract, read_files
from adapters.grpc.metadata import from_metadata, to_metadata
from adapters.grpc.reflection import read_reflection
from adapters.grpc.status import read_failure
from adapters.grpc.transport import EOF, arguments, compression, write_message
from gateway.codecs.protobuf.google_status import GoogleStatus
from gateway.message import Context, Header, Message
from gateway.net.address import calling, split_host_port
from gateway.net.deadlines import remaining
from gateway.net.feeder import Feeder
from gateway.net.network import Network
from gateway.net.tls import pem_files
from gateway.pattern import Count, Pattern
from gateway.port import Contract, ContractError, Service, loaded
from gateway.schema.idl.proto.reader import ProtoError, ProtoSchema
from gateway.status import Code, Failure

log = logging.getLogger("gateway.grpc")

_WINDOW_BYTES: Final = 256 * 1024  # that the peer may send ahead in one stream
_ROUND_ROBIN: Final = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
_SIDES: Final = {Count.ONE: "unary", Count.MANY: "stream"}


class GrpcOutbound:
    """One channel. It connects by itself, and again within a second of the peer's return."""

    def __init__(self, name: str, endpoint: Endpoint, network: Network) -> None:
        self._target = calling(endpoint.target)
        self.name = name
        self._endpoint = endpoint
        self._network = network
        self._contract: ProtoContract | None = None
        self._channel: grpc.aio.Channel | None = None

    async def load(self) -> None:
        if self._contract is None:
            read = self._endpoint.reflection
            schema = await self._reflect() if read else read_files(self._endpoint, self._network)
            self._contract = ProtoContract(schema)

    async def _reflect(self) -> ProtoSchema:
        try:
            return ProtoSchema.load(await read_reflection(self.channel()))
        except (Failure, ProtoError) as error:
            if self._endpoint.descriptor_set:
                log.warning("endpoint %s: %s; its descriptor_set is used instead", self.name, error)
                return read_files(self._endpoint, self._network)
            if isinstance(error, Failure) and error.code is Code.UNAVAILABLE:
                raise
            message = error.message if isinstance(error, Failure) else str(error)
            raise ContractError(message, field=["reflection"], hint="give proto or descriptor_set instead") from error

    def contract(self, address: Target) -> Contract:
        return loaded(self._contract).at(address.name, self._endpoint, ", ".join(self._target))

    def service(self, address: Target, contract: Contract, pattern: Pattern) -> Service:
        path = f"/{contract.wire.name}"
        kind = f"{_SIDES[pattern.requests]}_{_SIDES[pattern.replies]}"
        status = loaded(self._contract).status

        def open_() -> Any:
            return getattr(self.channel(), kind)(path, None, None)

        return _Method(open_, status, contract.headers, one_reply=pattern.replies is Count.ONE)

    async def start(self) -> None:
        self.channel().get_state(try_to_connect=True)

    async def stop(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(None)

    @property
    def unready(self) -> str:
        if self._channel is None:
            return "not started"
        state = self._channel.get_state()
        return "no connection to the target" if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE else ""

    def channel(self) -> grpc.aio.Channel:
        """The channel, made when it is first needed: it belongs to the running loop."""
        if self._channel is None:
            endpoint = self._endpoint
            uri, options = _uri(self._target), self._arguments()
            if endpoint.tls is None:
                self._channel = grpc.aio.insecure_channel(uri, options, compression(endpoint))
            else:
                credentials = grpc.ssl_channel_credentials(*pem_files(endpoint.tls, self._network.path))
                self._channel = grpc.aio.secure_channel(uri, credentials, options, compression(endpoint))
        return self._channel

    def _arguments(self) -> list[tuple[str, Any]]:
        given = [
            *arguments(self._endpoint),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.service_config", _ROUND_ROBIN),
            ("grpc.service_config_disable_resolution", 1),
            ("grpc.http2.lookahead_bytes", _WINDOW_BYTES),
            ("grpc.enable_http_proxy", 0),  # only routes.yaml says where traffic goes
        ]
        tls = self._endpoint.tls
        return [*given, ("grpc.ssl_target_name_override", tls.server_name)] if tls and tls.server_name else given


def _uri(target: tuple[str, ...]) -> str:
    """gRPC's naming: https://github.com/grpc/grpc/blob/master/doc/naming.md."""
    if len(target) == 1:
        return f"dns:///{target[0]}"
    scheme = "ipv6" if ":" in split_host_port(target[0])[0] else "ipv4"
    return f"{scheme}:{','.join(target)}"


class _Method:
    """Calls one method, of whichever kind. one_reply: it replies with one message."""

    __slots__ = ("_headers", "_one_reply", "_open", "_rpc", "_status")

    def __init__(
        self, open_: Callable[[], Any], status: GoogleStatus, headers: frozenset[str], *, one_reply: bool
    ) -> None:
        self._open = open_
        self._status = status
        self._headers = headers
        self._one_reply = one_reply
        self._rpc: Any = None

    async def call(self, request: Message, context: Context) -> Message:
        try:
            call = self._begin(request, context, request.body or b"")
            body = await call
        except grpc.aio.AioRpcError as error:
            raise read_failure(error, self._status) from error
        except (grpc.aio.UsageError, asyncio.CancelledError) as error:
            raise _ended(error) from None
        return Message(body, await _reply_headers(call, self._headers) if self._headers else ())

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        call: Any = None
        feeder = Feeder()
        try:
            if more is None:
                call = self._begin(request, context, request.body or b"")
            else:
                call = self._begin(request, context)
                feeder.start(_feed(call, more))
            if self._one_reply:
                body = await call
                yield Message(body, await _reply_headers(call, self._headers) if self._headers else ())
                return
            headers = from_metadata(await call.initial_metadata(), self._headers) if self._headers else ()
            while (body := await call.read()) is not EOF:
                yield Message(body, headers)
        except grpc.aio.AioRpcError as error:
            feeder.check()
            raise read_failure(error, self._status) from error
        except (grpc.aio.UsageError, asyncio.CancelledError) as error:
            raise _ended(error, feeder) from None
        finally:
            if call is not None:
                call.cancel()
            await feeder.stop()

    def _begin(self, request: Message, context: Context, *body: bytes) -> Any:
        rpc = self._rpc
        if rpc is None:
            rpc = self._rpc = self._open()
        return rpc(*body, timeout=remaining(context), metadata=to_metadata(request.headers, context.trace))


async def _feed(call: Any, more: AsyncIterator[Message]) -> None:
    """Writes the caller's messages as fast as the peer takes them."""
    try:
        async for message in more:
            await write_message(call, message.body)
        await call.done_writing()
    except (grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
        return  # the call is over; reading says how
    except BaseException:
        call.cancel()
        raise


async def _reply_headers(call: Any, wanted: frozenset[str]) -> Sequence[Header]:
    """Of a call that is over."""
    return from_metadata((*await call.initial_metadata(), *await call.trailing_metadata()), wanted)


def _ended(error: BaseException, feeder: Feeder | None = None) -> BaseException:
    """What to raise for a call that core ended: our own task was cancelled, or the channel was closed."""
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
        return error
    if feeder is not None:
        feeder.check()
    return Failure(Code.UNAVAILABLE, "the endpoint was stopped during the call")
