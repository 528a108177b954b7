"""TCP and UDP in routes.yaml."""

from typing import ClassVar, Final, Literal, Self

import msgspec
from pydantic import Field, model_validator

from gateway import port
from gateway.codecs.correlation import CorrelationField
from gateway.codecs.declared_format import DeclaredFormat
from gateway.duration import Duration
from gateway.net.address import HostPort
from gateway.net.failure_message import FailureReply, OnFailure
from gateway.net.network import Network
from gateway.net.tcp.connection import TcpOptions
from gateway.net.tcp.framing import DelimiterFraming, Framing
from gateway.net.tls import Tls, certified, client_context, server_context
from gateway.pattern import Pattern


class _SocketEndpoint(DeclaredFormat, port.Endpoint):
    listen: HostPort | None = Field(default=None, description="host:port to listen on, inbound or outbound.")
    target: HostPort | None = Field(default=None, description="host:port to send to.")

    @model_validator(mode="after")
    def _one_direction(self) -> Self:
        if (self.listen is None) == (self.target is None):
            raise ValueError("give listen or target")
        return self


class TcpEndpoint(_SocketEndpoint):
    """Connections that come in (`listen`) or are made and kept up (`target`); messages may go either way on both."""

    protocol: ClassVar[str] = "TCP"
    default_failure: ClassVar[OnFailure] = "close"
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

    _certified = model_validator(mode="after")(certified)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.framing.single and self.tls is not None:
            raise ValueError("framing until-close needs a half-close, which TLS connections don't have")
        if self.max_backoff < self.backoff:
            raise ValueError("max_backoff is less than backoff")
        return self

    @property
    def field(self) -> str:
        """The one that correlates, or empty."""
        return "" if self.correlation == "order" else self.correlation.field

    def options(self, network: Network) -> TcpOptions:
        """Of its connections. Raises ContractError where a file of TLS is not what it should be."""
        context = client_context if self.listen is None else server_context
        framing, limit = self.framing, self.max_frame_bytes
        json_delimiter = b""
        if isinstance(framing, DelimiterFraming) and self.format == "json":
            json_delimiter = framing.delimiter.encode("latin-1")

        def frame(message: bytes) -> bytes:
            if json_delimiter and json_delimiter in message:  # JSON may be written over several lines
                message = msgspec.json.format(message, indent=-1)
            return framing.frame(message, limit)

        return TcpOptions(
            reader=lambda: framing.reader(limit),
            frame=frame,
            single=framing.single,
            half_open=self.tls is None,
            tls=None if self.tls is None else context(self.tls, network.path),
            server_name="" if self.tls is None else self.tls.server_name,
            keepalive=self.keepalive,
            idle_timeout=self.idle_timeout,
            stall_timeout=self.stall_timeout,
        )


PATTERNS: Final = {
    "one-way": Pattern.ONE_WAY,
    "request-reply": Pattern.REQUEST_REPLY,
    "stream": Pattern.BIDI,
}
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

    protocol: ClassVar[str] = "UDP"
    default_failure: ClassVar[OnFailure] = "drop"
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
