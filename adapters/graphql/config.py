"""GraphQL in routes.yaml."""

from typing import Literal, Self

from pydantic import Field, model_validator

from gateway import port
from gateway.net.address import one_direction
from gateway.net.http.address import Https, Listen, LiteralPath, ServiceUrl, https_fits
from gateway.net.http.cors import Cors, Origin

ScalarKind = Literal[
    "bool", "int32", "int64", "uint32", "uint64", "integer", "float32", "float64",
    "decimal", "string", "bytes", "date", "time", "timestamp", "duration", "any",
]  # fmt: skip


_FIELD = r"^(Query|Mutation|Subscription)\._?[A-Za-z][A-Za-z0-9_]*$"  # names with two underscores are GraphQL's own


class Endpoint(port.Endpoint):
    """A GraphQL service that the gateway is (`listen` and `path`), or one that it calls (`target`)."""

    listen: Listen | None = Field(
        default=None, description="Inbound: host:port to listen on. Endpoints with the same value share the port."
    )
    path: LiteralPath = Field(
        default="/graphql",
        description="Inbound: where the service is, for POST, GET, server-sent events and WebSockets.",
    )
    target: ServiceUrl | None = Field(
        default=None,
        description="Outbound: URL of the service; https:// verifies its certificate. Subscriptions go to the same "
        "URL as a WebSocket.",
    )
    tls: Https = None
    sdl: str | None = Field(
        default=None,
        description="Schema file (SDL). Inbound: without one the schema is made of what the routes lead to.",
    )
    introspection: bool | None = Field(
        default=None,
        description="Inbound: answer introspection (default true). Outbound: read the schema from the service "
        "itself instead of from `sdl` (default false).",
    )
    scalars: dict[str, ScalarKind] = Field(
        default={},
        description="What custom scalars hold, where their names don't tell: {Money: decimal}. Unknown ones hold any "
        "JSON.",
    )
    int64: Literal["string", "number"] = Field(
        default="string", description="How scalars of 64-bit integers are written; both forms are read."
    )
    decimal: Literal["string", "number"] = Field(
        default="string", description="How scalars of decimals are written; both forms are read."
    )
    graphiql: bool = Field(
        default=False, description="Inbound: show browsers a page to write queries on, which needs nothing else."
    )
    max_body_bytes: int = Field(
        default=1024 * 1024, ge=1, description="Largest request or message either way, inflated."
    )
    max_tokens: int = Field(default=5000, ge=1, description="Inbound: most tokens of a document.")
    max_depth: int = Field(default=15, ge=1, description="Inbound: deepest selection, fragments included.")
    max_aliases: int = Field(
        default=50, ge=0, description="Inbound: most aliases of a document, repeated fields counted as well."
    )
    max_cost: int = Field(
        default=1000,
        ge=1,
        description="Inbound: most fields that an operation selects, fragments included; a field that calls upstream "
        "counts ten.",
    )
    max_batch: int = Field(
        default=1, ge=1, le=1000, description="Inbound: most operations in one request; 1 allows no batches."
    )
    max_operations: int = Field(default=100, ge=1, description="Inbound: most operations at a time on a WebSocket.")
    cors: Cors | None = Field(
        default=None, description="Inbound: lets pages of other origins call; without it browsers allow none."
    )
    origins: tuple[Origin, ...] = Field(
        default=(),
        description="Inbound: web origins whose pages may open WebSockets besides those of this host; * is any.",
    )

    _one_direction = model_validator(mode="after")(one_direction)
    _https_fits = model_validator(mode="after")(https_fits)

    @model_validator(mode="after")
    def _one_schema(self) -> Self:
        if self.target is not None and (self.sdl is None) == (not self.introspection):
            raise ValueError("the schema is missing: give sdl, or introspection: true, not both")
        return self


class Source(port.Address):
    """Operations that select this field."""

    field: str = Field(
        pattern=_FIELD,
        description="Root type and field. Its arguments are the request, its type is the reply; a scalar or a list is "
        "a member of the field's name.",
        examples=["Query.order"],
    )


class Target(port.Address):
    """An operation that is sent."""

    field: str | None = Field(
        default=None,
        pattern=_FIELD,
        description="Root type and field. All is selected below it that needs no arguments of its own.",
        examples=["Query.order"],
    )
    recursion: int | None = Field(
        default=None,
        ge=1,
        le=20,
        description="With field: how often a type is selected below itself, where types lead back to themselves; what "
        "is deeper is not asked for.",
    )
    document: str | None = Field(
        default=None,
        description="Instead of field: the document, or the file that it is in. Its variables are the request.",
    )
    operation: str = Field(default="", description="With document: name of the operation, where it has several.")
    partial: bool = Field(
        default=False, description="Take data that comes with errors, which are logged; else they fail the call."
    )

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.field is None) == (self.document is None):
            raise ValueError("give field or document")
        if self.recursion is not None and self.field is None:
            raise ValueError("recursion goes with field")
        if self.operation and self.document is None:
            raise ValueError("operation goes with document")
        return self
