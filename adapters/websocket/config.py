"""WebSocket in routes.yaml."""

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from gateway.codecs.correlation import CorrelationField
from gateway.codecs.declared_format import DeclaredFormat
from gateway.duration import Duration
from gateway.net.address import one_direction
from gateway.net.failure_message import FailureReply
from gateway.net.http.address import Https, Listen, Path, base_url, https_fits
from gateway.net.http.cors import Origin, Token
from gateway.net.websocket.connection import WebSocketLimits
from gateway.port import Address, Endpoint

IN_FLIGHT: Final = 16
END: Final = b""
"""The message that ends the messages of one side of a stream: WebSocket can only close both."""


Mode = Literal["request-reply", "one-way", "stream"]


class WebSocketEndpoint(DeclaredFormat, Endpoint):
    """A WebSocket listener (`listen`) or service (`target`)."""

    listen: Listen | None = Field(
        default=None, description="Inbound: host:port to listen on. Endpoints with the same value share the port."
    )
    target: Annotated[str, AfterValidator(lambda text: base_url(text, ("ws", "wss")))] | None = Field(
        default=None, description="Outbound: base URL of the service; wss:// verifies its certificate."
    )
    tls: Https = None
    subprotocols: tuple[Token, ...] = Field(
        default=(),
        description="Inbound: the subprotocols spoken; a caller that offers only others is refused. Outbound: those "
        "offered, of which the service must choose one.",
    )
    origins: tuple[Origin, ...] = Field(
        default=(),
        description="Inbound: origins whose pages may connect, such as https://shop.example, besides those of this "
        "host; * is any. Programs that send no Origin may always.",
    )
    frames: Literal["text", "binary"] | None = Field(
        default=None,
        description="How messages are sent; both kinds are read. Where absent, text for json and text, binary for raw "
        "and record.",
    )
    on_failure: Literal["error", "close"] | FailureReply | None = Field(
        default=None,
        description='Inbound: what a caller is told of a failure. error: the JSON {"error": {"code", "detail", ...}}; '
        "{reply: {...}}: that message; close: the connection is closed with the failure's close code. JSON: error, "
        "others: close, where absent. A stream is closed with the code in any case.",
    )
    max_message_bytes: int = Field(
        default=1024 * 1024,
        ge=1,
        description="Largest message, inflated. A larger one that is received closes the connection (1009); a larger "
        "request to a service is refused.",
    )
    compression: bool = Field(
        default=False,
        description="Agree on permessage-deflate with peers that want it. It costs up to 300 KiB a connection.",
    )
    heartbeat: Duration = Field(
        default=30.0,
        ge=0.1,
        description="A peer that is quiet for so long is pinged, and taken for gone when it stays quiet for as long "
        "again. No message may take longer either.",
    )
    idle: Duration = Field(
        default=3600.0, gt=0, description="Without a message for so long, a connection is closed (1001)."
    )
    _one_direction = model_validator(mode="after")(one_direction)
    _https_fits = model_validator(mode="after")(https_fits)

    @model_validator(mode="after")
    def _utf8(self) -> Self:
        if self.charset != "utf-8":
            raise ValueError("texts are in UTF-8 (RFC 6455, 5.6); declare a record for other charsets")
        return self

    @property
    def text(self) -> bool:
        """Whether messages are sent in text frames."""
        return self.frames == "text" or (self.frames is None and self.format in ("json", "text"))

    def misfit(self, message: bytes) -> str:
        """Why the message can't be sent in the endpoint's frames; empty where it can."""
        if self.frames == "text" and self.format in ("raw", "record"):
            try:
                message.decode()
            except UnicodeDecodeError as error:
                return f"is no UTF-8 (byte {error.start}), as text frames are; say frames: binary"
        return ""

    @property
    def limits(self) -> WebSocketLimits:
        return WebSocketLimits(self.max_message_bytes, self.heartbeat, self.idle, self.compression)


