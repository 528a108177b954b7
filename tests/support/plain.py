"""Building and showing plain values in tests."""

from typing import Any

import msgspec

from gateway.schema.types import List, Map, Record, Type
from gateway.schema.values import struct_of


def plain(type_: Type, value: Any) -> Any:
    """Nested dicts and lists as the plain value of the type; scalars are taken as they are."""
    match type_:
        case Record():
            if value is None:
                return None
            known = {field.name: field for field in type_.fields}
            return struct_of(type_)(**{known[name].attr: plain(known[name].type, item) for name, item in value.items()})
        case List(item):
            return value if value is None else [plain(item, one) for one in value]
        case Map(_, item):
            return value if value is None else {key: plain(item, one) for key, one in value.items()}
        case _:
            return value


def shown(type_: Type, value: Any) -> Any:
    """The reverse: dicts without absent members."""
    match type_:
        case Record() if value is not None:
            return {
                field.name: shown(field.type, getattr(value, field.attr))
                for field in type_.fields
                if getattr(value, field.attr) is not msgspec.UNSET
            }
        case List(item) if value is not None:
            return [shown(item, one) for one in value]
        case Map(_, item) if value is not None:
            return {key: shown(item, one) for key, one in value.items()}
        case _:
            return value
