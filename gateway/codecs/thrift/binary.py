"""Structs in Thrift's binary protocol, as generated functions.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-binary-protocol.md
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

TYPES: Final[Mapping[ThriftKind, int]] = {
    ThriftKind.BOOL: 2,
    ThriftKind.I8: 3,
    ThriftKind.DOUBLE: 4,
    ThriftKind.I16: 6,
    ThriftKind.I32: 8,
    ThriftKind.ENUM: 8,
    ThriftKind.I64: 10,
    ThriftKind.STRING: 11,
    ThriftKind.BINARY: 11,
    ThriftKind.STRUCT: 12,
    ThriftKind.MAP: 13,
    ThriftKind.SET: 14,
    ThriftKind.LIST: 15,
    ThriftKind.UUID: 16,
}
NAMES: Final[Mapping[int, str]] = {
    number: kind.value for kind, number in TYPES.items() if kind not in (ThriftKind.ENUM, ThriftKind.BINARY)
}
FIXED: Final[Mapping[int, int]] = {2: 1, 3: 1, 4: 8, 6: 2, 8: 4, 10: 8, 16: 16}
"""Bytes of the types that always have as many."""
LEAST: Final[Mapping[int, int]] = {**FIXED, 11: 4, 12: 1, 13: 6, 14: 5, 15: 5}
"""Bytes that a value has at least: more items than fit in what is left can't come."""
_LETTERS: Final = {
    ThriftKind.I8: "b",
    ThriftKind.I16: "h",
    ThriftKind.I32: "i",
    ThriftKind.ENUM: "i",
    ThriftKind.I64: "q",
    ThriftKind.DOUBLE: "d",
}
_SIZES: Final = {"b": 1, "h": 2, "i": 4, "q": 8, "d": 8}
_STRUCTS: Final = {letter: struct.Struct(f">{letter}") for letter in (*_SIZES, "I")}
_FIELD: Final = struct.Struct(">bh")
_I16: Final = struct.Struct(">h")
_U32: Final = struct.Struct(">I")


def reader(record: Record, *, reject: bool) -> Callable[[bytes, int, int], tuple[Any, int]]:
    """(data, where, depth left) -> (plain value, end). Raises OffenceError.

    reject: unknown fields are refused, else skipped.
    """
    source = Source(f"thrift binary read {record.name}")
    for letter, packer in _STRUCTS.items():
        source.constant(packer.unpack_from, f"read_{letter}")
    source.constant(struct.unpack_from, "unpack_from")
    source.constant(_refuse if reject else _skip_unknown, "unknown")
    source.constant(_other_type, "other_type")
    return source.build(_Reader(source).struct(record))


