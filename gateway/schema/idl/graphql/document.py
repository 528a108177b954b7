"""GraphQL documents as operations of the type IR: a request for each variable, a reply of what is selected.

A document is given, or made of a field of a root type: then all is selected that needs no argument of its own. Where
types lead back to themselves it has to be said how often they are followed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLUnionType,
    InlineFragmentNode,
    NameNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    TypeInfo,
    TypeInfoVisitor,
    Visitor,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    is_required_argument,
    parse,
    print_ast,
    type_from_ast,
    validate,
    visit,
)

from gateway.schema.idl.graphql.names import AliasHint
from gateway.schema.idl.graphql.reader import ARM, GraphqlError, GraphqlSchema, RootField, pattern_of
from gateway.schema.types import STRING, Choice, Field, List, Map, Operation, Record, Type

FIELDS: Final = 1000
"""The most fields that a generated document selects."""
TYPENAME: Final = "__typename"
_ALIAS: Final = "__"


@dataclass(frozen=True, slots=True)
class GraphqlCall:
    """A document to send; the Operation's `wire`.

    name: of the operation in it. root: where the reply is in `data`; of a document with several root fields its
    member is empty and its name too: the reply is all of `data`.
    cut: the paths that are not selected, for people to see.
    """

    document: str
    name: str
    root: RootField
    cut: tuple[str, ...] = ()


def call_of_field(schema: GraphqlSchema, name: str, recursion: int | None = None) -> Operation:
    """The operation that selects all of a field such as Query.order. Raises GraphqlError.

    recursion: how often a type is followed on a path from the root; None refuses a type that leads back to itself.
    """
    kind, field = schema.find(name)
    own = name.partition(".")[2]
    selection = _Selection(schema, recursion)
    selected = selection.of(field.type, own)
    variables = ", ".join(f"${key}: {_variable_type(argument)}" for key, argument in field.args.items())
    arguments = ", ".join(f"{key}: ${key}" for key in field.args)
    title = own[:1].upper() + own[1:]
    document = (
        f"{kind.value} {title}{f'({variables})' if variables else ''} "
        f"{{ {own}{f'({arguments})' if arguments else ''}{selected} }}"
    )
    known = schema.operation(name)
    operation = _Reader(schema, parse(document), aliases=False).operation(title, name)
    wire: GraphqlCall = operation.wire
    call = GraphqlCall(wire.document, title, wire.root, tuple(selection.cut))
    return Operation(name, operation.pattern, known.request, operation.reply, {}, known.doc, call)


def _variable_type(argument: GraphQLArgument) -> str:
    """Nullable where a default fills in for a variable that is left out (spec 5.8.5)."""
    return str(argument.type) if argument.default is None else str(argument.type).removesuffix("!")


def call_of_document(schema: GraphqlSchema, document: str, name: str = "") -> Operation:
    """The operation of a document that was given, of this name where it has several. Raises GraphqlError."""
    try:
        parsed = parse(document)
    except GraphQLError as error:
        raise GraphqlError(_shown(error)) from None
    problems = validate(schema.schema, parsed)
    if problems:
        raise GraphqlError("; ".join(_shown(problem) for problem in problems[:5]))
    found = [node for node in parsed.definitions if isinstance(node, OperationDefinitionNode)]
    names = [node.name.value if node.name else "" for node in found]
    if not name and len(found) == 1:
        name = names[0]
    elif name not in names or not name:
        raise GraphqlError(f"the document has no operation {name}" if name else "the document has several operations")
    return _Reader(schema, _with_typenames(schema, parsed), aliases=True).operation(name, name or "document")


def _shown(error: GraphQLError) -> str:
    where = "".join(f" at {place.line}:{place.column}" for place in (error.locations or ())[:1])
    return f"{error.message}{where}"


def _with_typenames(schema: GraphqlSchema, document: DocumentNode) -> DocumentNode:
    """The document, asking for the type of each interface and union."""
    info = TypeInfo(schema.schema)

    class Add(Visitor):
        def enter_selection_set(self, node: SelectionSetNode, *_: Any) -> Any:
            parent = info.get_parent_type()
            asked = any(isinstance(one, FieldNode) and _key(one) == TYPENAME for one in node.selections)
            if parent is None or not is_abstract_type(parent) or asked:
                return None
            typename = FieldNode(name=NameNode(value=TYPENAME), arguments=(), directives=())
            return SelectionSetNode(selections=(typename, *node.selections))

    changed: DocumentNode = visit(document, TypeInfoVisitor(info, Add()))
    return changed


def _key(node: FieldNode) -> str:
    """The name in the response."""
    return node.alias.value if node.alias else node.name.value


class _Selection:
    """Selects everything below a field."""

    def __init__(self, schema: GraphqlSchema, recursion: int | None) -> None:
        self._schema = schema.schema
        self._recursion = recursion
        self._count = 0
        self.cut: list[str] = []

    def of(self, type_: Any, path: str, above: tuple[str, ...] = ()) -> str:
        """The selection set of a type with members, with a space before it; empty for others."""
        named = get_named_type(type_)
        if not is_composite_type(named):
            return ""
        if isinstance(named, GraphQLObjectType):
            return f" {{ {' '.join(self._fields(named, path, (*above, named.name), {})) or TYPENAME} }}"
        return f" {{ {TYPENAME} {' '.join(self._arms(named, path, above))} }}"

    def _arms(self, type_: GraphQLInterfaceType | GraphQLUnionType, path: str, above: tuple[str, ...]) -> Iterator[str]:
        members = [
            member
            for member in self._schema.get_possible_types(type_)
            if self._follows(member.name, above, f"{path}.{member.name}")
        ]
        # Fields of one name and different types can't stand side by side, not even of types that exclude each other.
        types: dict[str, set[str]] = {}
        for member in members:
            for name, field in member.fields.items():
                types.setdefault(name, set()).add(str(field.type))
        for member in members:
            aliases = {name: f"{name}{_ALIAS}{member.name}" for name in member.fields if len(types[name]) > 1}
            fields = " ".join(self._fields(member, f"{path}.{member.name}", (*above, member.name), aliases))
            if fields:
                yield f"... on {member.name} {{ {fields} }}"

    def _fields(
        self, type_: GraphQLObjectType, path: str, above: tuple[str, ...], aliases: Mapping[str, str]
    ) -> Iterator[str]:
        for name, field in type_.fields.items():
            if any(is_required_argument(argument) for argument in field.args.values()):
                self.cut.append(f"{path}.{name}")
                continue
            named = get_named_type(field.type)
            if isinstance(named, GraphQLObjectType) and not self._follows(named.name, above, f"{path}.{name}"):
                continue
            self._count += 1
            if self._count > FIELDS:
                raise GraphqlError(
                    f"all that {path.partition('.')[0]} leads to is more than {FIELDS} fields",
                    "lower recursion, or give a document",
                )
            alias = f"{aliases[name]}: " if name in aliases else ""
            yield f"{alias}{name}{self.of(field.type, f'{path}.{name}', above)}"

    def _follows(self, name: str, above: tuple[str, ...], path: str) -> bool:
        times = above.count(name)
        if self._recursion is None and times:
            raise GraphqlError(
                f"{path} leads from {name} back to {name}", "say how often: recursion, or give a document"
            )
        if self._recursion is None or times < self._recursion:
            return True
        self.cut.append(path)
        return False


class _Reader:
    """A valid document's operation in the IR.

    aliases: they name the fields; otherwise the fields' own names do, and aliases are but what their values come under.
    """

    def __init__(self, schema: GraphqlSchema, document: DocumentNode, *, aliases: bool) -> None:
        self._schema = schema
        self._types = schema.types
        self._document = document
        self._aliases = aliases
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }

    def operation(self, name: str, title: str) -> Operation:
        node = next(
            node
            for node in self._document.definitions
            if isinstance(node, OperationDefinitionNode) and (node.name.value if node.name else "") == name
        )
        root = self._schema.schema.get_root_type(node.operation)
        if root is None:
            raise GraphqlError(f"the schema has no {node.operation.value}s")
        request = Record(title, [self._variable(one) for one in node.variable_definitions or ()])
        data = self._object(root, [node.selection_set], f"{title}.data")
        reply, where = self._reply(data, node.operation)
        return Operation(
            title,
            pattern_of(node.operation),
            request,
            reply,
            {},
            "",
            GraphqlCall(print_ast(self._document), name, where),
        )

    def _reply(self, data: Record, kind: OperationType) -> tuple[Type, RootField]:
        if len(data.fields) != 1:
            return data, RootField(kind, "", "", False)
        (field,) = data.fields
        member = "" if isinstance(field.type, Record) else field.name
        where = RootField(kind, field.json, member, field.nullable or not field.required)
        return (data if member else field.type), where

    def _variable(self, node: Any) -> Field:
        type_, nullable = self._types.input(type_from_ast(self._schema.schema, node.type))
        return self._types.variable(node.variable.name.value, type_, nullable, node.default_value)

    # -- what is selected

    def _type(self, type_: Any, sets: Sequence[SelectionSetNode]) -> tuple[Type, bool]:
        """(the type of a selected field, whether it may be null)"""
        named = get_named_type(type_)
        if isinstance(named, GraphQLScalarType | GraphQLEnumType):
            return self._types.output(type_)
        return self._wrapped(type_, sets)

    def _wrapped(self, type_: Any, sets: Sequence[SelectionSetNode]) -> tuple[Type, bool]:
        inner = getattr(type_, "of_type", None)
        if inner is None:
            if isinstance(type_, GraphQLObjectType):
                return self._object(type_, sets, type_.name), True
            return self._abstract(type_, sets), True
        item, nullable = self._wrapped(inner, sets)
        if str(type_).endswith("!"):
            return item, False
        entry = self._types.entry(inner)
        if entry is not None and isinstance(item, Record) and [field.name for field in item.fields] == ["key", "value"]:
            return Map(entry[0], item.fields[1].type), True
        return List(item, nullable), True

    def _object(self, type_: GraphQLObjectType, sets: Sequence[SelectionSetNode], name: str) -> Record:
        found: dict[str, list[tuple[FieldNode, bool]]] = {}
        for node, sometimes in self._selected(type_, sets):
            found.setdefault(_key(node), []).append((node, sometimes))
        return Record(
            name, [self._field(type_, key, nodes) for key, nodes in found.items()], doc=type_.description or ""
        )

    def _field(self, type_: GraphQLObjectType, key: str, nodes: Sequence[tuple[FieldNode, bool]]) -> Field:
        node = nodes[0][0]
        own = node.name.value
        if own == TYPENAME:
            return Field(key, STRING, required=True)
        definition = type_.fields[own]
        sets = [one.selection_set for one, _ in nodes if one.selection_set is not None]
        selected, nullable = self._type(definition.type, sets)
        nullable = nullable or all(sometimes for _, sometimes in nodes)
        name = key if self._aliases else own
        field = self._types.output_field(name, selected, nullable, doc=definition.description or "")
        if name != key:
            forms = self._types.forms
            field.wire = AliasHint(forms.int64, forms.decimal, forms.duration, alias=key)
        return field

    def _abstract(self, type_: GraphQLInterfaceType | GraphQLUnionType, sets: Sequence[SelectionSetNode]) -> Record:
        arms = []
        for member in self._schema.schema.get_possible_types(type_):
            record = self._object(member, sets, member.name)
            record.fields = tuple(field for field in record.fields if field.name != TYPENAME)
            if record.fields or self._aliases:
                arms.append(Field(member.name, record, choice=ARM))
        return Record(type_.name, arms, choices=[Choice(ARM, required=True)], doc=type_.description or "")

    def _selected(
        self, type_: GraphQLObjectType, sets: Sequence[SelectionSetNode], sometimes: bool = False
    ) -> Iterator[tuple[FieldNode, bool]]:
        """(field, whether it may be left out) of all that is selected on this type."""
        for selections in sets:
            for node in selections.selections:
                maybe = sometimes or any(one.name.value in ("skip", "include") for one in node.directives or ())
                match node:
                    case FieldNode():
                        yield node, maybe
                    case InlineFragmentNode():
                        if node.type_condition is None or self._applies(type_, node.type_condition.name.value):
                            yield from self._selected(type_, [node.selection_set], maybe)
                    case FragmentSpreadNode():
                        fragment = self._fragments[node.name.value]
                        if self._applies(type_, fragment.type_condition.name.value):
                            yield from self._selected(type_, [fragment.selection_set], maybe)

    def _applies(self, type_: GraphQLObjectType, condition: str) -> bool:
        if condition == type_.name:
            return True
        other = self._schema.schema.get_type(condition)
        return other is not None and is_abstract_type(other) and self._schema.schema.is_sub_type(other, type_)
