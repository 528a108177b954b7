"""SOAP requests as calls of routes."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec

from adapters.soap.config import SoapEndpoint, SoapSource
from adapters.soap.contract import contract_of, load, operation_of, port_of
from adapters.soap.description import Description
from adapters.soap.status import FaultCode
from adapters.soap.wire import (
    CONTENT_TYPE,
    MEDIA_TYPE,
    Envelope,
    SoapFault,
    envelope,
    fault,
    header_texts,
    not_understood,
    read_envelope,
)
from gateway.codecs.format import Encode
from gateway.codecs.xml.format import SoapFormat
from gateway.message import Context, Header, Message
from gateway.net.http.call import crossing
from gateway.net.http.failure import UnsupportedMediaType, headers_of, status_of
from gateway.net.http.media_type import parse_media_type
from gateway.net.http.mounted import Mounted
from gateway.net.http.router import PathTemplate
from gateway.net.http.server import HttpReply, HttpRequest, HttpRoute
from gateway.net.network import Network
from gateway.port import Binding, Contract, loaded
from gateway.schema.idl.xml.document import Element, XmlError, local_name, parse_xml
from gateway.schema.idl.xml.wsdl import Port, Version, Wsdl
from gateway.schema.types import Operation
from gateway.status import Code, Failure, invalid

_VERSIONS: Final = {media_type: version for version, media_type in MEDIA_TYPE.items()}


class SoapInbound(Mounted):
    """One service: a WSDL at one path of a shared HTTP server."""

    def __init__(self, name: str, endpoint: SoapEndpoint, network: Network) -> None:
        super().__init__(name, endpoint.listen, network, endpoint.tls)
        self._endpoint = endpoint
        self._format = SoapFormat()
        self._loaded: tuple[Wsdl, Port] | None = None

    async def load(self) -> None:
        await super().load()
        wsdl = await load(self._endpoint, self._network)
        self._loaded = wsdl, port_of(wsdl, self._endpoint)

    def contract(self, address: SoapSource) -> Contract:
        where = f"{self._endpoint.path} on {self._server.listen}"
        return replace(
            contract_of(loaded(self._loaded)[1], address.operation, self._endpoint, self._format),
            claim=f"SOAP operation {address.operation} at {where}",
            holds=(f"POST {where}", f"GET {where}"),
            describe=f"SOAP {address.operation} at {where}",
        )

    def bind(self, bindings: Sequence[Binding]) -> None:
        if not bindings:
            self._server.mount(self._name, [])
            return
        wsdl, port = loaded(self._loaded)
        path = PathTemplate(self._endpoint.path)
        service = _SoapService(bindings, port, self._format, self._endpoint)
        description = Description(wsdl, port, self._endpoint.path, self._server)
        self._server.mount(
            self._name,
            [HttpRoute("POST", path, service.answer), HttpRoute("GET", path, description.answer)],
        )


class _Served(msgspec.Struct, frozen=True):
    """A bound operation. details: writes the declared fault of this name."""

    operation: Operation
    call: Callable[[Message, Context], Awaitable[Message]]
    details: Mapping[str, Encode]
    headers: frozenset[str]
    encoded: bool


class _SoapService:
    """Finds the operation, calls its route, and answers in the envelope's version."""

    def __init__(self, bindings: Sequence[Binding], port: Port, format_: SoapFormat, endpoint: SoapEndpoint) -> None:
        self._limit = endpoint.max_message_bytes
        self._names = port.operations
        self._served = [_served(binding, format_) for binding in bindings]
        self._default = port.version
        self._known = frozenset(tag for one in self._served for tag in one.operation.wire.headers)

    async def answer(self, request: HttpRequest) -> HttpReply:
        version = self._default
        served: _Served | None = None
        try:
            version, action, charset = _media_type(request.headers)
            body = await request.body(self._limit)
            received = read_envelope(_parse(body, charset))
            version = received.version
            missing = not_understood(received.headers, version, self._known)
            if missing:
                names = ", ".join(map(local_name, missing))
                raise SoapFault(
                    FaultCode.MUST_UNDERSTAND,
                    Failure(Code.UNIMPLEMENTED, f"the header {names} must be understood and is not", sent=False),
                    missing,
                )
            served = self._find(received, action)
            reply = await served.call(
                Message(received.body if received.body is not None else b"", _headers(request, received, served)),
                request.context(),
            )
        except Failure as failure:
            return _failed(version, failure, served)
        headers = crossing(reply.headers)
        if reply.body is None:
            return HttpReply(202, headers)
        headers.append(("Content-Type", CONTENT_TYPE[version]))
        return HttpReply(200, headers, envelope(version, reply.body, encoded=served.encoded))

    def _find(self, received: Envelope, action: str) -> _Served:
        """By the body's element; where that is no operation's or several operations', by the action, which some
        clients get right with a wrapper in the wrong namespace; last by the wrapper's local name."""
        tag = "" if received.body is None else str(received.body.tag)
        named = [one for one in self._served if one.operation.wire.input == tag]
        if len(named) == 1:
            return named[0]
        acted = [one for one in named or self._served if action and one.operation.wire.action == action]
        local = local_name(tag)
        if acted and (named or not tag or local_name(acted[0].operation.wire.input) == local):
            return acted[0]
        for one in named or self._served:
            if local and local_name(one.operation.wire.input) == local:
                return one
        what = f"the body's element is {tag[:200]}" if tag else "the body is empty"
        names = ", ".join(one.operation.name for one in self._served)
        declared = f" {local} is declared and has no route;" if local in self._names else ""
        raise Failure(Code.UNIMPLEMENTED, f"no operation: {what};{declared} served are {names}", sent=False)


def _served(binding: Binding, format_: SoapFormat) -> _Served:
    operation = operation_of(binding.contract)
    return _Served(
        operation,
        binding.service.call,
        {name: format_.encoder(record) for name, record in operation.failures.items()},
        binding.headers,
        operation.wire.encoded,
    )


def _media_type(headers: Mapping[str, str]) -> tuple[Version, str, str]:
    """(version, action, charset) of the HTTP headers. SOAP 1.2 has its action in the content type (part 2, 6.5)."""
    given = headers.get("content-type", "")
    media_type, values = parse_media_type(given)
    version = _VERSIONS.get(media_type)
    if version is None:
        raise UnsupportedMediaType(given, list(_VERSIONS))
    action = values.get("action") or headers.get("soapaction", "").strip().strip('"')
    return version, action, values.get("charset", "")


def _parse(body: bytes, charset: str) -> Element:
    try:
        return parse_xml(body, charset)
    except XmlError as error:
        raise invalid(str(error)) from None


def _headers(request: HttpRequest, received: Envelope, served: _Served) -> list[Header]:
    if not served.headers:
        return []
    headers: list[Header] = list(header_texts(received.headers, served.headers))
    return headers + request.wanted(served.headers)


def _failed(version: Version, failure: Failure, served: _Served | None) -> HttpReply:
    status, body = fault(version, failure, _declared(failure, served))
    headers = [("Content-Type", CONTENT_TYPE[version]), *headers_of(failure)]
    return HttpReply(status_of(failure, otherwise=status), headers, body, failure)


def _declared(failure: Failure, served: _Served | None) -> str:
    """The detail of the operation's own fault, where the failure has one."""
    if served is None:
        return ""
    for detail in failure.details:
        write = served.details.get(detail.name)
        if write is not None and isinstance(detail.value, msgspec.Struct):
            try:
                text: str = write(detail.value)
            except Failure:
                continue  # the failure is told in our own form, which loses nothing
            return text
    return ""
