"""Thrift in routes.yaml."""

from typing import Final, Literal, Self

from pydantic import Field, model_validator

from gateway import port
from gateway.codecs.format import Unknown, UnknownFields
from gateway.codecs.thrift.boundary import BufferedReader
from gateway.codecs.thrift.format import Protocol
from gateway.codecs.thrift.message import framed
from gateway.net.address import one_direction, split_host_port
from gateway.net.http.address import LiteralPath, https_fits, service_url
from gateway.net.network import Network
from gateway.net.tcp.connection import TcpOptions
from gateway.net.tcp.framing import FrameReader, LengthFraming
from gateway.net.tls import Tls, certified, client_context, server_context

_FRAMED: Final = LengthFraming(kind="length")


class ThriftEndpoint(port.Endpoint):
    """A Thrift server that the gateway is (`listen`), or one that it calls (`target`)."""

    thrift: str = Field(min_length=1, description="Thrift IDL file of the contract.")
    include: tuple[str, ...] = Field(
        default=(), description="Further folders for includes; a file's own folder comes first."
    )
    service: str = Field(
        default="", description="Name of the service, where the file has several. Addresses may name another."
    )
    listen: str = Field(default="", description="Inbound: host:port to listen on.")
    target: str = Field(
        default="", description="Outbound: host:port of the server; with transport http its URL, as http://orders/rpc."
    )
    encoding: Literal["binary", "compact", "json"] = Field(
        default="binary", description="Thrift's protocol: TBinaryProtocol, TCompactProtocol or TJSONProtocol."
    )
    transport: Literal["buffered", "framed", "http"] = Field(
        default="framed",
        description="TBufferedTransport (messages follow each other), TFramedTransport (each with its length before "
        "it) or THttpTransport.",
    )
    path: LiteralPath = Field(default="/", description="Inbound with transport http: where the service is.")
    multiplexed: bool = Field(
        default=False,
        description="Functions are called as Service:function (TMultiplexedProtocol). listen: calls without a service "
        "go to that of the endpoint.",
    )
    strict: bool = Field(
        default=True,
        description="target only: binary messages begin with the protocol's version. Old servers may want false. "
        "Both are understood on the way in.",
    )
    max_frame_bytes: int = Field(
        default=16 * 1024 * 1024, ge=1, le=2**31 - 1, description="Largest message either way, in bytes."
    )
    max_connections: int | None = Field(
        default=None,
        ge=1,
        description="listen: connections at a time, 10000 by default; more are refused. target: connections that calls "
        "are spread over, 8 by default; each may carry several calls at a time.",
    )
    ordered: bool = Field(
        default=False,
        description="listen only: serve the calls of a connection one after another. By default only those that bear "
        "the same sequence id wait for each other.",
    )
    idle_seconds: float = Field(
        default=3600.0, gt=0, description="A TCP connection without calls for so long is closed."
    )
    receive_seconds: float = Field(
        default=30.0,
        gt=0,
        description="listen: a message that has begun must be there whole within this time. Either way a TCP peer that "
        "lets one rest half-way for so long, read or written, is cut off.",
    )
    tls: Tls | None = Field(
        default=None,
        description="Speak TLS; without it, plain text. With transport http a target's URL says whether, and this what "
        "is trusted and shown; listeners that share a port need the same.",
    )
    unknown_fields: UnknownFields = None

    _one_direction = model_validator(mode="after")(one_direction)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        http = self.transport == "http"
        if self.listen:
            split_host_port(self.listen)
        elif http:
            service_url(self.target)
        elif not split_host_port(self.target)[0]:
            raise ValueError("a target needs a host")
        if self.forward_headers and not http:
            raise ValueError(f"the {self.transport} transport has no headers to forward; http has")
        return https_fits(self) if http else certified(self)

    @property
    def unknown(self) -> Unknown:
        return Unknown(self.unknown_fields or ("reject" if self.listen else "drop"))

    @property
    def protocol(self) -> Protocol:
        return Protocol(self.encoding)

    def options(self, network: Network) -> TcpOptions:
        """Of its TCP connections. Raises ContractError where a file of TLS is not what it should be."""
        context = server_context if self.listen else client_context
        return TcpOptions(
            reader=self._reader,
            frame=framed if self.transport == "framed" else bytes,
            tls=None if self.tls is None else context(self.tls, network.path),
            server_name="" if self.tls is None else self.tls.server_name,
            idle_timeout=self.idle_seconds,
            stall_timeout=self.receive_seconds,
            receive_timeout=self.receive_seconds if self.listen else float("inf"),
        )

    def _reader(self) -> FrameReader:
        if self.transport == "framed":
            return _FRAMED.reader(self.max_frame_bytes)
        return BufferedReader(self.protocol, self.max_frame_bytes)


class _Function(port.Address):
    function: str = Field(pattern=r"^[A-Za-z_]\w*$", description="Name of the function, which the service may inherit.")
    service: str = Field(default="", description="Name of its service, where it is not the endpoint's.")


class ThriftSource(_Function):
    """Calls of this function."""


class ThriftTarget(_Function):
    """A call of this function."""
