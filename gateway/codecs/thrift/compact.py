"""Structs in Thrift's compact protocol, as generated functions.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from gateway.codecs.thrift.source import (
    DEPTH,
    OffenceError,
    Source,
    by_id,
    check_arms,
    deep,
    entries_loop,
    final,
    from_number,
    initial,
    item_of,
    items_loop,
    key_of,
    list_loop,
    map_loop,
    short,
    struct_name,
    to_number,
    wire,
)
from gateway.schema.idl.thrift.reader import ThriftKind, ThriftType
from gateway.schema.types import ANY, Record
from gateway.schema.values import struct_of

_TRUE: Final = 1
_FALSE: Final = 2
TYPES: Final[Mapping[ThriftKind, int]] = {
    ThriftKind.BOOL: _TRUE,  # in containers; a field's type is its value
    ThriftKind.I8: 3,
    ThriftKind.I16: 4,
    ThriftKind.I32: 5,
    ThriftKind.ENUM: 5,
    ThriftKind.I64: 6,
    ThriftKind.DOUBLE: 7,
    ThriftKind.STRING: 8,
    ThriftKind.BINARY: 8,
    ThriftKind.LIST: 9,
    ThriftKind.SET: 10,
    ThriftKind.MAP: 11,
    ThriftKind.STRUCT: 12,
    ThriftKind.UUID: 13,
}
_NAMES: Final[Mapping[int, str]] = {
    _FALSE: "bool",
    **{number: kind.value for kind, number in TYPES.items() if kind not in (ThriftKind.ENUM, ThriftKind.BINARY)},
}
_FIXED: Final[Mapping[int, int]] = {1: 1, 2: 1, 3: 1, 7: 8, 13: 16}
"""Bytes of the types that always have as many, in containers."""
_LEAST: Final[Mapping[int, int]] = {**_FIXED, 4: 1, 5: 1, 6: 1, 8: 1, 9: 1, 10: 1, 11: 1, 12: 1}
_BITS: Final = {ThriftKind.I16: 16, ThriftKind.I32: 32, ThriftKind.ENUM: 32, ThriftKind.I64: 64}
_DOUBLE: Final = struct.Struct("<d")
_BYTES: Final = tuple(bytes([number]) for number in range(256))
_SMALL: Final = tuple(_BYTES[(number << 1) ^ (number >> 63)] for number in (*range(64), *range(-64, 0)))
"""The integers from -64 to 63, which take one byte; negative ones at their Python index."""


def reader(record: Record, *, reject: bool) -> Callable[[bytes, int, int], tuple[Any, int]]:
    """(data, where, depth left) -> (plain value, end). Raises OffenceError.

    reject: unknown fields are refused, else skipped.
    """
    source = Source(f"thrift compact read {record.name}")
    source.constant(_DOUBLE.unpack_from, "read_double")
    source.constant(varint, "varint")
    source.constant(zigzag, "zigzag")
    source.constant(_list_head, "list_head")
    source.constant(_map_head, "map_head")
    source.constant(_other_type, "other_type")
    source.constant(_refuse if reject else _skip_unknown, "unknown")
    return source.build(_Reader(source).struct(record))


class _Reader:
    def __init__(self, source: Source) -> None:
        self._source = source

    def struct(self, record: Record) -> str:
        return self._source.function("struct", record, lambda name: self._struct_lines(record, name))

    def _struct_lines(self, record: Record, name: str) -> Sequence[str]:
        source = self._source
        places = source.constant({wire(field).id: f".{field.name}" for field in record.fields if field.name})
        body: list[str] = []
        for index, field in enumerate(record.fields):
            hint = wire(field)
            body.append(f"{'elif' if body else 'if'} f == {hint.id}:")
            number = TYPES[hint.type.kind]
            if hint.type.kind is ThriftKind.BOOL:
                body += ["    if not 1 <= t <= 2: other_type(t, 'bool')", f"    v{index} = t == 1"]
                continue
            body.append(f"    if t != {number}: other_type(t, {str(hint.type)!r})")
            body += (f"    {line}" for line in self.value(hint.type, f"v{index}"))
        unknown = "i = unknown(p, i, t, f, d)"
        body += ["else:", f"    {unknown}"] if body else [unknown]
        values = ", ".join(f"{field.attr}=v{index}" for index, field in enumerate(record.fields))
        return [
            f"def {name}(p, i, d):",
            "    if d <= 0: deep()",
            *(f"    v{index} = {initial(field, source)}" for index, field in enumerate(record.fields)),
            "    f = 0",
            "    try:",
            "        while True:",
            "            t = p[i]",
            "            i += 1",
            "            if t > 15:",
            "                f += t >> 4",
            "                t &= 15",
            "            elif t:",
            "                f, i = zigzag(p, i, 16)",
            "            else:",
            "                break",
            *(f"            {line}" for line in body),
            "    except READING as e:",
            f"        raise located(e, {places}.get(f, '')) from None",
            *(f"    {line}" for line in final(record, source)),
            f"    return {source.constant(struct_of(record))}({values}), i",
        ]

    def value(self, type_: ThriftType, v: str) -> list[str]:
        """Lines that read a value at p[i] into v."""
        match type_.kind:
            case ThriftKind.BOOL:
                return [f"{v} = p[i] == 1", "i += 1"]
            case ThriftKind.I8:
                return [f"{v} = p[i]", "i += 1", f"if {v} > 127: {v} -= 256"]
            case ThriftKind.DOUBLE:
                return [f"{v}, = read_double(p, i)", "i += 8"]
            case ThriftKind.STRING:
                text = "any_of(x.decode())" if type_.type == ANY else "x.decode()"
                return [*self._bytes("x"), f"{v} = {text}"]
            case ThriftKind.BINARY:
                return self._bytes(v)
            case ThriftKind.UUID:
                return ["x = p[i:i+16]", "if len(x) != 16: short()", f"{v} = uuid_text(x)", "i += 16"]
            case ThriftKind.STRUCT:
                return [f"{v}, i = {self.struct(struct_name(type_))}(p, i, d - 1)"]
            case ThriftKind.LIST | ThriftKind.SET:
                function = self._source.function("list", type_, lambda name: self._list_lines(type_, name))
                return [f"{v}, i = {function}(p, i, d - 1)"]
            case ThriftKind.MAP:
                function = self._source.function("map", type_, lambda name: self._map_lines(type_, name))
                return [f"{v}, i = {function}(p, i, d - 1)"]
            case kind:
                lines = [
                    "x = p[i]",
                    f"if x < 128: i += 1; {v} = (x >> 1) ^ -(x & 1)",
                    f"else: {v}, i = zigzag(p, i, {_BITS[kind]})",
                ]
                made = from_number(type_, v, self._source)
                return lines if made == v else [*lines, f"{v} = {made}"]

    def _bytes(self, v: str) -> list[str]:
        return [
            "m = p[i]",
            "if m < 128: i += 1",
            "else: m, i = varint(p, i, 32)",
            f"{v} = p[i:i+m]",
            f"if len({v}) != m: short()",
            "i += m",
        ]

    def _list_lines(self, type_: ThriftType, name: str) -> Sequence[str]:
        item = item_of(type_)
        return [
            f"def {name}(p, i, d):",
            "    if d <= 0: deep()",
            f"    n, i = list_head(p, i, {TYPES[item.kind]}, {str(item)!r})",
            *list_loop(self.value(item, "v")),
        ]

    def _map_lines(self, type_: ThriftType, name: str) -> Sequence[str]:
        key, value = key_of(type_), item_of(type_)
        numbers = f"{TYPES[key.kind]}, {TYPES[value.kind]}"
        return [
            f"def {name}(p, i, d):",
            "    if d <= 0: deep()",
            f"    n, i = map_head(p, i, {numbers}, {str(key)!r}, {str(value)!r})",
            *map_loop(type_, self.value, self._source),
        ]


def writer(record: Record) -> Callable[[Any, Callable[[bytes], object]], None]:
    """(plain value, taker of pieces) -> None. Raises OffenceError."""
    source = Source(f"thrift compact write {record.name}")
    source.constant(_DOUBLE.pack, "double")
    source.constant(_BYTES, "B")
    source.constant(_SMALL, "SMALL")
    source.constant(_sized, "sized")
    source.constant(_write_zigzag, "zig")
    source.constant(_write_list_head, "list_head")
    source.constant(_write_map_head, "map_head")
    source.constant(_byte, "byte")
    return source.build(_Writer(source).struct(record))


class _Writer:
    def __init__(self, source: Source) -> None:
        self._source = source

    def struct(self, record: Record) -> str:
        return self._source.function("struct", record, lambda name: self._struct_lines(record, name))

    def _struct_lines(self, record: Record, name: str) -> Sequence[str]:
        source = self._source
        fields = by_id(record)
        types = source.constant({f".{field.name}" if field.name else "": str(hint.type) for field, hint in fields})
        body: list[str] = []
        for field, hint in fields:
            place = f".{field.name}" if field.name else ""
            write = [*self._head(hint.id, hint.type), f"l = {hint.id}"]
            if hint.type.kind is not ThriftKind.BOOL:
                write += self.value(hint.type, "v")
            body += [f"v = o.{field.attr}", f"f = {place!r}"]
            if field.required:
                body += ["if v is U:", "    f = ''", f"    missing({field.name!r})", *write]
            else:
                body += ["if v is not U:", *(f"    {line}" for line in write)]
        return [
            f"def {name}(o, a):",
            "    v = o",
            "    f = ''",
            "    l = 0",
            "    try:",
            *(f"        {line}" for line in (*check_arms(record), *body, "pass")),
            "    except WRITING as e:",
            f"        raise refused(e, f, v, {types}.get(f, {record.name!r})) from None",
            "    a(b'\\0')",
        ]

    def _head(self, number: int, type_: ThriftType) -> list[str]:
        if type_.kind is ThriftKind.BOOL:
            long = _write_zigzag(number, 16)
            near = f"B[{number} - l << 4 | (1 if v else 2)]"
            far = f"({bytes([_TRUE]) + long!r} if v else {bytes([_FALSE]) + long!r})"
        else:
            near = f"B[{number} - l << 4 | {TYPES[type_.kind]}]"
            far = repr(bytes([TYPES[type_.kind]]) + _write_zigzag(number, 16))
        return [f"a({near} if 0 < {number} - l < 16 else {far})"]

    def value(self, type_: ThriftType, v: str) -> list[str]:
        """Lines that write v to a."""
        source = self._source
        match type_.kind:
            case ThriftKind.BOOL:
                return [f"a(B[1] if {v} else B[2])"]
            case ThriftKind.I8:
                return [f"a(byte({v}))"]
            case ThriftKind.DOUBLE:
                return [f"a(double({v}))"]
            case ThriftKind.STRING:
                text = f"any_text({v})" if type_.type == ANY else v
                return [f"x = {text}.encode()", "a((B[len(x)] if len(x) < 128 else sized(len(x))) + x)"]
            case ThriftKind.BINARY:
                return [f"a(sized(len({v})) + {v})"]
            case ThriftKind.UUID:
                return [f"a(uuid_bytes({v}))"]
            case ThriftKind.STRUCT:
                return [f"{self.struct(struct_name(type_))}({v}, a)"]
            case ThriftKind.LIST | ThriftKind.SET:
                function = source.function("list", type_, lambda name: self._list_lines(type_, name))
                return [f"{function}({v}, a)"]
            case ThriftKind.MAP:
                function = source.function("map", type_, lambda name: self._map_lines(type_, name))
                return [f"{function}({v}, a)"]
            case kind:
                return [
                    f"x = {to_number(type_, v, source)}",
                    f"a(SMALL[x] if -64 <= x < 64 else zig(x, {_BITS[kind]}))",
                ]

    def _list_lines(self, type_: ThriftType, name: str) -> Sequence[str]:
        return [
            f"def {name}(o, a):",
            f"    a(list_head(len(o), {TYPES[item_of(type_).kind]}))",
            *items_loop(type_, self.value),
        ]

    def _map_lines(self, type_: ThriftType, name: str) -> Sequence[str]:
        types = TYPES[key_of(type_).kind] << 4 | TYPES[item_of(type_).kind]
        return [
            f"def {name}(o, a):",
            f"    a(map_head(len(o), {types}))",
            *entries_loop(type_, self.value, self._source),
        ]


def first_field(data: bytes) -> int | None:
    """The id of a struct's first field; None where it has none. Raises OffenceError."""
    try:
        if not data[0]:
            return None
        return data[0] >> 4 if data[0] > 15 else zigzag(data, 1, 16)[0]
    except IndexError:
        raise OffenceError("the message is truncated") from None


