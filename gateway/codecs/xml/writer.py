"""Generated writers: plain value -> XML text. What they refuse is looked for once more by `offence`, with its path."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from lxml import etree
from msgspec import UNSET

from gateway.codecs.xml.reader import hint_of, layout_of
from gateway.schema.idl.xml.document import XSD, XSI, XmlError, local_name, namespace_of, parse_xml
from gateway.schema.idl.xml.hint import ANY_SIMPLE, Place, Simple, XmlHint
from gateway.schema.idl.xml.text import escape, parser, writer
from gateway.schema.source import build
from gateway.schema.text import FORMAT
from gateway.schema.types import INTEGERS, Enumeration, Field, Kind, List, Record, Type
from gateway.status import Code, Failure, invalid

_NAME: Final = re.compile(r"[^\W\d][\w.\-\u00b7]*")
_NIL: Final = ' xsi:nil="true"/>'
_WRONG: Final = (ValueError, TypeError, AttributeError, KeyError)


class XmlWriters:
    """Writes one message: its element with all namespace declarations that it needs."""

    def __init__(self, record: Record) -> None:
        wire = record.wire
        self._record = record
        self._typed = wire.typed
        self._tells = wire.typed  # whether xsi: or xsd: names are written
        self._prefixes: dict[str, str] = {}
        self._names: dict[int, str] = {}
        self._todo: list[Record] = []
        self._lines: list[str] = []
        self._namespace: dict[str, Any] = {"UNSET": UNSET, "refuse": _refuse}
        if not wire.tag:
            self.encode: Callable[[Any], str] = lambda value: ""
            return
        tag = self._tag(wire.tag)
        write = self._writer(record)
        while self._todo:
            self._define(self._todo.pop())
        declared = "".join(f' xmlns:{prefix}="{escape(uri)}"' for uri, prefix in self._prefixes.items())
        if self._tells:
            declared += f' xmlns:xsi="{XSI}" xmlns:xsd="{XSD}"'
        opened = f"<{tag}{declared}"
        self._lines += [
            "def encode(value):",
            f"    out = [{opened if self._attributed(record) else opened + '>'!r}]",
            f"    {write}(value, out.append)",
            f"    out.append({f'</{tag}>'!r})",
            "    return ''.join(out)",
        ]
        source = "\n".join(self._lines) + "\n"
        self._fast = build(f"XML writer of {record.name}", source, self._namespace)["encode"]
        self.encode = self._encode

    def _encode(self, value: Any) -> str:
        try:
            return self._fast(value)  # type: ignore[no-any-return]  # generated
        except _WRONG as error:
            offence(self._record, value, "$")
            raise Failure(Code.INTERNAL, f"{self._record.name} can't be written as XML") from error

    def _tag(self, clark: str) -> str:
        namespace, local = namespace_of(clark), local_name(clark)
        if _NAME.fullmatch(local) is None:
            raise ValueError(f"{local!r} is not a name in XML")
        if not namespace:
            return local
        prefix = "xml" if namespace.endswith("/XML/1998/namespace") else self._prefixes.get(namespace)
        if prefix is None:
            prefix = self._prefixes[namespace] = f"n{len(self._prefixes) + 1}"
        return f"{prefix}:{local}"

    def _constant(self, value: Any) -> str:
        name = f"c_{len(self._namespace)}"
        self._namespace[name] = value
        return name

    def _writer(self, record: Record) -> str:
        """A function that appends what follows the record's start tag, and for attributed ones the tag's rest."""
        name = self._names.get(id(record))
        if name is None:
            name = self._names[id(record)] = f"write_{len(self._names)}"
            self._todo.append(record)
        return name

    def _define(self, record: Record) -> None:
        add = self._lines.append
        add(f"def {self._names[id(record)]}(value, add):")
        for choice in record.choices:
            arms = [f"(value.{field.attr} is not UNSET)" for field in record.fields if field.choice == choice.name]
            add(f"    if {' + '.join(arms)} {'!= 1' if choice.required else '> 1'}: refuse()")
        derived = [field for field in record.fields if hint_of(field).place is Place.DERIVED]
        keyword = "if"
        for field in derived:
            # A derived type's content is the base's, then its own (XML Schema 1.0 part 1, 3.4.2).
            assert isinstance(field.type, Record)  # noqa: S101  what an arm is
            add(f"    {keyword} value.{field.attr} is not UNSET:")
            add(f"        arm = value.{field.attr}")
            self._told(hint_of(field).tag, "        ")
            self._attributes(record, "value", "        ")
            self._attributes(field.type, "arm", "        ")
            add("        add('>')")
            self._content(record, "value", "        ")
            self._content(field.type, "arm", "        ")
            keyword = "elif"
        indent = "    "
        if derived:
            add("    else:")
            indent = "        "
        if self._attributed(record):
            if self._typed and record.wire.type:
                self._told(record.wire.type, indent)
            self._attributes(record, "value", indent)
            add(f"{indent}add('>')")
        self._content(record, "value", indent)
        add("    return")

    def _attributes(self, record: Record, value: str, indent: str) -> None:
        add = self._lines.append
        for field in record.fields:
            hint = hint_of(field)
            if hint.place is Place.ATTRIBUTE:
                body = f"add(f' {self._tag(hint.tag)}=\"{self._text(hint, 'text')}\"')"
                add(f"{indent}text = {value}.{field.attr}")
                add(f"{indent}{body}" if field.required else f"{indent}if text is not UNSET: {body}")

    def _told(self, type_: str, indent: str) -> None:
        self._tells = True
        self._lines.append(f"{indent}add(' xsi:type=\"{self._tag(type_)}\"')")

    def _content(self, record: Record, value: str, indent: str) -> None:
        add = self._lines.append
        for field in record.fields:
            hint = hint_of(field)
            member = f"{value}.{field.attr}"
            match hint.place:
                case Place.TEXT:
                    add(f"{indent}add(f'{self._text(hint, member)}')")
                case Place.ELEMENT if hint.repeated:
                    assert isinstance(field.type, List)  # noqa: S101  what a repeated element is
                    inner = indent
                    if hint.wrapper:
                        add(f"{indent}if {member} is not UNSET:")
                        inner += "    "
                        add(f"{inner}add('<{self._tag(hint.wrapper)}>')")
                    self._each(field, member, inner)
                    self._element(hint, field.type.item, field.type.nullable, "item", inner + "    ")
                    if hint.wrapper:
                        add(f"{inner}add('</{self._tag(hint.wrapper)}>')")
                case Place.WILDCARD if hint.repeated:
                    self._each(field, member, indent)
                    add(f"{indent}    add({self._constant(_foreign)}(item))")
                case Place.GROUP:
                    assert isinstance(field.type, List) and isinstance(field.type.item, Record)  # noqa: S101, PT018
                    self._each(field, member, indent)
                    add(f"{indent}    {self._writer(field.type.item)}(item, add)")
                case Place.ELEMENT | Place.WILDCARD:
                    inner = indent
                    add(f"{indent}item = {member}")
                    if not field.required:
                        add(f"{indent}if item is not UNSET:")
                        inner += "    "
                    if hint.place is Place.WILDCARD:
                        add(f"{inner}add({self._constant(_foreign)}(item))")
                    else:
                        self._element(hint, field.type, field.nullable, "item", inner)
                case _:
                    pass

    def _each(self, field: Field, member: str, indent: str) -> None:
        source = member if field.default is not UNSET else f"(() if {member} is UNSET else {member})"
        self._lines.append(f"{indent}for item in {source}:")

    def _element(self, hint: XmlHint, type_: Type, nullable: bool, value: str, indent: str) -> None:
        """Append the whole element of the value."""
        add = self._lines.append
        tag = self._tag(hint.tag)
        if nullable:
            self._tells = True
            add(f"{indent}if {value} is None: add('<{tag}{_NIL}')")
            add(f"{indent}else:")
            indent += "    "
        if hint.simple is ANY_SIMPLE:
            add(f"{indent}add(f'<{tag}{{{self._constant(_any)}({value})}}</{tag}>')")
        elif hint.simple is not None:
            told = f' xsi:type="xsd:{hint.simple.builtin}"' if self._typed else ""
            add(f"{indent}add(f'<{tag}{told}>{self._text(hint, value)}</{tag}>')")
        elif hint.entry is not None:
            entry_tag, entry = hint.entry
            key, member = entry.fields
            name = self._tag(entry_tag)
            add(f"{indent}add('<{tag}>')")
            add(f"{indent}for key, member in {value}.items():")
            add(f"{indent}    add('<{name}>')")
            self._element(hint_of(key), key.type, False, "key", indent + "    ")
            self._element(hint_of(member), member.type, False, "member", indent + "    ")
            add(f"{indent}    add('</{name}>')")
            add(f"{indent}add('</{tag}>')")
        else:
            assert isinstance(type_, Record)  # noqa: S101  the only type left
            end = "" if self._attributed(type_) else ">"
            add(f"{indent}add('<{tag}{end}')")
            add(f"{indent}{self._writer(type_)}({value}, add)")
            add(f"{indent}add('</{tag}>')")

    def _text(self, hint: XmlHint, value: str) -> str:
        """What an f-string says for the escaped text; it raises one of _WRONG for a value that has none."""
        simple = hint.simple
        assert simple is not None  # noqa: S101  only simple types have text
        if not simple.listed and hint.empty is None and hint.fixed is None and not isinstance(simple.item, Enumeration):
            kind = simple.item.kind
            if kind in INTEGERS:
                return f"{{{value}:d}}"
            if kind is not Kind.BYTES and FORMAT[kind] is not str:
                return f"{{{self._constant(FORMAT[kind])}({value})}}"
        return f"{{{self._constant(_text_writer(hint, simple))}({value})}}"

    def _attributed(self, record: Record) -> bool:
        layout = layout_of(record)
        return self._typed or bool(layout.attributes or layout.derived)


def _refuse() -> None:
    raise ValueError("the arms of a choice")


def _text_writer(hint: XmlHint, simple: Simple) -> Callable[[Any], str]:
    write = writer(simple)
    empty, fixed = hint.empty, hint.fixed
    if fixed is not None:
        only = parser(simple)(fixed)

        def write_fixed(value: Any) -> str:
            if value != only:
                raise ValueError(f"it must be {fixed!r}")
            return write(value)

        return write_fixed
    if not empty:
        return write

    def write_full(value: Any) -> str:
        text = write(value)
        if not text:
            raise ValueError(f"empty can't be said here: it would stand for the default {empty!r}")
        return text

    return write_full


def _foreign(text: str) -> str:
    """An element that a wildcard takes, checked to be exactly one."""
    try:
        return etree.tostring(parse_xml(text.encode()), encoding="unicode")
    except XmlError as error:
        raise ValueError(str(error)) from None


def _any(value: Any) -> str:
    """What follows the tag's name of an element of type anyType, up to its end tag."""
    match value:
        case str():
            return ">" + escape(value)
        case bool():
            return f' xsi:type="xsd:boolean">{FORMAT[Kind.BOOL](value)}'
        case int():
            return f' xsi:type="xsd:integer">{value}'
        case float():
            return f' xsi:type="xsd:double">{FORMAT[Kind.FLOAT64](value)}'
        case Decimal():
            return f' xsi:type="xsd:decimal">{FORMAT[Kind.DECIMAL](value)}'
        case bytes():
            return f' xsi:type="xsd:base64Binary">{FORMAT[Kind.BYTES](value)}'
        case _:
            raise ValueError("null, a list or an object has no form in an element of type anyType")


