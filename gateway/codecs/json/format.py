"""JSON: msgspec parses and checks against the type, a generated pass converts what JSON has no form for.

Names and forms follow proto3's JSON mapping (https://protobuf.dev/programming-guides/json/): int64 as strings, base64,
RFC 3339, enum names, fields at their zero value left out. What msgspec's strict parser refuses is read once more by
`read`, which accepts every legal alternative form (a field's original name, 1.0 for an integer, numbers of an enum,
URL-safe base64) or raises the Failure with the exact path. Of a repeated member the last one counts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import accumulate
from typing import Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET

from gateway.codecs.format import Decode, Encode, Unknown
from gateway.schema import text
from gateway.schema.idl.json.hint import JsonHint
from gateway.schema.source import build
from gateway.schema.types import (
    ANY,
    FLOATS,
    INTEGER_RANGE,
    INTEGERS,
    Enumeration,
    Field,
    Kind,
    List,
    Map,
    Record,
    Scalar,
    Type,
    records,
)
from gateway.schema.values import annotation, struct_of
from gateway.status import Failure, invalid

NESTING: Final = 64

_generic = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode
_LEVELS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_REST: Final = bytes(set(range(256)) - _LEVELS.keys() - {ord('"')})


Scalars = Callable[[Type, str], str | None]
"""(type, Python for a value) -> Python for its other form, or None where it has that already."""


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """int64, decimal: whether 64-bit integers and decimals are written as strings or numbers; both are read.

    declared: where a field's own contract says how it is written (JsonHint), that counts instead.
    """

    encoded: ClassVar[type] = bytes
    int64: Literal["string", "number"] = "string"
    decimal: Literal["string", "number"] = "string"
    declared: bool = False

    @property
    def name(self) -> str:
        return "json"

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        closed = unknown is Unknown.REJECT
        parse = msgspec.json.Decoder(annotation(type_, closed=closed), float_hook=Decimal).decode
        convert = inward(type_)
        endless = unbounded(type_)
        others = () if closed else other_names(type_)

        def decode(body: bytes) -> Any:
            try:
                if endless and too_deep(body):
                    raise invalid(f"JSON is nested deeper than {NESTING} levels")
                for name in others:
                    if name in body:
                        return read(type_, _parse(body), unknown)
                value = parse(body)
                return value if convert is None else convert(value)
            except (msgspec.ValidationError, MisfitError):
                return read(type_, _parse(body), unknown)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise _malformed(body, error) from None

        return decode

    def encoder(self, type_: Type) -> Encode:
        convert = self.outward(type_)
        if convert is None:
            return _encode

        def encode(value: Any) -> bytes:
            return _encode(convert(value))

        return encode

    def outward(self, type_: Type) -> Callable[[Any], Any] | None:
        """Makes a plain value what msgspec writes in these forms; None where it is already."""
        own = _outward(JsonHint(self.int64, self.decimal))
        return _Pass(own, outward=_outward if self.declared else None).function(type_)


def inward(type_: Type) -> Callable[[Any], Any] | None:
    """Makes what msgspec parsed as annotation(type_) the plain value; None where it is already. Raises MisfitError."""
    return _Pass(_inward).function(type_)


@cache
def _outward(forms: JsonHint) -> Scalars:
    """Makes the expression that makes a plain scalar what msgspec writes as the wanted JSON; None: it does already."""

    def scalar(type_: Type, value: str) -> str | None:
        match type_:
            case Scalar(Kind.INT64 | Kind.UINT64 | Kind.INTEGER) if forms.int64 == "string":
                return f"str({value})"
            case Scalar(Kind.DECIMAL) if forms.decimal == "string":
                return f"format_decimal({value})"
            case Scalar(Kind.FLOAT32):
                return f"float32({value})"
            case Scalar(Kind.FLOAT64):
                return f"float64({value})"
            case Scalar(Kind.TIMESTAMP):
                return f"format_timestamp({value})"
            case Scalar(Kind.DURATION):
                return f"{'format_seconds' if forms.duration == 'seconds' else 'format_duration'}({value})"
            case _:
                return None

    return scalar


class MisfitError(ValueError):
    """The strict pass can't convert this value; `read` finds out why, or how."""


