"""Protocol Buffers: .proto files and descriptor sets into the type IR.

https://protobuf.dev/reference/protobuf/proto3-spec/, google/protobuf/descriptor.proto. A ProtoSchema has a
DescriptorPool of its own, so that two contracts may hold different versions of one file.
"""

import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final
from weakref import WeakValueDictionary

import grpc_tools
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    empty_pb2,
    field_mask_pb2,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
    OneofDescriptor,
)
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2
from grpc_tools import protoc
from msgspec import UNSET

from gateway.pattern import Pattern
from gateway.schema import types
from gateway.schema.names import failure_convention
from gateway.schema.types import Choice, Enumeration, Field, List, Map, Operation, Record, Scalar, Schema, Type

log = logging.getLogger("gateway.schema")

_BUNDLED: Final = (
    Path(grpc_tools.__file__).parent / "_proto",  # google/protobuf
    Path(status_pb2.__file__).parents[2],  # google/rpc, google/api, google/type
)
_WELL_KNOWN: Final[Mapping[str, FileDescriptor]] = {
    module.DESCRIPTOR.name: module.DESCRIPTOR
    for module in (
        any_pb2,
        descriptor_pb2,
        duration_pb2,
        empty_pb2,
        field_mask_pb2,
        struct_pb2,
        timestamp_pb2,
        wrappers_pb2,
    )
}
_capture = threading.Lock()


class ProtoError(ValueError):
    """Files or descriptors that are no contract; the text has protoc's file:line:column where it knows them."""


def compile_files(paths: Sequence[Path], include: Sequence[Path]) -> descriptor_pb2.FileDescriptorSet:
    """The files and all their imports, imports first, with comments.

    include: folders that imports are looked up in, before the bundled google/protobuf, google/rpc, google/api and
        google/type. A file outside all of them is looked up from its own folder. Raises ProtoError.
    """
    folders = [path.resolve() for path in include]
    files = [path.resolve() for path in paths]
    for folder, given in zip(folders, include, strict=True):
        if not folder.is_dir():
            raise ProtoError(f"{given}: there is no such folder to include")
    for file, given in zip(files, paths, strict=True):
        if not file.is_file():
            raise ProtoError(f"{given}: there is no such file")
        if not any(file.is_relative_to(folder) for folder in folders):
            folders.append(file.parent)
    with tempfile.TemporaryDirectory(prefix="gateway-protoc-") as scratch:
        output = Path(scratch, "descriptors")
        status, messages = _run_protoc(
            [
                "protoc",
                *(f"-I{folder}" for folder in (*folders, *_BUNDLED)),
                "--include_imports",
                "--include_source_info",
                f"--descriptor_set_out={output}",
                *map(str, files),
            ],
            Path(scratch, "messages"),
        )
        if status != 0:
            raise ProtoError(messages.strip() or "protoc failed without a message")
        for line in messages.splitlines():
            log.warning("%s", line)
        return read_descriptor_set(output.read_bytes())


def _run_protoc(arguments: Sequence[str], messages: Path) -> tuple[int, str]:
    # protoc writes its errors to the C-level stderr, so the descriptor itself is turned away while it runs.
    with _capture, messages.open("w+b") as file:
        stderr = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            status = protoc.main(list(arguments))
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        file.seek(0)
        return status, file.read().decode(errors="replace")


def load_descriptor_set(path: Path) -> descriptor_pb2.FileDescriptorSet:
    """As read_descriptor_set(), of a file."""
    try:
        return read_descriptor_set(path.read_bytes())
    except OSError as error:
        raise ProtoError(error.strerror or "it can't be read") from error


def read_descriptor_set(data: bytes) -> descriptor_pb2.FileDescriptorSet:
    """What `protoc --descriptor_set_out` and `buf build -o x.binpb` write. Raises ProtoError."""
    try:
        descriptors = descriptor_pb2.FileDescriptorSet.FromString(data)
    except DecodeError as error:
        raise ProtoError("this is not a FileDescriptorSet") from error
    if not descriptors.file:
        raise ProtoError("the FileDescriptorSet is empty")
    return descriptors


