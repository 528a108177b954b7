"""Thrift IDL -> the type IR. https://thrift.apache.org/docs/idl, https://thrift.apache.org/docs/types

What has no kind of its own in the IR:

| Thrift | IR |
|---|---|
| i8, i16 | int32; the codec refuses what is out of range |
| set | list; the codec refuses an item that is written twice |
| map with keys of struct, list, set, map, double or binary | list of entries, records with `key` and `value` |
| map with keys of an enum | map with keys of string, the enum's names |
| uuid | string, in the form 01234567-89ab-cdef-0123-456789abcdef |
| i64 (timestamp = "ms"), i64 (duration = "us") | timestamp, duration; units are s, ms, us and ns |
| string (json = "") | any, null included: the text is JSON |

A value that is finer than its unit is refused, unless the annotation `round = "down"` stands beside the unit.
A union is a record with a required choice. Fields without `required` may be absent.

A function with one argument that is a struct has that struct as its request, else the record of its arguments. A reply
that is not a struct is a record with the field `success`, which is Thrift's own name for it; void is an empty record.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Final
from weakref import WeakValueDictionary

from msgspec import UNSET

from gateway.pattern import Pattern
from gateway.schema.idl.thrift.document import (
    BASE_TYPES,
    Constant,
    ConstNode,
    Definition,
    Document,
    EnumNode,
    FieldNode,
    FunctionNode,
    Name,
    Pairs,
    Requiredness,
    ServiceNode,
    StructNode,
    ThriftError,
    TypedefNode,
    TypeNode,
    read_document,
)
from gateway.schema.types import (
    ANY,
    BOOL,
    BYTES,
    DURATION,
    FLOAT64,
    INT32,
    INT64,
    STRING,
    TIMESTAMP,
    Choice,
    Enumeration,
    Field,
    List,
    Map,
    Operation,
    Record,
    Scalar,
    Type,
)
from gateway.schema.values import struct_of

SUCCESS: Final = "success"
KEY: Final = "key"
VALUE: Final = "value"
UNITS: Final[Mapping[str, int]] = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""Nanoseconds of each."""
_CHOICE: Final = "union"


class ThriftKind(Enum):
    """Each with its name in an IDL."""

    BOOL = "bool"
    I8 = "i8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"
    DOUBLE = "double"
    STRING = "string"
    BINARY = "binary"
    UUID = "uuid"
    ENUM = "enum"
    STRUCT = "struct"
    LIST = "list"
    SET = "set"
    MAP = "map"


@dataclass(frozen=True, slots=True, eq=False)
class ThriftType:
    """What a codec must know besides the IR's type.

    item: of a list or set; of a map its values. key: of a map. unit: nanoseconds of one, where an i64 is a time.
    round_down: a finer value is rounded down to the unit instead of refused.
    """

    kind: ThriftKind
    type: Type
    item: "ThriftType | None" = None
    key: "ThriftType | None" = None
    unit: int = 0
    round_down: bool = False

    def __str__(self) -> str:
        match self.kind:
            case ThriftKind.STRUCT | ThriftKind.ENUM:
                return str(self.type)
            case ThriftKind.LIST | ThriftKind.SET:
                return f"{self.kind.value}<{self.item}>"
            case ThriftKind.MAP:
                return f"map<{self.key}, {self.item}>"
            case _:
                return str(self.kind.value)