def _inward(type_: Type, value: str) -> str | None:
    """The expression that makes what msgspec parsed the plain value; None: it is already."""
    match type_:
        case Scalar(Kind.INT64 | Kind.UINT64 | Kind.INTEGER as kind):
            return f"read_{kind.value}({value})"
        case Scalar(Kind.DECIMAL):
            return f"finite({value})"
        case Scalar(Kind.DATE | Kind.TIME as kind):
            return f"parse_{kind.value}({value})"
        case Scalar(Kind.TIMESTAMP | Kind.DURATION as kind):
            return f"read_{kind.value}({value})"
        case Scalar(Kind.FLOAT32):
            return f"single({value})"
        case Enumeration():
            return f"misfit({value}) if {value}.__class__ is int else {value}"
        case _:
            return None


def _misfit(*_: Any) -> Any:
    raise MisfitError


def _parser(parse: Callable[[str], Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        # A default is a plain value already.
        if value.__class__ is not str:
            return value
        try:
            return parse(value)
        except ValueError:
            raise MisfitError from None

    return convert


_DIGITS: Final = 20  # of the largest uint64


def _ranged(kind: Kind) -> Callable[[Any], int]:
    parse = text.PARSE[kind]
    low, high = INTEGER_RANGE[kind]

    def convert(value: Any) -> Any:
        if value.__class__ is str:
            # The common form without parse()'s regular expression, which costs five times as much.
            if len(value) > _DIGITS or not (value.isdecimal() and value.isascii()):
                try:
                    return parse(value)
                except ValueError:
                    raise MisfitError from None
            value = int(value)
        if low <= value <= high:
            return value
        raise MisfitError

    return convert


def _finite(value: Decimal) -> Decimal:
    try:
        return text.check_decimal(value)
    except ValueError:
        raise MisfitError from None


_MAX_FLOAT32: Final = 3.4028235677973366e38  # the least double that rounds to infinity as a single


def _single(value: float) -> float:
    if not -_MAX_FLOAT32 < value < _MAX_FLOAT32:
        raise MisfitError
    return value


def _float64(value: float) -> Any:
    return value if value - value == 0 else text.format_float(value, infinity="Infinity")


def _float32(value: float) -> Any:
    return text.shortest_float32(value) if value - value == 0 else text.format_float(value, infinity="Infinity")


_NAMESPACE: Final = {
    "U": UNSET,
    "misfit": _misfit,
    "finite": _finite,
    "single": _single,
    "float32": _float32,
    "float64": _float64,
    "format_decimal": text.format_decimal,
    "format_timestamp": text.format_timestamp,
    "format_seconds": text.format_seconds,
    "format_duration": text.format_duration,
    "parse_date": _parser(text.parse_date),
    "parse_time": _parser(text.parse_time),
    "read_int64": _ranged(Kind.INT64),
    "read_uint64": _ranged(Kind.UINT64),
    "read_integer": _parser(text.parse_integer),
    "read_timestamp": _parser(text.parse_timestamp),
    "read_duration": _parser(text.parse_duration),
}


class _Pass:
    """Generates, per Record, a function that converts the fields that need it in place and returns the value."""

    def __init__(self, scalar: Scalars, *, outward: Callable[[JsonHint], Scalars] | None = None) -> None:
        """outward: for the fields whose own contract says how they are written."""
        self._scalar = scalar
        self._outward = outward
        self._inward = scalar is _inward
        self._names: dict[int, str] = {}
        self._needed: dict[int, bool] = {}
        self._source: list[str] = []
        self._constants: dict[str, Any] = {}

    def function(self, root: Type) -> Callable[[Any], Any] | None:
        """None where nothing is to be converted."""
        expression = self._expression(root, "value", 0, self._scalar)
        if expression is None:
            return None
        source = "\n".join([*self._source, "def convert(value):", f"    return {expression}", ""])
        convert: Callable[[Any], Any] = build(
            f"JSON pass {'into' if self._inward else 'out of'} {root}", source, {**_NAMESPACE, **self._constants}
        )["convert"]
        return convert

    def _needs(self, record: Record) -> bool:
        """Whether any value below the record is converted; recursive types ask again while the answer is open."""
        known = self._needed.get(id(record))
        if known is None:
            known = any(
                (self._inward and reached.choices) or any(self._converts(field) for field in reached.fields)
                for reached in records(record)
            )
            self._needed[id(record)] = bool(known)
        return bool(known)

    def _converts(self, field: Field) -> bool:
        type_: Type = field.type
        while not isinstance(type_, Scalar | Enumeration | Record):
            if isinstance(type_, Map) and type_.key.kind is Kind.BOOL:
                return True
            type_ = type_.item if isinstance(type_, List) else type_.value
        return self._scalar_of(field)(type_, "v") is not None

    def _scalar_of(self, field: Field) -> Scalars:
        return self._outward(field.wire) if self._outward and isinstance(field.wire, JsonHint) else self._scalar

    def _expression(self, type_: Type, value: str, depth: int, scalar: Scalars) -> str | None:
        item = f"x{depth}"
        match type_:
            case Record():
                return f"{self._record(type_)}({value})" if self._needs(type_) else None
            case List(item_type, nullable):
                inner = self._expression(item_type, item, depth + 1, scalar)
                if inner is None:
                    return None
                return f"[{f'None if {item} is None else ' if nullable else ''}{inner} for {item} in {value}]"
            case Map(key, value_type):
                inner = self._expression(value_type, item, depth + 1, scalar)
                name = f"k{depth}"
                if key.kind is Kind.BOOL:
                    converted = f"misfit({name})" if self._inward else f"'true' if {name} else 'false'"
                elif inner is None and (not self._inward or key.kind not in INTEGERS):
                    return None
                else:
                    converted = name
                return f"{{{converted}: {inner or item} for {name}, {item} in {value}.items()}}"
            case _:
                return scalar(type_, value)

    def _record(self, record: Record) -> str:
        name = self._names.get(id(record))
        if name is not None:
            return name
        name = self._names[id(record)] = f"record_{len(self._names)}"
        lines = [f"def {name}(o):"]
        for field in record.fields:
            lines.extend(f"    {line}" for line in self._field(field))
        if self._inward:
            for choice in record.choices:
                arms = [field for field in record.fields if field.choice == choice.name]
                count = " + ".join(f"(o.{field.attr} is not U)" for field in arms)
                lines.append(f"    if {f'{count} != 1' if choice.required else f'{count} > 1'}: misfit()")
        lines.append("    return o")
        self._source.append("\n".join(lines))
        return name

    def _field(self, field: Field) -> list[str]:
        expression = self._expression(field.type, "v", 0, self._scalar_of(field))
        if expression is None:
            return []
        guards = []
        if not field.required and field.default is UNSET:
            guards.append("v is not U")
        if field.nullable:
            guards.append("v is not None")
        lines = [f"v = o.{field.attr}"]
        convert = self._statement(field, expression)
        if not self._inward and not field.required and isinstance(field.default, int | float):
            # msgspec leaves out a default by identity, which a converted or freshly read number has not.
            default = f"d_{len(self._constants)}"
            self._constants[default] = field.default
            negative_zero = f" and str(v) == {str(field.default)!r}" if isinstance(field.default, float) else ""
            return [*lines, f"if v == {default}{negative_zero}: o.{field.attr} = U", "else:", f"    {convert}"]
        return [*lines, f"if {' and '.join(guards)}:", f"    {convert}"] if guards else [*lines, convert]

    def _statement(self, field: Field, expression: str) -> str:
        """Converts v, the field's value, in place; stores nothing where nothing changes."""
        match field.type:
            case Record():
                return expression
            case List(Record() as item, False):
                return f"for x in v: {self._record(item)}(x)"
            case Enumeration() if self._inward:
                return "if v.__class__ is int: misfit()"
            case Scalar(Kind.FLOAT64) if not self._inward:
                return f"if v - v != 0: o.{field.attr} = {expression}"
            case _:
                return f"o.{field.attr} = {expression}"


def other_names(type_: Type) -> tuple[bytes, ...]:
    """Names of fields that JSON has another name for; a parser that drops unknown members would drop these too."""
    return tuple(
        {field.name.encode() for record in records(type_) for field in record.fields if field.json != field.name}
    )


def unbounded(type_: Type) -> bool:
    """Whether a value of the type can nest without end: it is recursive, or holds an `any`."""
    found: list[Record] = []

    def visit(inner: Type) -> bool:
        match inner:
            case Record():
                if inner in found:
                    return True
                found.append(inner)
                answer = any(visit(field.type) for field in inner.fields)
                found.pop()
                return answer
            case List(item):
                return visit(item)
            case Map(_, value):
                return visit(value)
            case _:
                return inner == ANY

    return visit(type_)


def too_deep(body: bytes) -> bool:
    """Whether JSON is nested deeper than NESTING; what is no JSON may pass."""
    if body.count(b"[") + body.count(b"{") <= NESTING:
        return False
    # C calls only: for steps of Python, or of a regular expression, would cost more than the rest of a translation.
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    # Every quote that is left begins or ends a string; two neighbours change nothing for the rest.
    quoted = body.translate(None, _REST).replace(b'""', b"")
    brackets = b"".join(quoted.split(b'"')[::2])
    return max(accumulate(map(_LEVELS.__getitem__, brackets)), default=0) > NESTING


def _parse(body: bytes) -> Any:
    if too_deep(body):
        raise invalid(f"JSON is nested deeper than {NESTING} levels")
    try:
        return _generic(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(body, error) from None


def _malformed(body: bytes, error: Exception) -> Failure:
    if not body.strip():
        return invalid("the body is empty, JSON is expected")
    match error:
        case UnicodeDecodeError():
            return invalid("the JSON is not valid UTF-8")
        case RecursionError():
            return invalid(f"JSON is nested deeper than {NESTING} levels")
        case _:
            return invalid(f"malformed JSON: {str(error).removeprefix('JSON is malformed: ')}")


def read(type_: Type, value: Any, unknown: Unknown = Unknown.REJECT, path: str = "$") -> Any:
    """The plain value of parsed JSON, any legal form of it, or of what has bytes besides. Raises
    Failure(INVALID_ARGUMENT) with the path."""
    match type_:
        case Scalar(kind):
            return _read_scalar(kind, value, path)
        case Enumeration():
            return _read_enum(type_, value, path)
        case List(item, nullable):
            if not isinstance(value, list):
                raise _expected("an array", value, path)
            return [
                None if nullable and entry is None else read(item, entry, unknown, f"{path}[{index}]")
                for index, entry in enumerate(value)
            ]
        case Map(key, inner):
            if not isinstance(value, dict):
                raise _expected("an object", value, path)
            return {
                _read_key(key, name, path): read(inner, entry, unknown, f"{path}.{name}")
                for name, entry in value.items()
            }
        case Record():
            return _read_record(type_, value, unknown, path)


def _read_record(record: Record, value: Any, unknown: Unknown, path: str) -> Any:
    if not isinstance(value, dict):
        raise _expected("an object", value, path)
    by_name = {name: field for field in record.fields for name in (field.name, field.json)}
    members: dict[str, Any] = {}
    arms: dict[str, str] = {}
    for name, entry in value.items():
        field = by_name.get(name)
        where = f"{path}.{name}"
        if field is None:
            if unknown is Unknown.DROP:
                continue
            raise invalid("unknown field", where)
        if field.attr in members:
            raise invalid("given twice, under both of its names", where)
        if entry is None and not field.nullable and field.type != ANY:
            if field.required:
                raise invalid("must not be null", where)
            continue
        if field.choice:
            if field.choice in arms:
                raise invalid(f"{arms[field.choice]} is set too, only one of them may be", where)
            arms[field.choice] = name
        members[field.attr] = None if entry is None else read(field.type, entry, unknown, where)
    for field in record.fields:
        if field.required and field.attr not in members:
            raise invalid("missing required field", f"{path}.{field.json}")
    for choice in record.choices:
        if choice.required and choice.name not in arms:
            names = ", ".join(field.json for field in record.fields if field.choice == choice.name)
            raise invalid(f"one of {names} must be set", path)
    return struct_of(record, closed=unknown is Unknown.REJECT)(**members)


def _read_enum(enumeration: Enumeration, value: Any, path: str) -> Any:
    if isinstance(value, str) and value in enumeration.numbers:
        return value
    number = value if isinstance(value, int) and not isinstance(value, bool) else None
    if number is not None:
        for name, known in enumeration.numbers.items():
            if known == number:
                return name
        if enumeration.open and -(2**31) <= number < 2**31:
            return number
    names = list(enumeration.numbers)
    shown = ", ".join(names[:8]) + (" ..." if len(names) > 8 else "")
    raise invalid(f"{_shown(value)} is not one of {shown}", path)


def _read_key(key: Scalar, name: str, path: str) -> Any:
    try:
        return text.PARSE[key.kind](name)
    except ValueError as error:
        raise invalid(f"member name: {error}", path) from None


_NAMES: Final = {
    Kind.BOOL: "true or false",
    Kind.FLOAT32: "a number",
    Kind.FLOAT64: "a number",
    Kind.DECIMAL: "a decimal number",
    Kind.STRING: "a string",
    Kind.BYTES: "a base64 string",
    Kind.DATE: "a date string",
    Kind.TIME: "a time string",
    Kind.TIMESTAMP: "a timestamp string",
    Kind.DURATION: "a duration string",
}


def _read_scalar(kind: Kind, value: Any, path: str) -> Any:
    if kind is Kind.ANY:
        return value
    try:
        if isinstance(value, str):
            if kind is not Kind.BOOL:
                return _checked(kind, text.PARSE[kind](value))
        elif isinstance(value, bool):
            if kind is Kind.BOOL:
                return value
        elif isinstance(value, bytes):
            if kind is Kind.BYTES:
                return value
        elif isinstance(value, int | Decimal):
            if kind in INTEGERS:
                return text.PARSE[kind](_whole(value))
            if kind in FLOATS:
                return _checked(kind, text.parse_float(str(value)))
            if kind is Kind.DECIMAL:
                return text.check_decimal(Decimal(value))
    except ValueError as error:
        raise invalid(str(error), path) from None
    raise _expected(_NAMES.get(kind, "a whole number"), value, path)


def _checked(kind: Kind, value: Any) -> Any:
    if kind is Kind.FLOAT32 and value - value == 0 and not -_MAX_FLOAT32 < value < _MAX_FLOAT32:
        raise ValueError(f"{value!r} is out of the range of float32")
    return value


def _whole(value: int | Decimal) -> str:
    if isinstance(value, int):
        return str(value) if -(10**text.DIGITS) < value < 10**text.DIGITS else "too large"
    if value.adjusted() > 40 or value != value.to_integral_value():
        raise ValueError(f"{_shown(value)} is not a whole number")
    return str(int(value))


def _expected(what: str, value: Any, path: str) -> Failure:
    return invalid(f"{what} is expected, not {_shown(value)}", path)


def _shown(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case dict():
            return "an object"
        case list():
            return "an array"
        case str():
            return repr(value if len(value) <= 40 else value[:37] + "...")
        case bytes():
            return "bytes"
        case _:
            return str(value)[:40]