def varint(data: bytes, at: int, bits: int) -> tuple[int, int]:
    """(unsigned integer, end). Raises OffenceError for one of more bits, IndexError at the end of the data."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift >= bits:
            raise OffenceError(f"an integer has more than {bits} bits")
    if value >> bits:
        raise OffenceError(f"an integer has more than {bits} bits")
    return value, at


def zigzag(data: bytes, at: int, bits: int) -> tuple[int, int]:
    """As varint(), signed."""
    value, at = varint(data, at, bits)
    return (value >> 1) ^ -(value & 1), at


def write_varint(value: int) -> bytes:
    """value: not negative."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _write_zigzag(value: int, bits: int) -> bytes:
    if not -1 << (bits - 1) <= value < 1 << (bits - 1):
        raise OverflowError
    return write_varint((value << 1) ^ (value >> (bits - 1)))


def _sized(length: int) -> bytes:
    return _BYTES[length] if length < 128 else write_varint(length)


def _byte(value: int) -> bytes:
    if not -128 <= value < 128:
        raise OverflowError
    return _BYTES[value & 255]


def _write_list_head(count: int, number: int) -> bytes:
    return _BYTES[count << 4 | number] if count < 15 else _BYTES[0xF0 | number] + write_varint(count)


def _write_map_head(count: int, types: int) -> bytes:
    return write_varint(count) + _BYTES[types] if count else _BYTES[0]


