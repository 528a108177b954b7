"""JSON Schema into the type IR: draft 2020-12, and the dialects of OpenAPI 3.0 and 3.1.

https://json-schema.org/draft/2020-12/json-schema-core, https://spec.openapis.org/oas/v3.1.0#schema-object. Formats are
those of https://spec.openapis.org/registry/format/, and `google-duration` (1.5s).

What narrows values without changing their shape (minLength, pattern, maximum, uniqueItems ...) is left to the side that
owns the contract: the gateway does not check it. A shape that the IR has no type for is refused, with its JSON pointer.
A `number` is a float64 unless its format says decimal; an `integer` without format is unbounded unless minimum and
maximum say otherwise.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET

from gateway.schema import text
from gateway.schema.idl.json.document import FILES, JsonDocumentError, Pointer, at, parse_fragment
from gateway.schema.idl.json.hint import JsonHint, XmlObject
from gateway.schema.types import (
    ANY,
    BOOL,
    BYTES,
    DATE,
    DECIMAL,
    DURATION,
    FLOAT32,
    FLOAT64,
    FLOATS,
    INT32,
    INT64,
    INTEGER,
    INTEGER_RANGE,
    INTEGERS,
    STRING,
    TIME,
    TIMESTAMP,
    UINT32,
    UINT64,
    Choice,
    Enumeration,
    Field,
    Kind,
    List,
    Map,
    Record,
    Scalar,
    Type,
)

_STRINGS: Final[Mapping[str, Scalar]] = {
    "int64": INT64,
    "uint64": UINT64,
    "integer": INTEGER,
    "decimal": DECIMAL,
    "date": DATE,
    "time": TIME,
    "date-time": TIMESTAMP,
    "duration": DURATION,
    "google-duration": DURATION,
    "byte": BYTES,
    "binary": BYTES,
}
_INTEGERS: Final = {"int32": INT32, "int64": INT64, "uint32": UINT32, "uint64": UINT64}
_KEYS: Final = {**_INTEGERS, "integer": INTEGER}
_NUMBERS: Final = {"float": FLOAT32, "double": FLOAT64, "decimal": DECIMAL}

_IGNORED: Final = frozenset(
    {
        *("title", "description", "default", "example", "examples", "deprecated", "externalDocs", "xml", "nullable"),
        *("readOnly", "writeOnly", "$comment", "$id", "$schema", "$defs", "definitions", "$anchor", "$vocabulary"),
        *("minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("multipleOf", "minItems", "maxItems", "uniqueItems", "contains", "minContains", "maxContains"),
        *("minProperties", "maxProperties", "dependentRequired", "unevaluatedItems"),
        *("unevaluatedProperties", "contentMediaType", "contentSchema", "$dynamicAnchor"),
    }
)
"""Keywords that describe or narrow, without a say in what type a value has."""

_REFUSED: Final = (
    *("not", "if", "then", "else", "patternProperties", "dependentSchemas", "dependencies", "prefixItems"),
    *("$dynamicRef", "$recursiveRef"),
)
_TYPES: Final = frozenset({"object", "array", "string", "integer", "number", "boolean", "null"})


class JsonSchemaError(JsonDocumentError):
    """A schema that has no type in the IR, or none at all."""


class Reading(msgspec.Struct, frozen=True):
    """What a schema says. hint: set where it says how numbers or durations are written."""

    type: Type
    nullable: bool = False
    hint: JsonHint | None = None


class _Part(msgspec.Struct, frozen=True):
    """One of the schemas that hold at the same time, without its $ref and allOf, which are parts themselves."""

    pointer: Pointer
    schema: Mapping[str, Any]

    def refuse(self, message: str, *steps: str, hint: str = "") -> JsonSchemaError:
        return JsonSchemaError(message, (*self.pointer, *steps), hint)


class JsonSchemaReader:
    """Reads the schemas of one document, each on demand and once.

    document: as gateway.schema.idl.json_document.load gives it; all references are local.
    sent: which way the values go: what is readOnly need not be there in a request, nor what is writeOnly in a reply.
    """

    def __init__(self, document: Mapping[str, Any], sent: Literal["request", "reply"] = "reply") -> None:
        self._document = document
        self._optional = "readOnly" if sent == "request" else "writeOnly"
        self._known: dict[tuple[Pointer, ...], Reading] = {}
        self._open: set[tuple[Pointer, ...]] = set()

    def read(self, pointer: Pointer, name: str) -> Reading:
        """The type of the schema there. name: of what is declared inline. Raises JsonSchemaError, JsonDocumentError."""
        known = dict(self._known)
        try:
            return self._read((pointer,), name)
        except JsonDocumentError:
            # What was read on the way may refer to what could not be.
            self._known, self._open = known, set()
            raise

    # -- references and conjunctions

    def _read(self, pointers: Iterable[Pointer], name: str) -> Reading:
        """The type of values that all these schemas hold for."""
        nullable = False
        targets: dict[Pointer, None] = {}
        for pointer in pointers:
            target, may_be_null = self._target(pointer)
            targets[target] = None
            nullable = nullable or may_be_null
        key = tuple(targets)
        known = self._known.get(key)
        if known is None:
            if key in self._open:
                raise JsonSchemaError("refers to itself without an object between", key[0])
            self._open.add(key)
            try:
                if len(key) == 1:
                    name = _component(key[0]) or name
                known = self._build(key, name)
            finally:
                self._open.discard(key)
            self._known[key] = known
        return msgspec.structs.replace(known, nullable=True) if nullable else known

    def _target(self, pointer: Pointer) -> tuple[Pointer, bool]:
        """Follows schemas that are nothing but a reference, perhaps one that may be null."""
        nullable = False
        seen = set()
        while pointer not in seen:
            seen.add(pointer)
            schema = at(self._document, pointer)
            if not isinstance(schema, dict):
                return pointer, nullable
            meaning = schema.keys() - _IGNORED - {key for key in schema if key.startswith("x-")}
            if meaning == {"$ref"}:
                following = self._referred(schema, pointer)
            elif len(meaning) == 1 and (keyword := next(iter(meaning))) in ("allOf", "oneOf", "anyOf"):
                members = self._members(schema, pointer, keyword)
                rest = [member for member in members if not self._is_null(member)] if keyword != "allOf" else members
                if len(rest) != 1:
                    return pointer, nullable
                nullable = nullable or len(rest) < len(members)
                following = rest[0]
            else:
                return pointer, nullable
            nullable = nullable or schema.get("nullable") is True
            pointer = following
        raise JsonSchemaError("refers to itself", pointer)

    def _referred(self, schema: Mapping[str, Any], pointer: Pointer) -> Pointer:
        try:
            return parse_fragment(schema["$ref"])
        except ValueError as error:
            raise JsonSchemaError(str(error), (*pointer, "$ref")) from None

    def _members(self, schema: Mapping[str, Any], pointer: Pointer, keyword: str) -> list[Pointer]:
        members = schema[keyword]
        if not isinstance(members, list) or not members:
            raise JsonSchemaError("a list of schemas is expected", (*pointer, keyword))
        return [(*pointer, keyword, str(index)) for index in range(len(members))]

    def _is_null(self, pointer: Pointer) -> bool:
        schema = at(self._document, pointer)
        return isinstance(schema, dict) and (
            schema.get("type") in ("null", ["null"])
            or schema.get("enum") == [None]
            or ("const", None) in schema.items()
        )

    def _parts(self, pointer: Pointer, seen: frozenset[Pointer] = frozenset()) -> Iterator[_Part]:
        pointer, nullable = self._target(pointer)
        if pointer in seen:
            raise JsonSchemaError("contains itself", pointer)
        schema = at(self._document, pointer)
        if schema is False:
            raise JsonSchemaError("no value fits `false`", pointer)
        if schema is True:
            schema = {}
        if not isinstance(schema, dict):
            raise JsonSchemaError("a schema is expected", pointer)
        part = _Part(pointer, {**schema, "nullable": True} if nullable else schema)
        self._check(part)
        yield part
        if "$ref" in schema:
            yield from self._parts(self._referred(schema, pointer), seen | {pointer})
        if "allOf" in schema:
            for member in self._members(schema, pointer, "allOf"):
                yield from self._parts(member, seen | {pointer})

    def _check(self, part: _Part) -> None:
        for keyword in _REFUSED:
            if keyword in part.schema and not (keyword == "not" and part.schema[keyword] == {}):
                raise part.refuse(
                    f"{keyword} has no counterpart in the types of other protocols",
                    keyword,
                    hint="leave it out: the service behind still checks it",
                )

    # -- types

    def _build(self, pointers: tuple[Pointer, ...], name: str) -> Reading:
        parts = [part for pointer in pointers for part in self._parts(pointer)]
        unions = [(part, keyword) for part in parts for keyword in ("oneOf", "anyOf") if keyword in part.schema]
        types, nullable = _declared(parts)
        values = _values(parts)
        if values is not None:
            nullable = nullable or None in values
            return self._enumerated([value for value in values if value is not None], parts, types, nullable, name)
        if "object" in types or (not types and _mentions(parts, "properties", "additionalProperties", "required")):
            if types - {"object"}:
                raise parts[0].refuse("an object or something else has no type here")
            return self._object(pointers, parts, unions, nullable, name)
        if unions:
            return self._union(parts, unions, nullable, pointers, name)
        if "array" in types or (not types and _mentions(parts, "items")):
            return self._array(parts, nullable, name) if not types - {"array"} else Reading(ANY)
        if not types:
            return Reading(ANY, nullable=True)
        return _scalar(parts, types, nullable)

    def _enumerated(
        self, values: list[Any], parts: Sequence[_Part], types: frozenset[str], nullable: bool, name: str
    ) -> Reading:
        if not values:
            return Reading(ANY, nullable=True)
        if all(isinstance(value, str) for value in values):
            names = dict.fromkeys(values)
            return Reading(Enumeration(name, {value: number for number, value in enumerate(names)}), nullable)
        if types or not (found := _types_of(values)):
            found = types
        return _scalar(parts, found, nullable)

    def _array(self, parts: Sequence[_Part], nullable: bool, name: str) -> Reading:
        items = [part for part in parts if "items" in part.schema]
        for part in items:
            if isinstance(part.schema["items"], list):
                raise part.refuse("a tuple has no counterpart in the types of other protocols", "items")
        if not items:
            return Reading(List(ANY, nullable=True), nullable)
        item = self._read([(*part.pointer, "items") for part in items], f"{name}.item")
        return Reading(List(item.type, item.nullable or item.type == ANY), nullable, item.hint)

    def _object(
        self,
        pointers: tuple[Pointer, ...],
        parts: Sequence[_Part],
        unions: Sequence[tuple[_Part, str]],
        nullable: bool,
        name: str,
    ) -> Reading:
        members: dict[str, list[Pointer]] = {}
        required: set[str] = set()
        for part in parts:
            properties = part.schema.get("properties", {})
            if not isinstance(properties, dict):
                raise part.refuse("an object is expected", "properties")
            for member in properties:
                members.setdefault(member, []).append((*part.pointer, "properties", member))
            required.update(part.schema.get("required", ()))
        if not members and not unions:
            return self._map(parts, nullable, name)
        self._refuse_open(parts)
        # Known before its fields are read, so that they may refer to it.
        record = Record(name, doc=_first(parts, "description", ""), wire=_xml(self._document, parts))
        reading = self._known[pointers] = Reading(record, nullable)
        self._open.discard(pointers)
        arms = self._choices(record, unions, members)
        fields = []
        for member, at_ in members.items():
            field = self._field(member, at_, f"{name}.{member}")
            field.choice = arms.get(member, "")
            field.required = member in required and not field.choice and not self._one_way(at_)
            if field.required:
                field.default = UNSET
            fields.append(field)
        record.fields = tuple(fields)
        return reading

    def _one_way(self, pointers: Sequence[Pointer]) -> bool:
        return any(
            part.schema.get(self._optional) is True
            for pointer in pointers
            for part in _shallow(self._document, pointer)
        )

    def _field(self, member: str, pointers: Sequence[Pointer], name: str) -> Field:
        reading = self._read(pointers, name)
        own = [part for pointer in pointers for part in _shallow(self._document, pointer)]
        xml = _xml(self._document, own)
        return Field(
            member,
            reading.type,
            nullable=reading.nullable,
            default=_default(_first(own, "default", UNSET), reading.type),
            doc=_first(own, "description", ""),
            wire=reading.hint if xml is None else replace(reading.hint or JsonHint(), xml=xml),
        )

    def _map(self, parts: Sequence[_Part], nullable: bool, name: str) -> Reading:
        values = [part for part in parts if isinstance(part.schema.get("additionalProperties"), dict)]
        if not values and any(part.schema.get("additionalProperties") is False for part in parts):
            return Reading(Record(name), nullable)
        key = STRING
        for part in parts:
            names = part.schema.get("propertyNames", {})
            if isinstance(names, dict):
                key = _KEYS.get(names.get("format", ""), key) if names.get("enum") != ["true", "false"] else BOOL
        if not values:
            return Reading(Map(key, ANY), nullable)
        value = self._read([(*part.pointer, "additionalProperties") for part in values], f"{name}.value")
        # The IR's maps have no null values.
        return Reading(Map(key, ANY if value.nullable else value.type), nullable, value.hint)

    def _refuse_open(self, parts: Sequence[_Part]) -> None:
        for part in parts:
            more = part.schema.get("additionalProperties")
            if isinstance(more, dict) and more:
                raise part.refuse(
                    "an object has either properties or additionalProperties of a type",
                    "additionalProperties",
                    hint="move them into a property of their own, or leave them out",
                )

    # -- unions

    def _choices(
        self, record: Record, unions: Sequence[tuple[_Part, str]], members: dict[str, list[Pointer]]
    ) -> dict[str, str]:
        """Makes each union of the object a Choice; adds the members that its arms bring. member -> choice"""
        arms: dict[str, str] = {}
        choices: list[Choice] = []
        for part, keyword in unions:
            found = self._arms(part, keyword)
            if found is None:
                continue
            names, required = found
            choice = "choice" if not choices else f"choice{len(choices) + 1}"
            choices.append(Choice(choice, required))
            for member, pointer in names.items():
                if member in arms:
                    raise part.refuse(f"{member} is in two choices", keyword)
                arms[member] = choice
                if pointer is not None:
                    members.setdefault(member, []).append(pointer)
            if unknown := names.keys() - members.keys():
                raise part.refuse(f"{sorted(unknown)[0]} is no property", keyword)
        record.choices = tuple(choices)
        return arms

    def _arms(self, part: _Part, keyword: str) -> tuple[dict[str, Pointer | None], bool] | None:
        """(member -> where its schema is, whether one must be set), or None where the union only narrows."""
        names: dict[str, Pointer | None] = {}
        required = True
        narrows = False
        for pointer in self._members(part.schema, part.pointer, keyword):
            if _is_none_of(at(self._document, pointer)):
                required = False
                continue
            if self._is_null(pointer):
                continue
            properties: dict[str, Pointer] = {}
            needed: set[str] = set()
            for inner in self._parts(pointer):
                for member in inner.schema.get("properties", ()):
                    properties[member] = (*inner.pointer, "properties", member)
                needed.update(inner.schema.get("required", ()))
                if "oneOf" in inner.schema or "anyOf" in inner.schema or inner.schema.get("type", "object") != "object":
                    raise self._not_one_key(part, keyword)
            if not properties and (keyword == "anyOf" or len(needed) != 1):
                narrows = True
                continue
            member = next(iter(needed), "")
            if len(needed) != 1 or len(properties) > 1 or (properties and member not in properties) or member in names:
                raise self._not_one_key(part, keyword)
            names[member] = properties.get(member)
        if narrows and names:
            raise self._not_one_key(part, keyword)
        return None if narrows else (names, required)

    def _not_one_key(self, part: _Part, keyword: str) -> JsonSchemaError:
        told = "by its discriminator" if "discriminator" in part.schema else "by its content"
        return part.refuse(
            f"a union of objects that is told apart {told} has no counterpart in the types of other protocols",
            keyword,
            hint="a union whose alternatives are objects with one required property each has one",
        )

    def _union(
        self,
        parts: Sequence[_Part],
        unions: Sequence[tuple[_Part, str]],
        nullable: bool,
        pointers: tuple[Pointer, ...],
        name: str,
    ) -> Reading:
        """A union outside an object: of objects with one key each, of names, or of scalars."""
        part, keyword = unions[0]
        if len(unions) > 1:
            raise part.refuse("two unions at once have no counterpart in the types of other protocols", keyword)
        members = self._members(part.schema, part.pointer, keyword)
        rest = [member for member in members if not self._is_null(member)]
        nullable = nullable or len(rest) < len(members)
        if any(_is_object(inner) for member in rest for inner in self._parts(member)):
            return self._object(pointers, parts, unions, nullable, name)
        readings = [self._read([member], f"{name}.{index}") for index, member in enumerate(rest)]
        nullable = nullable or any(reading.nullable for reading in readings)
        return Reading(_joined([reading.type for reading in readings], name), nullable, readings[0].hint)


def _joined(types: Sequence[Type], name: str) -> Type:
    """The type of a value that is of one of these types; `any` where they have nothing in common."""
    enumerations = [type_ for type_ in types if isinstance(type_, Enumeration)]
    if enumerations and len(enumerations) == len(types):
        names = dict.fromkeys(value for enumeration in enumerations for value in enumeration.numbers)
        return Enumeration(name, {value: number for number, value in enumerate(names)})
    if len(enumerations) == 1 and len(types) == 2 and any(isinstance(t, Scalar) and t.kind in INTEGERS for t in types):
        return Enumeration(name, enumerations[0].numbers, open=True)
    if all(type_ == types[0] for type_ in types):
        return types[0]
    if all(type_ in _TEXTS or isinstance(type_, Enumeration) for type_ in types):
        return STRING
    return ANY


_TEXTS: Final = frozenset({STRING, DATE, TIME, TIMESTAMP})


def _component(pointer: Pointer) -> str:
    """The name of a schema that has one in its document."""
    if len(pointer) > 1 and (pointer[-2] in ("schemas", "$defs", "definitions") or pointer[:-2] == (FILES,)):
        return pointer[-1]
    return ""


def _shallow(document: Any, pointer: Pointer) -> Iterator[_Part]:
    """The schema there and those it refers to, nearest first."""
    seen = set()
    while pointer not in seen:
        seen.add(pointer)
        schema = at(document, pointer)
        if not isinstance(schema, dict):
            return
        yield _Part(pointer, schema)
        if not isinstance(schema.get("$ref"), str):
            return
        pointer = parse_fragment(schema["$ref"])


def _xml(document: Any, parts: Sequence[_Part]) -> XmlObject | None:
    """OpenAPI's `xml` of a schema, and of its items where it is an array."""
    told = _first(parts, "xml", {})
    part = next((part for part in parts if "items" in part.schema), None)
    items = {} if part is None else _first(_shallow(document, (*part.pointer, "items")), "xml", {})
    if not isinstance(told, dict) or not isinstance(items, dict) or not (told or items):
        return None
    return XmlObject(
        name=str(told.get("name", "")),
        namespace=str(told.get("namespace", "")),
        attribute=told.get("attribute") is True,
        wrapped=told.get("wrapped") is True,
        item=str(items.get("name", "")),
    )