class _Reader:
    def __init__(self, source: Source) -> None:
        self._source = source

    def struct(self, record: Record) -> str:
        return self._source.function("struct", record, lambda name: self._struct_lines(record, name))

    def _struct_lines(self, record: Record, name: str) -> Sequence[str]:
        source = self._source
        keys = {
            index: _FIELD.pack(TYPES[wire(field).type.kind], wire(field).id)
            for index, field in enumerate(record.fields)
        }
        places = source.constant(
            {keys[index]: f".{field.name}" for index, field in enumerate(record.fields) if field.name}
        )
        known = source.constant(frozenset(keys.values()))
        ids = source.constant({wire(field).id: (field.name, wire(field).type) for field in record.fields})
        body = []
        for index, field in sorted(enumerate(record.fields), key=lambda pair: wire(pair[1]).id):
            body += [
                f"if k == {keys[index]!r}:",
                "    i += 3",
                *(f"    {line}" for line in self.value(wire(field).type, f"v{index}")),
                "    k = p[i:i+3]",
            ]
        values = ", ".join(f"{field.attr}=v{index}" for index, field in enumerate(record.fields))
        return [
            f"def {name}(p, i, d):",
            "    if d <= 0: deep()",
            *(f"    v{index} = {initial(field, source)}" for index, field in enumerate(record.fields)),
            "    k = b''",
            "    try:",
            # Writers mostly keep the order of ids, so one pass over the fields does; the loop is for the others.
            "        while True:",
            "            k = p[i:i+3]",
            *(f"            {line}" for line in body),
            "            if k < b'\\1':",
            "                if not k: short()",
            "                break",
            f"            if k not in {known}: i = unknown(p, i, d, {ids})",
            "    except READING as e:",
            f"        raise located(e, {places}.get(k, '')) from None",
            *(f"    {line}" for line in final(record, source)),
            f"    return {source.constant(struct_of(record))}({values}), i + 1",
        ]

    def value(self, type_: ThriftType, v: str) -> list[str]:
        """Lines that read a value at p[i] into v."""
        match type_.kind:
            case ThriftKind.BOOL:
                return [f"{v} = p[i] != 0", "i += 1"]
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
                letter = _LETTERS[kind]
                lines = [f"{v}, = read_{letter}(p, i)", f"i += {_SIZES[letter]}"]
                made = from_number(type_, v, self._source)
                return lines if made == v else [*lines, f"{v} = {made}"]

    def _bytes(self, v: str) -> list[str]:
        return ["m, = read_I(p, i)", "i += 4", f"{v} = p[i:i+m]", f"if len({v}) != m: short()", "i += m"]

    def _list_lines(self, type_: ThriftType, name: str) -> Sequence[str]:
        item = item_of(type_)
        number = TYPES[item.kind]
        head = [
            f"def {name}(p, i, d):",
            "    if d <= 0: deep()",
            "    n, = read_I(p, i + 1)",
            f"    if n and p[i] != {number}: other_type(p[i], {str(item)!r})",
            "    i += 5",
            f"    if n * {LEAST[number]} > len(p) - i: short()",
        ]
        letter = _LETTERS.get(item.kind)
        if letter is not None and item.kind is not ThriftKind.ENUM and not item.unit:
            return [*head, f"    return list(unpack_from(f'>{{n}}{letter}', p, i)), i + n * {_SIZES[letter]}"]
        return [
            *head,
            *list_loop(self.value(item, "v")),
        ]

    def _map_lines(self, type_: ThriftType, name: str) -> Sequence[str]:
        key, value = key_of(type_), item_of(type_)
        numbers = TYPES[key.kind], TYPES[value.kind]
        head = [
            f"def {name}(p, i, d):",
            "    if d <= 0: deep()",
            "    n, = read_I(p, i + 2)",
            "    if n:",
            f"        if p[i] != {numbers[0]}: other_type(p[i], {str(key)!r})",
            f"        if p[i + 1] != {numbers[1]}: other_type(p[i + 1], {str(value)!r})",
            "    i += 6",
            f"    if n * {LEAST[numbers[0]] + LEAST[numbers[1]]} > len(p) - i: short()",
        ]
        return [*head, *map_loop(type_, self.value, self._source)]


def writer(record: Record) -> Callable[[Any, Callable[[bytes], object]], None]:
    """(plain value, taker of pieces) -> None. Raises OffenceError."""
    source = Source(f"thrift binary write {record.name}")
    source.constant(_U32.pack, "size")
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
            header = _FIELD.pack(TYPES[hint.type.kind], hint.id)
            write = self.value(hint.type, "v", header)
            absent = [f"    missing({field.name!r})"] if field.required else []
            test = "if v is U:" if field.required else "if v is not U:"
            place = f".{field.name}" if field.name else ""
            body += [f"v = o.{field.attr}", f"f = {place!r}"]
            if field.required:
                body += ["if v is U:", "    f = ''", *absent, *write]
            else:
                body += [test, *(f"    {line}" for line in write)]
        return [
            f"def {name}(o, a):",
            "    v = o",
            "    f = ''",
            "    try:",
            *(f"        {line}" for line in (*check_arms(record), *body, "pass")),
            "    except WRITING as e:",
            f"        raise refused(e, f, v, {types}.get(f, {record.name!r})) from None",
            "    a(b'\\0')",
        ]

    def value(self, type_: ThriftType, v: str, head: bytes = b"") -> list[str]:
        """Lines that write v, after the head, to a."""
        source = self._source
        first = [f"a({head!r})"] if head else []
        plus = f"{head!r} + " if head else ""
        match type_.kind:
            case ThriftKind.BOOL:
                return [f"a({head + bytes([1])!r} if {v} else {head + bytes([0])!r})"]
            case ThriftKind.STRING:
                text = f"any_text({v})" if type_.type == ANY else v
                return [f"x = {text}.encode()", f"a({plus}size(len(x)) + x)"]
            case ThriftKind.BINARY:
                return [f"a({plus}size(len({v})) + {v})"]
            case ThriftKind.UUID:
                return [f"a({plus}uuid_bytes({v}))"]
            case ThriftKind.STRUCT:
                return [*first, f"{self.struct(struct_name(type_))}({v}, a)"]
            case ThriftKind.LIST | ThriftKind.SET:
                function = source.function("list", type_, lambda name: self._list_lines(type_, name))
                return [*first, f"{function}({v}, a)"]
            case ThriftKind.MAP:
                function = source.function("map", type_, lambda name: self._map_lines(type_, name))
                return [*first, f"{function}({v}, a)"]
            case kind:
                number = to_number(type_, v, source)
                if head:
                    pack = source.constant(struct.Struct(f">{len(head)}s{_LETTERS[kind]}").pack)
                    return [f"a({pack}({head!r}, {number}))"]
                return [f"a({source.constant(_STRUCTS[_LETTERS[kind]].pack)}({number}))"]

    def _list_lines(self, type_: ThriftType, name: str) -> Sequence[str]:
        item = item_of(type_)
        head = [f"def {name}(o, a):", f"    a({bytes([TYPES[item.kind]])!r} + size(len(o)))"]
        letter = _LETTERS.get(item.kind)
        if letter and item.kind is not ThriftKind.ENUM and not item.unit and type_.kind is ThriftKind.LIST:
            pack = self._source.constant(struct.pack)
            head += [
                f"    try: return a({pack}(f'>{{len(o)}}{letter}', *o))",
                "    except WRITING: pass",  # the loop tells which
            ]
        return [*head, *items_loop(type_, self.value)]

    def _map_lines(self, type_: ThriftType, name: str) -> Sequence[str]:
        key, value = key_of(type_), item_of(type_)
        head = bytes([TYPES[key.kind], TYPES[value.kind]])
        return [
            f"def {name}(o, a):",
            f"    a({head!r} + size(len(o)))",
            *entries_loop(type_, self.value, self._source),
        ]


