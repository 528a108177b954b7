"""Reader: element -> plain value by walking the type; every form that can be understood, every error with its path.

Elements may come in any order, since each is known by its name; they are written in the schema's order.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Any, Final
from weakref import WeakKeyDictionary

from gateway.codecs.format import Unknown
from gateway.schema.idl.xml.document import XSD, XSI, Element, clark, local_name, namespace_of, outer_xml
from gateway.schema.idl.xml.hint import ANY_SIMPLE, BUILTIN, DERIVATION, ENCODING, Place, XmlHint, XmlRecord
from gateway.schema.idl.xml.text import parser
from gateway.schema.types import Choice, Field, Kind, List, Record, Scalar, Type
from gateway.schema.values import struct_of
from gateway.status import invalid

NIL: Final = f"{{{XSI}}}nil"
TYPE: Final = f"{{{XSI}}}type"
_SHOWN: Final = 20
# What a value of anyType may be: scalars that "any" has a plain value for.
_ANY_KINDS: Final = {
    Kind.BOOL,
    Kind.INT32,
    Kind.INT64,
    Kind.UINT32,
    Kind.UINT64,
    Kind.INTEGER,
    Kind.FLOAT32,
    Kind.FLOAT64,
    Kind.DECIMAL,
    Kind.BYTES,
}


@dataclass(slots=True)
class _Layout:
    """A record's fields by where they stand.

    groups: (field of the group, tags of its elements).
    derived: arm by the Clark name of its type.
    """

    elements: dict[str, Field] = attribute(default_factory=dict)
    attributes: dict[str, Field] = attribute(default_factory=dict)
    text: Field | None = None
    wildcard: Field | None = None
    groups: list[tuple[Field, frozenset[str]]] = attribute(default_factory=list)
    derived: dict[str, Field] = attribute(default_factory=dict)


_layouts: "WeakKeyDictionary[Any, _Layout]" = WeakKeyDictionary()


def hint_of(field: Field) -> XmlHint:
    hint = field.wire
    if not isinstance(hint, XmlHint):
        raise TypeError(f"{field.name} is not a field of an XML schema")
    return hint


def layout_of(record: Record) -> _Layout:
    cls = struct_of(record)
    layout = _layouts.get(cls)
    if layout is None:
        layout = _layouts[cls] = _Layout()
        for field in record.fields:
            _place(layout, field)
    return layout


def _place(layout: _Layout, field: Field) -> None:
    hint = hint_of(field)
    match hint.place:
        case Place.ELEMENT:
            layout.elements[hint.wrapper or hint.tag] = field
        case Place.ATTRIBUTE:
            layout.attributes[hint.tag] = field
        case Place.TEXT:
            layout.text = field
        case Place.WILDCARD:
            layout.wildcard = field
        case Place.GROUP:
            layout.groups.append((field, frozenset(_tags(_item(field)))))
        case Place.DERIVED:
            layout.derived[hint.tag] = field


def _item(field: Field) -> Record:
    assert isinstance(field.type, List) and isinstance(field.type.item, Record)  # noqa: S101, PT018  what a group is
    return field.type.item


def _tags(record: Record) -> list[str]:
    """The elements that may stand in the record, groups within it included. "*" is any."""
    tags: list[str] = []
    for field in record.fields:
        hint = hint_of(field)
        if hint.place is Place.GROUP:
            tags.extend(_tags(_item(field)))
        elif hint.place is Place.WILDCARD:
            tags.append("*")
        else:
            tags.append(hint.tag)
    return tags


def text_reader(hint: XmlHint) -> Callable[[str], Any]:
    """Text of the element, attribute or text that the hint is of -> plain value. Raises ValueError."""
    assert hint.simple is not None  # noqa: S101  only simple types have text
    parse = parser(hint.simple)
    empty, fixed = hint.empty, hint.fixed
    if empty is None and fixed is None:
        return parse
    only = None if fixed is None else parse(fixed)

    def read(text: str) -> Any:
        value = parse(empty if empty is not None and not text else text)
        if fixed is not None and value != only:
            raise ValueError(f"it must be {fixed!r}")
        return value

    return read


class Reader:
    """unknown: REJECT also refuses numbers of occurrences that the schema rules out; a reply's are let through."""

    def __init__(self, unknown: Unknown) -> None:
        self._strict = unknown is Unknown.REJECT

    def record(self, record: Record, element: Element, path: str) -> Any:
        """Raises Failure(INVALID_ARGUMENT) with the path."""
        return self._read(record, element, element, path)

    def _read(self, record: Record, element: Element | None, children: Any, path: str) -> Any:
        """element: None for the items of a group, which have no attributes and no text."""
        layout = layout_of(record)
        arm = None if element is None else self._arm(record, layout, element, path)
        values = _Values(record)
        parts = [(layout, values)]
        if arm is not None:
            derived = arm.type
            assert isinstance(derived, Record)  # noqa: S101  what an arm is
            parts.append((layout_of(derived), _Values(derived)))
        self._children(record, parts, children, path)
        if element is not None:
            self._attributes(record, parts, element, path)
            self._text(record, parts, element, path)
        if arm is not None:
            values.set(arm, self._finish(parts[1][1], f"{path}.{arm.name}"))
        return self._finish(values, path)

    def _arm(self, record: Record, layout: _Layout, element: Element, path: str) -> Field | None:
        if not layout.derived:
            return None
        text = element.get(TYPE)
        name = type_name(element, text) if text is not None else ""
        arm = layout.derived.get(name)
        if arm is not None or (isinstance(record.wire, XmlRecord) and name == record.wire.type):
            return arm
        names = ", ".join(map(local_name, layout.derived))
        if text is None:
            required = any(choice.required and choice.name == DERIVATION for choice in record.choices)
            if required:
                raise invalid(f"xsi:type must say which of {names} this is", path)
            return None
        raise invalid(f"the xsi:type {text[:60]!r} is not accepted here; {names} is", path)

    def _children(self, record: Record, parts: "Sequence[tuple[_Layout, _Values]]", children: Any, path: str) -> None:
        runs: dict[int, tuple[Field, _Values, list[Element]]] = {}
        for child in children:
            tag = str(child.tag)
            if not self._member(parts, child, tag, path) and not _run(parts, runs, child, tag):
                self._other(record, parts, child, tag, path)
        for field, values, run in runs.values():
            self._group(field, values, run, path)

    def _member(self, parts: "Sequence[tuple[_Layout, _Values]]", child: Element, tag: str, path: str) -> bool:
        for layout, values in parts:
            field = layout.elements.get(tag)
            if field is None:
                continue
            here = f"{path}.{field.name}"
            hint = hint_of(field)
            if values.has(field) and (hint.wrapper or not hint.repeated):
                raise invalid(f"{field.name} may stand only once", here)
            if hint.repeated:
                assert isinstance(field.type, List)  # noqa: S101  what a repeated element is
                many = values.many(field)
                for item in self._wrapped(hint, child, here) if hint.wrapper else (child,):
                    nth = f"{here}[{len(many)}]"
                    many.append(self._element(hint, field.type.item, field.type.nullable, item, nth))
            else:
                values.set(field, self._element(hint, field.type, field.nullable, child, here))
            return True
        return False

    def _wrapped(self, hint: XmlHint, wrapper: Element, path: str) -> Iterator[Element]:
        for name in wrapper.attrib:
            self._stray_attribute(local_name(str(wrapper.tag)), str(name), path)
        refuse_mixed(wrapper, path)
        for child in wrapper:
            if child.tag == hint.tag:
                yield child
            elif self._strict:
                raise invalid(f"only {local_name(hint.tag)} elements belong here", path)

    def _other(
        self, record: Record, parts: "Sequence[tuple[_Layout, _Values]]", child: Element, tag: str, path: str
    ) -> None:
        for layout, values in parts:
            if layout.wildcard is not None and _takes(hint_of(layout.wildcard), tag):
                if hint_of(layout.wildcard).repeated:
                    values.many(layout.wildcard).append(outer_xml(child))
                    return
                if not values.has(layout.wildcard):
                    values.set(layout.wildcard, outer_xml(child))
                    return
        if self._strict:
            local = local_name(tag)
            expected = [known for layout, _ in parts for known in layout.elements if local_name(known) == local]
            if expected:
                raise invalid(
                    f"{local} is in {_shown_namespace(tag)}, where it belongs in {_shown_namespace(expected[0])}",
                    f"{path}.{local}",
                )
            raise invalid(f"{record.name} has no member {local}", f"{path}.{local}")

    def _group(self, field: Field, values: "_Values", run: list[Element], path: str) -> None:
        item = _item(field)
        many = values.many(field)
        for children in _split(item, run):
            many.append(self._read(item, None, children, f"{path}.{field.name}[{len(many)}]"))

    def _attributes(
        self, record: Record, parts: "Sequence[tuple[_Layout, _Values]]", element: Element, path: str
    ) -> None:
        for key, text in element.items():
            name = str(key)
            for layout, values in parts:
                field = layout.attributes.get(name)
                if field is not None:
                    values.set(field, self._parse(hint_of(field), str(text), f"{path}.{field.name}"))
                    break
            else:
                self._stray_attribute(record.name, name, path)

    def _stray_attribute(self, owner: str, name: str, path: str) -> None:
        if name == "href":
            raise invalid("multi-reference values (href) are not read", path)
        # Attributes of other namespaces (xsi:type, wsu:Id, soap:encodingStyle) are about the message, not of it.
        if self._strict and not namespace_of(name):
            raise invalid(f"{owner} has no attribute {name}", f"{path}.{name}")

    def _text(self, record: Record, parts: "Sequence[tuple[_Layout, _Values]]", element: Element, path: str) -> None:
        for layout, values in parts:
            if layout.text is not None:
                if len(element):
                    raise invalid(f"{record.name} has text and no child elements", path)
                values.set(
                    layout.text,
                    self._parse(hint_of(layout.text), element.text or "", f"{path}.{layout.text.name}"),
                )
                return
        refuse_mixed(element, path)

    def _element(self, hint: XmlHint, type_: Type, nullable: bool, element: Element, path: str) -> Any:
        if element.get(NIL) in ("true", "1"):
            if not nullable:
                raise invalid("it may not be nil", path)
            if len(element) or element.text:
                raise invalid("it is nil and has content", path)
            return None
        if hint.entry is not None:
            return self._map(hint.entry, element, path)
        if isinstance(type_, Record):
            return self.record(type_, element, path)
        if len(element):
            raise invalid(f"there are child elements where {type_} belongs", path)
        for name in element.attrib:
            self._stray_attribute(local_name(str(element.tag)), str(name), path)
        if hint.simple is ANY_SIMPLE:
            return _any(element, path)
        return self._parse(hint, element.text or "", path)

    def _parse(self, hint: XmlHint, text: str, path: str) -> Any:
        try:
            return text_reader(hint)(text)
        except ValueError as error:
            raise invalid(str(error), path) from None

    def _map(self, entry: tuple[str, Record], element: Element, path: str) -> dict[Any, Any]:
        tag, record = entry
        key, value = record.fields
        table: dict[Any, Any] = {}
        for child in element:
            if child.tag != tag:
                if self._strict:
                    raise invalid(f"only {local_name(tag)} elements belong here", path)
                continue
            here = f"{path}[{len(table)}]"
            read = self.record(record, child, here)
            name = getattr(read, key.attr)
            if name in table:
                raise invalid(f"the key {str(name)[:40]!r} stands twice", here)
            table[name] = getattr(read, value.attr)
        for attribute_name in element.attrib:
            self._stray_attribute(local_name(str(element.tag)), str(attribute_name), path)
        refuse_mixed(element, path)
        return table

    def _finish(self, values: "_Values", path: str) -> Any:
        record = values.record
        for field in record.fields:
            hint = hint_of(field)
            if values.has(field):
                if self._strict and isinstance(field.type, List) and hint.place is not Place.ATTRIBUTE:
                    _check_count(hint, values, field, path)
            elif field.required and hint.repeated and not hint.minimum and not hint.wrapper:
                values.many(field)  # none of them is an empty list
            elif field.required:
                raise invalid(f"{field.name} is missing", f"{path}.{field.name}")
            elif self._strict and isinstance(field.type, List) and hint.repeated and hint.minimum and not field.choice:
                raise invalid(f"there must be at least {hint.minimum} of {field.name}", f"{path}.{field.name}")
        for choice in record.choices:
            _check_choice(record, choice, values, path)
        return struct_of(record)(**values.values)


