"""WSDL 1.1 with SOAP 1.1 and 1.2 bindings -> operations of the type IR.

https://www.w3.org/TR/wsdl.html, https://www.w3.org/Submission/wsdl11soap12/. Only files are read (see Library).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from gateway.pattern import Pattern
from gateway.schema.idl.xml.document import XSD, Element, clark, local_name, namespace_of
from gateway.schema.idl.xml.hint import XmlRecord
from gateway.schema.idl.xml.xsd import XsdSchemas
from gateway.schema.idl.xml.xsd_library import Library, XsdError
from gateway.schema.types import Field, Operation, Record

WSDL: Final = "http://schemas.xmlsoap.org/wsdl/"
SOAP11: Final = "http://schemas.xmlsoap.org/wsdl/soap/"
SOAP12: Final = "http://schemas.xmlsoap.org/wsdl/soap12/"


class Version(Enum):
    """SOAP versions with the namespace of their envelope."""

    SOAP_1_1 = "http://schemas.xmlsoap.org/soap/envelope/"
    SOAP_1_2 = "http://www.w3.org/2003/05/soap-envelope"


_VERSIONS: Final = {SOAP11: Version.SOAP_1_1, SOAP12: Version.SOAP_1_2}


class WsdlError(XsdError):
    """The WSDL can't be read, or has no such service, port or operation."""


@dataclass(frozen=True, slots=True)
class SoapOperation:
    """Operation.wire of an operation with a SOAP binding.

    action: the soapAction; empty where the binding gives none.
    rpc: the body element is the operation's wrapper, whose children are the parts.
    encoded: rpc/encoded: elements tell their type.
    input, output: the body's child element in Clark notation; empty where the body is.
    faults: the detail element of each declared fault, by the name of its Record.
    headers: the declared header elements.
    """

    action: str
    rpc: bool
    encoded: bool
    input: str
    output: str
    faults: Mapping[str, str]
    headers: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class _Node:
    """An element of a WSDL document."""

    element: Element
    file: Path
    target: str

    def name(self, attribute: str) -> str:
        """A QName in an attribute, in Clark notation."""
        prefix, colon, local = (self.element.get(attribute) or "").strip().rpartition(":")
        nsmap = self.element.nsmap
        if colon and prefix not in nsmap:
            raise self.error(f"the prefix {prefix!r} is not declared")
        return clark(nsmap.get(prefix if colon else None) or ("" if colon else self.target), local)

    def error(self, message: str) -> WsdlError:
        return WsdlError(f"{self.file}:{self.element.sourceline}: {message}")

    def children(self, tag: str) -> "Iterator[_Node]":
        for child in self.element.iterchildren(tag):
            yield _Node(child, self.file, self.target)

    def child(self, tag: str) -> "_Node | None":
        return next(self.children(tag), None)

    def soap(self, local: str) -> "_Node | None":
        """The extension element of either SOAP binding."""
        return self.child(clark(SOAP11, local)) or self.child(clark(SOAP12, local))


class Port:
    """A SOAP port: its version, its address and its operations."""

    def __init__(self, wsdl: "Wsdl", service: str, node: _Node, binding: _Node) -> None:
        self._wsdl = wsdl
        self._binding = binding
        soap = binding.soap("binding")
        address = node.soap("address")
        if soap is None:
            raise binding.error("the binding is not a SOAP binding")
        self.service = service
        self.name = node.element.get("name") or ""
        self.version = _VERSIONS[namespace_of(str(soap.element.tag))]
        self.address = "" if address is None else address.element.get("location") or ""
        self._style = soap.element.get("style") or "document"
        self._operations = {str(one.element.get("name")): one for one in binding.children(clark(WSDL, "operation"))}
        self._read: dict[str, Operation] = {}

    @property
    def operations(self) -> tuple[str, ...]:
        return tuple(self._operations)

    def operation(self, name: str) -> Operation:
        """Raises WsdlError: no such operation, or one that can't be carried; the text says why."""
        known = self._read.get(name)
        if known is None:
            node = self._operations.get(name)
            if node is None:
                raise WsdlError(f"port {self.name} has no operation {name!r}; it has {', '.join(self._operations)}")
            known = self._read[name] = self._wsdl.operation(node, self._binding.name("type"), self._style)
        return known


