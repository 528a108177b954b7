"""A Thrift service that the gateway is."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from adapters.thrift.config import ThriftEndpoint, ThriftSource
from adapters.thrift.contract import contract_of, load, service_of
from adapters.thrift.processor import Processor
from gateway.codecs.thrift.message import CONTENT_TYPE, Envelope, MessageType, read_message
from gateway.message import Context
from gateway.net.address import listening
from gateway.net.counters import STALLED_PEERS
from gateway.net.http.failure import headers_of, status_of
from gateway.net.http.problem import problem_reply
from gateway.net.http.router import PathTemplate
from gateway.net.http.server import HttpReply, HttpRequest, HttpRoute
from gateway.net.network import Network
from gateway.net.tcp.connection import Connection
from gateway.net.tcp.exchange import Exchange
from gateway.net.tcp.framing import FramingError
from gateway.net.tcp.server import Server
from gateway.port import Binding, Contract, loaded
from gateway.schema.idl.thrift.reader import ThriftSchema
from gateway.status import Failure, invalid

MAX_CONNECTIONS: Final = 10_000
MAX_IN_FLIGHT: Final = 64
"""Calls at a time on one connection; more must wait."""
UNREADABLE: Final = Envelope("", MessageType.CALL, 0, b"")
"""The call that an answer to what is none bears."""

log = logging.getLogger("gateway.thrift")


class ThriftInbound:
    """One endpoint: a TCP port of its own, or a path of a shared HTTP server."""

    def __init__(self, name: str, endpoint: ThriftEndpoint, network: Network) -> None:
        self._listen = listening(endpoint.listen)
        self._name = name
        self._endpoint = endpoint
        self._network = network
        self._schema: ThriftSchema | None = None
        self._processor: Processor | None = None
        self._http = _HttpSide(name, endpoint, network) if endpoint.transport == "http" else None
        self._server: Server | None = None

    async def load(self) -> None:
        endpoint = self._endpoint
        self._schema = await load(endpoint, self._network)
        default = service_of(self._schema, endpoint)
        if self._processor is not None:
            return
        processor = Processor(
            endpoint.protocol,
            default,
            multiplexed=endpoint.multiplexed,
            limit=endpoint.max_frame_bytes,
            rejections=self._network.counters.rejections(self._name),
        )
        if self._http is not None:
            self._http.server.load(self._network.path)
        else:
            calls = _Calls(processor, endpoint)
            server = self._server = Server(
                endpoint.options(self._network),
                lambda: Exchange(server, calls),
                limit=endpoint.max_connections or MAX_CONNECTIONS,
                refused=self._network.counters.counter(self._name, "refused_connections"),
                stalled=self._network.counters.counter(self._name, STALLED_PEERS),
            )
        self._processor = processor

    def contract(self, address: ThriftSource) -> Contract:
        endpoint = self._endpoint
        where = self._listen if self._http is None else f"{endpoint.path} on {self._listen}"
        contract = contract_of(loaded(self._schema), endpoint, address, where)
        return replace(contract, claim=f"Thrift function {contract.wire.service}.{contract.wire.name} at {where}")

    def bind(self, bindings: Sequence[Binding]) -> None:
        processor = self._processor
        if processor is None:
            if bindings:
                raise RuntimeError("bind() is called after load()")
            return
        processor.bind(bindings)
        if self._http is not None:
            self._http.mount(processor if bindings else None)

    async def start(self) -> None:
        if self._http is not None:
            await self._http.server.start()
        elif self._server is not None:
            await self._server.listen(self._listen)

    async def drain(self) -> None:
        if self._http is not None:
            await self._http.server.drain()
        elif self._server is not None:
            await self._server.drain()

    async def stop(self) -> None:
        if self._http is not None:
            await self._http.server.stop()
        elif self._server is not None:
            await self._server.stop()

    @property
    def unready(self) -> str:
        return ""

    @property
    def port(self) -> int:
        """The port that was bound."""
        if self._http is not None:
            return self._http.server.port
        return 0 if self._server is None else self._server.port


class _Calls:
    """The calls on TCP connections. Those of one sequence id wait for each other, so that a caller that does not number
    its calls gets its answers in order. Oneway calls are served to their end whoever leaves, for their callers do not
    wait and mostly leave at once."""

    in_order = False
    max_in_flight = MAX_IN_FLIGHT

    def __init__(self, processor: Processor, endpoint: ThriftEndpoint) -> None:
        self._processor = processor
        self._protocol = endpoint.protocol
        self._ordered = endpoint.ordered

    def take(self, message: bytes) -> tuple[Envelope, int, bool]:
        try:
            call = read_message(self._protocol, message)
        except Failure as failure:
            raise FramingError(failure.text) from None
        return call, 0 if self._ordered else call.seqid, not self._processor.oneway(call)

    async def answer(self, call: Envelope, connection: Connection) -> bytes | None:
        try:
            reply = await self._processor.answer(call, Context(peer=connection.peer, departure=connection.departure))
        except Failure as failure:
            log.info("the oneway call of %s failed: %s", call.name, failure)
            return None
        return None if reply is None else connection.framed(reply)

    def refusal(self, error: FramingError, connection: Connection) -> bytes:
        log.info("a Thrift connection is closed: %s", error)
        return connection.framed(self._processor.told(UNREADABLE, invalid(str(error))))


class _HttpSide:
    """Messages as bodies of POST requests."""

    def __init__(self, name: str, endpoint: ThriftEndpoint, network: Network) -> None:
        self.server = network.http_server(endpoint.listen, endpoint.tls)
        self._name = name
        self._path = PathTemplate(endpoint.path)
        self._limit = endpoint.max_frame_bytes
        self._protocol = endpoint.protocol
        self._processor: Processor | None = None

    def mount(self, processor: Processor | None) -> None:
        self._processor = processor
        routes = [] if processor is None else [HttpRoute("POST", self._path, self._answer)]
        self.server.mount(self._name, routes)

    async def _answer(self, request: HttpRequest) -> HttpReply:
        content = [("Content-Type", CONTENT_TYPE)]
        processor = self._processor
        assert processor is not None  # noqa: S101  mounted with one
        try:
            call = read_message(self._protocol, await request.body(self._limit))
        except Failure as failure:
            headers = [*content, *headers_of(failure)]
            return HttpReply(status_of(failure, otherwise=400), headers, processor.told(UNREADABLE, failure))
        try:
            reply = await processor.answer(call, request.context(), request.wanted(processor.headers(call)))
        except Failure as failure:
            # A oneway call that failed: Thrift has no reply to it, HTTP has.
            return problem_reply(failure)
        return HttpReply(200, content, reply or b"")
