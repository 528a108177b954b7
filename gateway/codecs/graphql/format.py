"""GraphQL's values.

Towards callers they are what a GraphQL engine hands over and takes back: dicts by GraphQL names, lists, and scalars
that are plain values already, for the engine's own scalars convert them. Towards servers they are JSON.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Final

import msgspec
from msgspec import UNSET

from gateway.codecs.format import Decode, Encode, Unknown
from gateway.codecs.json.format import JsonFormat, read
from gateway.schema import text
from gateway.schema.idl.graphql.names import field_names, response_name, union_members, value_names
from gateway.schema.source import build
from gateway.schema.types import Enumeration, Field, Kind, List, Map, Record, Scalar, Type, records
from gateway.schema.values import struct_of
from gateway.status import invalid

TYPENAME: Final = "__typename"
INPUT: Final = "input"
"""The argument that holds a request which is no Record."""

_json: Final = msgspec.json.Decoder(float_hook=Decimal).decode
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class GraphqlFormat:
    """Arguments in, results out. What the engine checked (names, required members, scalars) is taken as it is."""

    encoded: ClassVar[type] = dict

    @property
    def name(self) -> str:
        return "graphql"

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        if isinstance(type_, Record):
            return _Into().function(type_)
        decode = _Into().function(type_)
        return lambda arguments: decode(arguments[INPUT])

    def encoder(self, type_: Type) -> Encode:
        return _OutOf().function(type_)


class _Generator:
    """Generates a function per record."""

    verb = ""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._source: list[str] = []
        self._constants: dict[str, Any] = {}

    def function(self, root: Type) -> Callable[[Any], Any]:
        expression = self.expression(root, "value", 0)
        source = "\n".join([*self._source, "def convert(value):", f"    return {expression}", ""])
        namespace = {"U": UNSET, "entries": _entries, "short": text.shortest_float32, "refuse": _refuse}
        convert: Callable[[Any], Any] = build(f"GraphQL {self.verb} {root}", source, {**namespace, **self._constants})[
            "convert"
        ]
        return convert

    def constant(self, value: Any) -> str:
        name = f"c{len(self._constants)}"
        self._constants[name] = value
        return name

    def record(self, record: Record) -> str:
        """Name of the record's function."""
        name = self._names.get(id(record))
        if name is None:
            name = self._names[id(record)] = f"record_{len(self._names)}"
            self._source.append("\n".join([f"def {name}(o):", *(f"    {line}" for line in self.lines(record))]))
        return name

    def expression(self, type_: Type, value: str, depth: int) -> str:
        """Python for the converted value."""
        item = f"x{depth}"
        match type_:
            case Record():
                return f"{self.record(type_)}({value})"
            case List(inner, nullable):
                converted = self.expression(inner, item, depth + 1)
                if converted == item:
                    return value
                return f"[{f'None if {item} is None else ' if nullable else ''}{converted} for {item} in {value}]"
            case Map():
                return self.map(type_, value, depth)
            case Enumeration():
                table = self.enum(type_)
                return f"{self.constant(table)}.get({value}, {value})" if table else value
            case Scalar(kind):
                return self.scalar(kind, value)

    def lines(self, record: Record) -> list[str]:
        raise TypeError(record)

    def map(self, type_: Map, value: str, depth: int) -> str:
        raise TypeError(type_)

    def enum(self, type_: Enumeration) -> Mapping[str, str]:
        """The names that differ."""
        raise TypeError(type_)

    def scalar(self, kind: Kind, value: str) -> str:
        return value


class _Into(_Generator):
    """Makes plain values of arguments."""

    verb = "into"

    def lines(self, record: Record) -> list[str]:
        names = field_names(record)
        lines = []
        for number, field in enumerate(record.fields):
            lines.extend(self._read(field, f"v{number}", repr(names[field.name])))
        for choice in record.choices:
            arms = [(number, field) for number, field in enumerate(record.fields) if field.choice == choice.name]
            count = " + ".join(f"(v{number} is not U)" for number, _ in arms)
            shown = " and ".join(names[field.name] for _, field in arms)
            lines.append(f"if {count} > 1: refuse({f'only one of {shown} may be given'!r})")
            if choice.required:
                lines.append(f"if {count} < 1: refuse({f'one of {shown} must be given'!r})")
        arguments = ", ".join(f"{field.attr}=v{number}" for number, field in enumerate(record.fields))
        return [*lines, f"return {self.constant(struct_of(record))}({arguments})"]

    def _read(self, field: Field, local: str, key: str) -> list[str]:
        absent = "U"
        if field.default is not UNSET:
            absent = repr(field.default) if isinstance(field.default, list | dict) else self.constant(field.default)
        converted = self.expression(field.type, local, 0)
        # Null where it is no value of its own is absence.
        tail = f"elif {local} is U" if field.nullable else "else"
        nothing = f"refuse({f'{field.json} is required'!r})" if field.required else f"{local} = {absent}"
        return [
            f"{local} = o.get({key}, U)",
            f"if {local} is not U and {local} is not None: {local} = {converted}",
            f"{tail}: {nothing}",
        ]

    def map(self, type_: Map, value: str, depth: int) -> str:
        key, item = f"k{depth}", f"x{depth}"
        converted = self.expression(type_.value, item, depth + 1)
        return f"{{{key}: {converted} for {key}, {item} in entries({value})}}"

    def enum(self, type_: Enumeration) -> Mapping[str, str]:
        return {given: name for name, given in value_names(type_).items() if given != name}


