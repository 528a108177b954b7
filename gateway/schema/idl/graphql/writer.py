"""The type IR as GraphQL SDL: what another IDL declares, for callers who speak GraphQL.

Types are named after the last part of their full name, input types with Input behind it. What has no built-in scalar is
a custom one by the name that the reader knows. A map is a list of entries with key and value. A record that is nothing
but a required choice is an @oneOf type as input; as output a union, where its arms bear their types' names. Any other
choice is fields of which one is set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from graphql.language.print_string import print_string
from msgspec import UNSET

from gateway.schema import text
from gateway.schema.idl.graphql.names import field_names, type_name, union_members, value_names
from gateway.schema.idl.graphql.reader import ENTRY, ROOTS
from gateway.schema.types import ANY, STRING, Enumeration, Field, Kind, List, Map, Operation, Record, Scalar, Type

PLACEHOLDER: Final = "_"
"""The only field of a type without fields, which GraphQL does not have. Always null."""

_BUILT_IN: Final[Mapping[Kind, str]] = {
    Kind.BOOL: "Boolean",
    Kind.INT32: "Int",
    Kind.FLOAT32: "Float",
    Kind.FLOAT64: "Float",
    Kind.STRING: "String",
}
_CUSTOM: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.INT64: ("Long", "A whole number of 64 bits."),
    Kind.UINT32: ("UInt32", "A whole number of 32 bits, not negative."),
    Kind.UINT64: ("UInt64", "A whole number of 64 bits, not negative."),
    Kind.INTEGER: ("BigInteger", "A whole number of any size."),
    Kind.DECIMAL: ("Decimal", "A decimal number."),
    Kind.BYTES: ("Bytes", "Bytes in base64 (RFC 4648)."),
    Kind.DATE: ("Date", "A date (ISO 8601)."),
    Kind.TIME: ("Time", "A time of day (ISO 8601)."),
    Kind.TIMESTAMP: ("DateTime", "A point in time (RFC 3339)."),
    Kind.DURATION: ("Duration", "A length of time (ISO 8601)."),
    Kind.ANY: ("JSON", "Any JSON value."),
}
_RESERVED: Final = frozenset(
    {"Int", "Float", "String", "Boolean", "ID", *ROOTS, *(name for name, _ in _CUSTOM.values())}
)
_NOTHING: Final = "A GraphQL schema needs a query; nothing is served here."


@dataclass(frozen=True, slots=True)
class Written:
    """members: (union, arm) -> the arm's type, where that could not be called as the arm."""

    sdl: str
    members: Mapping[tuple[str, str], str]


def write(operations: Mapping[str, Operation]) -> Written:
    """The SDL of operations by name, such as Query.order. A request that is no Record is the argument `input`, a reply
    that is none is the field's own type."""
    writer = _Writer()
    roots: dict[str, list[str]] = {root: [] for root in ROOTS}
    for name, operation in operations.items():
        root, _, field = name.partition(".")
        roots[root].append(
            _doc(operation.doc, "  ") + f"  {field}{writer.arguments(operation)}: {writer.reply(operation)}"
        )
    if not roots["Query"]:
        roots["Query"].append(_doc(_NOTHING, "  ") + f"  {PLACEHOLDER}: Boolean")
    blocks = [f"type {root} {{\n{chr(10).join(fields)}\n}}" for root, fields in roots.items() if fields]
    return Written("\n\n".join([*blocks, *writer.blocks()]) + "\n", writer.members)


