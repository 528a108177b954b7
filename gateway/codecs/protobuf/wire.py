"""Finds what is wrong with protobuf bytes, and where. Only failures pay for it: the parser itself is upb.

https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

DEPTH: Final = 100  # upb's own limit
_VARINT, _I64, _LEN, _GROUP, _END_GROUP, _I32 = range(6)
_FIXED: Final = {_I64: 8, _I32: 4}
_WIRE_TYPES: Final = {
    FieldDescriptor.TYPE_DOUBLE: _I64,
    FieldDescriptor.TYPE_FLOAT: _I32,
    FieldDescriptor.TYPE_INT64: _VARINT,
    FieldDescriptor.TYPE_UINT64: _VARINT,
    FieldDescriptor.TYPE_INT32: _VARINT,
    FieldDescriptor.TYPE_FIXED64: _I64,
    FieldDescriptor.TYPE_FIXED32: _I32,
    FieldDescriptor.TYPE_BOOL: _VARINT,
    FieldDescriptor.TYPE_STRING: _LEN,
    FieldDescriptor.TYPE_GROUP: _GROUP,
    FieldDescriptor.TYPE_MESSAGE: _LEN,
    FieldDescriptor.TYPE_BYTES: _LEN,
    FieldDescriptor.TYPE_UINT32: _VARINT,
    FieldDescriptor.TYPE_ENUM: _VARINT,
    FieldDescriptor.TYPE_SFIXED32: _I32,
    FieldDescriptor.TYPE_SFIXED64: _I64,
    FieldDescriptor.TYPE_SINT32: _VARINT,
    FieldDescriptor.TYPE_SINT64: _VARINT,
}


class Offence(Exception):
    """What is wrong, for the caller, and where."""

    def __init__(self, reason: str, path: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


def find_offence(descriptor: Descriptor, data: bytes) -> Offence | None:
    """The first thing in the bytes that the message type does not have or the encoding forbids."""
    try:
        _message(descriptor, data, 0, len(data), "$", DEPTH)
    except Offence as offence:
        return offence
    return None


def _message(descriptor: Descriptor, data: bytes, at: int, end: int, path: str, depth: int, group: int = 0) -> int:
    if depth == 0:
        raise Offence(f"the message is nested deeper than {DEPTH} levels", path)
    counts: dict[int, int] = {}
    while at < end:
        tag, at = _varint(data, at, end, path)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _END_GROUP and number == group:
            return at
        if not 0 < number < 2**29 or wire_type > _I32 or wire_type == _END_GROUP:
            raise Offence("the bytes are not a protobuf message", path)
        field = descriptor.fields_by_number.get(number) or _extension(descriptor, number)
        if field is None:
            raise Offence(f"{descriptor.full_name} has no field number {number}", path)
        where = f"{path}.{_name(field)}"
        if field.is_repeated:
            index = counts.get(number, 0)
            counts[number] = index + 1
            where = f"{where}[{index}]"
        at = _field(field, wire_type, data, at, end, where, depth)
    if group:
        raise Offence("the message is truncated", path)
    return at


def _field(field: FieldDescriptor, wire_type: int, data: bytes, at: int, end: int, path: str, depth: int) -> int:
    expected = _WIRE_TYPES[field.type]
    packed = wire_type == _LEN and field.is_repeated and expected in (_VARINT, _I32, _I64)
    if wire_type != expected and not packed:
        raise Offence(f"field number {field.number} comes with wire type {wire_type} instead of {expected}", path)
    if wire_type == _GROUP:
        return _message(_type(field), data, at, end, path, depth - 1, group=field.number)
    if wire_type == _VARINT:
        value, at = _varint(data, at, end, path)
        _closed_enum(field, value, path)
        return at
    if wire_type in _FIXED:
        length = _FIXED[wire_type]
    else:
        length, at = _varint(data, at, end, path)
    stop = at + length
    if stop > end:
        raise Offence("the message is truncated", path)
    if packed:
        for value in _packed(expected, data, at, stop, path):
            _closed_enum(field, value, path)
    elif field.message_type is not None:
        _message(field.message_type, data, at, stop, path, depth - 1)
    elif field.type == FieldDescriptor.TYPE_STRING:
        try:
            data[at:stop].decode()
        except UnicodeDecodeError:
            raise Offence("the text is not valid UTF-8", path) from None
    return stop


def _packed(wire_type: int, data: bytes, at: int, end: int, path: str) -> Iterator[int]:
    if wire_type in _FIXED:
        if (end - at) % _FIXED[wire_type]:
            raise Offence("the packed field has a broken length", path)
        return
    while at < end:
        value, at = _varint(data, at, end, path)
        yield value


def _varint(data: bytes, at: int, end: int, path: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise Offence("the message is truncated", path)
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), at
    raise Offence("the bytes hold an integer of more than 64 bits", path)


def _closed_enum(field: FieldDescriptor, value: int, path: str) -> None:
    if field.enum_type is not None and field.enum_type.is_closed:
        number = (value & 0xFFFFFFFF) - ((value & 0x80000000) << 1)
        if number not in field.enum_type.values_by_number:
            raise Offence(f"{field.enum_type.full_name} has no value {number}", path)


def _extension(descriptor: Descriptor, number: int) -> FieldDescriptor | None:
    if not descriptor.is_extendable:
        return None
    try:
        return descriptor.file.pool.FindExtensionByNumber(descriptor, number)
    except KeyError:
        return None


def _name(field: FieldDescriptor) -> str:
    return f"[{field.full_name}]" if field.is_extension else field.name


def _type(field: FieldDescriptor) -> Any:
    return field.message_type
