"""HTTP in routes.yaml."""

from typing import Literal, Self

from pydantic import Field, model_validator

from gateway.codecs.json.format import JsonFormat
from gateway.codecs.json.settings import JsonSettings
from gateway.net.address import one_direction
from gateway.net.http.address import BaseUrl, Https, Listen, Path, https_fits
from gateway.net.http.cors import Cors
from gateway.port import Address, Endpoint

BodyFormat = Literal["form", "multipart", "xml", "msgpack", "protobuf"]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
BODYLESS = frozenset({"GET", "DELETE"})


class HttpEndpoint(JsonSettings, Endpoint):
    """An HTTP listener (`listen`) or an HTTP service (`target`)."""

    listen: Listen | None = Field(
        default=None, description="Inbound: host:port to listen on. Endpoints with the same value share the port."
    )
    target: BaseUrl | None = Field(
        default=None, description="Outbound: base URL of the service; https:// verifies its certificate."
    )
    tls: Https = None
    openapi: str | None = Field(
        default=None,
        description="OpenAPI 3 document (JSON or YAML file) of what is served or called here. Addresses may then name "
        "an `operation`; requests and replies have its types.",
    )
    serve_openapi: bool = Field(
        default=True,
        description="Inbound: serve the OpenAPI document, or the one derived from the routes, at /openapi.json.",
    )
    cors: Cors | None = Field(
        default=None, description="Inbound: lets pages of other origins call; without it browsers allow none."
    )
    formats: tuple[BodyFormat, ...] = Field(
        default=(),
        description="Inbound: what bodies may be besides JSON, where the route's type has a form in it; xml, msgpack "
        "and protobuf may be replies too, as the caller's Accept says. Pages of other origins may post form and "
        "multipart where cors names them. Outbound: what replies may be besides JSON (xml, msgpack, "
        "protobuf).",
    )
    max_body_bytes: int = Field(
        default=1024 * 1024, ge=1, description="Largest body, inflated; of a stream, the largest message."
    )
    _one_direction = model_validator(mode="after")(one_direction)
    _https_fits = model_validator(mode="after")(https_fits)

    @property
    def format(self) -> JsonFormat:
        """As the OpenAPI document says it where there is one, and else as the settings do."""
        return JsonFormat(self.int64, self.decimal, declared=self.openapi is not None)


class _HttpAddress(Address):
    method: Method = Field(default="POST", description="The HTTP method.")
    operation: str | None = Field(
        default=None, description="operationId in the endpoint's OpenAPI document, instead of method and path."
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.operation is None) == (getattr(self, "path", None) is None):
            raise ValueError("give path (and method), or operation")
        if self.operation is not None and "method" in self.model_fields_set:
            raise ValueError("the operation has a method of its own")
        return self


class HttpSource(_HttpAddress):
    """Requests with this method and path, or of this operation."""

    path: Path | None = Field(
        default=None,
        description="Path template as in google.api.http: {name} captures a segment, {name=**} several. What it "
        "captures, and the query, fill the request's fields of the same name.",
    )
    requests: Literal["one", "many"] | None = Field(
        default=None,
        description="many: the body is a stream of NDJSON messages or a JSON array. Where absent, as the upstream "
        "takes it. An operation says it itself.",
    )
    replies: Literal["one", "many"] | None = Field(
        default=None,
        description="many: the reply is a stream: NDJSON, server-sent events or a JSON array, as the caller accepts. "
        "Where absent, as the upstream gives it. An operation says it itself.",
    )

    @model_validator(mode="after")
    def _body(self) -> Self:
        if self.requests == "many" and self.method in BODYLESS:
            raise ValueError(f"{self.method} has no body to stream requests in")
        return self


class HttpTarget(_HttpAddress):
    """A request with this method and path, or of this operation."""

    path: Path | None = Field(
        default=None,
        description="Path template: {name} is taken out of the request's field of that name, or of the caller's "
        "parameter. Without a body (GET, DELETE), the other fields become the query.",
    )
    requests: Literal["one", "many"] = Field(
        default="one", description="many: the body is a stream of NDJSON messages. An operation says it itself."
    )
    replies: Literal["one", "many"] = Field(
        default="one",
        description="many: the reply is a stream: NDJSON, server-sent events or a JSON array. "
        "An operation says it itself.",
    )
    body: Literal["json", "form", "xml", "msgpack", "protobuf"] | None = Field(
        default=None,
        description="What the body is written as; replies may be so too (but for form), or JSON. Where absent, as the "
        "operation says it, or JSON.",
    )

    @model_validator(mode="after")
    def _body(self) -> Self:
        if self.requests == "many" and self.method in BODYLESS:
            raise ValueError(f"{self.method} has no body to stream requests in")
        if self.body is not None and self.path is not None and self.method in BODYLESS:
            raise ValueError(f"{self.method} has no body")
        if self.body not in (None, "json") and self.requests == "many":
            raise ValueError("a stream of requests is JSON")
        return self
