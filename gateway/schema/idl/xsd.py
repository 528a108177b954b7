"""XSD 1.0 -> type IR. https://www.w3.org/TR/xmlschema-1/

Each complex type becomes a Record: its elements in order, then its own text (`value`), then its attributes. A choice
is a Choice of its arms; a repeated choice or sequence, whose order carries meaning, is a list of records (`choice`,
`sequence`). A derived type that may stand in for its base (xsi:type) is an optional arm of the base's record that
bears what it adds. Local names are the fields' names; of two that are the same, the later gets a suffix.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from msgspec import UNSET

from gateway.schema.idl.xml_document import XSD, Element, XmlError, parse_xml
from gateway.schema.idl.xml_hint import (
    ANY_SIMPLE,
    ANY_TYPE,
    BUILTIN,
    DERIVATION,
    Place,
    Simple,
    Space,
    XmlHint,
    XmlRecord,
)
from gateway.schema.idl.xml_text import parser
from gateway.schema.types import ANY, Choice, Enumeration, Field, Kind, List, Map, Record, Scalar

ENCODING: Final = "http://schemas.xmlsoap.org/soap/encoding/"
XML: Final = "http://www.w3.org/XML/1998/namespace"
_DEPTH: Final = 64  # of derivation, and of groups within groups


class XsdError(ValueError):
    """The schema can't be read. The text says where (file:line) and what to do."""


class Library:
    """The files that a contract consists of. Nothing is fetched from anywhere else.

    include: further folders that imports may come from, also those that are named by URL.
    """

    def __init__(self, first: Path, include: Sequence[Path] = ()) -> None:
        self._roots = (first.parent.resolve(), *(folder.resolve() for folder in include))

    def find(self, location: str, near: Path) -> Path | None:
        """The file that an import in `near` means, or None: not there, or beyond the folders."""
        if urlsplit(location).scheme:
            name = urlsplit(location).path.rpartition("/")[2]
            candidates = [root / name for root in self._roots] if name else []
        else:
            candidates = [near.parent / location, *(root / location for root in self._roots)]
        for candidate in candidates:
            path = candidate.resolve()
            if path.is_file() and any(path.is_relative_to(root) for root in self._roots):
                return path
        return None

    def read(self, path: Path) -> Element:
        """Raises XsdError."""
        try:
            return parse_xml(path.read_bytes())
        except OSError as error:
            raise XsdError(f"{path}: {error.strerror or 'it cannot be read'}") from error
        except XmlError as error:
            raise XsdError(f"{path}: {error}") from error


@dataclass(frozen=True, slots=True, eq=False)
class _Document:
    """A schema element, with what its declarations inherit."""

    root: Element
    file: Path
    namespace: str

    def error(self, node: Element, message: str) -> XsdError:
        return XsdError(f"{self.file}:{node.sourceline}: {message}")

    def clark(self, text: str, node: Element) -> str:
        """A QName in the document -> Clark notation."""
        prefix, colon, local = text.strip().rpartition(":")
        if not colon:
            # Without a default namespace this is a chameleon's own name, which takes its includer's namespace.
            return clark(node.nsmap.get(None) or ("" if self.root.get("targetNamespace") else self.namespace), local)
        if prefix == "xml":
            return clark(XML, local)
        if prefix not in node.nsmap:
            raise self.error(node, f"the prefix of {text!r} is not declared")
        return clark(node.nsmap[prefix] or "", local)

    def own(self, local: str) -> str:
        return clark(self.namespace, local)

    def qualified(self, node: Element, default: str) -> bool:
        return node.get("form", self.root.get(default, "unqualified")) == "qualified"


@dataclass(frozen=True, slots=True, eq=False)
class _Component:
    """A declaration or definition."""

    node: Element
    document: _Document

    @property
    def name(self) -> str:
        """Its own, or the nearest around it."""
        node: Element | None = self.node
        while node is not None:
            if node.get("name"):
                return str(node.get("name"))
            node = node.getparent()
        return "anonymous"


_TypeRef: TypeAlias = Simple | _Component


@dataclass(frozen=True, slots=True, eq=False)
class _Element:
    tag: str
    type: _TypeRef
    minimum: int
    maximum: int | None
    nillable: bool
    empty: str | None
    fixed: str | None
    doc: str
    node: Element
    document: _Document