class ProtoSchema:
    """A contract. Equal descriptors give the same object while it lives, see load().

    schema: the contract in the IR; every message and enum, every method by "pkg.Service/Method".
    pool: holds the contract's files and nothing else; never changed.
    """

    _loaded: ClassVar["WeakValueDictionary[bytes, ProtoSchema]"] = WeakValueDictionary()

    @classmethod
    def load(cls, descriptors: descriptor_pb2.FileDescriptorSet) -> "ProtoSchema":
        """Shared by all endpoints that speak the same contract: their types are then the same. Raises ProtoError."""
        key = descriptors.SerializeToString(deterministic=True)
        schema = cls._loaded.get(key)
        if schema is None:
            schema = cls._loaded[key] = cls(descriptors)
        return schema

    def __init__(self, descriptors: descriptor_pb2.FileDescriptorSet) -> None:
        """Raises ProtoError for a set that lacks an import or contradicts itself."""
        self.pool = descriptor_pool.DescriptorPool()
        files = _add_all(self.pool, descriptors.file)
        reader = _Reader(_Source(files.values()))
        handles = [self.pool.FindFileByName(name) for name in files]
        for handle in handles:
            reader.read_types(handle)
        operations: dict[str, Operation] = {}
        for handle in handles:
            for service in handle.services_by_name.values():
                for method in service.methods:
                    operations[f"{service.full_name}/{method.name}"] = reader.operation(method)
        self.schema = Schema(operations, reader.types)
        self._failures: dict[str, list[Record]] = {}
        for record in self.schema.types.values():
            if isinstance(record, Record):
                self._failures.setdefault(failure_convention(record.name), []).append(record)

    def record(self, full_name: str) -> Record:
        """Raises KeyError where the contract has no such message."""
        found = self.schema.types[full_name]
        if not isinstance(found, Record):
            raise KeyError(full_name)
        return found

    def message_class(self, record: Record) -> type[Message]:
        """The protobuf class of a message of this contract."""
        return message_factory.GetMessageClass(record.wire)

    def failure(self, name: str) -> Record | None:
        """The message that a declared failure of this name is: by full name, else by convention where it is unique."""
        exact = self.schema.types.get(name)
        if isinstance(exact, Record):
            return exact
        alike = self._failures.get(failure_convention(name), [])
        return alike[0] if len(alike) == 1 else None