def _declared(parts: Iterable[_Part]) -> tuple[frozenset[str], bool]:
    """(the types that all parts allow, whether null is one). No types: none is declared."""
    common: frozenset[str] | None = None
    nullable = False
    for part in parts:
        nullable = nullable or part.schema.get("nullable") is True
        declared = part.schema.get("type")
        if declared is None:
            continue
        types = frozenset(declared if isinstance(declared, list) else [declared])
        if not types or types - _TYPES:
            raise part.refuse(f"{declared!r} is no type", "type")
        common = _widened(types) if common is None else common & _widened(types)
        if not common:
            raise part.refuse("contradicts the type that is declared beside it", "type")
    if common is None:
        return frozenset(), nullable
    if "number" in common:
        common -= {"integer"}
    return common - {"null"}, nullable or "null" in common


def _widened(types: frozenset[str]) -> frozenset[str]:
    """Each integer is a number."""
    return types | {"integer"} if "number" in types else types


def _values(parts: Iterable[_Part]) -> list[Any] | None:
    """What all enum and const allow; None without any."""
    allowed: list[Any] | None = None
    for part in parts:
        for keyword in ("enum", "const"):
            if keyword not in part.schema:
                continue
            given = part.schema[keyword] if keyword == "enum" else [part.schema[keyword]]
            if not isinstance(given, list) or not given:
                raise part.refuse("a list of values is expected", keyword)
            allowed = given if allowed is None else [value for value in allowed if value in given]
            if not allowed:
                raise part.refuse("leaves no value", keyword)
    return allowed