class _Values:
    """The attributes of a struct to be."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.values: dict[str, Any] = {}

    def has(self, field: Field) -> bool:
        return field.attr in self.values

    def set(self, field: Field, value: Any) -> None:
        self.values[field.attr] = value

    def many(self, field: Field) -> list[Any]:
        values: list[Any] = self.values.setdefault(field.attr, [])
        return values


def _check_count(hint: XmlHint, values: _Values, field: Field, path: str) -> None:
    if not hint.repeated:
        return
    count = len(values.values[field.attr])
    if count < hint.minimum:
        raise invalid(f"there must be at least {hint.minimum} of {field.name}", f"{path}.{field.name}")
    if hint.maximum is not None and count > hint.maximum:
        raise invalid(f"there may be at most {hint.maximum} of {field.name}", f"{path}.{field.name}")


def _check_choice(record: Record, choice: Choice, values: _Values, path: str) -> None:
    arms = [field for field in record.fields if field.choice == choice.name]
    given = [field.name for field in arms if values.has(field)]
    if len(given) > 1:
        raise invalid(f"only one of {', '.join(given)} may be given", path)
    if choice.required and not given:
        raise invalid(f"one of {', '.join(field.name for field in arms[:_SHOWN])} is required", path)


def _run(
    parts: Sequence[tuple[_Layout, _Values]],
    runs: dict[int, tuple[Field, _Values, list[Element]]],
    child: Element,
    tag: str,
) -> bool:
    for layout, values in parts:
        for field, tags in layout.groups:
            if tag in tags or "*" in tags:
                runs.setdefault(id(field), (field, values, []))[2].append(child)
                return True
    return False


def _split(record: Record, run: list[Element]) -> list[list[Element]]:
    """The children of a repeated choice or sequence, item by item."""
    single = any(field.choice for field in record.fields)
    positions: dict[str, tuple[int, bool]] = {}
    for position, field in enumerate(record.fields):
        hint = hint_of(field)
        tags = _tags(_item(field)) if hint.place is Place.GROUP else [hint.tag or "*"]
        for tag in tags:
            positions.setdefault(tag, (position, hint.repeated))
    items: list[list[Element]] = []
    last = len(record.fields)
    for child in run:
        position, repeated = positions.get(str(child.tag)) or positions.get("*", (0, False))
        again = position < last or (position == last and not repeated) or (single and position != last)
        if not items or again:
            items.append([])
        items[-1].append(child)
        last = position
    return items


def refuse_mixed(element: Element, path: str) -> None:
    """Raises Failure where there is text among the child elements."""
    texts = [element.text, *[child.tail for child in element]]
    for text in texts:
        if text is not None and text.strip():
            raise invalid(f"there is text where only elements belong: {text.strip()[:40]!r}", path)


def type_name(element: Element, text: str) -> str:
    """The QName of an xsi:type in Clark notation; a prefix that is not declared names nothing."""
    prefix, colon, local = text.strip().rpartition(":")
    return clark(element.nsmap.get(prefix if colon else None) or "", local)


def _any(element: Element, path: str) -> Any:
    text = element.get(TYPE)
    name = type_name(element, text) if text is not None else ""
    simple = BUILTIN.get(local_name(name)) if namespace_of(name) in (XSD, ENCODING) else None
    if simple is None or not isinstance(simple.item, Scalar) or simple.item.kind not in _ANY_KINDS:
        return element.text or ""
    try:
        return parser(simple)(element.text or "")
    except ValueError as error:
        raise invalid(str(error), path) from None


def _takes(wildcard: XmlHint, tag: str) -> bool:
    namespace = namespace_of(tag)
    listed = wildcard.namespaces
    return not listed or namespace in listed or (listed[0].startswith("!") and namespace not in ("", listed[0][1:]))


def _shown_namespace(tag: str) -> str:
    namespace = namespace_of(tag)
    return f"namespace {namespace!r}" if namespace else "no namespace"