def _add_all(
    pool: descriptor_pool.DescriptorPool, files: Iterable[descriptor_pb2.FileDescriptorProto]
) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Adds the files, imports first, and returns them by name. Of google/protobuf it supplies what the set lacks."""
    given = {file.name: file for file in files}
    added: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    opened: set[str] = set()
    todo = list(reversed(given))
    while todo:
        name = todo[-1]
        file = given.get(name) or _well_known(name)
        missing = [dependency for dependency in file.dependency if dependency not in added]
        if name in added or not missing:
            todo.pop()
            if name not in added:
                _add(pool, file)
                added[name] = file
            continue
        if name in opened:
            raise ProtoError(f"{name} imports itself")
        opened.add(name)
        for dependency in missing:
            if dependency not in given and dependency not in _WELL_KNOWN:
                raise ProtoError(
                    f"{name} imports {dependency}, which is not in the descriptor set: write it with --include_imports"
                )
        todo.extend(missing)
    return added


def _add(pool: descriptor_pool.DescriptorPool, file: descriptor_pb2.FileDescriptorProto) -> None:
    try:
        pool.AddSerializedFile(file.SerializeToString())
        pool.FindFileByName(file.name)
    except (TypeError, KeyError) as error:
        raise ProtoError(f"{file.name}: {str(error).strip()}") from error


def _well_known(name: str) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto()
    found = _WELL_KNOWN.get(name)
    if found is not None:
        found.CopyToProto(file)
    return file


class _Source:
    """What descriptors in a pool no longer tell: comments, and which fields are proto3 `optional`; by full name."""

    def __init__(self, files: Iterable[descriptor_pb2.FileDescriptorProto]) -> None:
        self.docs: dict[str, str] = {}
        self.optional: set[str] = set()
        for file in files:
            comments = {
                tuple(location.path): "\n".join(
                    line.removeprefix(" ") for line in location.leading_comments.split("\n")
                )
                for location in file.source_code_info.location
                if location.leading_comments
            }
            package = f"{file.package}." if file.package else ""
            for index, message in enumerate(file.message_type):
                self._message(message, package, (4, index), comments)
            for index, service in enumerate(file.service):
                for number, method in enumerate(service.method):
                    name = f"{package}{service.name}/{method.name}"
                    self._comment(name, comments, (6, index, 2, number))

    def _message(
        self,
        message: descriptor_pb2.DescriptorProto,
        prefix: str,
        path: tuple[int, ...],
        comments: Mapping[tuple[int, ...], str],
    ) -> None:
        name = prefix + message.name
        self._comment(name, comments, path)
        for index, field in enumerate(message.field):
            self._comment(f"{name}.{field.name}", comments, (*path, 2, index))
            if field.proto3_optional:
                self.optional.add(f"{name}.{field.name}")
        for index, nested in enumerate(message.nested_type):
            self._message(nested, f"{name}.", (*path, 3, index), comments)

    def _comment(self, name: str, comments: Mapping[tuple[int, ...], str], path: tuple[int, ...]) -> None:
        # The path's numbers are the fields of FileDescriptorProto and DescriptorProto, each followed by an index.
        text = comments.get(path)
        if text is not None:
            self.docs[name] = text.strip()


class _Reader:
    """Descriptors into the IR. Records are made empty first, so that recursive messages close over themselves."""

    def __init__(self, source: _Source) -> None:
        self.types: dict[str, Record | Enumeration] = {}
        self._docs = source.docs
        self._optional = source.optional

    def read_types(self, file: FileDescriptor) -> None:
        for descriptor in file.message_types_by_name.values():
            self._message(descriptor)
        for enum in file.enum_types_by_name.values():
            self._enumeration(enum)

    def operation(self, method: MethodDescriptor) -> Operation:
        service = method.containing_service
        pattern = {
            (False, False): Pattern.REQUEST_REPLY,
            (False, True): Pattern.SERVER_STREAM,
            (True, False): Pattern.CLIENT_STREAM,
            (True, True): Pattern.BIDI,
        }[method.client_streaming, method.server_streaming]
        name = f"{service.full_name}/{method.name}"
        request, reply = self._message(method.input_type), self._message(method.output_type)
        return Operation(name, pattern, request, reply, {}, self._docs.get(name, ""), method)

    def _message(self, descriptor: Descriptor) -> Record:
        known = self.types.get(descriptor.full_name)
        if isinstance(known, Record):
            return known
        name = descriptor.full_name
        record = self.types[name] = Record(name, doc=self._docs.get(name, ""), wire=descriptor)
        # An extension is a field whose name stands in brackets, as in proto3 JSON.
        extensions = descriptor.file.pool.FindAllExtensions(descriptor) if descriptor.is_extendable else ()
        record.fields = tuple(self._field(field) for field in (*descriptor.fields, *extensions))
        record.choices = tuple(Choice(oneof.name) for oneof in descriptor.oneofs if not self._synthetic(oneof))
        for nested in descriptor.nested_types:
            if not nested.GetOptions().map_entry:
                self._message(nested)
        for enum in descriptor.enum_types:
            self._enumeration(enum)
        return record

    def _enumeration(self, descriptor: EnumDescriptor) -> Enumeration:
        known = self.types.get(descriptor.full_name)
        if isinstance(known, Enumeration):
            return known
        # Interned, as _default's: JSON leaves out a default that is the very same object.
        numbers = {sys.intern(value.name): value.number for value in descriptor.values}
        made = self.types[descriptor.full_name] = Enumeration(
            descriptor.full_name, numbers, open=not descriptor.is_closed
        )
        return made

    def _field(self, field: FieldDescriptor) -> Field:
        oneof = field.containing_oneof
        bracketed = f"[{field.full_name}]" if field.is_extension else ""
        return Field(
            bracketed or field.name,
            self._type(field),
            required=field.is_required,
            nullable=not field.is_repeated
            and field.message_type is not None
            and field.message_type.full_name == "google.protobuf.Value",
            default=_default(field),
            doc=self._docs.get(field.full_name, ""),
            json_name=bracketed or field.json_name,
            choice=oneof.name if oneof is not None and not self._synthetic(oneof) else "",
            wire=field,
        )

    def _type(self, field: FieldDescriptor) -> Type:
        entry = map_entry(field)
        if entry is not None:
            return Map(_SCALARS[entry[0].type], self._single(entry[1]))
        single = self._single(field)
        return List(single) if field.is_repeated else single

    def _single(self, field: FieldDescriptor) -> Type:
        if field.message_type is not None:
            return WELL_KNOWN.get(field.message_type.full_name) or self._message(field.message_type)
        if field.enum_type is not None:
            return self._enumeration(field.enum_type)
        return _SCALARS[field.type]

    def _synthetic(self, oneof: OneofDescriptor) -> bool:
        # proto3's `optional` makes a oneof of one arm that nobody wrote.
        return len(oneof.fields) == 1 and oneof.fields[0].full_name in self._optional


def map_entry(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor] | None:
    """(key, value) of a map; None for any other field."""
    entry = field.message_type
    if entry is None or not field.is_repeated or not entry.GetOptions().map_entry:
        return None
    return entry.fields_by_name["key"], entry.fields_by_name["value"]


def _default(field: FieldDescriptor) -> Any:
    if field.is_repeated:
        return [] if map_entry(field) is None else {}
    if field.message_type is not None or field.is_required:
        return UNSET
    if field.has_presence and not field.has_default_value:
        return UNSET
    if field.enum_type is not None:
        return sys.intern(field.enum_type.values_by_number[field.default_value].name)
    return field.default_value


_SCALARS: Final[Mapping[int, Scalar]] = {
    FieldDescriptor.TYPE_BOOL: types.BOOL,
    FieldDescriptor.TYPE_INT32: types.INT32,
    FieldDescriptor.TYPE_SINT32: types.INT32,
    FieldDescriptor.TYPE_SFIXED32: types.INT32,
    FieldDescriptor.TYPE_INT64: types.INT64,
    FieldDescriptor.TYPE_SINT64: types.INT64,
    FieldDescriptor.TYPE_SFIXED64: types.INT64,
    FieldDescriptor.TYPE_UINT32: types.UINT32,
    FieldDescriptor.TYPE_FIXED32: types.UINT32,
    FieldDescriptor.TYPE_UINT64: types.UINT64,
    FieldDescriptor.TYPE_FIXED64: types.UINT64,
    FieldDescriptor.TYPE_FLOAT: types.FLOAT32,
    FieldDescriptor.TYPE_DOUBLE: types.FLOAT64,
    FieldDescriptor.TYPE_STRING: types.STRING,
    FieldDescriptor.TYPE_BYTES: types.BYTES,
}

WELL_KNOWN: Final[Mapping[str, Scalar]] = {
    "google.protobuf.Timestamp": types.TIMESTAMP,
    "google.protobuf.Duration": types.DURATION,
    "google.protobuf.FieldMask": types.STRING,
    "google.protobuf.Any": types.ANY,
    "google.protobuf.Struct": types.ANY,
    "google.protobuf.Value": types.ANY,
    "google.protobuf.ListValue": types.ANY,
    "google.protobuf.BoolValue": types.BOOL,
    "google.protobuf.Int32Value": types.INT32,
    "google.protobuf.Int64Value": types.INT64,
    "google.protobuf.UInt32Value": types.UINT32,
    "google.protobuf.UInt64Value": types.UINT64,
    "google.protobuf.FloatValue": types.FLOAT32,
    "google.protobuf.DoubleValue": types.FLOAT64,
    "google.protobuf.StringValue": types.STRING,
    "google.protobuf.BytesValue": types.BYTES,
    "google.type.Decimal": types.DECIMAL,
}
"""What a message field of these types is in the IR. As the request or reply of a method they are plain records."""