class _OutOf(_Generator):
    """Makes results of plain values. An absent field has no member: the engine takes that for null."""

    verb = "out of"

    def lines(self, record: Record) -> list[str]:
        members = union_members(record)
        if members is not None:
            lines = []
            for field in record.fields:
                made = self.expression(field.type, f"o.{field.attr}", 0)
                lines.append(f"if o.{field.attr} is not U: return {{{TYPENAME!r}: {field.name!r}, **{made}}}")
            missing = f"{record} has no value: one of {', '.join(members)} must be set"
            return [*lines, f"refuse({missing!r})"]
        names = field_names(record)
        always, sometimes = [], []
        for field in record.fields:
            key = repr(names[field.name])
            guards = []
            if not field.required and field.default is UNSET:
                guards.append("is U")
            if field.nullable:
                guards.append("is None")
            made = self.expression(field.type, "v" if guards else f"o.{field.attr}", 0)
            if guards:
                test = " or ".join(f"v {guard}" for guard in guards)
                sometimes.append(f"v = o.{field.attr}")
                sometimes.append(f"d[{key}] = None if {test} else {made}")
            else:
                always.append(f"{key}: {made}")
        if not sometimes:
            return [f"return {{{', '.join(always)}}}"]
        return [f"d = {{{', '.join(always)}}}", *sometimes, "return d"]

    def map(self, type_: Map, value: str, depth: int) -> str:
        key, item = f"k{depth}", f"x{depth}"
        converted = self.expression(type_.value, item, depth + 1)
        return f"[{{'key': {key}, 'value': {converted}}} for {key}, {item} in {value}.items()]"

    def enum(self, type_: Enumeration) -> Mapping[str, str]:
        return {name: given for name, given in value_names(type_).items() if given != name}

    def scalar(self, kind: Kind, value: str) -> str:
        return f"short({value})" if kind is Kind.FLOAT32 else value


def _refuse(message: str) -> None:
    raise invalid(message)


def _entries(entries: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """Key and value of each. Raises Failure for a key that stands twice: a map would lose one of them."""
    seen = set()
    pairs = []
    for entry in entries:
        key = entry["key"]
        if key in seen:
            raise invalid(f"the key {str(key)[:40]!r} stands twice")
        seen.add(key)
        pairs.append((key, entry["value"]))
    return pairs


# -- towards servers


@dataclass(frozen=True, slots=True)
class GraphqlJsonFormat:
    """The JSON of variables out, and of a reply's value in. Records tell by their hints how scalars are written."""

    encoded: ClassVar[type] = bytes

    @property
    def name(self) -> str:
        return "graphql json"

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        if not _reshaped(type_):
            return JsonFormat(declared=True).decoder(type_, unknown)

        def decode(body: bytes) -> Any:
            try:
                value = _json(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise invalid(f"malformed JSON: {error}") from None
            return read(type_, _from_entries(type_, value, "$"), unknown)

        return decode

    def encoder(self, type_: Type) -> Encode:
        encode = JsonFormat(declared=True).encoder(type_)
        if not _reshaped(type_):
            return encode
        return lambda value: _encode(_to_entries(type_, _json(encode(value))))


def _reshaped(type_: Type) -> bool:
    """Whether the JSON differs from that of the IR: for maps, and for unions."""
    found: list[Type] = [type_]
    for record in records(type_):
        if union_members(record) is not None:
            return True
        found += [field.type for field in record.fields]
    while found:
        match found.pop():
            case Map():
                return True
            case List(item):
                found.append(item)
            case _:
                pass
    return False


def _from_entries(type_: Type, value: Any, path: str) -> Any:
    """Lists of entries as objects, and objects that say their type as arms of a union."""
    match type_:
        case List(item) if isinstance(value, list):
            return [_from_entries(item, one, f"{path}[{index}]") for index, one in enumerate(value)]
        case Map(_, item) if isinstance(value, list):
            made = {}
            for index, entry in enumerate(value):
                key = _key_text(entry, f"{path}[{index}]")
                if key in made:
                    raise invalid(f"the key {key[:40]!r} stands twice", f"{path}[{index}]")
                made[key] = _from_entries(item, entry.get("value"), f"{path}.{key}")
            return made
        case Record() if isinstance(value, dict):
            members = union_members(type_)
            if members is None:
                fields = {response_name(field): field for field in type_.fields}
                return {
                    fields[name].json: _from_entries(fields[name].type, inner, f"{path}.{name}")
                    for name, inner in value.items()
                    if name in fields
                }
            arm = value.get(TYPENAME)
            if arm not in members:
                raise invalid(f"{str(arm)[:100]} is not a known type of {type_}", path)
            return {arm: _from_entries(members[arm], {k: v for k, v in value.items() if k != TYPENAME}, path)}
        case _:
            return value


def _key_text(entry: Any, path: str) -> str:
    key = entry.get("key") if isinstance(entry, dict) else None
    if isinstance(key, bool):
        return "true" if key else "false"
    if not isinstance(key, str | int):
        raise invalid("an object with a key and a value is expected", path)
    return str(key)


def _key_of(type_: Scalar, key: str) -> Any:
    """The key as JSON has it where it is a value."""
    match type_.kind:
        case Kind.BOOL:
            return key == "true"
        case Kind.INT32 | Kind.UINT32:
            return int(key)
        case _:
            return key


def _to_entries(type_: Type, value: Any) -> Any:
    match type_:
        case List(item) if isinstance(value, list):
            return [_to_entries(item, one) for one in value]
        case Map(kind, item) if isinstance(value, dict):
            return [{"key": _key_of(kind, key), "value": _to_entries(item, inner)} for key, inner in value.items()]
        case Record() if isinstance(value, dict):
            types = {field.json: field.type for field in type_.fields}
            return {name: _to_entries(types[name], inner) for name, inner in value.items()}
        case _:
            return value
