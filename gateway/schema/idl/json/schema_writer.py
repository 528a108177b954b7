"""Writes types as JSON Schema, draft 2020-12, in the forms of proto3 JSON that the JSON codec writes."""

from enum import Enum
from typing import Any

from msgspec import UNSET

from gateway.schema import text
from gateway.schema.idl.json.hint import JsonHint
from gateway.schema.types import FLOATS, INTEGERS, Choice, Enumeration, Field, Kind, List, Map, Record, Scalar, Type


class Member(Enum):
    """How a writer's component is referred to."""

    DEFS = "#/$defs/"
    COMPONENTS = "#/components/schemas/"


class JsonSchemaWriter:
    """Writes any number of types that share their components.

    components: name -> schema of every Record and Enumeration that was written.
    forms: how integers of 64 bits, decimals and durations are written; a field's own hint counts where `declared`.
    """

    def __init__(self, forms: JsonHint, *, declared: bool = False, member: Member = Member.COMPONENTS) -> None:
        self.components: dict[str, Any] = {}
        self._forms = forms
        self._declared = declared
        self._member = member
        self._names: dict[int, str] = {}
        self._kept: list[Type] = []  # those by whose id a name is known

    def schema(self, type_: Type, *, nullable: bool = False, hint: Any = None) -> dict[str, Any]:
        """The schema of the type; Records and Enumerations are references to components."""
        forms = hint if self._declared and isinstance(hint, JsonHint) else self._forms
        schema = self._schema(type_, forms)
        if not nullable or not schema:
            return schema
        if isinstance(schema.get("type"), str):
            return {**schema, "type": [schema["type"], "null"]}
        return {"anyOf": [schema, {"type": "null"}]}

    def field(self, field: Field) -> dict[str, Any]:
        """As schema(), with the field's description and default."""
        schema = dict(self.schema(field.type, nullable=field.nullable, hint=field.wire))
        if field.doc:
            schema["description"] = field.doc
        if field.default is not UNSET and not field.required:
            schema["default"] = self._written(field)
        return schema

    def _schema(self, type_: Type, forms: JsonHint) -> dict[str, Any]:
        match type_:
            case Scalar(kind):
                return _write_scalar(kind, forms)
            case Enumeration() | Record():
                return {"$ref": self._member.value + self._component(type_)}
            case List(item, nullable):
                return {"type": "array", "items": self.schema(item, nullable=nullable, hint=forms)}
            case Map(key, value):
                schema = {"type": "object", "additionalProperties": self.schema(value, hint=forms)}
                if key.kind is Kind.BOOL:
                    schema["propertyNames"] = {"enum": ["true", "false"]}
                elif key.kind in INTEGERS:
                    schema["propertyNames"] = {"format": key.kind.value}
                return schema

    def _component(self, type_: Enumeration | Record) -> str:
        known = self._names.get(id(type_))
        if known is not None:
            return known
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in type_.name) or "Type"
        name, count = plain, 1
        while name in self.components:
            count += 1
            name = f"{plain}_{count}"
        self._names[id(type_)] = name
        self._kept.append(type_)
        self.components[name] = {}
        self.components[name] = self._enumeration(type_) if isinstance(type_, Enumeration) else self._record(type_)
        return name

    @staticmethod
    def _enumeration(type_: Enumeration) -> dict[str, Any]:
        names = {"type": "string", "enum": list(type_.numbers)}
        return {"anyOf": [names, {"type": "integer", "format": "int32"}]} if type_.open else names

    def _record(self, record: Record) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "object"}
        if record.doc:
            schema["description"] = record.doc
        schema["properties"] = {field.json: self.field(field) for field in record.fields}
        if required := [field.json for field in record.fields if field.required]:
            schema["required"] = required
        if not record.fields:
            schema["additionalProperties"] = False
        choices = [_choice(record, choice) for choice in record.choices]
        if len(choices) == 1:
            schema["oneOf"] = choices[0]
        elif choices:
            schema["allOf"] = [{"oneOf": choice} for choice in choices]
        return schema

    def _written(self, field: Field) -> Any:
        """The default as it is written in JSON."""
        default = field.default
        match field.type:
            case Scalar(Kind.BOOL | Kind.STRING | Kind.INT32 | Kind.UINT32 | Kind.ANY):
                return default
            case Scalar(kind) if kind in FLOATS:
                return default if default - default == 0 else text.format_float(default, infinity="Infinity")
            case Scalar(kind):
                schema = self.schema(field.type, hint=field.wire)
                if schema.get("type") in ("integer", "number"):
                    return default
                return text.format_seconds(default) if kind is Kind.DURATION else text.FORMAT[kind](default)
            case _:
                return default


def _choice(record: Record, choice: Choice) -> list[dict[str, Any]]:
    arms: list[dict[str, Any]] = [{"required": [field.json]} for field in record.fields if field.choice == choice.name]
    return arms if choice.required else [*arms, {"not": {"anyOf": list(arms)}}]


def _write_scalar(kind: Kind, forms: JsonHint) -> dict[str, Any]:
    match kind:
        case Kind.ANY:
            return {}
        case Kind.BOOL:
            return {"type": "boolean"}
        case Kind.STRING:
            return {"type": "string"}
        case Kind.INT32 | Kind.UINT32:
            return {"type": "integer", "format": kind.value}
        case Kind.INT64 | Kind.UINT64:
            return {"type": "string" if forms.int64 == "string" else "integer", "format": kind.value}
        case Kind.INTEGER:
            return {"type": "string", "format": "integer"} if forms.int64 == "string" else {"type": "integer"}
        case Kind.FLOAT32:
            return {"type": "number", "format": "float"}
        case Kind.FLOAT64:
            return {"type": "number", "format": "double"}
        case Kind.DECIMAL:
            return {"type": forms.decimal, "format": "decimal"}
        case Kind.BYTES:
            return {"type": "string", "format": "byte", "contentEncoding": "base64"}
        case Kind.TIMESTAMP:
            return {"type": "string", "format": "date-time"}
        case Kind.DURATION:
            return {"type": "string", "format": "duration" if forms.duration == "iso8601" else "google-duration"}
        case Kind.DATE | Kind.TIME:
            return {"type": "string", "format": kind.value}
