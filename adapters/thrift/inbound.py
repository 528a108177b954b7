"""A Thrift service that the gateway is."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from adapters.thrift.config import ThriftEndpoint, ThriftSource
from adapters.thrift.contract import contract_of, load, service_of
from adapters.thrift.listener import Listener
from adapters.thrift.processor import Processor
from adapters.thrift.status import write_failure
from gateway.codecs.thrift import Protocol
from gateway.codecs.thrift_boundary import BufferedReader
from gateway.codecs.thrift_message import CONTENT_TYPE, Envelope, MessageType, framed, read_message
from gateway.net.address import split_host_port
from gateway.net.framing import FrameReader, LengthFraming
from gateway.net.http_failure import headers_of, status_of
from gateway.net.http_problem import problem_reply
from gateway.net.http_router import PathTemplate
from gateway.net.http_server import HttpReply, HttpRequest, HttpRoute
from gateway.net.network import Network
from gateway.net.tls import server_context
from gateway.port import Binding, Contract, ContractError
from gateway.schema.idl.thrift import ThriftSchema
from gateway.status import Failure

MAX_CONNECTIONS: Final = 10_000


class ThriftInbound:
    """One endpoint: a TCP port of its own, or a path of a shared HTTP server."""

    def __init__(self, name: str, endpoint: ThriftEndpoint, network: Network) -> None:
        if not endpoint.listen:
            raise ContractError("a route comes from an endpoint with `listen`; this one has `target`")
        self._endpoint = endpoint
        self._network = network
        self._schema: ThriftSchema | None = None
        self._protocol = Protocol(endpoint.encoding)
        self._bindings: Sequence[Binding] = ()
        self._processor: Processor | None = None
        self._http = _HttpSide(name, endpoint, network, self._protocol) if endpoint.transport == "http" else None
        self._listener: Listener | None = None

    async def load(self) -> None:
        self._schema = await load(self._endpoint, self._network)
        endpoint = self._endpoint
        default = service_of(self._schema, endpoint)
        if self._processor is None:
            self._processor = Processor(self._protocol, default, multiplexed=endpoint.multiplexed)
            if self._http is None:
                host, port = split_host_port(endpoint.listen)
                self._listener = Listener(
                    host,
                    port,
                    protocol=self._protocol,
                    processor=self._processor,
                    reader=_reader(endpoint, self._protocol),
                    frame=framed if endpoint.transport == "framed" else bytes,
                    tls=None if endpoint.tls is None else server_context(endpoint.tls, self._network.path),
                    max_connections=endpoint.max_connections or MAX_CONNECTIONS,
                    ordered=endpoint.ordered,
                    idle_seconds=endpoint.idle_seconds,
                    receive_seconds=endpoint.receive_seconds,
                )

    def contract(self, address: ThriftSource) -> Contract:
        if self._schema is None:
            raise RuntimeError("contract() is called after load()")
        endpoint = self._endpoint
        where = f"{endpoint.path} on {endpoint.listen}" if self._http is not None else endpoint.listen
        contract = contract_of(self._schema, endpoint, address, where)
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
        elif self._listener is not None:
            await self._listener.start()

    async def drain(self) -> None:
        if self._http is not None:
            await self._http.server.drain()
        elif self._listener is not None:
            await self._listener.drain()

    async def stop(self) -> None:
        if self._http is not None:
            await self._http.server.stop()
        elif self._listener is not None:
            await self._listener.stop()

    @property
    def unready(self) -> str:
        return ""

    @property
    def port(self) -> int:
        """The port that was bound."""
        if self._http is not None:
            return self._http.server.port
        return 0 if self._listener is None else self._listener.port


def _reader(endpoint: ThriftEndpoint, protocol: Protocol) -> Callable[[], FrameReader]:
    limit = endpoint.max_frame_bytes
    if endpoint.transport == "framed":
        framing = LengthFraming(kind="length")
        return lambda: framing.reader(limit)
    return lambda: BufferedReader(protocol, limit)


class _HttpSide:
    """Messages as bodies of POST requests."""

    def __init__(self, name: str, endpoint: ThriftEndpoint, network: Network, protocol: Protocol) -> None:
        self.server = network.http_server(endpoint.listen)
        self._name = name
        self._path = PathTemplate(endpoint.path)
        self._limit = endpoint.max_frame_bytes
        self._protocol = protocol
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
            unknown = Envelope("", MessageType.CALL, 0, b"")
            headers = [*content, *headers_of(failure)]
            return HttpReply(
                status_of(failure, otherwise=400), headers, write_failure(self._protocol, unknown, failure)
            )
        try:
            reply = await processor.answer(call, request.context(), request.wanted(processor.headers(call)))
        except Failure as failure:
            # A oneway call that failed: Thrift has no reply to it, HTTP has.
            return problem_reply(failure)
        return HttpReply(200, content, reply or b"")
