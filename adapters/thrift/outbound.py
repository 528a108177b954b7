"""Calls of routes as Thrift calls."""

from contextlib import suppress
from typing import Any, Final

import msgspec

from adapters.thrift.config import ThriftEndpoint, ThriftTarget
from adapters.thrift.contract import Throw, contract_of, function_of, load
from adapters.thrift.status import read_failure
from gateway.codecs.format import Decode, Unknown
from gateway.codecs.thrift.format import ThriftFormat
from gateway.codecs.thrift.message import CONTENT_TYPE, SEPARATOR, Envelope, MessageType, read_message, write_message
from gateway.message import Context, Message
from gateway.net.address import calling
from gateway.net.deadlines import remaining
from gateway.net.http.call import reply_headers, request_headers
from gateway.net.http.client import HttpAnswer, HttpClient
from gateway.net.http.problem_json import PROBLEM_JSON, failure_of
from gateway.net.http.status import code_of_carrier
from gateway.net.network import Network
from gateway.net.tcp.framing import FramingError
from gateway.net.tcp.pool import Pool
from gateway.net.tls import trust
from gateway.pattern import Pattern
from gateway.port import Contract, Service, UnaryService, loaded
from gateway.schema.idl.thrift.reader import ThriftSchema
from gateway.schema.types import Record
from gateway.schema.values import struct_of
from gateway.status import Code, Detail, Failure

CONNECTIONS: Final = 8
MAX_PIPELINED: Final = 256
"""Calls at a time on one connection."""
_MISREAD: Final = "the upstream's answer is not Thrift as its endpoint says"


class ThriftOutbound:
    """One Thrift server."""

    def __init__(self, name: str, endpoint: ThriftEndpoint, network: Network) -> None:
        self._target = calling(endpoint.target)
        self._endpoint = endpoint
        self._name = name
        self._network = network
        self._schema: ThriftSchema | None = None
        self._wire: _Tcp | _Http | None = None

    async def load(self) -> None:
        endpoint, network = self._endpoint, self._network
        self._schema = await load(endpoint, network)
        if self._wire is None:
            self._wire = (
                _Http(endpoint, network) if endpoint.transport == "http" else _Tcp(self._name, endpoint, network)
            )

    def contract(self, address: ThriftTarget) -> Contract:
        return contract_of(loaded(self._schema), self._endpoint, address, self._target)

    def service(self, address: ThriftTarget, contract: Contract, pattern: Pattern) -> Service:
        if self._wire is None:
            raise RuntimeError("service() is called after load()")
        return _ThriftCall(self._wire, contract, self._endpoint)

    async def start(self) -> None:
        """Connections are made when they are needed."""

    async def stop(self) -> None:
        if self._wire is not None:
            await self._wire.close()

    @property
    def unready(self) -> str:
        return "not loaded" if self._wire is None else self._wire.unready


class _BySeqid:
    """Calls are numbered, and answered in any order."""

    numbers = 2**31

    def __init__(self, endpoint: ThriftEndpoint) -> None:
        self._protocol = endpoint.protocol
        self._strict = endpoint.strict

    def write(self, request: tuple[str, bytes], number: int, type_: MessageType = MessageType.CALL) -> bytes:
        name, body = request
        return write_message(self._protocol, Envelope(name, type_, number, body, self._strict))

    def read(self, message: bytes) -> tuple[int, Envelope]:
        try:
            reply = read_message(self._protocol, message)
        except Failure as failure:
            raise FramingError(failure.text) from None
        return reply.seqid, reply


class _Tcp:
    """Buffered and framed."""

    def __init__(self, name: str, endpoint: ThriftEndpoint, network: Network) -> None:
        self._limit = endpoint.max_frame_bytes
        self._by_seqid = _BySeqid(endpoint)
        self._pool = Pool(
            name,
            endpoint.options(network),
            self._by_seqid,
            network.counters,
            target=endpoint.target,
            size=endpoint.max_connections or CONNECTIONS,
            max_in_flight=MAX_PIPELINED,
            exact=True,
            misread=_MISREAD,
        )

    async def call(self, name: str, request: Message, context: Context, *, oneway: bool) -> tuple[Envelope | None, Any]:
        _check_size(request.body, self._limit)
        if not oneway:
            return await self._pool.ask((name, request.body)), {}
        channel = await self._pool.channel()
        try:
            message = self._by_seqid.write((name, request.body), channel.number(), MessageType.ONEWAY)
            await channel.tell(channel.connection.framed(message))
        finally:
            channel.release()
        return None, {}

    @property
    def unready(self) -> str:
        return self._pool.unready

    async def close(self) -> None:
        await self._pool.stop()


