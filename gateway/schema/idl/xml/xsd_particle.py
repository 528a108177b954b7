"""The parts of a schema before they become types: documents, declarations and the particles of content models."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from gateway.schema.idl.xml.document import XML, XSD, Element, clark, local_name, namespace_of
from gateway.schema.idl.xml.hint import Simple
from gateway.schema.idl.xml.xsd_library import XsdError
from gateway.schema.types import Field, Scalar


@dataclass(frozen=True, slots=True, eq=False)
class Document:
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
class Component:
    """A declaration or definition."""

    node: Element
    document: Document

    @property
    def name(self) -> str:
        """Its own, or the nearest around it."""
        node: Element | None = self.node
        while node is not None:
            if node.get("name"):
                return str(node.get("name"))
            node = node.getparent()
        return "anonymous"


TypeRef: TypeAlias = Simple | Component


@dataclass(frozen=True, slots=True, eq=False)
class ElementParticle:
    tag: str
    type: TypeRef
    minimum: int
    maximum: int | None
    nillable: bool
    empty: str | None
    fixed: str | None
    doc: str
    node: Element
    document: Document


@dataclass(frozen=True, slots=True, eq=False)
class Wildcard:
    minimum: int
    maximum: int | None
    namespaces: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    kind: str  # sequence, choice or all
    minimum: int
    maximum: int | None
    items: "tuple[Particle, ...]"


Particle: TypeAlias = ElementParticle | Wildcard | Group


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    particle: Group
    attributes: tuple[Field, ...]
    simple: Simple | None


@dataclass(frozen=True, slots=True, eq=False)
class MapEntry:
    """What a map is made of: the repeated element's tag and type, the key's type and the value's element."""

    tag: str
    component: Component
    key: Scalar
    value: ElementParticle


NOTHING: Final = Group("sequence", 1, 1, ())


def children(node: Element) -> Iterator[tuple[str, Element]]:
    for child in node:
        if isinstance(child.tag, str) and namespace_of(child.tag) == XSD:
            yield local_name(child.tag), child


def documentation(node: Element) -> str:
    """The text of the node's annotation, lines joined."""
    texts = node.findall(f"{{{XSD}}}annotation/{{{XSD}}}documentation")
    return " ".join(" ".join("".join(map(str, text.itertext())).split()) for text in texts)


def wildcard_namespaces(node: Element, document: Document) -> tuple[str, ...]:
    listed = (node.get("namespace") or "##any").split()
    if "##any" in listed:
        return ()
    if "##other" in listed:
        return (f"!{document.namespace}",)
    known = {"##targetNamespace": document.namespace, "##local": ""}
    return tuple(known.get(name, name) for name in listed)