@dataclass(frozen=True, slots=True)
class ThriftField:
    """Field.wire of a field that came from a Thrift IDL. Equal where the same bytes are written.

    default: makes what absence means, where that is not a scalar (see Field.default) nor empty.
    """

    id: int
    type: ThriftType
    default: Callable[[], Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ThriftFunction:
    """Operation.wire of a function.

    name: as it is called on the wire. service: the one that was asked for, which may inherit the function.
    argument: the one argument that the request is, or None where the request is the record of all arguments.
    result: the field `success` of the result that the reply is, or None where the reply is the result itself.
    throws: the result's fields of the declared exceptions, by the name of their record.
    """

    name: str
    service: str
    argument: ThriftField | None
    result: ThriftField | None
    throws: Mapping[str, ThriftField]


_BASE: Final[Mapping[str, ThriftType]] = {
    "bool": ThriftType(ThriftKind.BOOL, BOOL),
    "byte": ThriftType(ThriftKind.I8, INT32),
    "i8": ThriftType(ThriftKind.I8, INT32),
    "i16": ThriftType(ThriftKind.I16, INT32),
    "i32": ThriftType(ThriftKind.I32, INT32),
    "i64": ThriftType(ThriftKind.I64, INT64),
    "double": ThriftType(ThriftKind.DOUBLE, FLOAT64),
    "string": ThriftType(ThriftKind.STRING, STRING),
    "binary": ThriftType(ThriftKind.BINARY, BYTES),
    "uuid": ThriftType(ThriftKind.UUID, STRING),
}
_INTEGER_BITS: Final = {ThriftKind.I8: 8, ThriftKind.I16: 16, ThriftKind.I32: 32, ThriftKind.I64: 64}
_MAP_KEYS: Final[Mapping[ThriftKind, Scalar]] = {
    ThriftKind.BOOL: BOOL,
    ThriftKind.I8: INT32,
    ThriftKind.I16: INT32,
    ThriftKind.I32: INT32,
    ThriftKind.I64: INT64,
    ThriftKind.STRING: STRING,
    ThriftKind.UUID: STRING,
    ThriftKind.ENUM: STRING,
}


class ThriftSchema:
    """A Thrift file with all that it includes.

    services: names of the services of the file itself.
    """

    _loaded: ClassVar["WeakValueDictionary[object, ThriftSchema]"] = WeakValueDictionary()

    @classmethod
    def load(cls, path: Path, include: Sequence[Path] = ()) -> "ThriftSchema":
        """Shared by all endpoints that speak the same contract: their types are then the same.

        include: further folders for includes; a file's own folder comes first. Raises ThriftError.
        """
        documents: dict[Path, _Program] = {}
        root = _read(path, include, documents, ())
        key = tuple((path, program.document.text) for path, program in documents.items())
        schema = cls._loaded.get(key)
        if schema is None:
            schema = cls._loaded[key] = cls(root)
        return schema

    def __init__(self, root: "_Program") -> None:
        self._root = root
        self._builder = _Builder()
        self._operations: dict[tuple[str, str], Operation] = {}
        self.services = tuple(name for name, node in root.document.definitions.items() if isinstance(node, ServiceNode))

    def functions(self, service: str) -> tuple[str, ...]:
        """Names of the service's functions, inherited ones first. Raises ThriftError for an unknown service."""
        return tuple(self._functions(service))

    def operation(self, service: str, function: str) -> Operation:
        """Raises ThriftError: no such service or function, or one that can't be carried; the text says why."""
        known = self._operations.get((service, function))
        if known is None:
            functions = self._functions(service)
            found = functions.get(function)
            if found is None:
                raise ThriftError(f"service {service} has no function {function!r}; it has {', '.join(functions)}")
            program, node = found
            known = self._operations[service, function] = self._builder.operation(program, service, node)
        return known

    def _functions(self, service: str) -> "dict[str, tuple[_Program, FunctionNode]]":
        node = self._root.document.definitions.get(service)
        if not isinstance(node, ServiceNode):
            raise ThriftError(
                f"{self._root.document.path} has no service {service!r}; it has {', '.join(self.services) or 'none'}"
            )
        chain: list[tuple[_Program, ServiceNode]] = [(self._root, node)]
        while chain[-1][1].extends:
            program, derived = chain[-1]
            home, base = program.find(derived.extends, derived.line)
            if not isinstance(base, ServiceNode):
                raise program.error(f"{derived.extends} is not a service", derived.line)
            if any(base is one for _, one in chain):
                raise program.error(f"service {derived.name} extends itself", derived.line)
            chain.append((home, base))
        return {function.name: (program, function) for program, one in reversed(chain) for function in one.functions}


@dataclass(frozen=True, slots=True, eq=False)
class _Program:
    """A document and the programs that it includes, by name. root: the one that the endpoint names."""

    document: Document
    includes: "dict[str, _Program]"
    root: bool

    def error(self, message: str, line: int) -> ThriftError:
        return ThriftError(f"{self.document.path}:{line}: {message}")

    def find(self, name: str, line: int) -> "tuple[_Program, Definition]":
        found = self.lookup(name)
        if found is None:
            raise self.error(f"{name} is not defined", line)
        return found

    def lookup(self, name: str) -> "tuple[_Program, Definition] | None":
        node = self.document.definitions.get(name)
        if node is not None:
            return self, node
        for program, included in self.includes.items():
            if name.startswith(f"{program}."):
                node = included.document.definitions.get(name.removeprefix(f"{program}."))
                if node is not None:
                    return included, node
        return None

    def full_name(self, name: str) -> str:
        return name if self.root else f"{self.document.program}.{name}"


def _read(path: Path, include: Sequence[Path], programs: dict[Path, _Program], within: tuple[Path, ...]) -> _Program:
    where = path.resolve()
    if where in within:
        raise ThriftError(f"{path}: the file includes itself")
    known = programs.get(where)
    if known is not None:
        return known
    document = read_document(path)
    program = programs[where] = _Program(document, {}, not within)
    for name in document.includes:
        for folder in (path.parent, *include):
            if (folder / name).is_file():
                included = _read(folder / name, include, programs, (*within, where))
                program.includes[included.document.program] = included
                break
        else:
            raise ThriftError(f"{path}: the include {name!r} is not there")
    return program


class _Builder:
    """Builds types, each once."""

    def __init__(self) -> None:
        self._types: dict[tuple[int, str], ThriftType] = {}
        self._unfilled: list[tuple[_Program, StructNode, Record]] = []
        self._defaults: list[tuple[_Program, FieldNode, Field]] = []

    # -- functions

    def operation(self, program: _Program, service: str, node: FunctionNode) -> Operation:
        argument, request = self._request(program, node)
        result, reply = self._reply(program, node)
        failures: dict[str, Record] = {}
        throws: dict[str, ThriftField] = {}
        for thrown in node.throws:
            type_ = self.type(program, thrown.type)
            if not isinstance(type_.type, Record):
                raise program.error(f"{node.name} throws {type_}, which is not an exception", thrown.line)
            failures[type_.type.name] = type_.type
            throws[type_.type.name] = ThriftField(thrown.id, type_)
        self._finish()
        return Operation(
            node.name,
            Pattern.ONE_WAY if node.oneway else Pattern.REQUEST_REPLY,
            request,
            None if node.oneway else reply,
            failures,
            node.doc,
            ThriftFunction(node.name, service, argument, result, throws),
        )

    def _request(self, program: _Program, node: FunctionNode) -> tuple[ThriftField | None, Record]:
        if len(node.arguments) == 1:
            (only,) = node.arguments
            type_ = self.type(program, only.type)
            if isinstance(type_.type, Record) and type_.kind is ThriftKind.STRUCT:
                return ThriftField(only.id, type_), type_.type
        arguments = Record(f"{node.name}_args")
        arguments.fields = tuple(self._field(program, one) for one in node.arguments)
        return None, arguments

    def _reply(self, program: _Program, node: FunctionNode) -> tuple[ThriftField | None, Record]:
        if node.reply is None:
            return None, Record(f"{node.name}_result")
        type_ = self.type(program, node.reply)
        wire = ThriftField(0, type_)
        if isinstance(type_.type, Record) and type_.kind is ThriftKind.STRUCT:
            return wire, type_.type
        return None, Record(f"{node.name}_result", [Field(SUCCESS, type_.type, required=True, wire=wire)])

    # -- types

    def type(self, program: _Program, node: TypeNode) -> ThriftType:
        match node.name:
            case "list" | "set":
                item = self.type(program, node.arguments[0])
                return ThriftType(ThriftKind(node.name), List(item.type, nullable=item.type == ANY), item)
            case "map":
                key, value = (self.type(program, argument) for argument in node.arguments)
                return _map(key, value)
            case name if name in BASE_TYPES and program.lookup(name) is None:
                return _annotated(program, node, _BASE[name])
        home, definition = program.find(node.name, node.line)
        match definition:
            case TypedefNode():
                return _annotated(program, node, self._typedef(home, definition))
            case EnumNode() | StructNode():
                return self._named(home, definition)
            case _:
                raise program.error(f"{node.name} is not a type", node.line)

    def _typedef(self, home: _Program, definition: TypedefNode) -> ThriftType:
        if definition.type.name == definition.name:
            raise home.error(f"the typedef {definition.name} is of itself", definition.line)
        try:
            return self.type(home, definition.type)
        except RecursionError:
            raise home.error(f"the typedef {definition.name} is of itself", definition.line) from None

    def _named(self, home: _Program, node: EnumNode | StructNode) -> ThriftType:
        key = id(home), node.name
        known = self._types.get(key)
        if known is not None:
            return known
        name = home.full_name(node.name)
        if isinstance(node, EnumNode):
            # An unknown number is what a newer peer may send.
            made = ThriftType(ThriftKind.ENUM, Enumeration(name, dict(node.numbers), open=True))
        else:
            record = Record(name, doc=node.doc)
            made = ThriftType(ThriftKind.STRUCT, record)
            self._unfilled.append((home, node, record))
        self._types[key] = made
        return made

    def _finish(self) -> None:
        """Fills the records that were met on the way; the defaults come last, as they may be of any of them."""
        while self._unfilled:
            program, node, record = self._unfilled.pop()
            union = node.kind == "union"
            record.fields = tuple(
                self._field(program, one, _CHOICE if union else "") for one in sorted(node.fields, key=lambda f: f.id)
            )
            if union:
                record.choices = (Choice(_CHOICE, required=True),)
        while self._defaults:
            program, one, field = self._defaults.pop()
            self._default(program, one, field)

    def _field(self, program: _Program, node: FieldNode, choice: str = "") -> Field:
        type_ = self.type(program, node.type)
        if node.annotations:
            type_ = _annotated(program, TypeNode("", (), node.annotations, node.line), type_)
        field = Field(
            node.name,
            type_.type,
            required=node.requiredness is Requiredness.REQUIRED and not choice,
            nullable=type_.type == ANY,
            doc=node.doc,
            choice=choice,
            wire=ThriftField(node.id, type_),
        )
        if node.default is not None and not choice and not field.required:
            self._defaults.append((program, node, field))
        return field

    # -- constants

    def _default(self, program: _Program, node: FieldNode, field: Field) -> None:
        wire: ThriftField = field.wire
        assert node.default is not None  # noqa: S101  only such fields are noted
        make = self._value(program, wire.type, node.default, node.line)
        value = make()
        if isinstance(field.type, Scalar | Enumeration) or value in ([], {}):
            field.default = value
        else:
            field.wire = ThriftField(wire.id, wire.type, make)

    def _value(self, program: _Program, type_: ThriftType, constant: Constant, line: int) -> Callable[[], Any]:
        """Makes the plain value that a constant is; a new one each time, as values may be changed in place."""
        if isinstance(constant, Name):
            return self._named_value(program, type_, constant)
        match type_.kind, constant:
            case ((ThriftKind.LIST | ThriftKind.SET), list()) if type_.item is not None:
                items = [self._value(program, type_.item, one, line) for one in constant]
                return lambda: [item() for item in items]
            case ThriftKind.MAP, Pairs() if type_.item is not None and type_.key is not None:
                pairs = [
                    (self._value(program, type_.key, key, line), self._value(program, type_.item, value, line))
                    for key, value in constant.items
                ]
                if isinstance(type_.type, List):
                    entry = type_.type.item
                    assert isinstance(entry, Record)  # noqa: S101  as _map() made it
                    return lambda: [struct_of(entry)(key=key(), value=value()) for key, value in pairs]
                return lambda: {key(): value() for key, value in pairs}
            case ThriftKind.STRUCT, Pairs() if isinstance(type_.type, Record):
                return self._struct_value(program, type_.type, constant, line)
            case _:
                value = _scalar_value(type_, constant)
                if value is UNSET:
                    raise program.error(f"{constant!r} is no {type_}", line)
                return lambda: value

    def _struct_value(self, program: _Program, record: Record, constant: Pairs, line: int) -> Callable[[], Any]:
        members: dict[str, Callable[[], Any]] = {}
        for name, value in constant.items:
            field = record.field(name) if isinstance(name, str) else None
            if field is None:
                raise program.error(f"{record} has no field {name!r}", line)
            members[field.attr] = self._value(program, field.wire.type, value, line)
        for field in record.fields:
            if field.required and field.attr not in members:
                raise program.error(f"{field.name} of {record} is required", line)
        return lambda: struct_of(record)(**{attr: make() for attr, make in members.items()})

    def _named_value(self, program: _Program, type_: ThriftType, name: Name) -> Callable[[], Any]:
        found = program.lookup(name.text)
        if found is not None and isinstance(found[1], ConstNode):
            return self._value(found[0], type_, found[1].value, found[1].line)
        enum, _, label = name.text.rpartition(".")
        found = program.lookup(enum) if enum else None
        if found is not None and isinstance(found[1], EnumNode) and label in found[1].numbers:
            number = found[1].numbers[label]
            value = label if type_.kind is ThriftKind.ENUM else _scalar_value(type_, number)
            if value is not UNSET:
                return lambda: value
        raise program.error(f"{name.text} is no {type_}", name.line)


def _map(key: ThriftType, value: ThriftType) -> ThriftType:
    scalar = None if key.unit or key.type == ANY else _MAP_KEYS.get(key.kind)
    if scalar is not None:
        return ThriftType(ThriftKind.MAP, Map(scalar, value.type), value, key)
    entry = Record("entry", [Field(KEY, key.type, required=True), Field(VALUE, value.type, required=True)])
    return ThriftType(ThriftKind.MAP, List(entry), value, key)


def _annotated(program: _Program, node: TypeNode, type_: ThriftType) -> ThriftType:
    """The type as its annotations make it."""
    for name, scalar in (("timestamp", TIMESTAMP), ("duration", DURATION)):
        unit = node.annotations.get(name)
        if unit is None:
            continue
        if type_.kind is not ThriftKind.I64 or unit not in UNITS:
            raise program.error(f"{name} stands at an i64, with the unit s, ms, us or ns", node.line)
        rounding = node.annotations.get("round")
        if rounding not in (None, "down"):
            raise program.error(f'round = "{rounding}" is unknown; "down" is not', node.line)
        return ThriftType(type_.kind, scalar, unit=UNITS[unit], round_down=rounding == "down")
    if "json" in node.annotations:
        if type_.kind is not ThriftKind.STRING:
            raise program.error("json stands at a string", node.line)
        return ThriftType(type_.kind, ANY)
    return type_


def _scalar_value(type_: ThriftType, constant: Constant) -> Any:
    """UNSET where it is none."""
    match type_.kind, constant:
        case ThriftKind.BOOL, bool() | 0 | 1:
            return bool(constant)
        case kind, int() if kind in _INTEGER_BITS and not isinstance(constant, bool):
            half = 1 << (_INTEGER_BITS[kind] - 1)
            return constant * (type_.unit or 1) if -half <= constant < half else UNSET
        case ThriftKind.DOUBLE, int() | float():
            return float(constant)
        case ThriftKind.STRING | ThriftKind.UUID, str() if type_.type == STRING:
            return constant
        case ThriftKind.BINARY, str():
            return constant.encode()
        case ThriftKind.ENUM, int() if isinstance(type_.type, Enumeration):
            names = [name for name, number in type_.type.numbers.items() if number == constant]
            return names[0] if names else constant
        case _:
            return UNSET
