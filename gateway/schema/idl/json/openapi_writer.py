"""Writes OpenAPI 3.1 for what an HTTP server serves."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from gateway.schema.idl.json.hint import JsonHint
from gateway.schema.idl.json.schema_writer import JsonSchemaWriter
from gateway.schema.names import convention
from gateway.schema.types import STRING, Enumeration, Field, List, Record, Scalar, Type
from gateway.status import Code

_VARIABLE: Final = re.compile(r"\{([^{}=]+)=[^{}]*\}")
_PROBLEM: Final = "application/problem+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One operation of a server.

    path: the template; captures are its variables, and fields of the request by name where it has them.
    request, reply: the types of one message; None where they are not known.
    query: whether the request travels in the query instead of a body.
    params: further query parameters, as text.
    status: of the reply that succeeded; 204 has no body.
    request_types, reply_types: media types of the bodies besides JSON.
    """

    name: str
    method: str
    path: str
    captures: Sequence[str]
    request: Type | None
    reply: Type | None
    query: bool = False
    params: Sequence[str] = ()
    many_requests: bool = False
    many_replies: bool = False
    status: int = 200
    request_types: Sequence[str] = ()
    reply_types: Sequence[str] = ()


def openapi(title: str, version: str, served: Sequence[Served], forms: JsonHint, *, declared: bool) -> dict[str, Any]:
    """The document. forms, declared: as JsonSchemaWriter has them."""
    schemas = JsonSchemaWriter(forms, declared=declared)
    paths: dict[str, dict[str, Any]] = {}
    for operation in served:
        path = _VARIABLE.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _Operation(operation, schemas).write()
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {
            "schemas": {**schemas.components, "Problem": _PROBLEM_SCHEMA},
            "responses": {
                "Problem": {
                    "description": "The call failed.",
                    "headers": {
                        "Retry-After": {
                            "description": "Seconds after which to try again, where that may help.",
                            "schema": {"type": "integer"},
                        }
                    },
                    "content": {_PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
            },
        },
    }


class _Operation:
    def __init__(self, served: Served, schemas: JsonSchemaWriter) -> None:
        self._served = served
        self._schemas = schemas

    def write(self) -> dict[str, Any]:
        served = self._served
        operation: dict[str, Any] = {"operationId": served.name}
        parameters = [*self._captures(), *self._query()]
        if parameters:
            operation["parameters"] = parameters
        if not served.query:
            operation["requestBody"] = self._body()
        operation["responses"] = {
            str(served.status): self._reply(),
            "default": {"$ref": "#/components/responses/Problem"},
        }
        return operation

    def _captures(self) -> Iterator[dict[str, Any]]:
        for name in self._served.captures:
            field = self._captured(name) or Field(name, STRING)
            yield {"name": name, "in": "path", "required": True, **self._described(field)}

    def _captured(self, name: str) -> Field | None:
        request = self._served.request
        if not isinstance(request, Record):
            return None
        return next((field for field in request.fields if convention(field.name) == convention(name)), None)

    def _rest(self) -> list[Field]:
        """The fields of the request that the path does not bring."""
        request = self._served.request
        taken = {convention(name) for name in self._served.captures}
        if not isinstance(request, Record):
            return []
        return [field for field in request.fields if convention(field.name) not in taken]

    def _query(self) -> Iterator[dict[str, Any]]:
        seen = set(self._served.captures)
        if self._served.query:
            for name, field in _flat(self._rest(), "", ()):
                seen.add(name)
                yield {
                    "name": name,
                    "in": "query",
                    **({"required": True} if field.required else {}),
                    **self._described(field),
                }
        for name in sorted(set(self._served.params) - seen):
            yield {"name": name, "in": "query", "schema": {"type": "string"}}

    def _described(self, field: Field) -> dict[str, Any]:
        schema = self._schemas.field(field)
        doc = schema.pop("description", "")
        return {**({"description": doc} if doc else {}), "schema": schema}

    def _body(self) -> dict[str, Any]:
        served = self._served
        request = served.request
        if isinstance(request, Record):
            rest = self._rest()
            if len(rest) < len(request.fields):
                kept = {field.choice for field in rest if field.choice}
                choices = [choice for choice in request.choices if choice.name in kept]
                request = Record(f"{request.name}Body", rest, choices=choices, doc=request.doc)
            required = any(field.required for field in request.fields) or any(c.required for c in request.choices)
        else:
            required = request is not None
        schema = {} if request is None else self._schemas.schema(request)
        if not served.many_requests:
            return {"required": required, "content": _content(schema, served.request_types)}
        array = {"type": "array", "items": schema}
        return {
            "required": True,
            "content": {"application/x-ndjson": {"schema": schema}, "application/json": {"schema": array}},
        }

    def _reply(self) -> dict[str, Any]:
        served = self._served
        reply: dict[str, Any] = {"description": HTTPStatus(served.status).phrase}
        if served.status == HTTPStatus.NO_CONTENT:
            return reply
        schema = {} if served.reply is None else self._schemas.schema(served.reply)
        if not served.many_replies:
            return {**reply, "content": _content(schema, served.reply_types)}
        array = {"type": "array", "items": schema}
        return {
            **reply,
            "content": {
                "application/json": {"schema": array},
                "application/x-ndjson": {"schema": schema},
                "text/event-stream": {"schema": schema},
            },
        }


def _content(schema: Mapping[str, Any], others: Sequence[str]) -> dict[str, Any]:
    """others: media types besides JSON, whose values have the same members."""
    return {media_type: {"schema": schema} for media_type in ("application/json", *others)}


def _flat(fields: Sequence[Field], prefix: str, above: tuple[Record, ...]) -> Iterator[tuple[str, Field]]:
    """The fields that have a form in a query, those of nested records with dotted names."""
    for field in fields:
        name = f"{prefix}{field.json}"
        match field.type:
            case Record() as record:
                if record not in above:
                    inner = _flat(record.fields, f"{name}.", (*above, record))
                    # A member is only required where its record is.
                    yield from inner if field.required else ((n, _optional(f)) for n, f in inner)
            case Scalar() | Enumeration() | List(Scalar() | Enumeration()):
                yield name, field
            case _:
                pass


def _optional(field: Field) -> Field:
    return Field(field.name, field.type, nullable=field.nullable, default=field.default, doc=field.doc, wire=field.wire)


_PROBLEM_SCHEMA: Final = {
    "type": "object",
    "description": "Why a call failed (RFC 9457).",
    "properties": {
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer", "description": "The HTTP status."},
        "detail": {"type": "string", "description": "What is wrong, for the caller."},
        "code": {"type": "string", "enum": [code.name for code in Code if code], "description": "google.rpc.Code"},
        "path": {"type": "string", "description": "Where in the request, as $.lines[0].quantity."},
        "details": {
            "type": "array",
            "description": "Typed details, each with the name of its type.",
            "items": {"type": "object", "properties": {"type": {"type": "string"}}, "required": ["type"]},
        },
    },
    "required": ["title", "status", "detail", "code"],
}
