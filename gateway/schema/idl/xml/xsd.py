"""XSD 1.0 -> type IR. https://www.w3.org/TR/xmlschema-1/

Each complex type becomes a Record: its elements in order, then its own text (`value`), then its attributes. A choice
is a Choice of its arms; a repeated choice or sequence, whose order carries meaning, is a list of records (`choice`,
`sequence`). A derived type that may stand in for its base (xsi:type) is an optional arm of the base's record that
bears what it adds. Local names are the fields' names; of two that are the same, the later gets a suffix.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from msgspec import UNSET

from gateway.schema.idl.xml.document import XML, XSD, Element, clark, local_name, namespace_of
from gateway.schema.idl.xml.hint import (
    ANY_SIMPLE,
    ANY_TYPE,
    BUILTIN,
    DERIVATION,
    ENCODING,
    Place,
    Simple,
    Space,
    XmlHint,
    XmlRecord,
)
from gateway.schema.idl.xml.text import parser
from gateway.schema.idl.xml.xsd_library import Library, XsdError
from gateway.schema.idl.xml.xsd_particle import (
    NOTHING,
    Component,
    Content,
    Document,
    ElementParticle,
    Group,
    MapEntry,
    Particle,
    TypeRef,
    Wildcard,
    children,
    documentation,
    wildcard_namespaces,
)
from gateway.schema.idl.xml.xsd_shape import Shape
from gateway.schema.types import ANY, Choice, Enumeration, Field, Kind, List, Map, Record, Scalar

_DEPTH: Final = 64  # of derivation, and of groups within groups


class XsdSchemas:
    """All schemas of one contract, and the Records that they become. Types are converted when they are asked for."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._seen: dict[tuple[Path, str], None] = {}
        self._namespaces: set[str] = {XSD, ENCODING, XML}
        self._missing: list[tuple[Document, Element, str]] = []
        self._globals: dict[tuple[str, str], Component] = {}
        self._components: dict[Element, Component] = {}
        self._records: dict[Component, Record] = {}
        self._simples: dict[Component, Simple] = {}
        self._pending: list[tuple[Component, Record]] = []
        self._derived: dict[Component, list[Component]] | None = None
        self._members: dict[str, list[Component]] = {}

    def add(self, root: Element, file: Path, namespace: str = "") -> None:
        """A schema element with all that it includes and imports. namespace: that of its includer."""
        document = Document(root, file, root.get("targetNamespace") or namespace)
        self._namespaces.add(document.namespace)
        for kind, node in children(root):
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
        shape = Shape(self._field, component.name)
        shape.add(self._element(component.node, component.document, 1, 1), optional=False, choice="")
        self._drain()
        return shape.fields[0]

    def typed(self, tag: str, type_name: str, *, nillable: bool) -> Field:
        """An element of this tag with a global or built-in type, as an rpc part is. Raises KeyError."""
        reference = self._named_type(type_name)
        field = self._field(local_name(tag), tag, reference, nillable)
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

    def _load(self, document: Document, node: Element, namespace: str) -> None:
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

    def _component(self, node: Element, document: Document) -> Component:
        # lxml hands out the same object for a node as long as somebody holds it, as this dictionary does.
        component = self._components.get(node)
        if component is None:
            component = self._components[node] = Component(node, document)
        return component

    # Simple types

    def _named_type(self, name: str) -> TypeRef:
        namespace, local = namespace_of(name), local_name(name)
        if name == ANY_TYPE:
            return ANY_SIMPLE
        if namespace in (XSD, ENCODING) and local in BUILTIN:
            return BUILTIN[local]
        simple = self._globals.get(("simpleType", name))
        if simple is not None:
            return self._simple(simple)
        return self._globals["complexType", name]

    def _type(self, text: str, node: Element, document: Document) -> TypeRef:
        name = document.clark(text, node)
        try:
            return self._named_type(name)
        except KeyError:
            what = "SOAP-encoded arrays are not read" if namespace_of(name) == ENCODING else "there is no such type"
            raise document.error(node, f"{text}: {what}") from None

    def _simple_type(self, text: str, node: Element, document: Document) -> Simple:
        reference = self._type(text, node, document)
        if isinstance(reference, Simple):
            return reference
        raise document.error(node, f"{text} is a complex type, where a simple one belongs")

    def _simple(self, component: Component, depth: int = 0) -> Simple:
        known = self._simples.get(component)
        if known is not None:
            return known
        if depth > _DEPTH:
            raise component.document.error(component.node, "the simple type is derived from itself")
        document = component.document
        for kind, node in children(component.node):
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

    def _simple_base(self, node: Element, document: Document, attribute: str, depth: int) -> Simple:
        text = node.get(attribute)
        if text:
            name = document.clark(text, node)
            component = self._globals.get(("simpleType", name))
            return self._simple(component, depth + 1) if component else self._simple_type(text, node, document)
        for kind, child in children(node):
            if kind == "simpleType":
                return self._simple(self._component(child, document), depth + 1)
        raise document.error(node, f"there is neither {attribute} nor an inner simpleType")

    def _restricted(self, base: Simple, node: Element, name: str) -> Simple:
        values: list[str] = []
        patterns: list[str] = []
        facets: list[tuple[str, str]] = []
        space = base.space
        for kind, child in children(node):
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

    def _union(self, node: Element, document: Document, depth: int) -> Simple:
        members = [self._simple_type(text, node, document) for text in (node.get("memberTypes") or "").split()]
        members += [
            self._simple(self._component(child, document), depth + 1)
            for kind, child in children(node)
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

    def _record(self, component: Component) -> Record:
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

    def _shape(self, component: Component) -> "Shape":
        content = self._content(component)
        shape = Shape(self._field, component.name)
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

    def _arm(self, shape: "Shape", base: Component, derived: Component) -> None:
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

    def _derivations(self, component: Component) -> list[Component]:
        """The concrete types that may stand where this one is declared, itself left out."""
        if self._derived is None:
            self._derived = {}
            for (kind, _), candidate in self._globals.items():
                base = self._base(candidate) if kind == "complexType" else None
                if base is not None:
                    self._derived.setdefault(base, []).append(candidate)
        found: list[Component] = []
        todo = list(self._derived.get(component, ()))
        while todo and len(found) <= len(self._globals):
            candidate = todo.pop(0)
            todo.extend(self._derived.get(candidate, ()))
            if candidate.node.get("abstract") not in ("true", "1"):
                found.append(candidate)
        return found

    def _base(self, component: Component) -> Component | None:
        for kind, content in children(component.node):
            if kind in ("complexContent", "simpleContent"):
                for _, derivation in children(content):
                    text = derivation.get("base")
                    if text:
                        name = component.document.clark(text, derivation)
                        return self._globals.get(("complexType", name))
        return None

    def _content(self, component: Component, depth: int = 0) -> Content:
        document = component.document
        if depth > _DEPTH:
            raise document.error(component.node, "the complex type is derived from itself")
        for kind, node in children(component.node):
            if kind in ("simpleContent", "complexContent"):
                for how, derivation in children(node):
                    if how in ("extension", "restriction"):
                        return self._derive(how, derivation, document, component.name, depth)
        return Content(
            self._particles(component.node, document), self._attributes(component.node, document, depth), None
        )

    def _derive(self, how: str, node: Element, document: Document, name: str, depth: int) -> Content:
        text = node.get("base") or ""
        base = self._type(text, node, document)
        if base is ANY_SIMPLE:
            inherited = Content(NOTHING, (), None)
        elif isinstance(base, Simple):
            inherited = Content(NOTHING, (), base)
        else:
            inherited = self._content(base, depth + 1)
        own = self._attributes(node, document, depth)
        tags = {field.wire.tag for field in own} | self._prohibited(node, document)
        attributes = tuple(field for field in inherited.attributes if field.wire.tag not in tags) + own
        particle = self._particles(node, document)
        if how == "extension":
            both = tuple(group for group in (inherited.particle, particle) if group.items)
            return Content(Group("sequence", 1, 1, both), attributes, inherited.simple)
        simple = inherited.simple and self._restricted(inherited.simple, node, name)
        return Content(particle, attributes, simple)

    def _prohibited(self, node: Element, document: Document) -> set[str]:
        return {
            clark(document.namespace, child.get("name") or "")
            if document.qualified(child, "attributeFormDefault")
            else child.get("name") or ""
            for kind, child in children(node)
            if kind == "attribute" and child.get("use") == "prohibited"
        }

    def _attributes(self, node: Element, document: Document, depth: int) -> tuple[Field, ...]:
        if depth > _DEPTH:
            raise document.error(node, "the attribute group contains itself")
        fields: list[Field] = []
        for kind, child in children(node):
            if kind == "attribute" and child.get("use") != "prohibited":
                field = self._attribute(child, document)
                if field is not None:
                    fields.append(field)
            elif kind == "attributeGroup":
                group = self._global("attributeGroup", child, document)
                fields.extend(self._attributes(group.node, group.document, depth + 1))
        return tuple(fields)

    def _attribute(self, node: Element, document: Document) -> Field | None:
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

    def _attribute_type(self, node: Element, document: Document) -> Simple:
        text = node.get("type")
        if text:
            return self._simple_type(text, node, document)
        for kind, child in children(node):
            if kind == "simpleType":
                return self._simple(self._component(child, document))
        return BUILTIN["string"]

    def _plain(self, simple: Simple, text: str, node: Element, document: Document) -> Any:
        try:
            return parser(simple)(text)
        except ValueError as error:
            raise document.error(node, f"the default is not valid: {error}") from error

    # Particles

    def _particles(self, node: Element, document: Document) -> Group:
        for kind, child in children(node):
            if kind in ("sequence", "choice", "all", "group"):
                particle = self._particle(kind, child, document, 0)
                return particle if isinstance(particle, Group) else Group("sequence", 1, 1, (particle,))
        return NOTHING

    def _particle(self, kind: str, node: Element, document: Document, depth: int) -> Particle:
        if depth > _DEPTH:
            raise document.error(node, "the group contains itself")
        minimum, maximum = self._occurs(node, document)
        if kind == "element":
            return self._element(node, document, minimum, maximum)
        if kind == "any":
            return Wildcard(minimum, maximum, wildcard_namespaces(node, document))
        if kind == "group":
            component = self._global("group", node, document)
            for inner, child in children(component.node):
                if inner in ("sequence", "choice", "all"):
                    group = self._particle(inner, child, component.document, depth + 1)
                    return Group("sequence", minimum, maximum, (group,))
            return NOTHING
        items = tuple(
            self._particle(inner, child, document, depth + 1)
            for inner, child in children(node)
            if inner in ("element", "any", "group", "sequence", "choice", "all") and child.get("maxOccurs") != "0"
        )
        return Group(kind, minimum, maximum, items)

    def _occurs(self, node: Element, document: Document) -> tuple[int, int | None]:
        low, high = node.get("minOccurs", "1"), node.get("maxOccurs", "1")
        if not low.isdecimal() or not (high.isdecimal() or high == "unbounded"):
            raise document.error(node, f"minOccurs={low!r} maxOccurs={high!r} is no range")
        return int(low), None if high == "unbounded" else int(high)

    def _global(self, kind: str, node: Element, document: Document) -> Component:
        text = node.get("ref") or ""
        component = self._globals.get((kind, document.clark(text, node)))
        if component is None:
            raise document.error(node, f"there is no {kind} {text!r}")
        return component

    def _element(
        self, node: Element, document: Document, minimum: int, maximum: int | None, member: bool = False
    ) -> Particle:
        if node.get("ref"):
            target = self._global("element", node, document)
            return self._element(target.node, target.document, minimum, maximum)
        name = node.get("name") or ""
        top = node.getparent() is document.root
        tag = document.own(name) if top or document.qualified(node, "elementFormDefault") else name
        members = self._members.get(tag, ()) if top and not member else ()
        element = ElementParticle(
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
        arms: list[Particle] = [] if node.get("abstract") in ("true", "1") else [replace(element, minimum=1, maximum=1)]
        arms += [self._element(arm.node, arm.document, 1, 1, member=True) for arm in self._substitutes(tag)]
        return Group("choice", minimum, maximum, tuple(arms))

    def _substitutes(self, tag: str) -> list[Component]:
        found: list[Component] = []
        seen = {tag}
        todo = list(self._members.get(tag, ()))
        while todo:
            member = todo.pop(0)
            name = member.document.own(member.node.get("name") or "")
            if name in seen:
                continue
            seen.add(name)
            if member.node.get("abstract") not in ("true", "1"):
                found.append(member)
            todo.extend(self._members.get(name, ()))
        return found

    def _element_type(self, node: Element, document: Document, depth: int) -> TypeRef:
        text = node.get("type")
        if text:
            return self._type(text, node, document)
        for kind, child in children(node):
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

    def _field(self, name: str, tag: str, reference: TypeRef, nillable: bool) -> Field:
        """A required, single element."""
        if isinstance(reference, Simple):
            hint = XmlHint(place=Place.ELEMENT, tag=tag, simple=reference)
            return Field(name, reference.type, required=True, nullable=nillable, wire=hint)
        entry = self._entry(reference)
        if entry is not None:
            hint = XmlHint(place=Place.ELEMENT, tag=tag, entry=(entry.tag, self._record(entry.component)))
            value = self._field("value", entry.value.tag, entry.value.type, False)
            return Field(name, Map(entry.key, value.type), required=True, nullable=nillable, wire=hint)
        return Field(
            name,
            self._record(reference),
            required=True,
            nullable=nillable,
            wire=XmlHint(place=Place.ELEMENT, tag=tag),
        )

    def _entry(self, component: Component) -> "MapEntry | None":
        """The entries where the type is a map by convention: entry* of a key and a value."""
        if component.node.find(f"{{{XSD}}}sequence") is None:
            return None
        content = self._content(component)
        match content.particle:
            case Group("sequence", 1, 1, (ElementParticle(maximum=None, type=Component() as inner) as entry,)):
                pass
            case _:
                return None
        if content.attributes or content.simple is not None or local_name(entry.tag) != "entry" or entry.nillable:
            return None
        inside = self._content(inner)
        match inside.particle:
            case Group(
                "sequence", 1, 1, (ElementParticle(minimum=1, maximum=1, type=Simple() as key) as first, second)
            ):
                pass
            case _:
                return None
        if (
            inside.attributes
            or not isinstance(second, ElementParticle)
            or (first.minimum, first.maximum, second.minimum, second.maximum) != (1, 1, 1, 1)
            or (local_name(first.tag), local_name(second.tag)) != ("key", "value")
            or first.nillable
            or second.nillable
            or key.listed
            or not isinstance(key.item, Scalar)
            or key.item == ANY
            or second.type is ANY_SIMPLE
        ):
            return None
        return MapEntry(entry.tag, inner, key.item, second)
