"""GraphQL's SDL and introspection results into operations of the type IR: https://spec.graphql.org/September2025/

An operation is a field of a root type: its arguments are the request Record. Its reply is the Record of its object
type, interface or union; any other type (a scalar, a list) is the reply's one member, named as the field, as in
GraphQL's own `data`. An interface or a union is a Record with a choice whose arms are its object types. In output null
is what absence means, so such fields have the default None; in input both are kept apart. A list of a type that is
called ...Entry and has a key and a value is a map.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from graphql import (
    BooleanValueNode,
    EnumValueNode,
    FloatValueNode,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLError,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    OperationType,
    StringValueNode,
    build_client_schema,
    build_schema,
    get_introspection_query,
    print_schema,
    validate_schema,
)
from msgspec import UNSET

from gateway.pattern import Pattern
from gateway.schema import text
from gateway.schema.idl.json.hint import JsonHint
from gateway.schema.names import convention, suggestion
from gateway.schema.types import (
    ANY,
    Choice,
    Enumeration,
    Field,
    Kind,
    List,
    Map,
    Operation,
    Record,
    Scalar,
    Type,
)

ROOTS: Final = {
    "Query": OperationType.QUERY,
    "Mutation": OperationType.MUTATION,
    "Subscription": OperationType.SUBSCRIPTION,
}
FORMS: Final = JsonHint(duration="iso8601")
ENTRY: Final = "Entry"
ARM: Final = "type"
"""The choice between the object types of an interface or union."""

_NO_SCALARS: Final[Mapping[str, Kind]] = {}
_BUILT_IN: Final = {
    "Int": Kind.INT32,
    "Float": Kind.FLOAT64,
    "String": Kind.STRING,
    "Boolean": Kind.BOOL,
    "ID": Kind.STRING,
}
_KINDS: Final[Mapping[Kind, str]] = {
    Kind.INT32: "Int32",
    Kind.INT64: "Long BigInt Int64 SafeInt Timestamp64",
    Kind.UINT32: "UInt32 UInt UnsignedInt",
    Kind.UINT64: "UInt64 ULong UnsignedLong",
    Kind.INTEGER: "BigInteger Integer",
    Kind.FLOAT32: "Float32",
    Kind.FLOAT64: "Double Float64",
    Kind.DECIMAL: "Decimal BigDecimal",
    Kind.TIMESTAMP: "DateTime Timestamp Instant OffsetDateTime",
    Kind.DATE: "Date LocalDate",
    Kind.TIME: "Time LocalTime",
    Kind.DURATION: "Duration",
    Kind.BYTES: "Bytes Byte Base64 Base64Binary Binary",
    Kind.ANY: "JSON JSONObject Any Object Struct",
    Kind.STRING: "UUID GUID URL URI Email EmailAddress PhoneNumber IP IPv4 IPv6 Locale TimeZone LocalDateTime Cursor",
}
SCALARS: Final[Mapping[str, Kind]] = {
    convention(name): kind for kind, names in _KINDS.items() for name in names.split()
}
"""Custom scalars by conventional name; one that is called otherwise can be anything."""

SPECIFIED_BY: Final[Mapping[str, Kind]] = {
    "https://scalars.graphql.org/andimarek/date-time": Kind.TIMESTAMP,
    "https://scalars.graphql.org/andimarek/local-date": Kind.DATE,
    "https://datatracker.ietf.org/doc/html/rfc3339": Kind.TIMESTAMP,
    "https://www.rfc-editor.org/rfc/rfc3339": Kind.TIMESTAMP,
    "https://tools.ietf.org/html/rfc4648#section-4": Kind.BYTES,
    "https://www.rfc-editor.org/rfc/rfc4648.html#section-4": Kind.BYTES,
    "https://tools.ietf.org/html/rfc4122": Kind.STRING,
    "https://datatracker.ietf.org/doc/html/rfc4122": Kind.STRING,
    "https://www.rfc-editor.org/rfc/rfc9562.html": Kind.STRING,
}
"""Of @specifiedBy, for scalars that are not known by name."""


class GraphqlError(ValueError):
    """A schema, or a document for it, that can't be read. hint: what to write instead."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class RootField:
    """Where an operation is in the schema; the Operation's `wire`.

    member: the reply is a Record whose one member has this name and the field's value; empty where it is the value.
    nullable: the value may be null.
    """

    kind: OperationType
    name: str
    member: str
    nullable: bool


