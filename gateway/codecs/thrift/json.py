"""Structs in Thrift's JSON protocol, as generated functions between plain values and parsed JSON or JSON text.

There is no specification but the implementations, such as lib/cpp/src/thrift/protocol/TJSONProtocol.h: a struct is
{"id": {"type": value}}, a list ["type", count, item ...], a map ["key type", "value type", count, {key: value}].
"""

import binascii
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.codecs.thrift.source import (
    OffenceError,
    Source,
    by_id,
    check_arms,
    enum_name,
    final,
    from_number,
    initial,
    item_of,
    key_number,
    key_of,
    struct_name,
    to_number,
    uuid_bytes,
    wire,
)
from gateway.schema.idl.thrift.reader import KEY, VALUE, ThriftKind, ThriftType
from gateway.schema.types import ANY, Enumeration, List, Record, records
from gateway.schema.values import struct_of

TYPES: Final[Mapping[ThriftKind, str]] = {
    ThriftKind.BOOL: "tf",
    ThriftKind.I8: "i8",
    ThriftKind.I16: "i16",
    ThriftKind.I32: "i32",
    ThriftKind.ENUM: "i32",
    ThriftKind.I64: "i64",
    ThriftKind.DOUBLE: "dbl",
    ThriftKind.STRING: "str",
    ThriftKind.BINARY: "str",
    ThriftKind.STRUCT: "rec",
    ThriftKind.MAP: "map",
    ThriftKind.LIST: "lst",
    ThriftKind.SET: "set",
    ThriftKind.UUID: "uid",
}
_NAMES: Final = {name: kind.value for kind, name in TYPES.items() if kind not in (ThriftKind.ENUM, ThriftKind.BINARY)}
_BITS: Final = {
    ThriftKind.I8: 8,
    ThriftKind.I16: 16,
    ThriftKind.I32: 32,
    ThriftKind.ENUM: 32,
    ThriftKind.I64: 64,
}
_NUMBERS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SPECIAL: Final = {math.inf: b'"Infinity"', -math.inf: b'"-Infinity"'}
_COMPOUND_KEYS: Final = frozenset({ThriftKind.STRUCT, ThriftKind.LIST, ThriftKind.SET, ThriftKind.MAP})
_parse: Final = msgspec.json.Decoder().decode
_parse_loosely: Final = json.JSONDecoder(strict=False, parse_constant=lambda name: _no_constant(name)).decode
_text: Final = msgspec.json.Encoder().encode


def carries(record: Record) -> str:
    """Why JSON can't carry this type; empty where it can: a JSON object has no keys but text."""
    for one in records(record):
        for field in one.fields:
            todo: list[ThriftType | None] = [wire(field).type] if field.wire is not None else []
            while todo:
                type_ = todo.pop()
                if type_ is None:
                    continue
                if type_.key is not None and type_.key.kind in _COMPOUND_KEYS:
                    return f"{one}.{field.name} is a {type_}, and JSON has no such keys"
                todo += (type_.key, type_.item)
    return ""


