"""The type IR as a .proto contract: what another IDL declares, for callers who speak gRPC.

https://protobuf.dev/programming-guides/style/ for the names. ProtoSchema reads the result like any other contract.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.type import decimal_pb2  # type: ignore[import-untyped]

from gateway.pattern import Count
from gateway.schema.types import Enumeration, Field, Kind, List, Map, Operation, Record, Scalar, Type, is_unset

Numbers = Mapping[str, Mapping[str, int]]
"""Message -> field -> number."""

_EMPTY: Final = ".google.protobuf.Empty"
_SCALARS: Final[Mapping[Kind, "FieldDescriptorProto.Type.ValueType"]] = {
    Kind.BOOL: FieldDescriptorProto.TYPE_BOOL,
    Kind.INT32: FieldDescriptorProto.TYPE_INT32,
    Kind.INT64: FieldDescriptorProto.TYPE_INT64,
    Kind.UINT32: FieldDescriptorProto.TYPE_UINT32,
    Kind.UINT64: FieldDescriptorProto.TYPE_UINT64,
    Kind.INTEGER: FieldDescriptorProto.TYPE_STRING,
    Kind.FLOAT32: FieldDescriptorProto.TYPE_FLOAT,
    Kind.FLOAT64: FieldDescriptorProto.TYPE_DOUBLE,
    Kind.STRING: FieldDescriptorProto.TYPE_STRING,
    Kind.BYTES: FieldDescriptorProto.TYPE_BYTES,
    Kind.DATE: FieldDescriptorProto.TYPE_STRING,
    Kind.TIME: FieldDescriptorProto.TYPE_STRING,
}
_MESSAGES: Final[Mapping[Kind, str]] = {
    Kind.DECIMAL: ".google.type.Decimal",
    Kind.TIMESTAMP: ".google.protobuf.Timestamp",
    Kind.DURATION: ".google.protobuf.Duration",
    Kind.ANY: ".google.protobuf.Value",
}
_KEYS: Final = frozenset({Kind.BOOL, Kind.INT32, Kind.INT64, Kind.UINT32, Kind.UINT64, Kind.STRING})
_RESERVED: Final = range(19_000, 20_000)


def write(
    package: str, service: str, operations: Iterable[Operation], numbers: Numbers | None = None
) -> FileDescriptorSet:
    """A contract with one service.

    numbers: those that callers already rely on (see field_numbers); new fields take the next free ones.
    Raises ValueError, naming the field, for what protobuf can't express: lists of lists, maps of lists, lists of
    nulls, map keys that are no integer, boolean or string, lists in a union.
    """
    writer = _Writer(package, numbers or {})
    writer.service(service, operations)
    decimal = FileDescriptorProto()
    decimal_pb2.DESCRIPTOR.CopyToProto(decimal)
    return FileDescriptorSet(file=[decimal, writer.file])


def field_numbers(descriptors: FileDescriptorSet) -> dict[str, dict[str, int]]:
    """What a lock file keeps, also of fields that are gone, so that writing the contract again breaks no caller."""
    return {
        message.name: {field.name: field.number for field in message.field}
        for file in descriptors.file
        for message in file.message_type
    }


class _Writer:
    def __init__(self, package: str, numbers: Numbers) -> None:
        self.file = FileDescriptorProto(
            name=f"{package.replace('.', '/')}/contract.proto",
            package=package,
            syntax="proto3",
            dependency=[
                "google/protobuf/duration.proto",
                "google/protobuf/empty.proto",
                "google/protobuf/struct.proto",
                "google/protobuf/timestamp.proto",
                "google/type/decimal.proto",
            ],
        )
        self._numbers = numbers
        self._names: dict[int, str] = {}  # by identity
        self._kept: list[Record | Enumeration] = []  # so that their ids stay their own
        self._taken: set[str] = set()

    def service(self, name: str, operations: Iterable[Operation]) -> None:
        service = self.file.service.add(name=name)
        for operation in operations:
            service.method.add(
                name=_camel(operation.name.rpartition("/")[2]),
                input_type=self._message(operation.request, operation),
                output_type=self._message(operation.reply, operation),
                client_streaming=operation.pattern.requests is Count.MANY,
                server_streaming=operation.pattern.replies is Count.MANY,
            )
            for failure in operation.failures.values():
                self._record(failure)

    def _message(self, type_: Type | None, operation: Operation) -> str:
        if type_ is None:
            return _EMPTY
        if not isinstance(type_, Record):
            raise ValueError(f"{operation.name}: a {type_} is no message")  # noqa: TRY004  the contract is at fault
        return self._record(type_)

    def _name(self, type_: Record | Enumeration) -> tuple[str, bool]:
        """(name, whether it is new)."""
        known = self._names.get(id(type_))
        if known is not None:
            return known, False
        short = _camel(re.split(r"[.}:/]", type_.name)[-1]) or "Message"
        name, serial = short, 2
        while name in self._taken:
            name, serial = f"{short}{serial}", serial + 1
        self._taken.add(name)
        self._names[id(type_)] = name
        self._kept.append(type_)
        return name, True

    def _record(self, record: Record) -> str:
        name, new = self._name(record)
        if new:
            message = DescriptorProto(name=name)
            indexes = {choice.name: index for index, choice in enumerate(record.choices)}
            for choice in indexes:
                message.oneof_decl.add(name=_snake(choice))
            free = self._free(name)
            for field in record.fields:
                self._field(message, field, free, indexes, f"{record.name}.{field.name}")
            self.file.message_type.append(message)
        return f".{self.file.package}.{name}"

    def _free(self, message: str) -> "_Free":
        return _Free(self._numbers.get(message, {}))

    def _field(
        self, message: DescriptorProto, field: Field, free: "_Free", choices: Mapping[str, int], where: str
    ) -> None:
        name = _snake(field.name)
        if any(known.name == name for known in message.field):
            raise ValueError(f"{where}: another field is named {name} too")
        wire = message.field.add(name=name, number=free.take(name), label=FieldDescriptorProto.LABEL_OPTIONAL)
        match field.type:
            case List(item, nullable):
                if nullable or field.choice:
                    raise ValueError(f"{where}: protobuf has no list {'in a oneof' if field.choice else 'of nulls'}")
                wire.label = FieldDescriptorProto.LABEL_REPEATED
                self._type(wire, item, where)
            case Map(key, value):
                if key.kind not in _KEYS or field.choice:
                    which = "in a oneof" if field.choice else f"keyed by {key}"
                    raise ValueError(f"{where}: protobuf has no map {which}")
                wire.label = FieldDescriptorProto.LABEL_REPEATED
                entry = message.nested_type.add(name=f"{_camel(name)}Entry")
                entry.options.map_entry = True
                for number, (part, type_) in enumerate((("key", key), ("value", value)), 1):
                    member = entry.field.add(name=part, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
                    self._type(member, type_, where)
                wire.type = FieldDescriptorProto.TYPE_MESSAGE
                wire.type_name = f".{self.file.package}.{message.name}.{entry.name}"
            case single:
                self._type(wire, single, where)
                if field.choice:
                    wire.oneof_index = choices[field.choice]
                elif wire.type != FieldDescriptorProto.TYPE_MESSAGE and not _is_zero(field):
                    wire.proto3_optional = True
                    wire.oneof_index = len(message.oneof_decl)
                    message.oneof_decl.add(name=f"_{name}")

    def _type(self, wire: FieldDescriptorProto, type_: Type, where: str) -> None:
        match type_:
            case Record():
                wire.type = FieldDescriptorProto.TYPE_MESSAGE
                wire.type_name = self._record(type_)
            case Enumeration():
                wire.type = FieldDescriptorProto.TYPE_ENUM
                wire.type_name = self._enumeration(type_)
            case Scalar(kind) if kind in _MESSAGES:
                wire.type = FieldDescriptorProto.TYPE_MESSAGE
                wire.type_name = _MESSAGES[kind]
            case Scalar(kind):
                wire.type = _SCALARS[kind]
            case _:
                raise ValueError(f"{where}: protobuf has no list or map of {type_}")

    def _enumeration(self, enumeration: Enumeration) -> str:
        name, new = self._name(enumeration)
        if new:
            # Values are siblings of their type in protobuf, so each bears its name.
            prefix = _snake(name).upper()
            enum = EnumDescriptorProto(name=name)
            values = sorted(enumeration.numbers.items(), key=lambda item: item[1] != 0)
            if not values or values[0][1] != 0:
                enum.value.add(name=f"{prefix}_UNSPECIFIED", number=0)
            for value, number in values:
                bare = _snake(value).upper()
                enum.value.add(name=bare if bare.startswith(f"{prefix}_") else f"{prefix}_{bare}", number=number)
            if len({value.number for value in enum.value}) < len(enum.value):
                enum.options.allow_alias = True
            self.file.enum_type.append(enum)
        return f".{self.file.package}.{name}"


class _Free:
    """Field numbers of one message: pinned ones first, then the next free."""

    def __init__(self, pinned: Mapping[str, int]) -> None:
        self._pinned = pinned
        self._next = max(pinned.values(), default=0) + 1

    def take(self, name: str) -> int:
        number = self._pinned.get(name)
        if number is None:
            if self._next in _RESERVED:
                self._next = _RESERVED.stop
            number, self._next = self._next, self._next + 1
        return number


def _is_zero(field: Field) -> bool:
    """Whether absence means proto3's zero value, so that presence need not be told."""
    default = field.default
    if is_unset(default) or field.nullable:
        return False
    if isinstance(field.type, Enumeration):
        return field.type.numbers.get(default) == 0
    return not default and str(default) != "-0.0"


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", name))


def _snake(name: str) -> str:
    words = re.sub(r"([a-z0-9])([A-Z])|([A-Z])([A-Z][a-z])", r"\1\3_\2\4", re.sub(r"[^A-Za-z0-9]+", "_", name))
    snake = re.sub(r"__+", "_", words).strip("_").lower()
    return snake if snake[:1].isalpha() else f"f_{snake}"
