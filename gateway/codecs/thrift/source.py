"""What the generated codecs of all Thrift protocols share: their source as it grows, offences with paths, scalars."""

import re
import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import UNSET

from gateway.codecs.format import Unknown
from gateway.codecs.json.format import JsonFormat
from gateway.schema import text
from gateway.schema.idl.thrift.reader import KEY, VALUE, ThriftField, ThriftKind, ThriftType
from gateway.schema.source import build
from gateway.schema.types import ANY, TIMESTAMP, Enumeration, Field, List, Record
from gateway.schema.values import struct_of
from gateway.status import Failure

DEPTH: Final = 64
"""Structs and containers within each other."""
READING: Final = (IndexError, struct.error, UnicodeDecodeError)
WRITING: Final = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError, struct.error)
_read_any: Final = JsonFormat().decoder(ANY, Unknown.REJECT)
_write_any: Final = JsonFormat().encoder(ANY)
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class OffenceError(Exception):
    """What is wrong with a message, and where; the path grows on the way out."""

    def __init__(self, reason: str, path: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


class Source:
    """One generated module. Functions are named before they are written, as types may be recursive."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._lines: list[str] = []
        self._names: dict[tuple[str, int], str] = {}
        self._kept: list[object] = []  # what functions are known by the id of
        self._scope: dict[str, Any] = {
            "U": UNSET,
            "Offence": OffenceError,
            "READING": (OffenceError, *READING),
            "WRITING": (OffenceError, *WRITING),
            "located": located,
            "refused": refused,
            "short": short,
            "deep": deep,
            "missing": missing,
            "one_arm": one_arm,
            "twice": twice,
            "same_key": same_key,
            "any_of": any_of,
            "any_text": any_text,
            "moment": moment,
            "whole": whole,
            "uuid_text": uuid_text,
            "uuid_bytes": uuid_bytes,
        }

    def constant(self, value: Any, name: str = "") -> str:
        """A name for the value in the generated source."""
        name = name or f"C{len(self._scope)}"
        self._scope[name] = value
        return name

    def function(self, verb: str, key: object, lines: Callable[[str], Sequence[str]]) -> str:
        """The name of the function that does this with that type; lines: its source, given its name."""
        known = self._names.get((verb, id(key)))
        if known is None:
            known = self._names[verb, id(key)] = f"{verb}_{len(self._names)}"
            self._kept.append(key)
            self._lines += lines(known)
        return known

    def build(self, name: str) -> Callable[..., Any]:
        made: Callable[..., Any] = build(self._title, "\n".join(self._lines) + "\n", self._scope)[name]
        return made


def wire(field: Field) -> ThriftField:
    """Raises ValueError for a field that came from another IDL."""
    if isinstance(field.wire, ThriftField):
        return field.wire
    raise ValueError(f"{field.name} is no field of a Thrift contract")


def by_id(record: Record) -> Sequence[tuple[Field, ThriftField]]:
    """The fields in the order that writers keep."""
    return sorted(((field, wire(field)) for field in record.fields), key=lambda pair: pair[1].id)


def initial(field: Field, source: Source) -> str:
    """Python for the value of a field that did not come."""
    if field.default is UNSET:
        return "U"
    return repr(field.default) if isinstance(field.default, list | dict) else source.constant(field.default)


def final(record: Record, source: Source) -> list[str]:
    """Lines after a struct was read into v0, v1 ... in the order of record.fields."""
    lines = []
    for index, field in enumerate(record.fields):
        make = wire(field).default
        if field.required:
            lines.append(f"if v{index} is U: missing({field.name!r})")
        elif make is not None:
            lines.append(f"if v{index} is U: v{index} = {source.constant(make)}()")
    for choice in record.choices:
        arms = [f"(v{index} is not U)" for index, field in enumerate(record.fields) if field.choice == choice.name]
        lines.append(f"if {' + '.join(arms) or '0'} != 1: one_arm({record.name!r})")
    return lines


def check_arms(record: Record) -> list[str]:
    """Lines before a struct `o` is written."""
    lines = []
    for choice in record.choices:
        arms = [f"(o.{field.attr} is not U)" for field in record.fields if field.choice == choice.name]
        lines.append(f"if {' + '.join(arms) or '0'} != 1: one_arm({record.name!r})")
    return lines


def from_number(type_: ThriftType, number: str, source: Source) -> str:
    """Python for the plain value of an enum or a time, given its number."""
    if isinstance(type_.type, Enumeration):
        return f"{source.constant(enum_name(type_.type))}({number})"
    if not type_.unit:
        return number
    scaled = number if type_.unit == 1 else f"{number} * {type_.unit}"
    return f"moment({scaled})" if type_.type == TIMESTAMP else scaled


def enum_name(enumeration: Enumeration) -> Callable[[int], str | int]:
    """The name of a number; of an unknown one the number itself."""
    names: dict[int, str | int] = {}
    for name, number in enumeration.numbers.items():
        names.setdefault(number, name)
    return _Names(names).__getitem__


class _Names(dict[int, str | int]):
    def __missing__(self, number: int) -> int:
        return number


def to_number(type_: ThriftType, value: str, source: Source) -> str:
    """The reverse."""
    if isinstance(type_.type, Enumeration):
        return f"{source.constant(dict(type_.type.numbers).get)}({value}, {value})"
    if type_.unit > 1:
        return f"{value} // {type_.unit}" if type_.round_down else f"whole({value}, {type_.unit})"
    return value


def list_loop(read: Sequence[str]) -> list[str]:
    """Lines of a function that read n items, each into v, and return their list."""
    return [
        "    r = []",
        "    try:",
        "        for _ in range(n):",
        *(f"            {line}" for line in read),
        "            r.append(v)",
        "    except READING as e:",
        "        raise located(e, f'[{len(r)}]') from None",
        "    return r, i",
    ]


def map_loop(type_: ThriftType, read: Callable[[ThriftType, str], list[str]], source: Source) -> list[str]:
    """Lines of a function that read n entries and return their map."""
    key, value = key_of(type_), item_of(type_)
    if isinstance(type_.type, List):
        make = source.constant(struct_of(_entry(type_.type)))
        return list_loop([*read(key, "w"), *read(value, "v"), f"v = {make}({KEY}=w, {VALUE}=v)"])
    return [
        "    r = {}",
        "    w = U",
        "    try:",
        "        for _ in range(n):",
        "            w = U",
        *(f"            {line}" for line in read(key, "w")),
        *(["            w = str(w)"] if key.kind is ThriftKind.ENUM else []),
        *(f"            {line}" for line in read(value, "v")),
        "            r[w] = v",
        "    except READING as e:",
        "        raise located(e, '' if w is U else f'[{w!r}]') from None",
        "    if len(r) != n: same_key()",
        "    return r, i",
    ]


def items_loop(type_: ThriftType, write: Callable[[ThriftType, str], list[str]]) -> list[str]:
    """Lines of a function that write the items of a list or set `o`. In a set none may be there twice."""
    item = item_of(type_)
    start, end = [], []
    if type_.kind is ThriftKind.SET:
        start = ["q = []", "a = q.append"]
        end = ["y = b''.join(q)", "if y in s: twice()", "s.add(y)", "b(y)"]
    return [
        "    i = 0",
        "    v = None",
        "    b, s = a, set()",
        "    try:",
        "        for v in o:",
        *(f"            {line}" for line in (*start, *write(item, "v"), *end)),
        "            i += 1",
        "    except WRITING as e:",
        f"        raise refused(e, f'[{{i}}]', v, {str(item)!r}) from None",
    ]


def entries_loop(type_: ThriftType, write: Callable[[ThriftType, str], list[str]], source: Source) -> list[str]:
    """Lines of a function that write the entries of a map `o`."""
    key, value = key_of(type_), item_of(type_)
    if isinstance(type_.type, List):
        head, where = ["for u in o:", f"    w, y = u.{KEY}, u.{VALUE}"], "f'[{i}]'"
    else:
        head, where = ["for w, y in o.items():"], "f'[{w!r}]'"
    return [
        "    i = 0",
        "    v = w = t = None",
        "    try:",
        f"        {head[0]}",
        *(f"        {line}" for line in head[1:]),
        f"            v, t = w, {str(key)!r}",
        *(f"            {line}" for line in write(key, key_number(type_, "v", source))),
        f"            v, t = y, {str(value)!r}",
        *(f"            {line}" for line in write(value, "v")),
        "            i += 1",
        "    except WRITING as e:",
        f"        raise refused(e, {where}, v, t) from None",
    ]


def key_number(type_: ThriftType, key: str, source: Source) -> str:
    """Python for the plain key of a map as the codec of the key's type takes it."""
    enumeration = key_of(type_).type
    if not isinstance(enumeration, Enumeration) or isinstance(type_.type, List):
        return key
    numbers: Mapping[str, int] = dict(enumeration.numbers)

    def known(name: str) -> str | int:
        return name if name in numbers else int(name)

    return f"{source.constant(known)}({key})"


def _entry(entries: List) -> Record:
    assert isinstance(entries.item, Record)  # noqa: S101  the reader made it so
    return entries.item


def struct_name(type_: ThriftType) -> Record:
    assert isinstance(type_.type, Record)  # noqa: S101  the reader made it so
    return type_.type


def item_of(type_: ThriftType) -> ThriftType:
    assert type_.item is not None  # noqa: S101  containers have one
    return type_.item


def key_of(type_: ThriftType) -> ThriftType:
    assert type_.key is not None  # noqa: S101  maps have one
    return type_.key


def located(error: Exception, where: str) -> OffenceError:
    """The offence at this place within what is read."""
    if isinstance(error, OffenceError):
        error.path = where + error.path
        return error
    reason = "the text is not valid UTF-8" if isinstance(error, UnicodeDecodeError) else "the message is truncated"
    return OffenceError(reason, where)


def refused(error: Exception, where: str, value: Any, type_: str) -> OffenceError:
    """The offence at this place within what is written."""
    if isinstance(error, OffenceError):
        error.path = where + error.path
        return error
    if isinstance(error, UnicodeEncodeError):
        return OffenceError("the text is not valid Unicode", where)
    shown = f"{value!r:.40}" if isinstance(value, int | float | str) else f"a {type(value).__name__}"
    return OffenceError(f"{shown} is no {type_}, or out of its range", where)


def short() -> None:
    raise OffenceError("the message is truncated")


def deep() -> None:
    raise OffenceError(f"the message is nested deeper than {DEPTH} levels")


def missing(name: str) -> None:
    raise OffenceError("missing required field", f".{name}" if name else "")


def one_arm(name: str) -> None:
    raise OffenceError(f"exactly one field of the union {name} must be set")


def same_key() -> None:
    raise OffenceError("a key is in the map twice")


def twice() -> None:
    raise OffenceError("the item is in the set twice")


def moment(nanoseconds: int) -> int:
    """A timestamp within the years 1 to 9999."""
    try:
        return text.check_timestamp(nanoseconds)
    except ValueError as error:
        raise OffenceError(str(error)) from None


def whole(nanoseconds: int, unit: int) -> int:
    """In units, of which it must be a whole number."""
    number, rest = divmod(nanoseconds, unit)
    if rest:
        raise OffenceError(f"the time is finer than the contract's unit of {unit} ns")
    return number


def any_of(text: str) -> Any:
    """The value that a JSON text is."""
    try:
        return _read_any(text.encode())
    except Failure as failure:
        raise OffenceError(failure.message, failure.path.removeprefix("$")) from None


def any_text(value: Any) -> str:
    try:
        data: bytes = _write_any(value)
    except Failure as failure:
        raise OffenceError(failure.message, failure.path.removeprefix("$")) from None
    return data.decode()


def uuid_text(data: bytes) -> str:
    return str(uuid.UUID(bytes=data))


def uuid_bytes(value: str) -> bytes:
    if _UUID.fullmatch(value) is None:
        raise OffenceError(f"{value[:40]!r} is no uuid")
    return uuid.UUID(value).bytes