def _types_of(values: Iterable[Any]) -> frozenset[str]:
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return frozenset(names.get(type(value), "object") for value in values)


def _mentions(parts: Iterable[_Part], *keywords: str) -> bool:
    return any(keyword in part.schema for part in parts for keyword in keywords)


def _is_object(part: _Part) -> bool:
    declared = part.schema.get("type")
    return (
        declared == "object"
        or "properties" in part.schema
        or "required" in part.schema
        or (isinstance(declared, list) and "object" in declared)
    )


def _is_none_of(schema: Any) -> bool:
    """The alternative that says that no other one's member is set, as the writer has it."""
    if not isinstance(schema, dict) or schema.keys() != {"not"}:
        return False
    inner = schema["not"]
    members = inner.get("anyOf") if isinstance(inner, dict) and inner.keys() == {"anyOf"} else None
    return isinstance(members, list) and all(isinstance(m, dict) and m.keys() == {"required"} for m in members)


def _first(parts: Iterable[_Part], keyword: str, otherwise: Any) -> Any:
    return next((part.schema[keyword] for part in parts if keyword in part.schema), otherwise)


def _scalar(parts: Sequence[_Part], types: frozenset[str], nullable: bool) -> Reading:
    format_ = next((str(part.schema["format"]) for part in parts if "format" in part.schema), "")
    if types == {"boolean"}:
        return Reading(BOOL, nullable)
    if types == {"string"}:
        if any(part.schema.get("contentEncoding") in ("base64", "base64url") for part in parts):
            return Reading(BYTES, nullable)
        type_ = _STRINGS.get(format_, STRING)
        hint = JsonHint(duration="iso8601") if format_ == "duration" else JsonHint()
        return Reading(type_, nullable, hint if type_ in _HINTED else None)
    if types == {"integer"}:
        type_ = _INTEGERS.get(format_) or _bounded(parts)
        return Reading(type_, nullable, JsonHint(int64="number") if type_ in _HINTED else None)
    if types == {"number"}:
        type_ = _NUMBERS.get(format_) or _INTEGERS.get(format_, FLOAT64)
        return Reading(type_, nullable, JsonHint(int64="number", decimal="number") if type_ in _HINTED else None)
    if types <= {"string", "integer", "number"} and (either := _STRINGS.get(format_)) is not None:
        return Reading(either, nullable, JsonHint() if either in _HINTED else None)
    return Reading(ANY, nullable)