class GraphqlSchema:
    """A schema. Operations are read when they are asked for.

    sdl: its text. schema: as graphql-core has it; nobody changes it.
    """

    def __init__(
        self, schema: GraphQLSchema, sdl: str, scalars: Mapping[str, Kind] = _NO_SCALARS, forms: JsonHint = FORMS
    ) -> None:
        """scalars: custom ones by name, where SCALARS doesn't say it. forms: how scalars are written as JSON.

        Raises GraphqlError with all that is wrong.
        """
        problems = validate_schema(schema)
        if problems:
            raise GraphqlError("; ".join(problem.message for problem in problems[:5]))
        self.schema = schema
        self.sdl = sdl
        self.types = TypeReader(schema, scalars, forms)
        self._operations: dict[str, Operation] = {}

    @classmethod
    def parse(cls, sdl: str, scalars: Mapping[str, Kind] = _NO_SCALARS, forms: JsonHint = FORMS) -> "GraphqlSchema":
        """Raises GraphqlError."""
        try:
            schema = build_schema(sdl)
        except GraphQLError as error:
            where = "".join(f" at {place.line}:{place.column}" for place in (error.locations or ())[:1])
            raise GraphqlError(f"{error.message}{where}") from None
        except TypeError as error:
            raise GraphqlError(str(error)) from None
        return cls(schema, sdl, scalars, forms)

    @classmethod
    def load(cls, path: Path, scalars: Mapping[str, Kind] = _NO_SCALARS, forms: JsonHint = FORMS) -> "GraphqlSchema":
        """Raises GraphqlError."""
        try:
            sdl = path.read_text("utf-8")
        except OSError as error:
            raise GraphqlError(f"{path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise GraphqlError(f"{path} is not UTF-8") from None
        try:
            return cls.parse(sdl, scalars, forms)
        except GraphqlError as error:
            raise GraphqlError(f"{path.name}: {error}", error.hint) from None

    @classmethod
    def introspected(
        cls, data: Any, scalars: Mapping[str, Kind] = _NO_SCALARS, forms: JsonHint = FORMS
    ) -> "GraphqlSchema":
        """Of an introspection query's `data`. Raises GraphqlError."""
        try:
            schema = build_client_schema(data)
        except (GraphQLError, TypeError, ValueError, KeyError, AttributeError) as error:
            raise GraphqlError(f"the introspection result is broken: {str(error)[:200]}") from None
        return cls(schema, print_schema(schema), scalars, forms)

    @property
    def names(self) -> Iterator[str]:
        """Of all operations."""
        for root, kind in ROOTS.items():
            type_ = self.schema.get_root_type(kind)
            if type_ is not None:
                yield from (f"{root}.{field}" for field in type_.fields)

    def find(self, name: str) -> tuple[OperationType, GraphQLField]:
        """The field that Query.order (or Mutation., Subscription.) names. Raises GraphqlError."""
        root, _, field = name.partition(".")
        type_ = self.schema.get_root_type(ROOTS[root]) if root in ROOTS else None
        found = type_.fields.get(field) if type_ is not None else None
        if found is None:
            known = list(self.names)
            raise GraphqlError(f"the schema has no field {name}", suggestion(name, known, 10))
        return ROOTS[root], found

    def operation(self, name: str) -> Operation:
        """Raises GraphqlError for one that is not there."""
        known = self._operations.get(name)
        if known is None:
            known = self._operations[name] = self._read(name)
        return known

    def _read(self, name: str) -> Operation:
        kind, field = self.find(name)
        own = name.partition(".")[2]
        request = Record(name, [self.types.input_field(key, argument) for key, argument in field.args.items()])
        type_, nullable = self.types.output(field.type)
        member = "" if isinstance(type_, Record) else own
        if member:
            type_ = Record(f"{name}.data", [self.types.output_field(own, type_, nullable)])
        return Operation(
            name, pattern_of(kind), request, type_, {}, field.description or "", RootField(kind, own, member, nullable)
        )


def introspection_queries() -> Iterator[str]:
    """What to ask a service for its schema with; the second one is for those that refuse what newer specifications
    have added."""
    for newest in (True, False):
        yield get_introspection_query(
            specified_by_url=newest, input_value_deprecation=newest, one_of=newest, descriptions=True
        )


def pattern_of(kind: OperationType) -> Pattern:
    return Pattern.SERVER_STREAM if kind is OperationType.SUBSCRIPTION else Pattern.REQUEST_REPLY


class TypeReader:
    """A schema's types in the IR, each read once."""

    def __init__(self, schema: GraphQLSchema, scalars: Mapping[str, Kind], forms: JsonHint) -> None:
        self._schema = schema
        self._scalars = scalars
        self.forms = forms
        self._known: dict[str, Record | Enumeration] = {}

    def kind(self, scalar: GraphQLScalarType) -> Kind:
        """What a scalar holds."""
        name = scalar.name
        declared = self._scalars.get(name) or _BUILT_IN.get(name) or SCALARS.get(convention(name))
        return declared or SPECIFIED_BY.get(scalar.specified_by_url or "", Kind.ANY)

    def leaf(self, type_: GraphQLScalarType | GraphQLEnumType) -> Scalar | Enumeration:
        if isinstance(type_, GraphQLScalarType):
            return Scalar(self.kind(type_))
        known = self._known.get(type_.name)
        if not isinstance(known, Enumeration):
            known = Enumeration(type_.name, {name: number for number, name in enumerate(type_.values)})
            self._known[type_.name] = known
        return known

    # -- output

    def output(self, type_: Any) -> tuple[Type, bool]:
        """(the type, whether it may be null)"""
        match type_:
            case GraphQLNonNull():
                return self.output(type_.of_type)[0], False
            case GraphQLList():
                entry = self.entry(type_.of_type)
                if entry is not None:
                    return Map(entry[0], self.output(entry[1])[0]), True
                item, nullable = self.output(type_.of_type)
                return List(item, nullable), True
            case GraphQLScalarType() | GraphQLEnumType():
                return self.leaf(type_), True
            case GraphQLObjectType():
                return self._object(type_), True
            case _:
                return self._abstract(type_), True

    def output_field(self, name: str, type_: Type, nullable: bool, doc: str = "") -> Field:
        """A member of a reply. Null and absence are the same."""
        return Field(
            name,
            type_,
            required=not nullable,
            nullable=nullable,
            default=None if nullable else UNSET,
            doc=doc,
            wire=self.forms,
        )

    def _object(self, type_: GraphQLObjectType) -> Record:
        known = self._known.get(type_.name)
        if isinstance(known, Record):
            return known
        record = self._known[type_.name] = Record(type_.name, doc=type_.description or "")
        record.fields = tuple(
            self.output_field(name, *self.output(field.type), doc=field.description or "")
            for name, field in type_.fields.items()
        )
        return record

    def _abstract(self, type_: GraphQLInterfaceType | GraphQLUnionType) -> Record:
        known = self._known.get(type_.name)
        if isinstance(known, Record):
            return known
        record = self._known[type_.name] = Record(
            type_.name, choices=[Choice(ARM, required=True)], doc=type_.description or ""
        )
        record.fields = tuple(
            Field(member.name, self._object(member), choice=ARM) for member in self._schema.get_possible_types(type_)
        )
        return record

    def entry(self, item: Any) -> tuple[Scalar, Any] | None:
        """(type of the key, GraphQL's type of the value) where a list of these is a map."""
        if not isinstance(item, GraphQLNonNull):
            return None
        type_ = item.of_type
        if (
            not isinstance(type_, GraphQLObjectType | GraphQLInputObjectType)
            or not type_.name.removesuffix("Input").endswith(ENTRY)
            or list(type_.fields) != ["key", "value"]
            or any(getattr(field, "args", None) for field in type_.fields.values())
        ):
            return None
        key, value = type_.fields["key"].type, type_.fields["value"].type
        if not isinstance(key, GraphQLNonNull) or not isinstance(value, GraphQLNonNull):
            return None
        if not isinstance(key.of_type, GraphQLScalarType):
            return None
        kind = self.kind(key.of_type)
        return None if kind is Kind.ANY else (Scalar(kind), value)

    # -- input

    def input(self, type_: Any) -> tuple[Type, bool]:
        """(the type, whether it may be null)"""
        match type_:
            case GraphQLNonNull():
                return self.input(type_.of_type)[0], False
            case GraphQLList():
                entry = self.entry(type_.of_type)
                if entry is not None:
                    return Map(entry[0], self.input(entry[1])[0]), True
                item, nullable = self.input(type_.of_type)
                return List(item, nullable), True
            case GraphQLScalarType() | GraphQLEnumType():
                return self.leaf(type_), True
            case _:
                return self._input_object(type_), True

    def input_field(self, name: str, definition: GraphQLArgument | GraphQLInputField) -> Field:
        """An argument, or a member of an input object."""
        type_, nullable = self.input(definition.type)
        given = definition.default
        node = None if given is None else given.literal
        return self.variable(name, type_, nullable, node, definition.description or "")

    def variable(self, name: str, type_: Type, nullable: bool, default: Any, doc: str = "") -> Field:
        """default: its literal, or None where there is no default."""
        return Field(
            name,
            type_,
            required=not nullable and default is None,
            nullable=nullable,
            default=_default(type_, default),
            doc=doc,
            wire=self.forms,
        )

    def _input_object(self, type_: GraphQLInputObjectType) -> Record:
        known = self._known.get(type_.name)
        if isinstance(known, Record):
            return known
        record = self._known[type_.name] = Record(type_.name, doc=type_.description or "")
        if type_.is_one_of:
            record.choices = (Choice("oneOf", required=True),)
            record.fields = tuple(
                Field(name, self.input(field.type)[0], doc=field.description or "", choice="oneOf", wire=self.forms)
                for name, field in type_.fields.items()
            )
        else:
            record.fields = tuple(self.input_field(name, field) for name, field in type_.fields.items())
        return record


def _default(type_: Type, node: Any) -> Any:
    """The plain value; UNSET where there is none, or one that the server alone fills in (an object, items)."""
    match node:
        case NullValueNode():
            return None
        case ListValueNode(values=()) if isinstance(type_, List):
            return []
        case ListValueNode(values=()) if isinstance(type_, Map):
            return {}
        case EnumValueNode() if isinstance(type_, Enumeration):
            return node.value
        case BooleanValueNode() if type_ == Scalar(Kind.BOOL):
            return node.value
        case IntValueNode() | FloatValueNode() | StringValueNode() if isinstance(type_, Scalar) and type_ != ANY:
            try:
                return text.PARSE[type_.kind](node.value)
            except ValueError:
                return UNSET
        case _:
            return UNSET
