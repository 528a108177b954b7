"""How gRPC is written in routes.yaml."""

from ipaddress import ip_address
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from gateway import port
from gateway.codecs.format import Unknown, UnknownFields
from gateway.duration import Duration
from gateway.listed import Listed
from gateway.net.address import CalledHost, HostPort, one_direction, split_host_port
from gateway.net.tls import Tls, certified

_RESERVED = ("grpc-", ":", "content-type", "te", "user-agent", "host", "connection", "transfer-encoding")


class Endpoint(port.Endpoint):
    listen: HostPort = Field(default="", description="host:port to serve on. Either this or target.")
    target: Listed[CalledHost] = Field(
        default=(), description="host:port to call, or a list of IP addresses with ports to balance over (round robin)."
    )
    proto: Listed[str] = Field(default=(), description=".proto file of the contract, or a list of them.")
    include: Listed[str] = Field(
        default=(),
        description="Folders that imports are looked up in. google/protobuf, google/rpc, google/api and google/type "
        "are there anyway.",
    )
    descriptor_set: str = Field(
        default="",
        description="File with a FileDescriptorSet (protoc --include_imports --descriptor_set_out, buf build). Beside "
        "reflection it is the contract for when the target can't be asked.",
    )
    reflection: bool | None = Field(
        default=None,
        description="target: read the contract from the target's own reflection service (default false). "
        "listen: serve reflection (default true).",
    )
    tls: Tls | None = Field(default=None, description="Speak TLS; without it, plain text (h2c).")
    max_message_bytes: int = Field(
        default=4 * 1024 * 1024,
        ge=1,
        le=512 * 1024 * 1024,
        description="Largest message either way, in bytes, inflated.",
    )
    max_metadata_bytes: int = Field(
        default=32 * 1024, ge=1024, le=1024 * 1024, description="Largest metadata of a call, in bytes."
    )
    max_concurrent_streams: int = Field(
        default=100, ge=1, le=100_000, description="listen only: calls at a time on one connection; more must wait."
    )
    max_connections: int = Field(
        default=10_000, ge=1, description="listen only: connections at a time; more are refused."
    )
    keepalive: Duration | None = Field(
        default=None,
        ge=10,
        description="Ping the peer after this quiet time of a connection with calls on it; never where absent.",
    )
    stall_timeout: Duration = Field(
        default=30.0,
        gt=0,
        description="listen only: how long a caller may take over one message of a stream; then the call ends with "
        "DEADLINE_EXCEEDED.",
    )
    compression: Literal["none", "gzip"] = Field(
        default="none", description="How messages are compressed on the way out. Both are understood on the way in."
    )
    unknown_fields: UnknownFields = None
    reuse_port: bool = Field(
        default=False, description="listen only: let several gateway processes share the port (SO_REUSEPORT)."
    )

    @field_validator("target")
    @classmethod
    def _target(cls, target: tuple[str, ...]) -> tuple[str, ...]:
        if len(target) > 1:
            try:
                versions = {ip_address(split_host_port(address)[0]).version for address in target}
            except ValueError as error:
                raise ValueError(f"several targets must be IP addresses: {error}") from None
            if len(versions) > 1:
                raise ValueError("several targets must be all IPv4 or all IPv6")
        return target

    @field_validator("forward_headers")
    @classmethod
    def _forward_headers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name.lower().startswith(_RESERVED[:2]) or name.lower() in _RESERVED:
                raise ValueError(f"{name!r} belongs to the transport and can't be forwarded")
        return names

    _one_direction = model_validator(mode="after")(one_direction)
    _certified = model_validator(mode="after")(certified)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        learns = bool(self.target) and bool(self.reflection)
        if self.proto and self.descriptor_set:
            raise ValueError("give either proto or descriptor_set")
        if learns and self.proto:
            raise ValueError("with reflection the contract comes from the target: leave proto out")
        if not (learns or self.proto or self.descriptor_set):
            raise ValueError(
                "the contract is missing: give proto, descriptor_set" + (" or reflection: true" if self.target else "")
            )
        if self.include and not self.proto:
            raise ValueError("include goes with proto")
        return self

    @property
    def unknown(self) -> Unknown:
        return Unknown(self.unknown_fields or ("reject" if self.listen else "drop"))


class _Method(port.Address):
    method: str = Field(
        pattern=r"^/?[A-Za-z_][\w.]*/[A-Za-z_]\w*$",
        description="package.Service/Method.",
        examples=["shop.orders.v1.Orders/PlaceOrder"],
    )

    @property
    def name(self) -> str:
        """As the contract has it."""
        return self.method.removeprefix("/")


class Source(_Method):
    """The method that callers call."""


class Target(_Method):
    """The method to call."""