def parse(data: bytes) -> Any:
    """Raises OffenceError."""
    try:
        return _parse(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = str(error).removeprefix("JSON is malformed: ")
    except RecursionError:
        raise OffenceError("the message is nested too deep") from None
    try:
        # Apache's Python leaves control characters in strings as they are.
        return _parse_loosely(data.decode())
    except (ValueError, RecursionError):
        raise OffenceError(f"malformed JSON: {reason}") from None


def _no_constant(name: str) -> None:
    raise ValueError(name)


def reader(record: Record, *, reject: bool) -> Callable[[Any, int], Any]:
    """(parsed JSON, depth left) -> plain value. Raises OffenceError.

    reject: unknown fields are refused, else skipped.
    """
    source = Source(f"thrift json read {record.name}")
    for function in (_typed, _integer, _double, _string, _binary, _uuid, _struct, _items, _entries, _key_text):
        source.constant(function, function.__name__)
    return source.build(_Reader(source, reject=reject).struct(record))


class _Reader:
    def __init__(self, source: Source, *, reject: bool) -> None:
        self._source = source
        self._reject = reject

    def struct(self, record: Record) -> str:
        return self._source.function("struct", record, lambda name: self._struct_lines(record, name))

    def _struct_lines(self, record: Record, name: str) -> Sequence[str]:
        source = self._source
        places = source.constant({str(wire(one).id): f".{one.name}" for one in record.fields if one.name})
        body: list[str] = []
        for index, field in enumerate(record.fields):
            hint = wire(field)
            body.append(f"{'elif' if body else 'if'} k == {str(hint.id)!r}:")
            body.append(f"    x = _typed(x, {TYPES[hint.type.kind]!r}, {str(hint.type)!r})")
            body.append(f"    v{index} = {self.value(hint.type, 'x')}")
        unknown = "raise Offence(f'the contract has no field {k[:20]}')" if self._reject else "pass"
        body += ["else:", f"    {unknown}"] if body else [unknown]
        values = ", ".join(f"{field.attr}=v{index}" for index, field in enumerate(record.fields))
        return [
            f"def {name}(o, d):",
            "    if d <= 0: deep()",
            *(f"    v{index} = {initial(field, source)}" for index, field in enumerate(record.fields)),
            "    k = ''",
            "    try:",
            "        for k, x in _struct(o).items():",
            *(f"            {line}" for line in body),
            "    except READING as e:",
            f"        raise located(e, {places}.get(k, '')) from None",
            *(f"    {line}" for line in final(record, source)),
            f"    return {source.constant(struct_of(record))}({values})",
        ]

    def value(self, type_: ThriftType, x: str) -> str:
        """Python that makes the plain value of parsed JSON."""
        source = self._source
        match type_.kind:
            case ThriftKind.BOOL:
                return f"(_integer({x}, 8, 'bool') != 0)"
            case ThriftKind.DOUBLE:
                return f"_double({x})"
            case ThriftKind.STRING:
                return f"any_of(_string({x}))" if type_.type == ANY else f"_string({x})"
            case ThriftKind.BINARY:
                return f"_binary({x})"
            case ThriftKind.UUID:
                return f"_uuid({x})"
            case ThriftKind.STRUCT:
                return f"{self.struct(struct_name(type_))}({x}, d - 1)"
            case ThriftKind.LIST | ThriftKind.SET:
                return f"{source.function('list', type_, lambda name: self._list_lines(type_, name))}({x}, d - 1)"
            case ThriftKind.MAP:
                return f"{source.function('map', type_, lambda name: self._map_lines(type_, name))}({x}, d - 1)"
            case kind:
                number = f"_integer({x}, {_BITS[kind]}, {kind.value!r})"
                if isinstance(type_.type, Enumeration):
                    return f"{source.constant(enum_name(type_.type))}({number})"
                return from_number(type_, number, source)

    def _list_lines(self, type_: ThriftType, name: str) -> Sequence[str]:
        item = item_of(type_)
        return [
            f"def {name}(o, d):",
            "    if d <= 0: deep()",
            f"    o = _items(o, {TYPES[item.kind]!r}, {str(item)!r})",
            "    r = []",
            "    try:",
            "        for x in o:",
            f"            r.append({self.value(item, 'x')})",
            "    except READING as e:",
            "        raise located(e, f'[{len(r)}]') from None",
            "    return r",
        ]

    def _map_lines(self, type_: ThriftType, name: str) -> Sequence[str]:
        key, value = key_of(type_), item_of(type_)
        entries = isinstance(type_.type, List)
        key_value = self.value(key, f"_key_text(k, {TYPES[key.kind]!r})")
        if key.kind is ThriftKind.ENUM and not entries:
            key_value = f"str({key_value})"
        if isinstance(type_.type, List):
            entry = type_.type.item
            assert isinstance(entry, Record)  # noqa: S101  the IDL's reader made it so
            make = self._source.constant(struct_of(entry))
            put = f"r.append({make}({KEY}={key_value}, {VALUE}={self.value(value, 'x')}))"
        else:
            put = f"r[{key_value}] = {self.value(value, 'x')}"
        numbers = f"{TYPES[key.kind]!r}, {TYPES[value.kind]!r}"
        return [
            f"def {name}(o, d):",
            "    if d <= 0: deep()",
            f"    o = _entries(o, {numbers}, {str(type_)!r})",
            f"    r = {'[]' if entries else '{}'}",
            "    k = ''",
            "    try:",
            "        for k, x in o.items():",
            f"            {put}",
            "    except READING as e:",
            "        raise located(e, f'[{k!r}]') from None",
            "    if len(r) != len(o): same_key()",
            "    return r",
        ]


def _typed(value: Any, name: str, wanted: str) -> Any:
    if value.__class__ is not dict or len(value) != 1:
        raise OffenceError(f"it is not in the form of a field of {wanted}")
    if name not in value:
        _other_type(next(iter(value)), wanted)
    return value[name]


def _integer(value: Any, bits: int, name: str) -> int:
    if value.__class__ is not int or not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise OffenceError(f"{_shown(value)} is no {name}, or out of its range")
    number: int = value
    return number


def _double(value: Any) -> float:
    if value.__class__ is float:
        number: float = value
        return number
    if value.__class__ is int:
        try:
            return float(value)
        except OverflowError:
            pass
    if value.__class__ is str and value in _NUMBERS:
        return _NUMBERS[value]
    raise OffenceError(f"{_shown(value)} is no double")


def _string(value: Any) -> str:
    if value.__class__ is not str:
        raise OffenceError(f"{_shown(value)} is no string")
    text: str = value
    return text


def _binary(value: Any) -> bytes:
    text = _string(value)
    try:
        # Some implementations leave the padding out.
        return binascii.a2b_base64((text + "=" * (-len(text) % 4)).encode("ascii"), strict_mode=True)
    except (ValueError, UnicodeEncodeError):
        raise OffenceError("the text is not base64") from None


def _uuid(value: Any) -> str:
    text = _string(value).lower()
    uuid_bytes(text)
    return text


def _struct(value: Any) -> dict[str, Any]:
    if value.__class__ is not dict:
        raise OffenceError(f"{_shown(value)} is no struct")
    fields: dict[str, Any] = value
    return fields


def _items(value: Any, name: str, wanted: str) -> list[Any]:
    if value.__class__ is not list or len(value) < 2:
        raise OffenceError(f"it is not in the form of a list of {wanted}")
    found, count, *items = value
    if items and found != name:
        _other_type(found, wanted)
    if count != len(items):
        raise OffenceError(f"it says that it has {_shown(count)} items and has {len(items)}")
    return items


def _entries(value: Any, key: str, item: str, wanted: str) -> dict[str, Any]:
    if value.__class__ is not list or len(value) != 4 or value[3].__class__ is not dict:
        raise OffenceError(f"it is not in the form of a {wanted}")
    entries: dict[str, Any] = value[3]
    if entries and value[0] != key:
        _other_type(value[0], wanted)
    if entries and value[1] != item:
        _other_type(value[1], wanted)
    if value[2] != len(entries):
        raise OffenceError(f"it says that it has {_shown(value[2])} entries and has {len(entries)}")
    return entries


def _key_text(text: str, name: str) -> Any:
    """A key as the JSON value that it stands for."""
    if name in ("str", "uid"):
        return text
    if name == "dbl" and text in _NUMBERS:
        return text
    try:
        return _parse(text)
    except msgspec.DecodeError:
        raise OffenceError(f"{text[:40]!r} is no {_NAMES[name]}") from None


def _other_type(name: Any, wanted: str) -> None:
    found = _NAMES.get(name) if isinstance(name, str) else None
    raise OffenceError(f"it is {found or f'of the unknown type {_shown(name)}'} instead of {wanted}")


def _shown(value: Any) -> str:
    return f"{value!r:.40}" if isinstance(value, int | float | str) else f"a {type(value).__name__}"


def writer(record: Record) -> Callable[[Any], bytes]:
    """Plain value -> JSON. Raises OffenceError."""
    source = Source(f"thrift json write {record.name}")
    for function in (_write_integer, _write_double, _write_binary, _write_key):
        source.constant(function, function.__name__)
    source.constant(_text, "text")
    return source.build(_Writer(source).struct(record))


class _Writer:
    def __init__(self, source: Source) -> None:
        self._source = source

    def struct(self, record: Record) -> str:
        return self._source.function("struct", record, lambda name: self._struct_lines(record, name))

    def _struct_lines(self, record: Record, name: str) -> Sequence[str]:
        fields = by_id(record)
        types = {f".{field.name}" if field.name else "": str(hint.type) for field, hint in fields}
        body: list[str] = []
        for field, hint in fields:
            head = f'"{hint.id}":{{"{TYPES[hint.type.kind]}":'.encode()
            write = f"a({head!r} + {self.value(hint.type, 'v')} + b'}}')"
            place = f".{field.name}" if field.name else ""
            body += [f"v = o.{field.attr}", f"f = {place!r}"]
            if field.required:
                body += ["if v is U:", "    f = ''", f"    missing({field.name!r})", write]
            else:
                body += [f"if v is not U: {write}"]
        return [
            f"def {name}(o):",
            "    r = []",
            "    a = r.append",
            "    v = o",
            "    f = ''",
            "    try:",
            *(f"        {line}" for line in (*check_arms(record), *body, "pass")),
            "    except WRITING as e:",
            f"        raise refused(e, f, v, {self._source.constant(types)}.get(f, {record.name!r})) from None",
            "    return b'{' + b','.join(r) + b'}'",
        ]

    def value(self, type_: ThriftType, v: str) -> str:
        """Python that makes the JSON of a plain value."""
        source = self._source
        match type_.kind:
            case ThriftKind.BOOL:
                return f"(b'1' if {v} else b'0')"
            case ThriftKind.DOUBLE:
                return f"_write_double({v})"
            case ThriftKind.STRING:
                return f"text(any_text({v}))" if type_.type == ANY else f"text({v} + '')"
            case ThriftKind.BINARY:
                return f"_write_binary({v})"
            case ThriftKind.UUID:
                return f"text(uuid_text(uuid_bytes({v})))"
            case ThriftKind.STRUCT:
                return f"{self.struct(struct_name(type_))}({v})"
            case ThriftKind.LIST | ThriftKind.SET:
                return f"{source.function('list', type_, lambda name: self._list_lines(type_, name))}({v})"
            case ThriftKind.MAP:
                return f"{source.function('map', type_, lambda name: self._map_lines(type_, name))}({v})"
            case kind:
                return f"_write_integer({to_number(type_, v, source)}, {_BITS[kind]})"

    def _list_lines(self, type_: ThriftType, name: str) -> Sequence[str]:
        item = item_of(type_)
        unique = type_.kind is ThriftKind.SET
        head = f'["{TYPES[item.kind]}",'
        return [
            f"def {name}(o):",
            "    r = [b'%d' % len(o)]",
            "    s = set()",
            "    v = None",
            "    try:",
            "        for v in o:",
            f"            x = {self.value(item, 'v')}",
            *(["            if x in s: twice()", "            s.add(x)"] if unique else []),
            "            r.append(x)",
            "    except WRITING as e:",
            f"        raise refused(e, f'[{{len(r) - 1}}]', v, {str(item)!r}) from None",
            f"    return {head.encode()!r} + b','.join(r) + b']'",
        ]

    def _map_lines(self, type_: ThriftType, name: str) -> Sequence[str]:
        key, value = key_of(type_), item_of(type_)
        if isinstance(type_.type, List):
            each, where = ["for u in o:", f"    w, y = u.{KEY}, u.{VALUE}"], "f'[{len(r)}]'"
        else:
            each, where = ["for w, y in o.items():"], "f'[{w!r}]'"
        key_text = f"_write_key({self.value(key, key_number(type_, 'v', self._source))})"
        head = f'["{TYPES[key.kind]}","{TYPES[value.kind]}",%d,{{'
        return [
            f"def {name}(o):",
            "    r = []",
            "    v = w = t = None",
            "    try:",
            *(f"        {line}" for line in each),
            f"            v, t = w, {str(key)!r}",
            f"            x = {key_text}",
            f"            v, t = y, {str(value)!r}",
            f"            r.append(x + b':' + {self.value(value, 'v')})",
            "    except WRITING as e:",
            f"        raise refused(e, {where}, v, t) from None",
            f"    return {head.encode()!r} % len(o) + b','.join(r) + b'}}]'",
        ]


def _write_integer(value: int, bits: int) -> bytes:
    if not isinstance(value, int) or not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise OverflowError
    return b"%d" % value


def _write_double(value: float) -> bytes:
    special = _SPECIAL.get(value)
    if special is not None:
        return special
    return b'"NaN"' if value != value else repr(float(value)).encode()


def _write_binary(value: bytes) -> bytes:
    return b'"' + binascii.b2a_base64(value, newline=False) + b'"'


def _write_key(value: bytes) -> bytes:
    """A JSON value as the key of an object."""
    return value if value.startswith(b'"') else b'"' + value + b'"'


def first_field(data: bytes) -> int | None:
    """The id of a struct's first field; None where it has none. Raises OffenceError."""
    for name in _struct(parse(data)):
        try:
            return int(name[:8])
        except ValueError:
            raise OffenceError(f"{name[:20]!r} is no field's id") from None
    return None