@dataclass(frozen=True, slots=True, eq=False)
class _Wildcard:
    minimum: int
    maximum: int | None
    namespaces: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    kind: str  # sequence, choice or all
    minimum: int
    maximum: int | None
    items: "tuple[_Particle, ...]"


_Particle: TypeAlias = _Element | _Wildcard | _Group


@dataclass(frozen=True, slots=True, eq=False)
class _Content:
    particle: _Group
    attributes: tuple[Field, ...]
    simple: Simple | None


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    """What a map is made of: the repeated element's tag and type, the key's type and the value's element."""

    tag: str
    component: _Component
    key: Scalar
    value: _Element


_NOTHING: Final = _Group("sequence", 1, 1, ())


def clark(namespace: str, local: str) -> str:
    return f"{{{namespace}}}{local}" if namespace else local


def local_name(tag: str) -> str:
    return tag.rpartition("}")[2]


def namespace_of(tag: str) -> str:
    return tag[1:].partition("}")[0] if tag.startswith("{") else ""


def _children(node: Element) -> Iterator[tuple[str, Element]]:
    for child in node:
        if isinstance(child.tag, str) and namespace_of(child.tag) == XSD:
            yield local_name(child.tag), child


def documentation(node: Element) -> str:
    """The text of the node's annotation, lines joined."""
    texts = node.findall(f"{{{XSD}}}annotation/{{{XSD}}}documentation")
    return " ".join(" ".join("".join(map(str, text.itertext())).split()) for text in texts)


def _wildcard_namespaces(node: Element, document: _Document) -> tuple[str, ...]:
    listed = (node.get("namespace") or "##any").split()
    if "##any" in listed:
        return ()
    if "##other" in listed:
        return (f"!{document.namespace}",)
    known = {"##targetNamespace": document.namespace, "##local": ""}
    return tuple(known.get(name, name) for name in listed)


