"""Custom scalars: between the forms of GraphQL and plain values."""

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from ariadne import ScalarType
from graphql import (
    BooleanValueNode,
    EnumValueNode,
    FloatValueNode,
    GraphQLError,
    IntValueNode,
    ListValueNode,
    NullValueNode,
    ObjectValueNode,
    StringValueNode,
    ValueNode,
    VariableNode,
)

from gateway.codecs.graphql.request import Number
from gateway.codecs.json.format import read
from gateway.schema import text
from gateway.schema.idl.json.hint import JsonHint
from gateway.schema.types import Kind, Scalar
from gateway.status import Failure


def bindable(name: str, kind: Kind, forms: JsonHint) -> ScalarType:
    """What the executable schema binds to the scalar of this name."""
    scalar = Scalar(kind)

    def parse(value: Any) -> Any:
        try:
            return read(scalar, _exact(value))
        except Failure as failure:
            raise GraphQLError(f"{name} cannot represent it: {failure.message}") from None

    def parse_literal(node: ValueNode, variables: Mapping[str, Any] | None = None) -> Any:
        return parse(_literal(node, variables or {}))

    return ScalarType(name, serializer=_serializer(kind, forms), value_parser=parse, literal_parser=parse_literal)


def _serializer(kind: Kind, forms: JsonHint) -> Callable[[Any], Any]:
    if kind in (Kind.INT64, Kind.UINT64, Kind.INTEGER):
        return str if forms.int64 == "string" else _as_it_is
    if kind is Kind.DECIMAL:
        return text.format_decimal if forms.decimal == "string" else _as_it_is
    return _SERIALIZERS.get(kind, _as_it_is)


def _as_it_is(value: Any) -> Any:
    return value


def _float(value: float) -> Any:
    return value if value - value == 0 else text.format_float(value, infinity="Infinity")


_SERIALIZERS: Final[Mapping[Kind, Callable[[Any], Any]]] = {
    Kind.FLOAT32: _float,
    Kind.FLOAT64: _float,
    Kind.BYTES: text.format_bytes,
    Kind.TIMESTAMP: text.format_timestamp,
    Kind.DURATION: text.format_duration,
}


def _exact(value: Any) -> Any:
    """JSON with decimals for floats."""
    match value:
        case Number():
            return Decimal(value.text)
        case list():
            return [_exact(item) for item in value]
        case dict():
            return {name: _exact(item) for name, item in value.items()}
        case _:
            return value


def _literal(node: ValueNode, variables: Mapping[str, Any]) -> Any:
    """A literal as JSON."""
    match node:
        case IntValueNode() | FloatValueNode():
            if len(node.value) > text.DIGITS:
                raise GraphQLError("the number has too many digits", node)
            try:
                return int(node.value) if isinstance(node, IntValueNode) else Decimal(node.value)
            except InvalidOperation:
                raise GraphQLError("the number is out of range", node) from None
        case StringValueNode() | EnumValueNode() | BooleanValueNode():
            return node.value
        case NullValueNode():
            return None
        case ListValueNode():
            return [_literal(item, variables) for item in node.values]
        case ObjectValueNode():
            return {field.name.value: _literal(field.value, variables) for field in node.fields}
        case VariableNode():
            return variables.get(node.name.value)
        case _:
            raise GraphQLError("this is no value", node)
