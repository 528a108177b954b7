"""Plain values: what lies between a decoder and an encoder.

| type | plain value |
|---|---|
| bool; integers; float32, float64 | bool; int; float |
| decimal | decimal.Decimal, finite |
| string, bytes | str, bytes |
| date, time | str in ISO 8601 form, as the peer wrote it |
| timestamp | int, nanoseconds since 1970-01-01T00:00:00Z (years 1 to 9999) |
| duration | int, nanoseconds |
| any | None, bool, int, Decimal or float, str, bytes, list, dict with str keys |
| enumeration | str, the name; int for an unknown number of an open one |
| list, map | list, dict |
| record | an instance of struct_of(record) |

In a record an attribute is UNSET when the field is absent and None when it is null. A value belongs to the
one call that made it: an encoder may change it in place.
"""

import re
import typing
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, Union

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.schema.types import INTEGER_RANGE, INTEGERS, Enumeration, Field, Kind, List, Map, Record, Scalar, Type

Plain = Any

_I64 = (-(2**63), 2**63 - 1)
# The JSON forms that msgspec checks while it parses. What it can't express (int64 as a string, a timestamp's text)
# is let through here as str and converted by the JSON codec's generated pass.
_INTEGER_TEXT = Annotated[str, Meta(max_length=4096)]
_SCALARS: Final[dict[Kind, Any]] = {
    Kind.BOOL: bool,
    Kind.INT32: Annotated[int, Meta(ge=INTEGER_RANGE[Kind.INT32][0], le=INTEGER_RANGE[Kind.INT32][1])],
    Kind.UINT32: Annotated[int, Meta(ge=0, le=INTEGER_RANGE[Kind.UINT32][1])],
    Kind.INT64: Union[Annotated[int, Meta(ge=_I64[0], le=_I64[1])], _INTEGER_TEXT],
    Kind.UINT64: Union[Annotated[int, Meta(ge=0)], _INTEGER_TEXT],
    Kind.INTEGER: Union[int, _INTEGER_TEXT],
    Kind.FLOAT32: float,
    Kind.FLOAT64: float,
    Kind.DECIMAL: Decimal,
    Kind.STRING: str,
    Kind.BYTES: bytes,
    Kind.DATE: str,
    Kind.TIME: str,
    Kind.TIMESTAMP: str,
    Kind.DURATION: str,
    Kind.ANY: Any,
}


def struct_of(record: Record, *, closed: bool = True) -> type[msgspec.Struct]:
    """The msgspec.Struct class that holds the record's plain values; made once per record.

    closed: whether decoding JSON refuses unknown members; both variants have the same attributes.
    """
    known: type[msgspec.Struct] | None = record.structs.get(closed)
    if known is not None:
        return known
    references: dict[str, Record] = {}

    def forward(referred: Record) -> str:
        name = f"T{id(referred):x}"
        references[name] = referred
        return name

    members = [_member(field, forward) for field in record.fields]
    cls = msgspec.defstruct(
        re.sub(r"\W", "_", record.name) or "Record",
        members,
        rename={field.attr: field.json for field in record.fields},
        kw_only=True,
        omit_defaults=True,
        forbid_unknown_fields=closed,
    )
    record.structs[closed] = cls
    # msgspec resolves a member's string annotation, a forward reference, among the class's own attributes.
    for name, referred in references.items():
        setattr(cls, name, struct_of(referred, closed=closed))
    return cls


def annotation(type_: Type, *, closed: bool = True) -> Any:
    """What msgspec decodes JSON of this type into."""
    return _annotate(type_, lambda record: struct_of(record, closed=closed))


def _member(field: Field, refer: Callable[[Record], Any]) -> tuple[str, Any] | tuple[str, Any, Any]:
    kind = _annotate(field.type, refer)
    if field.nullable:
        kind = Union[kind, None]
    if field.required:
        return field.attr, kind
    if field.default is UNSET:
        return field.attr, Union[kind, UnsetType], UNSET
    if isinstance(field.default, list | dict):
        return field.attr, kind, msgspec.field(default_factory=type(field.default))
    return field.attr, kind, field.default


def _annotate(type_: Type, refer: Callable[[Record], Any]) -> Any:
    match type_:
        case Scalar(kind):
            return _SCALARS[kind]
        case Enumeration():
            return Union[Literal[tuple(type_.numbers)], int]
        case List(item, nullable):
            inner: Any = _annotate(item, refer)
            return _list_of(Union[inner, None] if nullable else inner)
        case Map(key, value):
            return _dict_of(_key(key), _annotate(value, refer))
        case Record():
            return refer(type_)


def _list_of(item: Any) -> Any:
    # typing.List turns a string into a forward reference, which list[...] does not.
    return typing.List[item]  # noqa: UP006


def _dict_of(key: Any, value: Any) -> Any:
    return typing.Dict[key, value]  # noqa: UP006


def _key(key: Scalar) -> Any:
    # JSON member names of booleans and integers are text; msgspec converts integers and refuses the rest.
    return int if key.kind in INTEGERS else str
