"""What the IR's names are in GraphQL. Deterministic, so that the schema's writer and the codec agree."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.schema.idl.json.hint import JsonHint
from gateway.schema.types import Enumeration, Field, Record

_NOT_VALUES: Final = frozenset({"true", "false", "null"})


@dataclass(frozen=True, slots=True)
class AliasHint(JsonHint):
    """The wire hint of a Field whose value comes under another name."""

    alias: str = ""


def graphql_name(text: str) -> str:
    """A legal Name (spec 2.1.9) of any text; __ is GraphQL's own at the start."""
    name = re.sub(r"__+", "_", re.sub(r"[^A-Za-z0-9_]", "_", text))
    return name if re.match(r"[A-Za-z_]", name) else f"_{name}"


def type_name(full: str) -> str:
    """shop.orders.v1.Order is Order."""
    return graphql_name(full.rpartition(".")[2])


def field_names(record: Record) -> dict[str, str]:
    """Field -> its GraphQL name, after the name in JSON."""
    return _distinct((field.name, graphql_name(field.json)) for field in record.fields)


def response_name(field: Field) -> str:
    """The name of a member in a service's JSON."""
    return field.wire.alias if isinstance(field.wire, AliasHint) else field.json


def value_names(enumeration: Enumeration) -> dict[str, str]:
    """Name in the IR -> enum value in GraphQL."""
    return _distinct(
        (name, f"{graphql_name(name)}_" if name in _NOT_VALUES else graphql_name(name)) for name in enumeration.numbers
    )


def _distinct(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    taken: set[str] = set()
    for name, wanted in pairs:
        free, number = wanted, 2
        while free in taken:
            free, number = f"{wanted}_{number}", number + 1
        taken.add(free)
        given[name] = free
    return given


def union_members(record: Record) -> dict[str, Record] | None:
    """Arm -> its type, where the record is a GraphQL union: nothing but one required choice between types that bear
    the names of their arms."""
    if len(record.choices) != 1 or not record.choices[0].required or not record.fields:
        return None
    members = {}
    for field in record.fields:
        if not field.choice or not isinstance(field.type, Record) or type_name(field.type.name) != field.name:
            return None
        members[field.name] = field.type
    return members