class Wsdl:
    """A WSDL file with all that it imports.

    documents: the WSDL and schema files that it was made of, the WSDL itself first.

    Raises WsdlError or XsdError.
    """

    def __init__(self, path: Path, include: Sequence[Path] = ()) -> None:
        self._library = Library(path, include)
        self._schemas = XsdSchemas(self._library)
        self._globals: dict[tuple[str, str], _Node] = {}
        self._documents: list[Path] = []
        self._import(path)
        self._schemas.check()
        self.services: Mapping[str, Mapping[str, Port]] = self._services()

    def port(self, service: str = "", port: str = "") -> Port:
        """The SOAP port of these names; names are needed only where there are several. Where a service has the same
        binding for both versions, the one for SOAP 1.1 is the first. Raises WsdlError."""
        found = self.ports(service, port)
        bindings = {(one.service, one.operations) for one in found}
        if len(bindings) > 1:
            names = ", ".join(f"{one.service}.{one.name}" for one in found)
            raise WsdlError(f"there are several SOAP ports, {names}; name `service` and `port`")
        return min(found, key=lambda one: one.version is not Version.SOAP_1_1)

    def ports(self, service: str = "", port: str = "") -> Sequence[Port]:
        """All SOAP ports of these names, at least one. Raises WsdlError."""
        found = [
            one
            for name, ports in self.services.items()
            for one in ports.values()
            if service in ("", name) and port in ("", one.name)
        ]
        if not found:
            names = ", ".join(f"{name}.{one}" for name, ports in self.services.items() for one in ports)
            raise WsdlError(f"there is no SOAP port {service or '*'}.{port or '*'}; there is {names or 'none'}")
        return found

    def operation(self, binding: _Node, port_type: str, style: str) -> Operation:
        """What a binding's operation and its port type make together. Raises WsdlError or XsdError."""
        abstract = self._abstract(binding, port_type)
        name = binding.element.get("name") or ""
        soap = binding.soap("operation")
        rpc = (style if soap is None else soap.element.get("style") or style) == "rpc"
        inputs, outputs = abstract.child(clark(WSDL, "input")), abstract.child(clark(WSDL, "output"))
        if inputs is None:
            raise abstract.error(f"{name}: only operations that begin with an input are served")
        bound_input, bound_output = binding.child(clark(WSDL, "input")), binding.child(clark(WSDL, "output"))
        request, encoded = self._message(inputs, bound_input, name, rpc)
        reply = None if outputs is None else self._message(outputs, bound_output, name + "Response", rpc)[0]
        failures, faults = self._faults(abstract)
        headers = frozenset(
            tag for bound in (bound_input, bound_output) if bound is not None for tag in self._headers(bound)
        )
        documentation = abstract.child(clark(WSDL, "documentation"))
        return Operation(
            name,
            Pattern.ONE_WAY if reply is None else Pattern.REQUEST_REPLY,
            request,
            reply,
            failures,
            doc="" if documentation is None else " ".join("".join(map(str, documentation.element.itertext())).split()),
            wire=SoapOperation(
                action="" if soap is None else soap.element.get("soapAction") or "",
                rpc=rpc,
                encoded=encoded,
                input=request.wire.tag,
                output="" if reply is None else reply.wire.tag,
                faults=faults,
                headers=headers,
            ),
        )

    @property
    def documents(self) -> Sequence[Path]:
        return (*self._documents, *self._schemas.files)

    def find(self, location: str, near: Path) -> Path | None:
        """The file that an import in the document `near` means."""
        return self._library.find(location, near)

    # Loading

    def _import(self, path: Path) -> None:
        self._documents.append(path)
        root = self._library.read(path)
        if root.tag != clark(WSDL, "definitions"):
            raise WsdlError(f"{path}: this is not a WSDL 1.1 document")
        here = _Node(root, path, root.get("targetNamespace") or "")
        for node in here.children(clark(WSDL, "import")):
            self._import_from(node)
        for types in here.children(clark(WSDL, "types")):
            for schema in types.children(clark(XSD, "schema")):
                self._schemas.add(schema.element, path)
        for kind in ("message", "portType", "binding", "service"):
            for node in here.children(clark(WSDL, kind)):
                self._globals[kind, clark(here.target, node.element.get("name") or "")] = node

    def _import_from(self, node: _Node) -> None:
        location = node.element.get("location") or ""
        path = self._library.find(location, node.file)
        if path is None:
            raise node.error(
                f"{location or 'nowhere'} is imported, which is not among the files; nothing is fetched: save it "
                "beside the WSDL or in an include folder"
            )
        if path in {known.resolve() for known in self._documents}:
            return
        if self._library.read(path).tag == clark(XSD, "schema"):
            self._schemas.add(self._library.read(path), path)
        else:
            self._import(path)

    def _services(self) -> dict[str, dict[str, Port]]:
        services: dict[str, dict[str, Port]] = {}
        for (kind, name), service in self._globals.items():
            if kind == "service":
                ports = services.setdefault(local_name(name), {})
                for node in service.children(clark(WSDL, "port")):
                    binding = self._global("binding", node.name("binding"), node)
                    if binding.soap("binding") is not None:
                        ports[node.element.get("name") or ""] = Port(self, local_name(name), node, binding)
        return services

    def _global(self, kind: str, name: str, near: _Node) -> _Node:
        node = self._globals.get((kind, name))
        if node is None:
            raise near.error(f"there is no {kind} {name}")
        return node

    # Operations

    def _abstract(self, binding: _Node, port_type: str) -> _Node:
        name = binding.element.get("name")
        operations = [
            one
            for one in self._global("portType", port_type, binding).children(clark(WSDL, "operation"))
            if one.element.get("name") == name
        ]
        if not operations:
            raise binding.error(f"the port type {local_name(port_type)} has no operation {name!r}")
        if len(operations) > 1:
            raise binding.error(f"the operation {name!r} is overloaded, which WS-I Basic Profile R2304 rules out")
        return operations[0]

    def _message(self, abstract: _Node, bound: _Node | None, wrapper: str, rpc: bool) -> tuple[Record, bool]:
        """(record of the body, whether it is encoded)."""
        message = self._global("message", abstract.name("message"), abstract)
        body = None if bound is None else self._body(bound)
        encoded = body is not None and body.element.get("use") == "encoded"
        chosen = None if body is None else body.element.get("parts")
        headers = {
            header.element.get("part")
            for header in ([] if bound is None else self._header_nodes(bound))
            if header.name("message") == abstract.name("message")
        }
        parts = [
            part
            for part in message.children(clark(WSDL, "part"))
            if (part.element.get("name") in chosen.split() if chosen is not None else True)
            and (chosen is not None or part.element.get("name") not in headers)
        ]
        if rpc:
            namespace = "" if body is None else body.element.get("namespace") or ""
            return self._rpc(wrapper, namespace or abstract.target, parts, encoded), encoded
        if encoded:
            raise abstract.error("document/encoded messages are not read; WS-I Basic Profile R2706 rules them out")
        if not parts:
            return Record(wrapper, wire=XmlRecord()), False
        if len(parts) > 1:
            raise message.error(
                "a document-style body has one part (WS-I Basic Profile R2201); bind the others to headers"
            )
        if not parts[0].element.get("element"):
            raise parts[0].error("a part of a document-style body names an element (WS-I Basic Profile R2204)")
        return self._element(parts[0]), False

    def _body(self, bound: _Node) -> _Node | None:
        body = bound.soap("body")
        if body is None and bound.child(clark("http://schemas.xmlsoap.org/wsdl/mime/", "multipartRelated")) is not None:
            raise bound.error("a MIME binding (SOAP with attachments) is not read")
        return body

    def _rpc(self, wrapper: str, namespace: str, parts: Sequence[_Node], encoded: bool) -> Record:
        fields: list[Field] = []
        for part in parts:
            name = part.element.get("name") or ""
            if not part.element.get("type"):
                raise part.error("a part of an rpc-style body names a type (WS-I Basic Profile R2203)")
            try:
                # Only the encoding has nil parts (WS-I Basic Profile R2211).
                fields.append(self._schemas.typed(name, part.name("type"), nillable=encoded))
            except KeyError:
                raise part.error(f"there is no type {part.element.get('type')!r}") from None
        return Record(wrapper, fields, wire=XmlRecord(tag=clark(namespace, wrapper), typed=encoded))

    def _element(self, part: _Node) -> Record:
        try:
            return self._schemas.message(part.name("element"))
        except KeyError:
            raise part.error(f"there is no element {part.element.get('element')!r}") from None

    def _faults(self, abstract: _Node) -> tuple[dict[str, Record], dict[str, str]]:
        failures: dict[str, Record] = {}
        faults: dict[str, str] = {}
        for fault in abstract.children(clark(WSDL, "fault")):
            message = self._global("message", fault.name("message"), fault)
            parts = list(message.children(clark(WSDL, "part")))
            if len(parts) != 1 or not parts[0].element.get("element"):
                raise message.error("a fault's message has one part, which names an element")
            record = self._element(parts[0])
            failures[record.name] = record
            faults[record.name] = record.wire.tag
        return failures, faults

    def _header_nodes(self, bound: _Node) -> list[_Node]:
        return [*bound.children(clark(SOAP11, "header")), *bound.children(clark(SOAP12, "header"))]

    def _headers(self, bound: _Node) -> Iterator[str]:
        for header in self._header_nodes(bound):
            message = self._global("message", header.name("message"), header)
            for part in message.children(clark(WSDL, "part")):
                if part.element.get("name") == header.element.get("part") and part.element.get("element"):
                    yield part.name("element")