_HINTED: Final = frozenset({INT64, UINT64, INTEGER, DECIMAL, DURATION})


def _bounded(parts: Sequence[_Part]) -> Scalar:
    """The smallest kind that holds what minimum and maximum allow."""
    low = max((part.schema["minimum"] for part in parts if _whole(part.schema.get("minimum"))), default=None)
    high = min((part.schema["maximum"] for part in parts if _whole(part.schema.get("maximum"))), default=None)
    if low is not None and high is not None:
        for kind in (Kind.INT32, Kind.UINT32, Kind.INT64, Kind.UINT64):
            least, most = INTEGER_RANGE[kind]
            if least <= low and high <= most:
                return Scalar(kind)
    return INTEGER


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _default(value: Any, type_: Type) -> Any:
    """The plain value of a default; UNSET where the IR has no form for it: what is absent then stays absent."""
    try:
        match type_, value:
            case List(), []:
                return []
            case Map(), {} if not value:
                return {}
            case Enumeration(numbers=numbers), str() if value in numbers:
                return value
            case Scalar(Kind.STRING), str():
                return value
            case Scalar(Kind.BOOL), bool():
                return value
            case Scalar(kind), bool() | None:
                return UNSET
            case Scalar(kind), str() if kind not in (Kind.ANY, Kind.BOOL):
                return text.PARSE[kind](value)
            case Scalar(kind), int() if kind in INTEGERS:
                return text.PARSE[kind](str(value))
            case Scalar(kind), int() | float() if kind in FLOATS:
                return float(value)
            case Scalar(Kind.DECIMAL), int() | float():
                return text.parse_decimal(repr(value))
            case _:
                return UNSET
    except ValueError:
        return UNSET
