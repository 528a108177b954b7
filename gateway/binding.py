"""Parameters of an address and the fields of a message: bound in by name, or taken out as text."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from msgspec import UNSET

from gateway.codecs.form import find_field, typed_text
from gateway.codecs.json.format import read
from gateway.schema import text
from gateway.schema.types import ANY, Enumeration, Field, List, Record, Scalar, Type
from gateway.status import invalid

Bind = Callable[[Any, Mapping[str, Any]], None]
Take = Callable[[Any, Mapping[str, Any]], dict[str, str]]


class UnboundError(ValueError):
    """A parameter that no field can take or give."""


def relaxed(type_: Type, names: Sequence[str]) -> Type:
    """The type with the fields of these names optional in the body, since the address brings them."""
    if not isinstance(type_, Record):
        return type_
    bound = {field.name for name in names if (field := find_field(type_, name)) is not None}
    if not any(field.required and field.name in bound for field in type_.fields):
        return type_
    fields = [replace(field, required=False) if field.name in bound else field for field in type_.fields]
    return Record(type_.name, fields, choices=type_.choices, doc=type_.doc, wire=type_.wire)


def binder(type_: Type, names: Sequence[str], used: Collection[str], open_params: bool) -> Bind | None:
    """Sets the fields that params name, in place.

    names: those that the address always captures. used: those that something else reads. open_params: others may come
    along; one that no field has is refused. Raises UnboundError for a name without a field.
    """
    if not isinstance(type_, Record):
        if names and type_ != ANY:
            raise UnboundError(f"{type_} has no field {names[0]}")
        return _refuser(used) if open_params else None
    record = type_
    slots = {name: _slot(record, name) for name in names} | dict.fromkeys(used, _leave)
    if not slots and not open_params:
        return None

    def bind(value: Any, params: Mapping[str, Any]) -> None:
        for name, given in params.items():
            slot = slots.get(name)
            if slot is None:
                if not open_params:
                    continue
                try:
                    slot = _slot(record, name)
                except UnboundError:
                    raise invalid("unknown parameter", f"?{name}") from None
            slot(value, given)

    return bind


def _leave(value: Any, given: Any) -> None:
    """The slot of a parameter that is not bound."""


def _refuser(used: Collection[str]) -> Bind:
    def refuse(value: Any, params: Mapping[str, Any]) -> None:
        for name in params:
            if name not in used:
                raise invalid("unknown parameter", f"?{name}")

    return refuse


def _slot(record: Record, name: str) -> Callable[[Any, Any], None]:
    chain = _chain(record, name)
    *parents, leaf = chain
    path = f"$.{name}"

    def put(value: Any, given: Any) -> None:
        for parent in parents:
            inner = getattr(value, parent.attr)
            if inner is UNSET or inner is None:
                inner = read(parent.type, {}, path=f"$.{parent.name}")
                setattr(value, parent.attr, inner)
            value = inner
        plain = read(leaf.type, typed_text(leaf, given, path), path=path)
        known = getattr(value, leaf.attr)
        if known is not UNSET and known != leaf.default and known != plain:
            raise invalid("the address and the body disagree", path)
        setattr(value, leaf.attr, plain)

    return put


def _chain(record: Record, name: str) -> list[Field]:
    chain: list[Field] = []
    inner: Type = record
    for step in name.split("."):
        field = find_field(inner, step) if isinstance(inner, Record) else None
        if field is None:
            raise UnboundError(f"{record} has no field {name}")
        chain.append(field)
        inner = field.type
    leaf = inner.item if isinstance(inner, List) else inner
    if not isinstance(leaf, Scalar | Enumeration):
        raise UnboundError(f"{name} of {record} is {leaf}, which has no form as text")
    return chain


def taker(type_: Type, names: Sequence[str]) -> Take:
    """Takes the named fields out of a value, as text. A name that the type lacks is taken from the caller's params.

    Raises Failure(INVALID_ARGUMENT) at run time when there is no value for a name.
    """
    takes = [(name, _getter(type_, name)) for name in names]

    def take(value: Any, params: Mapping[str, Any]) -> dict[str, str]:
        taken: dict[str, str] = {}
        for name, get in takes:
            found = get(value)
            if found is UNSET or found is None:
                found = params.get(name)
            if found is None or found == "":
                raise invalid("the address needs a value for it", f"$.{name}")
            taken[name] = str(found)
        return taken

    return take


def _getter(type_: Type, name: str) -> Callable[[Any], Any]:
    if type_ == ANY:

        def pop(value: Any) -> Any:
            found = value.pop(name, None) if isinstance(value, dict) else None
            if isinstance(found, dict | list):
                raise invalid("text is expected", f"$.{name}")
            return ("true" if found else "false") if isinstance(found, bool) else found

        return pop
    try:
        chain = _chain(type_, name) if isinstance(type_, Record) else []
    except UnboundError:
        chain = []
    if not chain:
        return lambda _: None
    *parents, leaf = chain
    if isinstance(leaf.type, List):
        raise UnboundError(f"{name} of {type_} is a list")
    format_: Callable[[Any], str] = text.FORMAT[leaf.type.kind] if isinstance(leaf.type, Scalar) else str

    def take(value: Any) -> Any:
        for parent in parents:
            value = getattr(value, parent.attr)
            if value is UNSET or value is None:
                return None
        found = getattr(value, leaf.attr)
        if found is UNSET or found is None:
            return None
        setattr(value, leaf.attr, UNSET)
        return format_(found)

    return take