class _WebSocketAddress(Address):
    path: Path
    mode: Mode
    correlation: Literal["order"] | CorrelationField = Field(
        default="order",
        description="With request-reply, how a reply is told from others: replies come in the order of their "
        "requests, or bear their id in a member.",
    )

    @property
    def field(self) -> str:
        """The member that correlates, or empty."""
        return "" if self.correlation == "order" else self.correlation.field

    @model_validator(mode="after")
    def _suits_mode(self) -> Self:
        given = self.model_fields_set
        if self.mode != "request-reply" and "correlation" in given:
            raise ValueError("correlation is for mode: request-reply")
        for name in {"requests", "replies", "end"} & given:
            if self.mode != "stream":
                raise ValueError(f"{name} is for mode: stream")
        return self


class WebSocketSource(_WebSocketAddress):
    """Connections to this path."""

    path: Path = Field(
        description="Path template as in google.api.http: {name} captures a segment, {name=**} several. What it "
        "captures, and the query, fill the fields of the same name in every request of the connection.",
    )
    mode: Mode = Field(
        default="request-reply",
        description="request-reply: each message is a call, and its reply comes back. one-way: each message is a call "
        "without reply. stream: the connection is one call, what comes back is sent as it comes.",
    )
    requests: Literal["none", "query", "one", "many"] | None = Field(
        default=None,
        description="With stream: what the caller sends. none: nothing, it subscribes. query: the path and the query "
        "are the request. one: a message. many: messages, until an empty one. Where absent, one or many, as the "
        "upstream takes it.",
    )
    replies: Literal["one", "many"] | None = Field(
        default=None, description="With stream: what comes back. Where absent, as the upstream gives it."
    )
    max_in_flight: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description=f"How many messages of a connection are handled at once, {IN_FLIGHT} where absent. With one-way "
        "it is 1, which keeps their order.",
    )

    @model_validator(mode="after")
    def _concurrency(self) -> Self:
        if self.mode == "stream" and self.max_in_flight is not None:
            raise ValueError("a stream is one call: max_in_flight is for the other modes")
        if self.replies == "one" and self.requests in ("none", "query", "one"):
            raise ValueError("replies: one goes with requests: many; a request and a reply are mode: request-reply")
        return self


class WebSocketTarget(_WebSocketAddress):
    """Connections to this path."""

    path: Path = Field(
        description="Path template: {name} is taken out of the request's field of that name, or of the caller's "
        "parameter."
    )
    mode: Mode = Field(
        default="request-reply",
        description="request-reply: a message is sent and its reply awaited, on a connection that is kept. one-way: a "
        "message is written and nothing awaited: what was written can still be lost. stream: a connection per call.",
    )
    requests: Literal["none", "query", "one", "many"] = Field(
        default="one",
        description="With stream: what the service is sent. none: nothing, it is subscribed to. query: the request's "
        "fields, as the path and the query. one: a message. many: messages.",
    )
    replies: Literal["one", "many"] = Field(
        default="many", description="With stream: what comes back: one message, or all until the service closes."
    )
    end: Literal["empty-message", "none"] = Field(
        default="empty-message",
        description="With stream: how the service learns that the last of many requests has come.",
    )
    connections: int = Field(
        default=IN_FLIGHT,
        ge=1,
        le=10_000,
        description="Most connections that are kept; further calls wait. Calls to another path or with other headers "
        "don't share them.",
    )
    max_in_flight: int = Field(
        default=256,
        ge=1,
        le=10_000,
        description="With a correlating field: most calls on one connection. By order it is always one.",
    )

    @model_validator(mode="after")
    def _counts(self) -> Self:
        if self.requests in ("none", "query") and self.replies == "one":
            raise ValueError("replies: one goes with requests: one or many")
        if self.requests != "many" and "end" in self.model_fields_set:
            raise ValueError("end goes with requests: many")
        if "max_in_flight" in self.model_fields_set and not self.field:
            raise ValueError("max_in_flight goes with correlation: {field: NAME}")
        return self
