"""Plain values of Thrift types, drawn by hypothesis."""

from typing import Any

from hypothesis import strategies as st

from gateway.schema.idl.thrift.reader import ThriftKind, ThriftType
from gateway.schema.types import TIMESTAMP, Enumeration, List, Record
from gateway.schema.values import struct_of

_TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
_INTEGERS = {ThriftKind.I8: 8, ThriftKind.I16: 16, ThriftKind.I32: 32, ThriftKind.I64: 64}
_TIMES = st.integers(-(10**9), 10**10)


def values(type_: ThriftType, depth: int = 3, *, unknown_enums: bool = True) -> st.SearchStrategy[Any]:
    """depth: of structs in structs. unknown_enums: also numbers without a name."""

    def inner(part: ThriftType | None) -> st.SearchStrategy[Any]:
        assert part is not None
        return values(part, depth, unknown_enums=unknown_enums)

    match type_.kind:
        case ThriftKind.BOOL:
            return st.booleans()
        case ThriftKind.DOUBLE:
            return st.floats(allow_nan=False)
        case ThriftKind.STRING:
            return _TEXT
        case ThriftKind.BINARY:
            return st.binary(max_size=8)
        case ThriftKind.UUID:
            return st.uuids().map(str)
        case ThriftKind.ENUM:
            assert isinstance(type_.type, Enumeration)
            names = st.sampled_from(sorted(type_.type.numbers))
            unknown = st.integers(100, 2**31 - 1)
            return names | unknown if unknown_enums else names
        case ThriftKind.STRUCT:
            assert isinstance(type_.type, Record)
            return _structs(type_.type, depth - 1, unknown_enums=unknown_enums)
        case ThriftKind.LIST:
            return st.lists(inner(type_.item), max_size=3)
        case ThriftKind.SET:
            return st.lists(inner(type_.item), max_size=3, unique=True)
        case ThriftKind.MAP:
            return _maps(type_, inner)
        case kind:
            half = 1 << (_INTEGERS[kind] - 1)
            if type_.unit:
                bound = _TIMES if type_.type == TIMESTAMP else st.integers(-(2**40), 2**40)
                return bound.map(lambda number: number * type_.unit)
            return st.integers(-half, half - 1) | st.integers(-70, 70)


def _maps(type_: ThriftType, inner: Any) -> st.SearchStrategy[Any]:
    if isinstance(type_.type, List):
        entry = type_.type.item
        assert isinstance(entry, Record)
        pairs = st.lists(
            st.tuples(inner(type_.key), inner(type_.item)), max_size=3, unique_by=lambda pair: repr(pair[0])
        )
        return pairs.map(lambda found: [struct_of(entry)(key=key, value=value) for key, value in found])
    assert type_.key is not None
    return st.dictionaries(
        inner(type_.key).map(lambda key: str(key) if type_.key.kind is ThriftKind.ENUM else key),
        inner(type_.item),
        max_size=3,
    )


def _structs(record: Record, depth: int, *, unknown_enums: bool) -> st.SearchStrategy[Any]:
    members = {
        field.attr: values(field.wire.type, depth, unknown_enums=unknown_enums)
        for field in record.fields
        if depth > 0 or field.required or record.choices
        if depth > -2 or field.required or (record.choices and field is record.fields[0])
    }
    if record.choices:
        return st.one_of(
            [strategy.map(lambda value, attr=attr: {attr: value}) for attr, strategy in members.items()]
        ).map(lambda arms: struct_of(record)(**arms))
    required = {field.attr for field in record.fields if field.required}
    return st.fixed_dictionaries(
        {attr: strategy for attr, strategy in members.items() if attr in required},
        optional={attr: strategy for attr, strategy in members.items() if attr not in required},
    ).map(lambda found: struct_of(record)(**found))
