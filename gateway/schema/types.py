"""The type IR: what every IDL reader produces and every codec is compiled from.

A type is a Scalar, an Enumeration, a Record, a List or a Map. Types are compared by identity (Record,
Enumeration) or by value (Scalar, List, Map); a recursive type is a Record that its own fields point back to.
A union is a Record with a Choice: proto's oneof, XSD's choice, Thrift's union and GraphQL's @oneOf all
are "of these fields, one is set", so one mechanism carries them all without a wrapper level.
"""

import keyword
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

from msgspec import UNSET, UnsetType

from gateway.pattern import Pattern
from gateway.schema.names import failure_convention


class Kind(Enum):
    """Scalar kinds, each with its plain value (see gateway.schema.values)."""

    BOOL = "bool"
    INT32 = "int32"
    INT64 = "int64"
    UINT32 = "uint32"
    UINT64 = "uint64"
    INTEGER = "integer"  # unbounded
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    DECIMAL = "decimal"
    STRING = "string"
    BYTES = "bytes"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    DURATION = "duration"
    ANY = "any"


INTEGER_RANGE: Final[Mapping[Kind, tuple[int, int]]] = {
    Kind.INT32: (-(2**31), 2**31 - 1),
    Kind.INT64: (-(2**63), 2**63 - 1),
    Kind.UINT32: (0, 2**32 - 1),
    Kind.UINT64: (0, 2**64 - 1),
}
INTEGERS: Final = frozenset({*INTEGER_RANGE, Kind.INTEGER})
FLOATS: Final = frozenset({Kind.FLOAT32, Kind.FLOAT64})


@dataclass(frozen=True, slots=True)
class Scalar:
    kind: Kind

    def __str__(self) -> str:
        return self.kind.value


BOOL: Final = Scalar(Kind.BOOL)
INT32: Final = Scalar(Kind.INT32)
INT64: Final = Scalar(Kind.INT64)
UINT32: Final = Scalar(Kind.UINT32)
UINT64: Final = Scalar(Kind.UINT64)
INTEGER: Final = Scalar(Kind.INTEGER)
FLOAT32: Final = Scalar(Kind.FLOAT32)
FLOAT64: Final = Scalar(Kind.FLOAT64)
DECIMAL: Final = Scalar(Kind.DECIMAL)
STRING: Final = Scalar(Kind.STRING)
BYTES: Final = Scalar(Kind.BYTES)
DATE: Final = Scalar(Kind.DATE)
TIME: Final = Scalar(Kind.TIME)
TIMESTAMP: Final = Scalar(Kind.TIMESTAMP)
DURATION: Final = Scalar(Kind.DURATION)
ANY: Final = Scalar(Kind.ANY)


@dataclass(frozen=True, slots=True, eq=False)
class Enumeration:
    """Names with numbers.

    open: an unknown number is a legal value (proto3) and is carried as an int.
    """

    name: str
    numbers: Mapping[str, int]
    open: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class List:
    item: "Type"
    nullable: bool = False  # items may be null

    def __str__(self) -> str:
        return f"list<{self.item}>"


@dataclass(frozen=True, slots=True)
class Map:
    key: Scalar
    value: "Type"

    def __str__(self) -> str:
        return f"map<{self.key}, {self.value}>"


@dataclass(frozen=True, slots=True)
class Choice:
    """Of the fields that name this choice at most one is set; exactly one if required."""

    name: str
    required: bool = False


@dataclass(slots=True, eq=False)
class Field:
    """A member of a Record.

    required: a value must be there. Absent otherwise reads as `default`, or stays absent (UNSET) without one.
    nullable: null is a value of its own, different from absent.
    default: what absence means in this contract: proto3's zero values, XSD and Thrift defaults, [] of a repeated
        field, None where absence and null are one. A plain value.
    json_name: the member name in JSON; the field's name where empty.
    choice: name of the Choice that this field is an arm of.
    wire: the hint of the IDL that this field came from (proto field, XML particle); only that IDL's codec reads it.
    """

    name: str
    type: "Type"
    required: bool = False
    nullable: bool = False
    default: Any = UNSET
    doc: str = ""
    json_name: str = ""
    choice: str = ""
    wire: Any = None

    @property
    def attr(self) -> str:
        """The attribute that holds this field in the plain value."""
        return attribute(self.name)

    @property
    def json(self) -> str:
        return self.json_name or self.name


def attribute(name: str) -> str:
    """A Python attribute for any field name; distinct names stay distinct."""
    if name.isidentifier() and name.isascii() and not keyword.iskeyword(name) and not name.startswith("_"):
        return name
    return "f_" + "".join(c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in name)


class Record:
    """Named fields. Built empty and then filled, so that recursive types close over themselves.

    structs: gateway.schema.values keeps here what it makes of the record, so that both go together.
    """

    __slots__ = ("choices", "doc", "fields", "name", "structs", "wire")

    def __init__(
        self,
        name: str,
        fields: Sequence[Field] = (),
        *,
        choices: Sequence[Choice] = (),
        doc: str = "",
        wire: Any = None,
    ) -> None:
        self.name = name
        self.fields: tuple[Field, ...] = tuple(fields)
        self.choices: tuple[Choice, ...] = tuple(choices)
        self.doc = doc
        self.wire = wire
        self.structs: dict[bool, Any] = {}

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Record({self.name!r}, {[field.name for field in self.fields]})"

    def field(self, name: str) -> Field | None:
        """The field of exactly this name."""
        return next((field for field in self.fields if field.name == name), None)


Type: TypeAlias = Scalar | Enumeration | Record | List | Map


def with_records(type_: Type, other: Callable[[Record], Record]) -> Type:
    """The type with another record in place of each that it holds, in lists and maps too; fields are not entered."""
    match type_:
        case Record():
            return other(type_)
        case List(item, nullable):
            return List(with_records(item, other), nullable)
        case Map(key, value):
            return Map(key, with_records(value, other))
        case _:
            return type_


@dataclass(frozen=True, slots=True)
class Operation:
    """A callable of a contract.

    request, reply: Records in every IDL read so far; None where nothing goes that way.
    failures: the declared faults or exceptions by name.
    wire: the hint of the IDL that this operation came from.
    """

    name: str
    pattern: Pattern
    request: Type | None
    reply: Type | None
    failures: Mapping[str, Record]
    doc: str = ""
    wire: Any = None

    def failure(self, name: str) -> Record | None:
        """The declared failure of this name, or else the only one whose name matches by convention."""
        exact = self.failures.get(name)
        if exact is not None:
            return exact
        wanted = failure_convention(name)
        alike = [record for declared, record in self.failures.items() if failure_convention(declared) == wanted]
        return alike[0] if len(alike) == 1 else None


@dataclass(frozen=True, slots=True)
class Schema:
    """All that one contract declares, by full name."""

    operations: Mapping[str, Operation]
    types: Mapping[str, Record | Enumeration]


def records(root: Type) -> Iterator[Record]:
    """Every Record reachable from root, each once, root first."""
    seen: set[int] = set()
    todo: list[Type] = [root]
    while todo:
        match todo.pop():
            case Record() as record:
                if id(record) not in seen:
                    seen.add(id(record))
                    yield record
                    todo.extend(field.type for field in reversed(record.fields))
            case List(item):
                todo.append(item)
            case Map(_, value):
                todo.append(value)
            case _:
                pass


def is_unset(value: Any) -> bool:
    return isinstance(value, UnsetType)