def first_field(data: bytes) -> int | None:
    """The id of a struct's first field; None where it has none. Raises OffenceError."""
    if not data:
        raise OffenceError("the message is truncated")
    if data[0] == 0:
        return None
    if len(data) < 3:
        raise OffenceError("the message is truncated")
    number: int = _I16.unpack_from(data, 1)[0]
    return number


def _refuse(data: bytes, at: int, depth: int, known: Mapping[int, tuple[str, ThriftType]]) -> int:
    _mistyped(data, at, known)
    raise OffenceError(f"the contract has no field {_id(data, at)}")


def _skip_unknown(data: bytes, at: int, depth: int, known: Mapping[int, tuple[str, ThriftType]]) -> int:
    _mistyped(data, at, known)
    return skip(data, at + 3, data[at], depth - 1)


def _id(data: bytes, at: int) -> int:
    number: int = _I16.unpack_from(data, at + 1)[0]
    return number


def _mistyped(data: bytes, at: int, known: Mapping[int, tuple[str, ThriftType]]) -> None:
    found = known.get(_id(data, at))
    if found is not None:
        name, type_ = found
        try:
            _other_type(data[at], str(type_))
        except OffenceError as error:
            error.path = f".{name}" if name else ""
            raise


def _other_type(number: int, wanted: str) -> None:
    raise OffenceError(f"it is {NAMES.get(number, f'of the unknown type {number}')} instead of {wanted}")


def skip(data: bytes, at: int, number: int, depth: int = DEPTH) -> int:
    """The end of a value of this type. Raises OffenceError, IndexError or struct.error."""
    if number in FIXED:
        at += FIXED[number]
    elif number == 11:
        at += 4 + _U32.unpack_from(data, at)[0]
    elif depth <= 0:
        deep()
    elif number == 12:
        while data[at]:
            at = skip(data, at + 3, data[at], depth - 1)
        return at + 1
    elif number in (13, 14, 15):
        at = _skip_items(data, at, number, depth)
    else:
        _other_type(number, "a type of Thrift")
    if at > len(data):
        short()
    return at


def _skip_items(data: bytes, at: int, number: int, depth: int) -> int:
    head = 2 if number == 13 else 1
    types = data[at : at + head]
    count: int = _U32.unpack_from(data, at + head)[0]
    at += head + 4
    if not count:
        return at
    for one in types:
        if one not in LEAST:
            _other_type(one, "a type of Thrift")
    if count * sum(LEAST[one] for one in types) > len(data) - at:
        short()
    if all(one in FIXED for one in types):
        return at + count * sum(FIXED[one] for one in types)
    for _ in range(count):
        for one in types:
            at = skip(data, at, one, depth - 1)
    return at