class _Http:
    """Messages as bodies of POST requests."""

    unready = ""

    def __init__(self, endpoint: ThriftEndpoint, network: Network) -> None:
        self._url = endpoint.target
        self._protocol = endpoint.protocol
        self._strict = endpoint.strict
        self._limit = endpoint.max_frame_bytes
        self._client = HttpClient(endpoint.max_frame_bytes, connections=endpoint.max_connections or 256)
        self._client.trust = trust(endpoint.tls, network.path)

    async def call(self, name: str, request: Message, context: Context, *, oneway: bool) -> tuple[Envelope | None, Any]:
        _check_size(request.body, self._limit)
        type_ = MessageType.ONEWAY if oneway else MessageType.CALL
        message = write_message(self._protocol, Envelope(name, type_, 1, request.body, self._strict))
        headers = request_headers((("Content-Type", CONTENT_TYPE), ("Accept", CONTENT_TYPE)), request, context)
        answer = await self._client.request("POST", self._url, headers, message, remaining(context))
        good = 200 <= answer.status < 300
        if oneway and good:
            return None, answer.headers
        try:
            return read_message(self._protocol, answer.body), answer.headers
        except Failure:
            if good:
                raise Failure(Code.INTERNAL, _MISREAD) from None
            raise _without_thrift(answer) from None

    async def close(self) -> None:
        await self._client.close()


def _without_thrift(answer: HttpAnswer) -> Failure:
    code = code_of_carrier(answer.status)
    text = f"the upstream answered {answer.status} without Thrift"
    if answer.headers.get("content-type", "").startswith(PROBLEM_JSON):
        with suppress(msgspec.DecodeError):
            return failure_of(msgspec.json.decode(answer.body, type=dict[str, Any]), code, text)
    return Failure(code, text)


def _check_size(body: bytes, limit: int) -> None:
    if len(body) > limit:
        raise Failure(
            Code.INVALID_ARGUMENT, f"the message has {len(body)} bytes, more than the limit of {limit}", sent=False
        )


class _Thrown(msgspec.Struct, frozen=True):
    throw: Throw
    decode: Decode


class _ThriftCall(UnaryService):
    """One function of the server."""

    def __init__(self, wire: _Tcp | _Http, contract: Contract, endpoint: ThriftEndpoint) -> None:
        function = function_of(contract)
        self._wire = wire
        self._protocol = protocol = endpoint.protocol
        self._name = f"{function.service}{SEPARATOR}{function.name}" if endpoint.multiplexed else function.name
        self._oneway = function.oneway
        self._void = function.void
        self._wanted = tuple(contract.headers)
        self._format = ThriftFormat(protocol, None)
        self._throws = {
            number: _Thrown(throw, throw.format.decoder(throw.record, Unknown.DROP))
            for number, throw in function.throws.items()
        }

    async def call(self, request: Message, context: Context) -> Message:
        reply, received = await self._wire.call(self._name, request, context, oneway=self._oneway)
        headers = reply_headers(received, self._wanted)
        if reply is None:
            return Message(None, headers)
        if reply.type == MessageType.EXCEPTION:
            raise read_failure(self._protocol, reply.body)
        if reply.type != MessageType.REPLY:
            raise Failure(Code.INTERNAL, "the upstream's answer is no reply")
        try:
            field = self._format.first_field(reply.body)
        except Failure as failure:
            raise _unreadable(failure) from None
        if field == 0 or (field is None and self._void):
            return Message(reply.body, headers)
        if field is None:
            raise Failure(Code.INTERNAL, "the upstream answered without a result")
        raise self._declared(field, reply.body)

    def _declared(self, field: int, body: bytes) -> Failure:
        thrown = self._throws.get(field)
        if thrown is None:
            return Failure(Code.INTERNAL, "the upstream answered with an exception that the contract does not declare")
        name = thrown.throw.name
        try:
            value = thrown.decode(body)
        except Failure as misfit:
            return Failure(Code.INTERNAL, f"the upstream's exception {name} is not as declared: {misfit.text}")
        # A declared exception is a verdict of the business.
        message = _message(thrown.throw.record, value) or f"the upstream answered with {name}"
        return Failure(Code.FAILED_PRECONDITION, message, details=[Detail(name, value)])


def _message(record: Record, value: Any) -> str:
    """The exception's own text, where it has a field for it."""
    field = record.field("message")
    text = getattr(value, field.attr) if field is not None and isinstance(value, struct_of(record)) else None
    return text[:1000] if isinstance(text, str) else ""


def _unreadable(failure: Failure) -> Failure:
    return Failure(Code.INTERNAL, f"the upstream's answer can't be read: {failure.message}")
