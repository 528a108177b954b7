"""TCP and UDP in routes.yaml."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gateway import port
from gateway.codecs.layout import AnyLayout
from gateway.codecs.record_layout import Charset
from gateway.duration import Duration
from gateway.net.address import split_host_port
from gateway.net.network import Network
from gateway.net.tcp.connection import TcpOptions
from gateway.net.tcp.framing import DelimiterFraming, Framing
from gateway.net.tls import Tls, client_context, server_context


def _address(text: str) -> str:
    split_host_port(text)
    return text


HostPort = Annotated[str, AfterValidator(_address)]
_MODEL = ConfigDict(extra="forbid", frozen=True)


class CorrelationField(BaseModel):
    """Replies are known by a field that they have in common with their request."""

    model_config = _MODEL
    field: str = Field(
        min_length=1,
        description="The field's name in requests and replies. It belongs to the connection and is no part of the "
        "message: taken from the request and given back in the reply by an inbound, numbered by an outbound.",
    )


class FailureReply(BaseModel):
    """A fixed message that tells of a failure."""

    model_config = _MODEL
    reply: dict[str, Any] = Field(description="The message, as JSON would give it.")


OnFailure = Literal["error", "close", "drop"] | FailureReply


class _SocketEndpoint(port.Endpoint):
    listen: HostPort | None = Field(default=None, description="host:port to listen on, inbound or outbound.")
    target: HostPort | None = Field(default=None, description="host:port to send to.")
    format: Literal["json", "text", "raw", "record"] = Field(
        default="json",
        description="What a message is. text: all of it is the field `text`. raw: all of it is the field `data`. "
        "record: as `record` declares.",
    )
    charset: Charset = Field(default="utf-8", description="Of format text.")
    record: AnyLayout | None = Field(
        default=None, description="The messages' layout, or the YAML file that has it, for format record."
    )
    reply_record: AnyLayout | None = Field(
        default=None, description="The replies' layout, where it differs from `record`."
    )
    unknown_fields: Literal["reject", "drop"] = Field(
        default="reject", description="Inbound: what to do with JSON members that the message's type does not have."
    )
    int64: Literal["string", "number"] = Field(
        default="string", description="How 64-bit integers are written in JSON; both forms are read."
    )
    decimal: Literal["string", "number"] = Field(
        default="string", description="How decimals are written in JSON; both forms are read."
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.listen is None) == (self.target is None):
            raise ValueError("give listen or target")
        if (self.format == "record") != (self.record is not None):
            raise ValueError("format: record and record: ... go together")
        if self.reply_record is not None and self.record is None:
            raise ValueError("reply_record needs record")
        failure = getattr(self, "on_failure", None)
        if failure == "error" and self.format != "json":
            raise ValueError(f"on_failure: error is JSON; {self.format} has no form for errors of its own")
        return self


class TcpEndpoint(_SocketEndpoint):
    """Connections that come in (`listen`) or are made and kept up (`target`); messages may go either way on both."""

    framing: Framing = Field(
        default=DelimiterFraming(kind="delimiter"),
        description="How messages are told apart; lines where nothing is said.",
    )
    correlation: Literal["order"] | CorrelationField = Field(
        default="order",
        description="How replies are matched with requests: in their order, or by {field: NAME}.",
    )
    on_failure: OnFailure | None = Field(
        default=None,
        description='Inbound: what a caller is told of a failure. error: the JSON {"error": {"code", "detail", ...}}; '
        "{reply: {...}}: that message; close: the connection is closed, and a stream reset; drop: nothing, it is only "
        "counted. JSON requests with a reply and streams: error, others: close, where absent.",
    )
    max_frame_bytes: int = Field(
        default=1024 * 1024, ge=1, le=2**30, description="Largest message either way; larger ones are refused unread."
    )
    max_in_flight: int = Field(
        default=64, ge=1, le=10_000, description="Most messages of one connection that are being served at a time."
    )
    max_connections: int = Field(
        default=10_000, ge=1, description="Most connections that a listener takes, and most streams outwards."
    )
    connections: int = Field(
        default=8, ge=1, le=1000, description="Outbound with target: most connections that requests share."
    )
    keepalive: Duration | None = Field(
        default=60.0, ge=1, le=3600, description="Silence after which TCP asks whether the peer is still there."
    )
    idle_timeout: Duration = Field(
        default=3600.0, gt=0, description="Silence after which a connection without work is closed."
    )
    stall_timeout: Duration = Field(
        default=10.0, gt=0, description="How long a message may rest half-way, read or written; then it is cut off."
    )
    backoff: Duration = Field(default=0.2, gt=0, le=60, description="Inbound with target: wait before dialling again.")
    max_backoff: Duration = Field(
        default=30.0, gt=0, le=3600, description="Longest such wait; it doubles up to here, with jitter."
    )
    tls: Tls | None = Field(
        default=None, description="Speak TLS; without it, plain text. `tls: {}` will do for target."
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.listen is not None and self.tls is not None and not self.tls.certificate:
            raise ValueError("listen with tls needs certificate and key")
        if self.framing.single and self.tls is not None:
            raise ValueError("framing until-close needs a half-close, which TLS connections don't have")
        if isinstance(self.correlation, CorrelationField) and self.format in ("text", "raw"):
            raise ValueError(f"format {self.format} has no fields to correlate by")
        if self.max_backoff < self.backoff:
            raise ValueError("max_backoff is less than backoff")
        return self

    def options(self, network: Network) -> TcpOptions:
        """Of its connections. Raises ContractError where a file of TLS is not what it should be."""
        context = client_context if self.listen is None else server_context
        framing, limit = self.framing, self.max_frame_bytes
        return TcpOptions(
            reader=lambda: framing.reader(limit),
            frame=lambda message: framing.frame(message, limit),
            single=framing.single,
            half_open=self.tls is None,
            tls=None if self.tls is None else context(self.tls, network.path),
            server_name="" if self.tls is None else self.tls.server_name,
            keepalive=self.keepalive,
            idle_timeout=self.idle_timeout,
            stall_timeout=self.stall_timeout,
        )


TcpPattern = Literal["one-way", "request-reply", "stream"]
_PATTERN = (
    "one-way: messages have no replies. request-reply: each has one. stream: the connection is a call, with any number "
    "of messages both ways, that ends as they end."
)


class TcpSource(port.Address):
    """What comes over the endpoint's connections."""

    pattern: TcpPattern = Field(default="request-reply", description=_PATTERN)


