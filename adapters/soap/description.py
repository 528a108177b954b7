"""GET ?wsdl: the user's own WSDL, at the address that it was asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from lxml import etree

from gateway.net.http.problem import problem_reply
from gateway.net.http.server import HttpReply, HttpRequest, HttpServer
from gateway.schema.idl.xml.document import XSD, Element, parse_xml
from gateway.schema.idl.xml.wsdl import SOAP11, SOAP12, WSDL, Port, Wsdl
from gateway.status import Code, Failure

_XML: Final = (("Content-Type", "text/xml; charset=utf-8"),)
_LOCATIONS: Final = {
    f"{{{WSDL}}}import": "location",
    f"{{{XSD}}}import": "schemaLocation",
    f"{{{XSD}}}include": "schemaLocation",
}


class Description:
    """The documents of a WSDL by name; imports among them are rewritten to ?xsd=NAME."""

    def __init__(self, wsdl: Wsdl, port: Port, path: str, server: HttpServer) -> None:
        self._wsdl = wsdl
        self._service = port.service
        self._path = path
        self._server = server
        self._names = _names(wsdl.documents)

    async def answer(self, request: HttpRequest) -> HttpReply:
        name, _, value = request.query.partition("=")
        here = f"{self._server.scheme}://{request.host or self._server.listen}{self._path}"
        if name.lower() == "wsdl" and not value:
            return HttpReply(200, _XML, self._document(self._wsdl.documents[0], here))
        if name.lower() == "xsd":
            wanted = unquote(value)
            for path, known in self._names.items():
                if known == wanted:
                    return HttpReply(200, _XML, self._document(path, here))
        return problem_reply(Failure(Code.NOT_FOUND, "call this service with POST; its WSDL is at ?wsdl"))

    def _document(self, path: Path, here: str) -> bytes:
        root = parse_xml(path.read_bytes())
        for node in root.iter(*_LOCATIONS):
            attribute = _LOCATIONS[str(node.tag)]
            location = node.get(attribute)
            found = self._wsdl.find(location, path) if location else None
            if found is not None and found in self._names:
                node.set(attribute, f"{here}?xsd={quote(self._names[found], safe='')}")
        for service in root.iter(f"{{{WSDL}}}service"):
            if service.get("name") == self._service:
                _readdress(service, here)
        return etree.tostring(root, xml_declaration=True, encoding="utf-8")


def _readdress(service: Element, here: str) -> None:
    for address in service.iter(f"{{{SOAP11}}}address", f"{{{SOAP12}}}address"):
        address.set("location", here)


def _names(documents: Sequence[Path]) -> Mapping[Path, str]:
    """A name for each document, its file's where no other has that."""
    names: dict[Path, str] = {}
    for number, path in enumerate(documents):
        names[path.resolve()] = path.name if path.name not in names.values() else f"{number}-{path.name}"
    return names
