"""OpenAPI 3.0, 3.1 and 3.2 into operations of the type IR: https://spec.openapis.org/oas/v3.1.0

An operation's request is one Record: its path, query and header parameters, and the members of its JSON body beside
them (or, where the body is no object, a field `body`). Its reply is what the document says of the 2xx response.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal

from gateway.pattern import Pattern
from gateway.schema.idl.json.document import JsonDocumentError, Pointer, at, load, parse_fragment
from gateway.schema.idl.json.schema import JsonSchemaReader
from gateway.schema.types import Enumeration, Field, List, Operation, Record, Scalar, Type

METHODS: Final = ("get", "put", "post", "delete", "patch", "head", "options", "trace", "query")
Location = Literal["path", "query", "header"]

_STYLES: Final[Mapping[str, Mapping[str, str]]] = {
    "path": {"simple": ","},
    "query": {"form": ",", "spaceDelimited": " ", "pipeDelimited": "|"},
    "header": {"simple": ","},
}
_OWN_HEADERS: Final = frozenset({"accept", "content-type", "authorization"})  # OpenAPI 3.1, 4.8.12.1: ignored
STREAMS: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "text/event-stream"})
"""Media types of many messages; their schema is that of one (`itemSchema` in OpenAPI 3.2)."""
_PATTERNS: Final = {
    (False, False): Pattern.REQUEST_REPLY,
    (False, True): Pattern.SERVER_STREAM,
    (True, False): Pattern.CLIENT_STREAM,
    (True, True): Pattern.BIDI,
}
_MEDIA_TYPE: Final = re.compile(r"application/(?:[\w.-]+\+)?json(?:;.*)?|\*/\*|application/\*")
_XML: Final = ("application/xml", "text/xml")
_OTHERS: Final = ("application/x-www-form-urlencoded", "multipart/form-data", *_XML)
"""Media types that are read where there is no JSON."""


class OpenApiError(JsonDocumentError):
    """A document that is no OpenAPI, or an operation that has no form in the IR."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A field of the request that does not travel in the body.

    separator: between the items of a list; empty where the name is repeated instead.
    """

    field: Field
    location: Location
    separator: str = ""


@dataclass(frozen=True, slots=True)
class HttpBinding:
    """How an operation's request and reply travel; the Operation's `wire`.

    path: the template, as the document has it. body: the body's type, None without one; `whole` where it is the
    field `body` of the request and not its members beside the parameters. status: of the reply that succeeded.
    media_type, reply_media_type: of the bodies, where the document has no JSON for them; else empty.
    """

    method: str
    path: str
    parameters: tuple[Parameter, ...]
    body: Type | None
    body_required: bool
    whole: bool
    status: int
    media_type: str = ""
    reply_media_type: str = ""


class OpenApi:
    """A document. Operations are read when they are asked for, so that one that can't be is no obstacle to others.

    document: with the files that it refers to taken in (see json_document), ready to be served.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        """Raises OpenApiError, with the place, for what the OpenAPI schemas refuse."""
        version = str(document.get("openapi", ""))
        if not re.match(r"3\.[012](\.|$)", version):
            found = f"openapi: {version}" if version else "swagger: 2.0" if "swagger" in document else "no `openapi`"
            raise OpenApiError(f"OpenAPI 3.0 to 3.2 is read, this is {found}", hint="convert it to OpenAPI 3.1")
        _validate(document)
        self.document = document
        self._requests = JsonSchemaReader(document, "request")
        self._replies = JsonSchemaReader(document, "reply")
        self._read: dict[_Place, Operation] = {}
        self._ids: dict[str, _Place] = {}
        self._places: list[_Place] = []
        for path in document.get("paths", {}):
            item = self._follow(("paths", path))
            for method in METHODS:
                if method in self._at(item):
                    place = _Place(method.upper(), path, (*item, method))
                    self._places.append(place)
                    operation_id = self._at(place.pointer).get("operationId")
                    if operation_id:
                        self._ids[operation_id] = place

    @classmethod
    def load(cls, path: Path) -> "OpenApi":
        """Raises JsonDocumentError."""
        return cls(load(path))

    def operation(self, operation_id: str) -> Operation:
        """Raises JsonDocumentError for an operation that is not there or that has no form in the IR."""
        place = self._ids.get(operation_id)
        if place is None:
            near = get_close_matches(operation_id, self._ids, 1)
            known = ", ".join(self._ids) or "none"
            hint = f"did you mean {near[0]}?" if near else f"there is: {known}"
            raise OpenApiError(f"the document has no operation {operation_id}", hint=hint)
        return self._operation(place)

    def find(self, method: str, path: str) -> Operation:
        """The operation of this method and path template, whatever the parameters are called. Raises as operation()."""
        shape = _shape(path)
        for place in self._places:
            if place.method == method and _shape(place.path) == shape:
                return self._operation(place)
        known = [f"{place.method} {place.path}" for place in self._places]
        near = get_close_matches(f"{method} {path}", known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there is: {', '.join(known) or 'none'}"
        raise OpenApiError(f"the document has no {method} {path}", hint=hint)

    # -- reading

    def _at(self, pointer: Pointer) -> dict[str, Any]:
        value = at(self.document, pointer)
        if not isinstance(value, dict):
            raise OpenApiError("an object is expected", pointer)
        return value

    def _follow(self, pointer: Pointer) -> Pointer:
        """Where the reference there leads, or the pointer itself."""
        for _ in range(64):
            value = self._at(pointer)
            if "$ref" not in value:
                return pointer
            pointer = parse_fragment(value["$ref"])
        raise OpenApiError("refers to itself", pointer)

    def _operation(self, place: "_Place") -> Operation:
        known = self._read.get(place)
        if known is None:
            known = self._read[place] = self._read_operation(place)
        return known

    def _read_operation(self, place: "_Place") -> Operation:
        where = place.pointer
        definition = self._at(where)
        name = definition.get("operationId") or f"{place.method} {place.path}"
        body, body_required, many_requests, media_type = self._body(where, name)
        status = self._status(where)
        reply, many_replies, reply_media_type = self._reply(where, status, name)
        binding = HttpBinding(
            place.method,
            place.path,
            tuple(self._parameters(where, place.path, name)),
            body,
            body_required,
            body is not None and not isinstance(body, Record),
            status,
            media_type,
            reply_media_type,
        )
        doc = definition.get("summary") or definition.get("description") or ""
        pattern = _PATTERNS[many_requests, many_replies]
        return Operation(name, pattern, _request(binding, name, where), reply, {}, str(doc), binding)

    def _parameters(self, where: Pointer, path: str, name: str) -> Iterator[Parameter]:
        found: dict[tuple[str, str], Pointer] = {}
        # An operation's own parameters override those of its path.
        for holder in (where[:-1], where):
            for index in range(len(self._at(holder).get("parameters", ()))):
                pointer = self._follow((*holder, "parameters", str(index)))
                definition = self._at(pointer)
                found[definition["in"], definition["name"]] = pointer
        for (location, parameter), pointer in found.items():
            definition = self._at(pointer)
            if location == "cookie" or (location == "header" and parameter.lower() in _OWN_HEADERS):
                if location == "cookie" and definition.get("required"):
                    raise OpenApiError("cookies never cross", pointer, "make the parameter optional")
                continue
            yield self._parameter(parameter, location, pointer, f"{name}.{parameter}")
        captured = set(re.findall(r"\{([^{}]+)\}", path))
        declared = {parameter for location, parameter in found if location == "path"}
        for missing in captured ^ declared:
            raise OpenApiError(f"path parameter {missing} is not both in the path and declared", where)

    def _parameter(self, name: str, location: str, pointer: Pointer, title: str) -> Parameter:
        definition = self._at(pointer)
        if "schema" not in definition:
            raise OpenApiError("a parameter with content has no form here", pointer, "give it a schema")
        style = definition.get("style", "form" if location == "query" else "simple")
        separators = _STYLES.get(location, {})
        if style not in separators or location not in ("path", "query", "header"):
            raise OpenApiError(f"style {style} is not read", pointer, f"{', '.join(separators)} is")
        reading = self._requests.read((*pointer, "schema"), title)
        leaf = reading.type.item if isinstance(reading.type, List) else reading.type
        if not isinstance(leaf, Scalar | Enumeration):
            raise OpenApiError(f"{leaf} has no form as a parameter's text", (*pointer, "schema"))
        repeated = location == "query" and style == "form" and definition.get("explode", True)
        field = Field(
            name,
            reading.type,
            required=bool(definition.get("required")),
            nullable=reading.nullable,
            doc=str(definition.get("description", "")),
            wire=reading.hint,
        )
        return Parameter(
            field,
            "path" if location == "path" else "query" if location == "query" else "header",
            separators[style] if isinstance(reading.type, List) and not repeated else "",
        )

    def _body(self, where: Pointer, name: str) -> tuple[Type | None, bool, bool, str]:
        """(its type, whether it must be there, whether it is a stream of many, its media type where that is no JSON)"""
        if "requestBody" not in self._at(where):
            return None, False, False, ""
        pointer = self._follow((*where, "requestBody"))
        schema, many, media_type = self._schema(pointer, "the request's body", _OTHERS)
        if schema is None:
            return None, False, False, ""
        reading = self._requests.read(schema, f"{name}Request")
        return reading.type, bool(self._at(pointer).get("required")) or many, many, media_type

    def _status(self, where: Pointer) -> int:
        responses = self._at(where).get("responses", {})
        known = sorted(status for status in responses if re.fullmatch(r"2[0-9][0-9]", status))
        return int(known[0]) if known else 200

    def _reply(self, where: Pointer, status: int, name: str) -> tuple[Type, bool, str]:
        """(its type, whether it is a stream of many, its media type where that is no JSON)"""
        responses = self._at(where).get("responses", {})
        key = next((key for key in (str(status), "2XX", "default") if key in responses), None)
        nothing = Record(f"{name}Reply")
        if key is None:
            return nothing, False, ""
        schema, many, media_type = self._schema(self._follow((*where, "responses", key)), "the reply's body", _XML)
        return (nothing if schema is None else self._replies.read(schema, nothing.name).type), many, media_type

    def _schema(self, pointer: Pointer, what: str, others: Sequence[str]) -> tuple[Pointer | None, bool, str]:
        """(where the content's schema is, whether it is that of one of many, its media type where that is no JSON).

        Raises OpenApiError.
        """
        content = self._at(pointer).get("content") or {}
        if not content:
            return None, False, ""
        many = next((key for key in content if key.partition(";")[0] in STREAMS), None)
        media_type = many or next((key for key in content if _MEDIA_TYPE.fullmatch(key)), None)
        other = "" if media_type else next((key for key in content if key.partition(";")[0] in others), "")
        media_type = media_type or other
        if not media_type:
            told = f"{what} is {', '.join(content)}; JSON, {', '.join(others)} are read"
            raise OpenApiError(told, (*pointer, "content"))
        media = self._follow((*pointer, "content", media_type))
        keyword = "itemSchema" if many and "itemSchema" in self._at(media) else "schema"
        if keyword not in self._at(media):
            raise OpenApiError(f"{what} has no schema", media, "write schema: {} for any JSON")
        return (*media, keyword), many is not None, other.partition(";")[0]


@dataclass(frozen=True, slots=True)
class _Place:
    """An operation of the document, not read yet."""

    method: str
    path: str
    pointer: Pointer


def _request(binding: HttpBinding, name: str, where: Pointer) -> Record:
    """One Record of the parameters and the body; the body's own Record where there are no parameters."""
    body = binding.body
    fields = [parameter.field for parameter in binding.parameters]
    if isinstance(body, Record):
        if not fields and binding.body_required:
            return body
        fields += [field if binding.body_required else replace(field, required=False) for field in body.fields]
    elif body is not None:
        fields.append(Field("body", body, required=binding.body_required))
    names = [field.name for field in fields]
    for twice in sorted({known for known in names if names.count(known) > 1}):
        raise OpenApiError(f"{twice} is the name of two parameters, or of a parameter and a member of the body", where)
    choices = body.choices if isinstance(body, Record) else ()
    return Record(f"{name}Request", fields, choices=choices)


def _shape(path: str) -> str:
    return re.sub(r"\{[^{}]*\}", "{}", path)


def _validate(document: dict[str, Any]) -> None:
    # Takes a third of a second to import, so only a process that has a document pays for it.
    from jsonschema_path import SchemaPath
    from openapi_spec_validator import OpenAPIV30SpecValidator, OpenAPIV31SpecValidator, OpenAPIV32SpecValidator

    validators: Sequence[Any] = (OpenAPIV30SpecValidator, OpenAPIV31SpecValidator, OpenAPIV32SpecValidator)
    validator = validators[int(str(document["openapi"]).split(".")[1])]
    # All references are local by now; without handlers nothing else could be fetched.
    spec = SchemaPath.from_dict(document, handlers={})
    for error in validator(spec).iter_errors():
        pointer = tuple(str(step) for step in getattr(error, "absolute_path", ()))
        raise OpenApiError(f"not valid OpenAPI: {str(error.message).splitlines()[0][:300]}", pointer)
