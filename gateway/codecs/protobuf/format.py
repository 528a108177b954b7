"""Protobuf bytes <-> plain values: upb does the encoding, generated functions move the fields.

The generated functions know no paths. Only when one fails is the offence looked for, field by field.
"""

import keyword
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar, Final

import msgspec
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError, EncodeError
from msgspec import UNSET

from gateway.codecs.format import Decode, Encode, NoFormError, Unknown
from gateway.codecs.protobuf.well_known import READERS, WRITERS, any_reader, any_writer, float32, float32s
from gateway.codecs.protobuf.wire import find_offence
from gateway.schema.idl.proto.reader import ProtoSchema, map_entry
from gateway.schema.source import build
from gateway.schema.types import Enumeration, Field, List, Map, Record, Type, records
from gateway.schema.values import struct_of
from gateway.status import Failure, invalid

_READING: Final = (ValueError, EncodeError, RecursionError)
_WRITING: Final = (ValueError, TypeError, AttributeError, OverflowError, EncodeError, RecursionError)
# Their zero value is told to upb like any other: a comparison would hide -0.0, and an enumeration's is a name.
_ALWAYS_SET: Final = (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_ENUM)
_MISSING: Final = "a required field is missing"


class ProtobufFormat:
    """Messages of one contract as bytes. Formats of the same ProtoSchema are equal.

    schema: None for the messages of any contract, each of the one that its type is of.
    """

    encoded: ClassVar[type] = bytes
    name: Final = "protobuf"

    def __init__(self, schema: ProtoSchema | None) -> None:
        self._schema = schema
        self._generator = None if schema is None else _Generator(schema.pool)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProtobufFormat) and other._schema is self._schema

    def __hash__(self) -> int:
        return id(self._schema)

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        """Raises NoFormError for a type that is no message of a .proto contract."""
        record, descriptor = _message(type_)
        parse = message_factory.GetMessageClass(descriptor).FromString
        generator = self._generator or _Generator(descriptor.file.pool)
        read = generator.reader(record)
        reject = unknown is Unknown.REJECT

        def decode(data: bytes) -> Any:
            try:
                message = parse(data)
            except DecodeError as error:
                raise _malformed(descriptor, data) from error
            try:
                if reject:
                    size = message.ByteSize()
                    message.DiscardUnknownFields()
                    if message.ByteSize() != size:
                        raise _malformed(descriptor, data)
                return read(message)
            except _READING as error:
                raise _first(generator.read_offences(record, message, "$"), error) from error

        return decode

    def encoder(self, type_: Type) -> Encode:
        """Raises NoFormError for a type that is no message of a .proto contract."""
        record, descriptor = _message(type_)
        new = message_factory.GetMessageClass(descriptor)
        generator = self._generator or _Generator(descriptor.file.pool)
        write = generator.writer(record)

        def encode(value: Any) -> bytes:
            message = new()
            try:
                write(value, message)
                return message.SerializeToString()
            except _WRITING as error:
                raise _first(generator.write_offences(record, value, "$"), error) from error

        return encode


def _message(type_: Type) -> tuple[Record, Descriptor]:
    if isinstance(type_, Record) and isinstance(type_.wire, Descriptor):
        return type_, type_.wire
    raise NoFormError(f"{type_} is no message of a .proto contract")


def _malformed(descriptor: Descriptor, data: bytes) -> Failure:
    offence = find_offence(descriptor, data)
    if offence is None:
        return invalid(f"the bytes are not a {descriptor.full_name}")
    return invalid(offence.reason, offence.path)


def _first(offences: Iterator[tuple[str, str]], error: Exception) -> Failure:
    try:
        for path, reason in offences:
            return invalid(reason, path)
    except RecursionError:
        pass
    if isinstance(error, RecursionError):
        return invalid("the message is nested too deep")
    return invalid(f"the value does not fit the message: {_reason(error)}")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        raise error  # the message is nested too deep, which is said of it as a whole
    if isinstance(error, UnicodeError):
        return "the text is not valid Unicode"
    return str(error)


