"""XML by schema: generated readers and writers for Records that came from XSD (see gateway.schema.idl.xml.xsd).

The wire form is an lxml element to the decoder and a str, one element with its own namespace declarations, from the
encoder; whoever owns the envelope parses it with parse_xml and wraps it.

A generated reader takes what a conforming peer sends: elements in order, no stray text or attributes. All else is
read once more by Reader, which accepts every other form that can be understood (another order, nil, xsi:type) or raises
the Failure with the exact path.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Final

from msgspec import UNSET

from gateway.codecs.format import Decode, Encode, Unknown
from gateway.codecs.xml.reader import Reader, hint_of, layout_of, text_reader
from gateway.codecs.xml.writer import XmlWriters
from gateway.schema.idl.xml.document import Element, parse_xml
from gateway.schema.idl.xml.hint import ANY_SIMPLE, Place, Space, XmlHint, XmlRecord
from gateway.schema.source import build
from gateway.schema.text import PARSE
from gateway.schema.types import Enumeration, Field, Kind, List, Record, Type
from gateway.schema.values import struct_of
from gateway.status import Failure


class SoapFormat:
    """Bodies of SOAP messages. Every instance equals only itself: what its decoder takes is not what its encoder
    makes, so no body is ever passed through."""

    encoded: ClassVar[type] = str

    @property
    def name(self) -> str:
        return "soap"

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        return decoder(_message(type_), unknown)

    def encoder(self, type_: Type) -> Encode:
        return XmlWriters(_message(type_)).encode


def _message(type_: Type) -> Record:
    if isinstance(type_, Record) and isinstance(type_.wire, XmlRecord):
        return type_
    raise TypeError(f"{type_} is not a message of an XML schema")


def decoder(record: Record, unknown: Unknown) -> Callable[[Element], Any]:
    """Element -> plain value of the record; the element's own name is not looked at. No body at all, b"", is an
    element without content."""
    fast = _Readers(unknown).function(record)
    slow = Reader(unknown).record

    def decode(body: Any) -> Any:
        element = body if body.__class__ is not bytes else _NO_BODY
        try:
            return fast(element)
        except (_IrregularError, ValueError):
            return slow(record, element, "$")

    return decode


class _IrregularError(Exception):
    """Not the form that the generated reader takes."""


class _End:
    """Stands for the child after the last."""

    tag = None


_IRREGULAR: Final = _IrregularError()
_NO_BODY: Final = parse_xml(b"<none/>")


class _Readers:
    """Generates the readers of one type and of all that it reaches."""

    def __init__(self, unknown: Unknown) -> None:
        self._unknown = unknown
        self._names: dict[int, str] = {}
        self._lines: list[str] = []
        self._namespace: dict[str, Any] = {"END": _End, "IRREGULAR": _IRREGULAR, "UNSET": UNSET}
        self._todo: list[Record] = []

    def function(self, record: Record) -> Callable[[Element], Any]:
        name = self._reader(record)
        while self._todo:
            self._record(self._todo.pop())
        return build(f"XML reader of {record.name}", "\n".join(self._lines) + "\n", self._namespace)[name]  # type: ignore[no-any-return]

    def _reader(self, record: Record) -> str:
        name = self._names.get(id(record))
        if name is None:
            name = self._names[id(record)] = f"read_{len(self._names)}"
            if _regular(record):
                self._todo.append(record)
            else:
                self._namespace[name] = self._delegate(record)
        return name

    def _delegate(self, record: Record) -> Callable[[Element], Any]:
        read = Reader(self._unknown).record

        def delegate(element: Element) -> Any:
            try:
                return read(record, element, "$")
            except Failure:
                raise _IRREGULAR from None  # the path is known only to a reading from the root

        return delegate

    def _constant(self, value: Any) -> str:
        name = f"c_{len(self._namespace)}"
        self._namespace[name] = value
        return name

    def _record(self, record: Record) -> None:
        add = self._lines.append
        fields = list(enumerate(record.fields))
        add(f"def {self._names[id(record)]}(element):")
        attributes = [(number, field) for number, field in fields if hint_of(field).place is Place.ATTRIBUTE]
        texts = [(number, field) for number, field in fields if hint_of(field).place is Place.TEXT]
        elements = [(number, field) for number, field in fields if hint_of(field).place is Place.ELEMENT]
        if attributes:
            add("    attributes = len(element.keys())")
            for number, field in attributes:
                self._attribute(number, field)
            add("    if attributes: raise IRREGULAR")
        else:
            add("    if element.keys(): raise IRREGULAR")
        if texts:
            number, field = texts[0]
            add("    if len(element): raise IRREGULAR")
            add(f"    v{number} = {self._convert(hint_of(field), 'element.text')}")
        else:
            self._blank("element.text", "    ")
        if elements:
            add("    children = iter(element)")
            add("    child = next(children, END)")
            add("    tag = child.tag")
            for number, field in elements:
                self._element(number, field)
            add("    if tag is not None: raise IRREGULAR")
        elif not texts:
            add("    if len(element): raise IRREGULAR")
        for choice in record.choices:
            arms = [f"(v{number} is not UNSET)" for number, field in fields if field.choice == choice.name]
            add(f"    if {' + '.join(arms)} {'!= 1' if choice.required else '> 1'}: raise IRREGULAR")
        values = ", ".join(f"{field.attr}=v{number}" for number, field in fields)
        add(f"    return {self._constant(struct_of(record))}({values})")

    def _attribute(self, number: int, field: Field) -> None:
        add = self._lines.append
        hint = hint_of(field)
        add(f"    text = element.get({hint.tag!r})")
        add("    if text is None:")
        if field.required:
            add("        raise IRREGULAR")
        else:
            add(f"        v{number} = {self._constant(field.default)}")
        add("    else:")
        add("        attributes -= 1")
        add(f"        v{number} = {self._convert(hint, 'text')}")

    def _element(self, number: int, field: Field) -> None:
        add = self._lines.append
        hint = hint_of(field)
        tag = repr(hint.tag)
        if hint.repeated:
            add(f"    v{number} = []")
            add(f"    while tag == {tag}:")
            assert isinstance(field.type, List)  # noqa: S101  repeated elements are lists
            add(f"        v{number}.append({self._value(hint, field.type.item, '        ')})")
            self._next("        ")
            if self._unknown is Unknown.REJECT and hint.minimum:
                # An optional one of several is optional altogether.
                add(f"    if len(v{number}) < {hint.minimum}: raise IRREGULAR")
            if self._unknown is Unknown.REJECT and hint.maximum is not None:
                add(f"    if len(v{number}) > {hint.maximum}: raise IRREGULAR")
            if field.default is UNSET and not field.required:
                add(f"    if not v{number}: v{number} = UNSET")
            return
        if field.required:
            add(f"    if tag != {tag}: raise IRREGULAR")
            indent = "    "
        else:
            add(f"    v{number} = {'{}' if field.default == {} else self._constant(field.default)}")
            add(f"    if tag == {tag}:")
            indent = "        "
        add(f"{indent}v{number} = {self._value(hint, field.type, indent)}")
        self._next(indent)

    def _next(self, indent: str) -> None:
        self._blank("child.tail", indent)
        self._lines.append(f"{indent}child = next(children, END)")
        self._lines.append(f"{indent}tag = child.tag")

    def _blank(self, text: str, indent: str) -> None:
        self._lines.append(f"{indent}text = {text}")
        self._lines.append(f"{indent}if text is not None and not text.isspace(): raise IRREGULAR")

    def _value(self, hint: XmlHint, type_: Type, indent: str) -> str:
        """An expression for the value of `child`; statements that it needs are added before."""
        add = self._lines.append
        if hint.simple is not None:
            add(f"{indent}if len(child) or child.keys(): raise IRREGULAR")
            return self._convert(hint, "child.text")
        if hint.entry is not None:
            tag, entry = hint.entry
            key, value = entry.fields
            add(f"{indent}if child.keys(): raise IRREGULAR")
            self._blank("child.text", indent)
            add(f"{indent}table = {{}}")
            add(f"{indent}for entry in child:")
            add(f"{indent}    if entry.tag != {tag!r}: raise IRREGULAR")
            self._blank("entry.tail", indent + "    ")
            add(f"{indent}    entry = {self._reader(entry)}(entry)")
            add(f"{indent}    if entry.{key.attr} in table: raise IRREGULAR")
            add(f"{indent}    table[entry.{key.attr}] = entry.{value.attr}")
            return "table"
        assert isinstance(type_, Record)  # noqa: S101  the only type left
        return f"{self._reader(type_)}(child)"

    def _convert(self, hint: XmlHint, text: str) -> str:
        simple = hint.simple
        if simple is None:
            raise TypeError("a type without text")
        plain = not simple.facets and not simple.listed and hint.empty is None and hint.fixed is None
        if plain and not isinstance(simple.item, Enumeration):
            kind = simple.item.kind
            if kind is Kind.STRING and simple.space is Space.PRESERVE:
                return f"({text} or '')"
            if kind not in (Kind.STRING, Kind.BYTES):
                # White space around it makes these raise ValueError; Reader takes it off.
                return f"{self._constant(PARSE[kind])}({text} or '')"
        return f"{self._constant(text_reader(hint))}({text} or '')"


def _regular(record: Record) -> bool:
    """Whether a reader is generated: no part of it needs looking at more than one child."""
    hints = [hint_of(field) for field in record.fields]
    return (
        all(hint.place in (Place.ELEMENT, Place.ATTRIBUTE, Place.TEXT) for hint in hints)
        and all(hint.simple is not ANY_SIMPLE and not hint.wrapper for hint in hints)
        and not any(isinstance(field.default, list) and field.default for field in record.fields)
        and not layout_of(record).derived
    )
