"""application/x-www-form-urlencoded: query strings and form bodies, typed. Nested members are dotted (filter.name=x),
lists repeat their name, as google.api.http has it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import parse_qsl, urlencode

import msgspec

from gateway.codecs.format import Decode, Encode, NoFormError, Unknown
from gateway.codecs.json.format import JsonFormat, read
from gateway.schema.names import convention
from gateway.schema.types import ANY, BOOL, Field, List, Record, Type
from gateway.status import invalid

FIELDS: Final = 256


@dataclass(frozen=True, slots=True)
class FormFormat:
    encoded: ClassVar[type] = bytes

    @property
    def name(self) -> str:
        return "form"

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        """Raises NoFormError for what has no members."""
        if type_ != ANY and not isinstance(type_, Record):
            raise NoFormError(f"{type_} can't come as a query or form")

        def decode(body: bytes) -> Any:
            return read(type_, tree(type_, parse_form(body)), unknown)

        return decode

    def encoder(self, type_: Type) -> Encode:
        to_json = JsonFormat().encoder(type_)
        decode_json = msgspec.json.decode

        def encode(value: Any) -> bytes:
            return urlencode(list(_flatten(decode_json(to_json(value)), ""))).encode()

        return encode


def parse_form(body: bytes) -> dict[str, str | list[str]]:
    """Name -> text, or texts where the name is repeated. Raises Failure(INVALID_ARGUMENT)."""
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS, errors="strict")
    except UnicodeDecodeError:
        raise invalid("the query or form is not valid UTF-8") from None
    except ValueError:
        raise invalid(f"more than {FIELDS} parameters") from None
    fields: dict[str, str | list[str]] = {}
    for name, value in pairs:
        known = fields.get(name)
        if known is None:
            fields[name] = value
        elif isinstance(known, list):
            known.append(value)
        else:
            fields[name] = [known, value]
    return fields


def tree(type_: Type, fields: Mapping[str, Any], leaf: "Leaf | None" = None) -> Any:
    """Dotted names as nested objects, and values in the forms that JSON would have.

    fields: name -> value, or a list of them where the name is repeated. leaf: as text_value, where they are no text.
    """
    if not isinstance(type_, Record):
        return fields
    found: dict[str, Any] = {}
    for name, value in fields.items():
        node, record, steps = found, type_, name.split(".")
        for depth, step in enumerate(steps):
            field = find_field(record, step)
            where = f"$.{name}"
            if field is None:
                node[".".join(steps[depth:])] = value  # read() refuses or drops it
                break
            if depth == len(steps) - 1:
                if field.name in node:
                    raise invalid("given twice, under two of its names", where)
                node[field.name] = typed_text(field, value, where, leaf)
            elif isinstance(field.type, Record):
                node, record = node.setdefault(field.name, {}), field.type
            else:
                raise invalid(f"{field.name} has no members", where)
    return found


def find_field(record: Record, name: str) -> Field | None:
    """By name or JSON name first, else by convention."""
    for field in record.fields:
        if name in (field.name, field.json):
            return field
    wanted = convention(name)
    return next((field for field in record.fields if convention(field.name) == wanted), None)


def typed_text(field: Field, value: Any, path: str, leaf: "Leaf | None" = None) -> Any:
    """Text in the form that JSON has for the field's type. Raises Failure(INVALID_ARGUMENT) for what no text can be."""
    form = leaf or text_value
    match field.type:
        case List(item):
            values = value if isinstance(value, list) else [value]
            return [form(item, text, path) for text in values]
        case other:
            if isinstance(value, list):
                raise invalid("given more than once", path)
            return form(other, value, path)


Leaf = Callable[[Type, Any, str], Any]
"""(type, one value, path) -> the form that JSON has for it. Raises Failure(INVALID_ARGUMENT)."""


def text_value(type_: Type, text: str, path: str) -> Any:
    """A Leaf of text."""
    if type_ == BOOL:
        return {"true": True, "false": False}.get(text, text)
    if isinstance(type_, Record | List):
        raise invalid(f"{type_} can't come as text", path)
    return text


def _flatten(value: Any, prefix: str) -> Iterator[tuple[str, str]]:
    match value:
        case dict():
            for name, member in value.items():
                yield from _flatten(member, f"{prefix}.{name}" if prefix else name)
        case list():
            for item in value:
                if item is None or isinstance(item, dict | list):
                    raise invalid("a list of objects, lists or nulls has no form in a query", f"$.{prefix}")
                yield from _flatten(item, prefix)
        case None:
            pass
        case bool():
            yield prefix, "true" if value else "false"
        case _:
            yield prefix, str(value)