class _Generator:
    """Makes the functions of one contract, each once, and finds what they stumbled over."""

    def __init__(self, pool: DescriptorPool) -> None:
        self._readers = {**READERS, "google.protobuf.Any": any_reader(pool)}
        self._writers = {**WRITERS, "google.protobuf.Any": any_writer(pool)}
        # By identity; the key's object is kept, so that its id stays its own.
        self._made: dict[tuple[str, int], tuple[object, Callable[..., Any]]] = {}

    def reader(self, record: Record) -> Callable[[Any], Any]:
        """upb message -> struct_of(record). Raises ValueError."""
        return self._once("read", record, lambda: self._build("read", record, self._read_lines))

    def writer(self, record: Record) -> Callable[[Any, Any], None]:
        """(struct_of(record), empty upb message) -> None. Raises what is in _WRITING."""
        return self._once("write", record, lambda: self._build("write", record, self._write_lines))

    def _once(self, what: str, key: object, make: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
        known = self._made.get((what, id(key)))
        if known is None:
            known = self._made[what, id(key)] = (key, make())
        return known[1]

    def _build(self, verb: str, root: Record, lines: Callable[[Record, "_Names"], Sequence[str]]) -> Callable[..., Any]:
        names = _Names(verb)
        source: list[str] = []
        for record in records(root):
            names.function(record)
            source += lines(record, names)
        built: Callable[..., Any] = build(f"protobuf {verb} {root.name}", "\n".join(source), names.scope)[
            names.function(root)
        ]
        return built

    def _read_lines(self, record: Record, names: "_Names") -> list[str]:
        struct = names.constant("T", struct_of(record))
        return [
            f"def {names.function(record)}(m):",
            f"    return {struct}(",
            *(f"        {field.attr}={self._read_field(field, names)}," for field in record.fields),
            "    )",
        ]

    def _read_field(self, field: Field, names: "_Names") -> str:
        wire: FieldDescriptor = field.wire
        member = _member(wire, names)
        entry = map_entry(wire)
        if entry is not None:
            item = self._read_item(_item_type(field.type), entry[1], "x", names)
            if item == "x":
                return f"dict(d) if (d := {member}) else {{}}"
            return f"{{k: {item} for k, x in {member}.items()}}"
        if isinstance(field.type, List):
            item = self._read_item(field.type.item, wire, "x", names)
            return f"{member}[:]" if item == "x" else f"[{item} for x in {member}]"
        value = self._read_item(field.type, wire, member, names)
        if not wire.has_presence or wire.has_default_value:
            return value
        absent = "missing()" if field.required else "UNSET"
        return f"{value} if {_has(wire, names)} else {absent}"

    def _read_item(self, type_: Type, wire: FieldDescriptor, expression: str, names: "_Names") -> str:
        if isinstance(type_, Record):
            return f"{names.function(type_)}({expression})"
        if isinstance(type_, Enumeration):
            numbers: dict[int, str] = {}
            for name, number in type_.numbers.items():
                numbers.setdefault(number, name)
            named = names.constant("E", numbers.get)
            return f"{named}(x, x)" if expression == "x" else f"{named}(x := {expression}, x)"
        if wire.message_type is None:
            return (
                f"text({expression})" if wire.type == FieldDescriptor.TYPE_STRING and not _proto3(wire) else expression
            )
        special = self._readers.get(wire.message_type.full_name)
        if special is None:
            return f"{expression}.value"
        return f"{names.constant('R', special)}({expression})"

    def _write_lines(self, record: Record, names: "_Names") -> list[str]:
        lines = [f"def {names.function(record)}(o, m):"]
        for field in record.fields:
            if not field.choice:
                lines += self._write_field(field, names)
        for choice in record.choices:
            arms = [field for field in record.fields if field.choice == choice.name]
            for index, arm in enumerate(arms):
                lines.append(f"    {'elif' if index else 'if'} (v := o.{arm.attr}) is not UNSET:")
                rest = " or ".join(f"o.{other.attr} is not UNSET" for other in arms[index + 1 :])
                if rest:
                    lines.append(f"        if {rest}: two_arms()")
                lines += (f"        {line}" for line in self._write_single(arm.type, arm.wire, names))
        return [*lines, "    return None"]

    def _write_field(self, field: Field, names: "_Names") -> list[str]:
        wire: FieldDescriptor = field.wire
        member = _member(wire, names)
        lines = [f"    v = o.{field.attr}"]
        entry = map_entry(wire)
        if entry is not None:
            put = self._put_item(_item_type(field.type), entry[1], "x", "d[k]", names)
            assign = f"d[k] = {_checked(entry[1], 'x')}"
            return [*lines, "    if v:", f"        d = {member}", f"        for k, x in v.items(): {put or assign}"]
        if isinstance(field.type, List):
            put = self._put_item(field.type.item, wire, "x", "a()", names)
            if put:
                return [*lines, "    if v:", f"        a = {member}.add", f"        for x in v: {put}"]
            values = "float32s(v)" if wire.type == FieldDescriptor.TYPE_FLOAT else "v"
            return [*lines, "    if v:", f"        {member}.extend({values})"]
        single = self._write_single(field.type, wire, names)
        if field.required:
            return [*lines, *(f"    {line}" for line in single)]
        if wire.has_presence:
            return [*lines, "    if v is not UNSET:", *(f"        {line}" for line in single)]
        if wire.type not in _ALWAYS_SET:
            return [*lines, "    if v:", *(f"        {line}" for line in single)]
        return [*lines, *(f"    {line}" for line in single)]

    def _write_single(self, type_: Type, wire: FieldDescriptor, names: "_Names") -> list[str]:
        member = _member(wire, names)
        put = self._put_item(type_, wire, "v", member, names)
        if not put:
            return [_assign(wire, _checked(wire, "v"), names)]
        if isinstance(type_, Record):
            return [f"s = {member}", "s.SetInParent()", self._put_item(type_, wire, "v", "s", names)]
        return [put]

    def _put_item(self, type_: Type, wire: FieldDescriptor, value: str, target: str, names: "_Names") -> str:
        """The statement that fills a message; empty for a field that is none."""
        if isinstance(type_, Record):
            return f"{names.function(type_)}({value}, {target})"
        if wire.message_type is None:
            return ""
        special = self._writers.get(wire.message_type.full_name)
        if special is None:
            return f"{target}.value = {_checked(wire.message_type.fields_by_name['value'], value)}"
        return f"{names.constant('W', special)}({value}, {target})"

    def read_offences(self, record: Record, message: Any, path: str) -> Iterator[tuple[str, str]]:
        """(path, reason) of each field that its reader refuses."""
        for field in record.fields:
            where = f"{path}.{field.name}"
            if not field.wire.is_repeated and field.wire.has_presence and not _present(field.wire, message):
                if field.required:
                    yield where, _MISSING
                continue
            nested = _item_type(field.type)
            for item_path, item, _ in _entries(field, _value(field.wire, message), where):
                if isinstance(nested, Record):
                    yield from self.read_offences(nested, item, item_path)
                    continue
                try:
                    self._read_one(field)(item)
                except _READING as error:
                    yield item_path, _reason(error)

    def _read_one(self, field: Field) -> Callable[[Any], Any]:
        def make() -> Callable[[Any], Any]:
            names = _Names("read")
            entry = map_entry(field.wire)
            wire = field.wire if entry is None else entry[1]
            expression = self._read_item(_item_type(field.type), wire, "x", names)
            made: Callable[[Any], Any] = build("protobuf read one", f"def one(x): return {expression}", names.scope)[
                "one"
            ]
            return made

        return self._once("read one", field, make)

    def write_offences(self, record: Record, value: Any, path: str) -> Iterator[tuple[str, str]]:
        """(path, reason) of each field that its writer refuses."""
        if not isinstance(value, msgspec.Struct):
            yield path, f"{record.name} expected"
            return
        for choice in record.choices:
            arms = [f for f in record.fields if f.choice == choice.name and getattr(value, f.attr) is not UNSET]
            if len(arms) > 1:
                yield f"{path}.{arms[1].name}", f"only one of {choice.name} may be set, and {arms[0].name} is too"
        for field in record.fields:
            content = getattr(value, field.attr)
            where = f"{path}.{field.name}"
            if content is UNSET:
                if field.required:
                    yield where, _MISSING
                continue
            if isinstance(field.type, List | Map) and not isinstance(content, list | dict):
                yield where, f"{field.type} expected"
                continue
            nested = _item_type(field.type)
            new = message_factory.GetMessageClass(record.wire)
            for item_path, item, alone in _entries(field, content, where):
                if isinstance(nested, Record):
                    yield from self.write_offences(nested, item, item_path)
                try:
                    self._write_alone(record, field)(SimpleNamespace(**{field.attr: alone}), new())
                except _WRITING as error:
                    yield item_path, f"{nested} expected" if isinstance(error, TypeError) else _reason(error)

    def _write_alone(self, record: Record, field: Field) -> Callable[..., Any]:
        def make() -> Callable[..., Any]:
            lonely = Field(field.name, field.type, required=field.required, wire=field.wire)
            return self.writer(Record(record.name, [lonely], wire=record.wire))

        return self._once("write one", field, make)


class _Names:
    """The constants and function names of one generated module."""

    def __init__(self, verb: str) -> None:
        self.scope: dict[str, Any] = {
            "UNSET": UNSET,
            "float32": float32,
            "float32s": float32s,
            "missing": _missing,
            "text": _text,
            "two_arms": _two_arms,
        }
        self._verb = verb
        self._functions: dict[int, str] = {}

    def function(self, record: Record) -> str:
        return self._functions.setdefault(id(record), f"{self._verb}_{len(self._functions)}")

    def constant(self, prefix: str, value: Any) -> str:
        name = f"{prefix}{len(self.scope)}"
        self.scope[name] = value
        return name


def _missing() -> None:
    raise ValueError(_MISSING)


def _text(value: str | bytes) -> str:
    # Before proto3 a string's bytes were not checked; upb hands over what is not UTF-8 as bytes.
    if isinstance(value, bytes):
        raise ValueError("the text is not valid UTF-8")  # noqa: TRY004  the value is wrong, whatever Python makes of it
    return value


def _proto3(wire: FieldDescriptor) -> bool:
    file = FileDescriptorProto()
    if wire.containing_type is not None:
        wire.containing_type.file.CopyToProto(file)
    return file.syntax == "proto3"


def _two_arms() -> None:
    raise ValueError("only one field of a oneof may be set")


def _member(wire: FieldDescriptor, names: _Names) -> str:
    if wire.is_extension:
        return f"m.Extensions[{names.constant('X', wire)}]"
    return f"getattr(m, {wire.name!r})" if keyword.iskeyword(wire.name) else f"m.{wire.name}"


def _has(wire: FieldDescriptor, names: _Names) -> str:
    return f"m.HasExtension({names.constant('X', wire)})" if wire.is_extension else f"m.HasField({wire.name!r})"


def _assign(wire: FieldDescriptor, value: str, names: _Names) -> str:
    if keyword.iskeyword(wire.name) and not wire.is_extension:
        return f"setattr(m, {wire.name!r}, {value})"
    return f"{_member(wire, names)} = {value}"


def _checked(wire: FieldDescriptor, value: str) -> str:
    return f"float32({value})" if wire.type == FieldDescriptor.TYPE_FLOAT else value


def _present(wire: FieldDescriptor, message: Any) -> bool:
    return bool(message.HasExtension(wire) if wire.is_extension else message.HasField(wire.name))


def _value(wire: FieldDescriptor, message: Any) -> Any:
    return message.Extensions[wire] if wire.is_extension else getattr(message, wire.name)


def _item_type(type_: Type) -> Type:
    return type_.item if isinstance(type_, List) else type_.value if isinstance(type_, Map) else type_


def _entries(field: Field, content: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """(path, item, the field's value if it held nothing else) of each item of a field."""
    if isinstance(field.type, Map):
        for key, item in content.items():
            yield f"{path}[{key!r}]", item, {key: item}
    elif isinstance(field.type, List):
        for index, item in enumerate(content):
            yield f"{path}[{index}]", item, [item]
    else:
        yield path, content, content