class _Writer:
    def __init__(self) -> None:
        self.members: dict[tuple[str, str], str] = {}
        self._named: dict[str, list[tuple[Record | Enumeration, bool, str]]] = {}
        self._blocks: dict[str, str] = {}
        self._scalars: dict[str, str] = {}

    def blocks(self) -> list[str]:
        return [*(f"{_doc(doc)}scalar {name}" for name, doc in sorted(self._scalars.items())), *self._blocks.values()]

    def arguments(self, operation: Operation) -> str:
        request = operation.request
        if request is None or (isinstance(request, Record) and not request.fields):
            return ""
        if not isinstance(request, Record):
            return f"(input: {self._type(request, into=True)}!)"
        names = field_names(request)
        return f"({', '.join(self._input_field(field, names[field.name]) for field in request.fields)})"

    def reply(self, operation: Operation) -> str:
        # Nullable, so that the failure of one field is not that of those beside it.
        return "Boolean" if operation.reply is None else self._type(operation.reply, into=False)

    # -- types

    def _type(self, type_: Type, *, into: bool) -> str:
        match type_:
            case Scalar(kind):
                return self._scalar(kind)
            case Enumeration():
                return self._enum(type_)
            case List(item, nullable):
                return f"[{self._type(item, into=into)}{'' if nullable else '!'}]"
            case Map():
                return f"[{self._entry(type_, into=into)}!]"
            case Record():
                return self._record(type_, into=into)

    def _scalar(self, kind: Kind) -> str:
        known = _BUILT_IN.get(kind)
        if known is not None:
            return known
        name, doc = _CUSTOM[kind]
        self._scalars[name] = doc
        return name

    def _claim(self, type_: Record | Enumeration, wanted: str, *, into: bool) -> tuple[str, bool]:
        """(its name, whether it is new). Types that are the same share one."""
        named = self._named.setdefault(wanted, [])
        for other, direction, name in named:
            if direction is into and _same(type_, other, set()):
                return name, False
        name, number = wanted, 2
        while name in self._blocks or name in _RESERVED:
            name, number = f"{wanted}{number}", number + 1
        named.append((type_, into, name))
        self._blocks[name] = ""  # its place
        return name, True

    def _enum(self, type_: Enumeration) -> str:
        name, new = self._claim(type_, type_name(type_.name), into=False)
        if new:
            values = "\n".join(f"  {value}" for value in value_names(type_).values())
            self._blocks[name] = f"enum {name} {{\n{values}\n}}"
        return name

    def _entry(self, type_: Map, *, into: bool) -> str:
        key, value = self._type(type_.key, into=into), self._type(type_.value, into=into)
        suffix = "Input" if into else ""
        short = "".join(c for c in value.removesuffix("Input") if c.isalnum())
        name = f"{key}To{short}{ENTRY}{suffix}"
        keyword = "input" if into else "type"
        self._blocks[name] = f"{keyword} {name} {{\n  key: {key}!\n  value: {value}!\n}}"
        return name

    def _record(self, record: Record, *, into: bool) -> str:
        members = union_members(record)
        wanted = type_name(record.name)
        name, new = self._claim(record, f"{wanted.removesuffix('Input')}Input" if into else wanted, into=into)
        if not new:
            return name
        if members is not None and not into:
            arms = {arm: self._record(member, into=False) for arm, member in members.items()}
            self.members.update(((name, arm), given) for arm, given in arms.items() if arm != given)
            self._blocks[name] = f"{_doc(record.doc)}union {name} = {' | '.join(arms.values())}"
            return name
        names = field_names(record)
        one_of = into and _is_one_of(record)
        write = self._arm if one_of else self._input_field if into else self._output_field
        lines = [_doc(field.doc, "  ") + f"  {write(field, names[field.name])}" for field in record.fields]
        head = f"{'input' if into else 'type'} {name}{' @oneOf' if one_of else ''}"
        body = "\n".join(lines) or f"  {PLACEHOLDER}: Boolean"
        self._blocks[name] = f"{_doc(record.doc)}{head} {{\n{body}\n}}"
        return name

    # -- fields

    def _arm(self, field: Field, name: str) -> str:
        return f"{name}: {self._type(field.type, into=True)}"

    def _output_field(self, field: Field, name: str) -> str:
        there = not field.nullable and (field.required or field.default is not UNSET)
        return f"{name}: {self._type(field.type, into=False)}{'!' if there else ''}"

    def _input_field(self, field: Field, name: str) -> str:
        type_ = self._type(field.type, into=True)
        if field.required:
            return f"{name}: {type_}{'' if field.nullable else '!'}"
        default = _literal(field.type, field.default)
        if default is None:
            return f"{name}: {type_}"
        return f"{name}: {type_}{'' if field.nullable else '!'} = {default}"


def _same(one: Type, other: Type, assumed: set[tuple[int, int]]) -> bool:
    """Whether two types read alike; recursive ones do if nothing tells them apart."""
    match one, other:
        case (Record(), Record()):
            if one is other or (id(one), id(other)) in assumed:
                return True
            assumed.add((id(one), id(other)))
            return (
                one.name == other.name
                and one.choices == other.choices
                and len(one.fields) == len(other.fields)
                and all(_same_field(a, b, assumed) for a, b in zip(one.fields, other.fields, strict=True))
            )
        case (Enumeration(), Enumeration()):
            return one is other or (one.name == other.name and list(one.numbers) == list(other.numbers))
        case (List(a, nullable), List(b, also)):
            return nullable is also and _same(a, b, assumed)
        case (Map(key, a), Map(also_key, b)):
            return key == also_key and _same(a, b, assumed)
        case _:
            return one == other


def _same_field(one: Field, other: Field, assumed: set[tuple[int, int]]) -> bool:
    return (
        (one.name, one.json, one.required, one.nullable, one.choice)
        == (other.name, other.json, other.required, other.nullable, other.choice)
        and one.default == other.default
        and _same(one.type, other.type, assumed)
    )


def _is_one_of(record: Record) -> bool:
    return (
        len(record.choices) == 1
        and record.choices[0].required
        and all(field.choice and field.default is UNSET for field in record.fields)
    )


def _literal(type_: Type, value: Any) -> str | None:
    """The default as GraphQL writes it; None where there is none, or none that is worth writing."""
    match type_, value:
        case (_, None):
            return "null"
        case (List() | Map(), list() | dict()) if not value:
            return "[]"
        case (Enumeration(), str()):
            return value_names(type_).get(value)
        case (Scalar(Kind.BOOL), bool()):
            return "true" if value else "false"
        case (Scalar(Kind.INT32 | Kind.INT64 | Kind.UINT32 | Kind.UINT64 | Kind.INTEGER), int()):
            return str(value)
        case (Scalar(Kind.FLOAT32 | Kind.FLOAT64), float()) if value - value == 0:
            return repr(value)
        case (Scalar(), _) if value is not UNSET and type_ != ANY and not isinstance(value, float):
            written = value if type_ == STRING else text.FORMAT[type_.kind](value)
            return print_string(written)
        case _:
            return None


def _doc(doc: str, indent: str = "") -> str:
    return f"{indent}{print_string(doc)}\n" if doc else ""