def offence(record: Record, value: Any, path: str) -> None:
    """Raises Failure(INVALID_ARGUMENT) for the first member that XML of this type can't carry; returns if none."""
    for field in record.fields:
        here = f"{path}.{field.name}"
        member = getattr(value, field.attr, UNSET)
        if member is UNSET:
            if field.required:
                raise invalid(f"{field.name} is missing", here)
        elif hint_of(field).repeated:
            assert isinstance(field.type, List)  # noqa: S101  what a repeated field is
            for number, item in enumerate(member):
                _offence(hint_of(field), field.type.item, field.type.nullable, item, f"{here}[{number}]")
        else:
            _offence(hint_of(field), field.type, field.nullable, member, here)
    for choice in record.choices:
        arms = [field for field in record.fields if field.choice == choice.name]
        given = [field.name for field in arms if getattr(value, field.attr) is not UNSET]
        if len(given) > 1:
            raise invalid(f"only one of {', '.join(given)} may be given", path)
        if choice.required and not given:
            raise invalid(f"one of {', '.join(field.name for field in arms)} is required", path)


def _offence(hint: XmlHint, type_: Type, nullable: bool, value: Any, path: str) -> None:
    if value is None:
        if not nullable:
            raise invalid("null has no form here", path)
    elif isinstance(type_, Record):
        offence(type_, value, path)
    elif hint.entry is not None:
        key, member = hint.entry[1].fields
        for name, item in value.items():
            here = f"{path}[{str(name)[:40]!r}]"
            _offence(hint_of(key), key.type, False, name, here)
            _offence(hint_of(member), member.type, False, item, here)
    else:
        try:
            if hint.place is Place.WILDCARD:
                _foreign(value)
            elif hint.simple is ANY_SIMPLE:
                _any(value)
            elif hint.simple is not None:
                _text_writer(hint, hint.simple)(value)
        except ValueError as error:
            raise invalid(str(error), path) from None
        except (TypeError, AttributeError, KeyError):
            raise invalid(f"this is no {type_}", path) from None