def _list_head(data: bytes, at: int, number: int, name: str) -> tuple[int, int]:
    count, found, at = _list_counted(data, at)
    if count and _same(found) != number:
        _other_type(found, name)
    return count, at


def _map_head(data: bytes, at: int, key: int, value: int, key_name: str, value_name: str) -> tuple[int, int]:
    count, types, at = _map_counted(data, at)
    if count:
        if _same(types >> 4) != key:
            _other_type(types >> 4, key_name)
        if _same(types & 15) != value:
            _other_type(types & 15, value_name)
    return count, at


def _list_counted(data: bytes, at: int) -> tuple[int, int, int]:
    """(items, their type, where they are)."""
    head = data[at]
    count, at = (head >> 4, at + 1) if head < 0xF0 else varint(data, at + 1, 32)
    number = head & 15
    if count:
        _check_count(data, at, count, (number,))
    return count, number, at


def _map_counted(data: bytes, at: int) -> tuple[int, int, int]:
    """(entries, the types of key and value, where they are)."""
    count, at = varint(data, at, 32)
    if not count:
        return 0, 0, at
    types = data[at]
    _check_count(data, at + 1, count, (types >> 4, types & 15))
    return count, types, at + 1


def _check_count(data: bytes, at: int, count: int, types: Sequence[int]) -> None:
    for number in types:
        if number not in _LEAST:
            _other_type(number, "a type of Thrift")
    if count * sum(_LEAST[number] for number in types) > len(data) - at:
        short()