class TcpTarget(port.Address):
    """What goes over the endpoint's connections."""

    pattern: TcpPattern = Field(default="request-reply", description=_PATTERN)
    peers: Literal["one", "all"] = Field(
        default="one",
        description="With listen: whether a message goes to one of the connected peers, in turn, or, one-way, to all.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.peers == "all" and self.pattern != "one-way":
            raise ValueError("only one-way messages go to all peers")
        return self


class UdpEndpoint(_SocketEndpoint):
    """Datagrams that come in (`listen`) or are sent (`target`). UDP loses, doubles and swaps messages; none is
    repeated here."""

    on_failure: Literal["error", "drop"] | FailureReply | None = Field(
        default=None,
        description='Inbound: what a caller is told of a failure. error: the JSON {"error": {"code", "detail", ...}}; '
        "{reply: {...}}: that message; drop: nothing, it is only counted. JSON requests with a reply: error, others: "
        "drop, where absent.",
    )
    max_datagram_bytes: int = Field(
        default=65_507, ge=1, le=65_507, description="Largest message either way; larger ones are dropped and counted."
    )
    max_in_flight: int = Field(
        default=256,
        ge=1,
        le=10_000,
        description="Most messages that are being served at a time; meanwhile others wait in the system's buffer.",
    )
    receive_buffer_bytes: int | None = Field(
        default=None, ge=4096, description="Size of the system's receive buffer; what does not fit in it is lost."
    )


class UdpSource(port.Address):
    """Datagrams that come in."""

    pattern: Literal["one-way", "request-reply"] = Field(
        default="request-reply", description="request-reply: the reply goes to where the datagram came from."
    )


class UdpTarget(port.Address):
    """Datagrams that are sent."""

    pattern: Literal["one-way", "request-reply"] = Field(
        default="request-reply",
        description="request-reply: each request has a port of its own, to which the reply must come.",
    )