class XsdSchemas:
    """All schemas of one contract, and the Records that they become. Types are converted when they are asked for."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._seen: dict[tuple[Path, str], None] = {}
        self._namespaces: set[str] = {XSD, ENCODING, XML}
        self._missing: list[tuple[_Document, Element, str]] = []
        self._globals: dict[tuple[str, str], _Component] = {}
        self._components: dict[Element, _Component] = {}
        self._records: dict[_Component, Record] = {}
        self._simples: dict[_Component, Simple] = {}
        self._pending: list[tuple[_Component, Record]] = []
        self._derived: dict[_Component, list[_Component]] | None = None
        self._members: dict[str, list[_Component]] = {}

    def add(self, root: Element, file: Path, namespace: str = "") -> None:
        """A schema element with all that it includes and imports. namespace: that of its includer."""
        document = _Document(root, file, root.get("targetNamespace") or namespace)
        self._namespaces.add(document.namespace)
        for kind, node in _children(root):
            match kind:
                case "include":
                    self._load(document, node, document.namespace)
                case "import":
                    self._load(document, node, "")
                case "redefine" | "override":
                    raise document.error(node, f"xsd:{kind} is not read; write out the type that it makes")
                case "element" | "complexType" | "simpleType" | "group" | "attributeGroup" | "attribute":
                    component = self._component(node, document)
                    self._globals.setdefault((kind, document.own(node.get("name") or "")), component)
                    head = node.get("substitutionGroup") if kind == "element" else None
                    if head:
                        self._members.setdefault(document.clark(head, node), []).append(component)
                case _:
                    pass

    @property
    def files(self) -> Sequence[Path]:
        """The schema files that were read."""
        return tuple(dict.fromkeys(path for path, _ in self._seen))

    def check(self) -> None:
        """To be called when all is added. Raises XsdError for imports that nothing was found for."""
        for document, node, namespace in self._missing:
            if namespace not in self._namespaces:
                location = node.get("schemaLocation") or "nowhere"
                raise document.error(
                    node,
                    f"the schema of {namespace!r} is imported from {location}, which is not among the files; "
                    "nothing is fetched: save it beside the WSDL or in an include folder",
                )

    def element(self, tag: str) -> Field:
        """The global element as a field. Raises KeyError."""
        component = self._globals["element", tag]
        shape = _Shape(self, component.name)
        shape.add(self._element(component.node, component.document, 1, 1), optional=False, choice="")
        self._drain()
        return shape.fields[0]

    def typed(self, tag: str, type_name: str, *, nillable: bool) -> Field:
        """An element of this tag with a global or built-in type, as an rpc part is. Raises KeyError."""
        reference = self._named_type(type_name)
        field = self._field(local_name(tag), tag, reference, nillable=nillable)
        self._drain()
        return field

    def message(self, tag: str) -> Record:
        """The global element as a message of its own. Raises KeyError.

        One of simple type is a record with the field `value`.
        """
        field = self.element(tag)
        wire = XmlRecord(tag=tag)
        if isinstance(field.type, Record):
            whole = field.type
            return Record(
                local_name(tag),
                whole.fields,
                choices=whole.choices,
                doc=field.doc or whole.doc,
                wire=replace(wire, type=whole.wire.type),
            )
        if isinstance(field.type, Map):
            entry = field.wire.entry
            item = Field(
                "entry", List(entry[1]), default=[], wire=XmlHint(place=Place.ELEMENT, tag=entry[0], maximum=None)
            )
            return Record(local_name(tag), [item], doc=field.doc, wire=wire)
        text = Field("value", field.type, required=True, wire=replace(field.wire, place=Place.TEXT, tag=""))
        return Record(local_name(tag), [text], doc=field.doc, wire=wire)

    # Loading

    def _load(self, document: _Document, node: Element, namespace: str) -> None:
        location = node.get("schemaLocation")
        wanted = namespace or node.get("namespace") or ""
        path = self._library.find(location, document.file) if location else None
        if path is None:
            if namespace:
                raise document.error(
                    node,
                    f"{location} is included, which is not among the files; nothing is fetched: save it beside the "
                    "WSDL or in an include folder",
                )
            self._missing.append((document, node, wanted))
            return
        if (path, wanted) not in self._seen:
            self._seen[path, wanted] = None
            root = self._library.read(path)
            if root.tag != f"{{{XSD}}}schema":
                raise XsdError(f"{path}: this is not an XML schema")
            self.add(root, path, namespace)

    def _component(self, node: Element, document: _Document) -> _Component:
        # lxml hands out the same object for a node as long as somebody holds it, as this dictionary does.
        component = self._components.get(node)
        if component is None:
            component = self._components[node] = _Component(node, document)
        return component

    # Simple types

    def _named_type(self, name: str) -> _TypeRef:
        namespace, local = namespace_of(name), local_name(name)
        if name == ANY_TYPE:
            return ANY_SIMPLE
        if namespace in (XSD, ENCODING) and local in BUILTIN:
            return BUILTIN[local]
        simple = self._globals.get(("simpleType", name))
        if simple is not None:
            return self._simple(simple)
        return self._globals["complexType", name]

    def _type(self, text: str, node: Element, document: _Document) -> _TypeRef:
        name = document.clark(text, node)
        try:
            return self._named_type(name)
        except KeyError:
            what = "SOAP-encoded arrays are not read" if namespace_of(name) == ENCODING else "there is no such type"
            raise document.error(node, f"{text}: {what}") from None

    def _simple_type(self, text: str, node: Element, document: _Document) -> Simple:
        reference = self._type(text, node, document)
        if isinstance(reference, Simple):
            return reference
        raise document.error(node, f"{text} is a complex type, where a simple one belongs")

    def _simple(self, component: _Component, depth: int = 0) -> Simple:
        known = self._simples.get(component)
        if known is not None:
            return known
        if depth > _DEPTH:
            raise component.document.error(component.node, "the simple type is derived from itself")
        document = component.document
        for kind, node in _children(component.node):
            match kind:
                case "restriction":
                    base = self._simple_base(node, document, "base", depth)
                    result = self._restricted(base, node, component.name)
                case "list":
                    item = self._simple_base(node, document, "itemType", depth)
                    if item.listed:
                        raise document.error(node, "a list of lists can't be told apart in XML")
                    result = replace(item, listed=True)
                case "union":
                    result = self._union(node, document, depth)
                case _:
                    continue
            self._simples[component] = result
            return result
        raise document.error(component.node, "the simple type is neither restriction, list nor union")

    def _simple_base(self, node: Element, document: _Document, attribute: str, depth: int) -> Simple:
        text = node.get(attribute)
        if text:
            name = document.clark(text, node)
            component = self._globals.get(("simpleType", name))
            return self._simple(component, depth + 1) if component else self._simple_type(text, node, document)
        for kind, child in _children(node):
            if kind == "simpleType":
                return self._simple(self._component(child, document), depth + 1)
        raise document.error(node, f"there is neither {attribute} nor an inner simpleType")

    def _restricted(self, base: Simple, node: Element, name: str) -> Simple:
        values: list[str] = []
        patterns: list[str] = []
        facets: list[tuple[str, str]] = []
        space = base.space
        for kind, child in _children(node):
            value = child.get("value") or ""
            match kind:
                case "enumeration":
                    values.append(value)
                case "pattern":
                    patterns.append(value)
                case "whiteSpace":
                    space = Space(value)
                case (
                    "length"
                    | "minLength"
                    | "maxLength"
                    | "minInclusive"
                    | "maxInclusive"
                    | "minExclusive"
                    | "maxExclusive"
                    | "totalDigits"
                    | "fractionDigits"
                ):
                    facets.append((kind, value))
                case _:
                    pass
        if patterns:
            facets.append(
                ("pattern", "|".join(f"({pattern})" if len(patterns) > 1 else pattern for pattern in patterns))
            )
        item = base.item
        # Numbers that are enumerated stay numbers: a name would hide their value from the other side.
        if values and not base.listed and (isinstance(item, Enumeration) or item.kind is Kind.STRING):
            item = Enumeration(name, {value: number for number, value in enumerate(dict.fromkeys(values))})
        return Simple(item, base.builtin, base.facets + tuple(facets), space, base.listed)

    def _union(self, node: Element, document: _Document, depth: int) -> Simple:
        members = [self._simple_type(text, node, document) for text in (node.get("memberTypes") or "").split()]
        members += [
            self._simple(self._component(child, document), depth + 1)
            for kind, child in _children(node)
            if kind == "simpleType"
        ]
        first = members[0] if members else BUILTIN["string"]
        items = {member.item for member in members}
        if len(items) == 1 and not any(member.listed or member.facets for member in members):
            return first
        names = [name for item in items if isinstance(item, Enumeration) for name in item.numbers]
        if members and all(isinstance(item, Enumeration) for item in items):
            name = self._component(node, document).name
            ordered = [
                name for member in members if isinstance(member.item, Enumeration) for name in member.item.numbers
            ]
            return (
                Simple(Enumeration(name, {name: number for number, name in enumerate(dict.fromkeys(ordered))}), "token")
                if names
                else first
            )
        # The value says only as text which member it is.
        return BUILTIN["token"] if all(m.space is Space.COLLAPSE for m in members) else BUILTIN["string"]

    # Complex types

    def _record(self, component: _Component) -> Record:
        record = self._records.get(component)
        if record is None:
            name = component.node.get("name")
            record = self._records[component] = Record(
                component.name,
                doc=documentation(component.node),
                wire=XmlRecord(type=component.document.own(name) if name else ""),
            )
            self._pending.append((component, record))
        return record

    def _drain(self) -> None:
        while self._pending:
            component, record = self._pending.pop()
            shape = self._shape(component)
            derived = self._derivations(component)
            for other in derived:
                self._arm(shape, component, other)
            if derived and component.node.get("abstract") in ("true", "1"):
                shape.choices.append(Choice(DERIVATION, required=True))
            elif derived:
                shape.choices.append(Choice(DERIVATION))
            record.fields = tuple(shape.fields)
            record.choices = tuple(shape.choices)

    def _shape(self, component: _Component) -> "_Shape":
        content = self._content(component)
        shape = _Shape(self, component.name)
        shape.add(content.particle, optional=False, choice="")
        shape.close()
        if content.simple is not None:
            shape.append(
                Field(
                    "value",
                    content.simple.type,
                    required=True,
                    wire=XmlHint(place=Place.TEXT, simple=content.simple),
                ),
                "_text",
            )
        for attribute in content.attributes:
            shape.append(attribute, "_attribute")
        return shape

    def _arm(self, shape: "_Shape", base: _Component, derived: _Component) -> None:
        known = {(field.wire.place, field.wire.tag or field.name) for field in self._shape(base).fields}
        whole = self._shape(derived)
        added = [field for field in whole.fields if (field.wire.place, field.wire.tag or field.name) not in known]
        used = {field.choice for field in added}
        tag = derived.document.own(derived.node.get("name") or "")
        arm = Record(
            derived.name,
            added,
            choices=[choice for choice in whole.choices if choice.name in used],
            doc=documentation(derived.node),
            wire=XmlRecord(type=tag),
        )
        shape.append(
            Field(derived.name, arm, choice=DERIVATION, doc=arm.doc, wire=XmlHint(place=Place.DERIVED, tag=tag)),
            "_type",
        )

    def _derivations(self, component: _Component) -> list[_Component]:
        """The concrete types that may stand where this one is declared, itself left out."""
        if self._derived is None:
            self._derived = {}
            for (kind, _), candidate in self._globals.items():
                base = self._base(candidate) if kind == "complexType" else None
                if base is not None:
                    self._derived.setdefault(base, []).append(candidate)
        found: list[_Component] = []
        todo = list(self._derived.get(component, ()))
        while todo and len(found) <= len(self._globals):
            candidate = todo.pop(0)
            todo.extend(self._derived.get(candidate, ()))
            if candidate.node.get("abstract") not in ("true", "1"):
                found.append(candidate)
        return found

    def _base(self, component: _Component) -> _Component | None:
        for kind, content in _children(component.node):
            if kind in ("complexContent", "simpleContent"):
                for _, derivation in _children(content):
                    text = derivation.get("base")
                    if text:
                        name = component.document.clark(text, derivation)
                        return self._globals.get(("complexType", name))
        return None

    def _content(self, component: _Component, depth: int = 0) -> _Content:
        document = component.document
        if depth > _DEPTH:
            raise document.error(component.node, "the complex type is derived from itself")
        for kind, node in _children(component.node):
            if kind in ("simpleContent", "complexContent"):
                for how, derivation in _children(node):
                    if how in ("extension", "restriction"):
                        return self._derive(how, derivation, document, component.name, depth)
        return _Content(
            self._particles(component.node, document), self._attributes(component.node, document, depth), None
        )

    def _derive(self, how: str, node: Element, document: _Document, name: str, depth: int) -> _Content:
        text = node.get("base") or ""
        base = self._type(text, node, document)
        if base is ANY_SIMPLE:
            inherited = _Content(_NOTHING, (), None)
        elif isinstance(base, Simple):
            inherited = _Content(_NOTHING, (), base)
        else:
            inherited = self._content(base, depth + 1)
        own = self._attributes(node, document, depth)
        tags = {field.wire.tag for field in own} | self._prohibited(node, document)
        attributes = tuple(field for field in inherited.attributes if field.wire.tag not in tags) + own
        particle = self._particles(node, document)
        if how == "extension":
            both = tuple(group for group in (inherited.particle, particle) if group.items)
            return _Content(_Group("sequence", 1, 1, both), attributes, inherited.simple)
        simple = inherited.simple and self._restricted(inherited.simple, node, name)
        return _Content(particle, attributes, simple)

    def _prohibited(self, node: Element, document: _Document) -> set[str]:
        return {
            clark(document.namespace, child.get("name") or "")
            if document.qualified(child, "attributeFormDefault")
            else child.get("name") or ""
            for kind, child in _children(node)
            if kind == "attribute" and child.get("use") == "prohibited"
        }

    def _attributes(self, node: Element, document: _Document, depth: int) -> tuple[Field, ...]:
        if depth > _DEPTH:
            raise document.error(node, "the attribute group contains itself")
        fields: list[Field] = []
        for kind, child in _children(node):
            if kind == "attribute" and child.get("use") != "prohibited":
                field = self._attribute(child, document)
                if field is not None:
                    fields.append(field)
            elif kind == "attributeGroup":
                group = self._global("attributeGroup", child, document)
                fields.extend(self._attributes(group.node, group.document, depth + 1))
        return tuple(fields)

    def _attribute(self, node: Element, document: _Document) -> Field | None:
        use = node.get("use")
        doc = documentation(node)
        declared, home = node, document
        ref = node.get("ref")
        if ref:
            tag = document.clark(ref, node)
            if namespace_of(tag) == ENCODING:
                return None
            if namespace_of(tag) == XML:
                declared = node
            else:
                component = self._global("attribute", node, document)
                declared, home = component.node, component.document
        else:
            name = node.get("name") or ""
            tag = document.own(name) if document.qualified(node, "attributeFormDefault") else name
        simple = self._attribute_type(declared, home)
        fixed = node.get("fixed", declared.get("fixed"))
        default = node.get("default", declared.get("default", fixed))
        return Field(
            local_name(tag),
            simple.type,
            required=use == "required",
            default=UNSET if default is None or use == "required" else self._plain(simple, default, node, document),
            doc=doc,
            wire=XmlHint(place=Place.ATTRIBUTE, tag=tag, simple=simple, fixed=fixed),
        )

    def _attribute_type(self, node: Element, document: _Document) -> Simple:
        text = node.get("type")
        if text:
            return self._simple_type(text, node, document)
        for kind, child in _children(node):
            if kind == "simpleType":
                return self._simple(self._component(child, document))
        return BUILTIN["string"]

    def _plain(self, simple: Simple, text: str, node: Element, document: _Document) -> Any:
        try:
            return parser(simple)(text)
        except ValueError as error:
            raise document.error(node, f"the default is not valid: {error}") from error

    # Particles

    def _particles(self, node: Element, document: _Document) -> _Group:
        for kind, child in _children(node):
            if kind in ("sequence", "choice", "all", "group"):
                particle = self._particle(kind, child, document, 0)
                return particle if isinstance(particle, _Group) else _Group("sequence", 1, 1, (particle,))
        return _NOTHING

    def _particle(self, kind: str, node: Element, document: _Document, depth: int) -> _Particle:
        if depth > _DEPTH:
            raise document.error(node, "the group contains itself")
        minimum, maximum = self._occurs(node, document)
        if kind == "element":
            return self._element(node, document, minimum, maximum)
        if kind == "any":
            return _Wildcard(minimum, maximum, _wildcard_namespaces(node, document))
        if kind == "group":
            component = self._global("group", node, document)
            for inner, child in _children(component.node):
                if inner in ("sequence", "choice", "all"):
                    group = self._particle(inner, child, component.document, depth + 1)
                    return _Group("sequence", minimum, maximum, (group,))
            return _NOTHING
        items = tuple(
            self._particle(inner, child, document, depth + 1)
            for inner, child in _children(node)
            if inner in ("element", "any", "group", "sequence", "choice", "all") and child.get("maxOccurs") != "0"
        )
        return _Group(kind, minimum, maximum, items)

    def _occurs(self, node: Element, document: _Document) -> tuple[int, int | None]:
        low, high = node.get("minOccurs", "1"), node.get("maxOccurs", "1")
        if not low.isdecimal() or not (high.isdecimal() or high == "unbounded"):
            raise document.error(node, f"minOccurs={low!r} maxOccurs={high!r} is no range")
        return int(low), None if high == "unbounded" else int(high)

    def _global(self, kind: str, node: Element, document: _Document) -> _Component:
        text = node.get("ref") or ""
        component = self._globals.get((kind, document.clark(text, node)))
        if component is None:
            raise document.error(node, f"there is no {kind} {text!r}")
        return component

    def _element(
        self, node: Element, document: _Document, minimum: int, maximum: int | None, member: bool = False
    ) -> _Particle:
        if node.get("ref"):
            target = self._global("element", node, document)
            return self._element(target.node, target.document, minimum, maximum)
        name = node.get("name") or ""
        top = node.getparent() is document.root
        tag = document.own(name) if top or document.qualified(node, "elementFormDefault") else name
        members = self._members.get(tag, ()) if top and not member else ()
        element = _Element(
            tag=tag,
            type=self._element_type(node, document, 0),
            minimum=minimum,
            maximum=maximum,
            nillable=node.get("nillable") in ("true", "1"),
            empty=node.get("default", node.get("fixed")),
            fixed=node.get("fixed"),
            doc=documentation(node),
            node=node,
            document=document,
        )
        if not members:
            return element
        arms: list[_Particle] = (
            [] if node.get("abstract") in ("true", "1") else [replace(element, minimum=1, maximum=1)]
        )
        arms += [self._element(arm.node, arm.document, 1, 1, member=True) for arm in self._substitutes(tag)]
        return _Group("choice", minimum, maximum, tuple(arms))

    def _substitutes(self, tag: str) -> list[_Component]:
        found: list[_Component] = []
        todo = list(self._members.get(tag, ()))
        while todo and len(found) <= len(self._globals):
            member = todo.pop(0)
            if member.node.get("abstract") not in ("true", "1"):
                found.append(member)
            todo.extend(self._members.get(member.document.own(member.node.get("name") or ""), ()))
        return found

    def _element_type(self, node: Element, document: _Document, depth: int) -> _TypeRef:
        text = node.get("type")
        if text:
            return self._type(text, node, document)
        for kind, child in _children(node):
            if kind == "simpleType":
                return self._simple(self._component(child, document))
            if kind == "complexType":
                return self._component(child, document)
        head = node.get("substitutionGroup")
        if head and depth < _DEPTH:
            target = self._globals.get(("element", document.clark(head, node)))
            if target is not None:
                return self._element_type(target.node, target.document, depth + 1)
        return ANY_SIMPLE

    def _field(self, name: str, tag: str, reference: _TypeRef, *, nillable: bool) -> Field:
        """A required, single element."""
        if isinstance(reference, Simple):
            hint = XmlHint(place=Place.ELEMENT, tag=tag, simple=reference)
            return Field(name, reference.type, required=True, nullable=nillable, wire=hint)
        entry = self._entry(reference)
        if entry is not None:
            hint = XmlHint(place=Place.ELEMENT, tag=tag, entry=(entry.tag, self._record(entry.component)))
            value = self._field("value", entry.value.tag, entry.value.type, nillable=False)
            return Field(name, Map(entry.key, value.type), required=True, nullable=nillable, wire=hint)
        return Field(
            name,
            self._record(reference),
            required=True,
            nullable=nillable,
            wire=XmlHint(place=Place.ELEMENT, tag=tag),
        )

    def _entry(self, component: _Component) -> "_Entry | None":
        """The entries where the type is a map by convention: entry* of a key and a value."""
        if component.node.find(f"{{{XSD}}}sequence") is None:
            return None
        content = self._content(component)
        match content.particle:
            case _Group("sequence", 1, 1, (_Element(maximum=None, type=_Component() as inner) as entry,)):
                pass
            case _:
                return None
        if content.attributes or content.simple is not None or local_name(entry.tag) != "entry" or entry.nillable:
            return None
        inside = self._content(inner)
        match inside.particle:
            case _Group("sequence", 1, 1, (_Element(minimum=1, maximum=1, type=Simple() as key) as first, second)):
                pass
            case _:
                return None
        if (
            inside.attributes
            or not isinstance(second, _Element)
            or (second.minimum, second.maximum) != (1, 1)
            or (local_name(first.tag), local_name(second.tag)) != ("key", "value")
            or first.nillable
            or second.nillable
            or key.listed
            or not isinstance(key.item, Scalar)
            or key.item == ANY
            or second.type is ANY_SIMPLE
        ):
            return None
        return _Entry(entry.tag, inner, key.item, second)


class _Shape:
    """The fields that a particle makes, as they come together."""

    def __init__(self, schemas: XsdSchemas, name: str) -> None:
        self._schemas = schemas
        self._name = name
        self.fields: list[Field] = []
        self.choices: list[Choice] = []

    def append(self, field: Field, suffix: str) -> None:
        """With a name of its own."""
        names = {known.name for known in self.fields}
        name, number = field.name, 2
        if name in names:
            name = field.name + suffix
        while name in names:
            name = f"{field.name}{suffix}{number}"
            number += 1
        field.name = name
        self.fields.append(field)

    def add(self, particle: _Particle, *, optional: bool, choice: str) -> None:
        match particle:
            case _Element():
                self._element(particle, optional=optional, choice=choice)
            case _Wildcard():
                self._wildcard(particle, optional=optional, choice=choice)
            case _Group():
                self._group(particle, optional=optional, choice=choice)

    def close(self) -> None:
        """Drop choices that came to have less than two arms."""
        for known in list(self.choices):
            arms = [field for field in self.fields if field.choice == known.name]
            if len(arms) < 2:
                self.choices.remove(known)
                for field in arms:
                    field.choice = ""

    def _element(self, element: _Element, *, optional: bool, choice: str) -> None:
        field = self._schemas._field(  # noqa: SLF001  its own file's other half
            local_name(element.tag), element.tag, element.type, nillable=element.nillable
        )
        hint = replace(
            field.wire, minimum=element.minimum, maximum=element.maximum, empty=element.empty, fixed=element.fixed
        )
        field.wire, field.doc = hint, element.doc
        if hint.repeated:
            field.type = List(field.type, nullable=field.nullable)
            field.required = field.nullable = False
            field.default = UNSET if choice else []
            if optional and hint.minimum:
                field.wire = replace(hint, minimum=0)
        else:
            field.required = not optional and not choice and element.minimum >= 1
        field.choice = choice
        twin = next((known for known in self.fields if known.wire.tag == element.tag), None)
        if twin is None:
            self.append(field, "_2")
        elif not self._merge(twin, field, optional=optional or bool(choice)):
            raise element.document.error(
                element.node,
                f"the element {local_name(element.tag)!r} stands twice in {self._name}, and which one is meant could "
                "not be told; give one of them another name",
            )

    def _merge(self, twin: Field, field: Field, *, optional: bool) -> bool:
        """The same element in two arms of a choice is one field."""
        if not optional or twin.required or twin.type != field.type:
            return False
        for choice in (twin.choice, field.choice):
            self._relax(choice)
        twin.choice = ""
        return True

    def _relax(self, name: str) -> None:
        self.choices = [Choice(known.name) if known.name == name else known for known in self.choices]

    def _wildcard(self, wildcard: _Wildcard, *, optional: bool, choice: str) -> None:
        hint = XmlHint(
            place=Place.WILDCARD, minimum=wildcard.minimum, maximum=wildcard.maximum, namespaces=wildcard.namespaces
        )
        if any(field.wire.place is Place.WILDCARD for field in self.fields):
            return  # the first one takes what the second would
        if hint.repeated:
            if optional:
                hint = replace(hint, minimum=0)
            self.append(Field("any", List(ANY), default=UNSET if choice else [], choice=choice, wire=hint), "_2")
        else:
            required = not optional and not choice and wildcard.minimum >= 1
            self.append(Field("any", ANY, required=required, choice=choice, wire=hint), "_2")

    def _group(self, group: _Group, *, optional: bool, choice: str) -> None:
        if not group.items:
            return
        if group.maximum is None or group.maximum > 1:
            self._repeated(group, optional=optional, choice=choice)
        elif len(group.items) == 1:
            self.add(group.items[0], optional=optional or group.minimum == 0, choice=choice)
            if group.minimum == 0 and choice:
                self._relax(choice)
        elif group.kind == "choice":
            self._choice(group, optional=optional, choice=choice)
        else:
            if choice:
                # Several elements are one arm, which a Choice has no form for: they are optional.
                self._relax(choice)
            for item in group.items:
                self.add(item, optional=optional or bool(choice) or group.minimum == 0, choice="")

    def _choice(self, group: _Group, *, optional: bool, choice: str) -> None:
        name = choice
        if not choice:
            number = len(self.choices) + 1
            name = "choice" if number == 1 else f"choice{number}"
            self.choices.append(Choice(name, required=not optional and group.minimum >= 1))
        elif group.minimum == 0:
            self._relax(name)
        for item in group.items:
            if not isinstance(item, _Group) and item.minimum == 0:
                self._relax(name)
            self.add(item, optional=optional, choice=name)

    def _repeated(self, group: _Group, *, optional: bool, choice: str) -> None:
        single = group.items[0] if len(group.items) == 1 else None
        if isinstance(single, _Element | _Wildcard):
            self.add(
                replace(single, minimum=0 if group.minimum == 0 else single.minimum, maximum=None),
                optional=optional,
                choice=choice,
            )
            return
        inner = _Shape(self._schemas, f"{self._name}.{group.kind}")
        inner.add(replace(group, minimum=1, maximum=1), optional=False, choice="")
        inner.close()
        item = Record(inner._name, inner.fields, choices=inner.choices, wire=XmlRecord())
        hint = XmlHint(place=Place.GROUP, minimum=0 if optional or choice else group.minimum, maximum=group.maximum)
        self.append(Field(group.kind, List(item), default=UNSET if choice else [], choice=choice, wire=hint), "_2")