def _same(number: int) -> int:
    return _TRUE if number == _FALSE else number


def _other_type(number: int, wanted: str) -> None:
    raise OffenceError(f"it is {_NAMES.get(number, f'of the unknown type {number}')} instead of {wanted}")


def _refuse(data: bytes, at: int, number: int, field: int, depth: int) -> int:
    raise OffenceError(f"the contract has no field {field}")


def _skip_unknown(data: bytes, at: int, number: int, field: int, depth: int) -> int:
    return at if number in (_TRUE, _FALSE) else skip(data, at, number, depth - 1)


def skip(data: bytes, at: int, number: int, depth: int = DEPTH) -> int:
    """The end of a value of this type in a container. Raises OffenceError or IndexError."""
    if number in _FIXED:
        at += _FIXED[number]
    elif number in (4, 5, 6):
        at = varint(data, at, 64)[1]
    elif number == 8:
        size, at = varint(data, at, 32)
        at += size
    elif depth <= 0:
        deep()
    elif number == 12:
        while head := data[at]:
            at += 1
            if head < 16:
                at = varint(data, at, 16)[1]
            if head & 15 not in (_TRUE, _FALSE):
                at = skip(data, at, head & 15, depth - 1)
        return at + 1
    elif number in (9, 10):
        count, item, at = _list_counted(data, at)
        at = _skip_items(data, at, count, (item,), depth)
    elif number == 11:
        count, types, at = _map_counted(data, at)
        at = _skip_items(data, at, count, (types >> 4, types & 15), depth)
    else:
        _other_type(number, "a type of Thrift")
    if at > len(data):
        short()
    return at


def _skip_items(data: bytes, at: int, count: int, types: Sequence[int], depth: int) -> int:
    if count and all(number in _FIXED for number in types):
        return at + count * sum(_FIXED[number] for number in types)
    for _ in range(count):
        for number in types:
            at = skip(data, at, number, depth - 1)
    return at
