"""SOAP: zeep as the client; as the server aiohttp with envelopes of lxml's, judged by libxml2's schema validator.

The caller speaks SOAP 1.1, the backend 1.2.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import zeep
from aiohttp import web
from lxml import etree
from zeep.exceptions import Fault
from zeep.plugins import Plugin

from gateway.pattern import Count, Pattern
from gateway.status import Code
from support.answers import answers, refuses
from support.peers import Case, Place, Record, RefusedError, Shape, names_out_of_stock
from support.ports import free_port
from support.specimen import DETAIL, Specimen
from support.specimen_json import Dialect
from support.specimen_xml import NAMESPACE, SCHEMA, beyond_zeep, fill, specimen_of, tag, zeep_arguments

WSDL: Final = Path(__file__).parents[2] / "schemas" / "specimen.wsdl"
SOAP11: Final = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP12: Final = "http://www.w3.org/2003/05/soap-envelope"
FAILURE: Final = "urn:gateway:failure"
_SENDER: Final = {Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION}
_LIMIT: Final = 4 * 1024 * 1024


class Caller:
    """A SOAP service per case, at a path of its own."""

    typed = True
    dialect: Dialect | None = Dialect.XSD
    tells_detail = True

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self._listen = f"127.0.0.1:{free_port()}"
        self._wire = _Wire()
        self._client = zeep.Client(str(WSDL), plugins=[self._wire])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.transport.session.close()

    def source(self, case: Case) -> Place:
        endpoint = {"protocol": "soap", "wsdl": str(WSDL), "listen": self._listen, "path": f"/{case.id}"}
        return f"soap-{case.id}", endpoint, {"operation": _operation(case)}

    async def call(self, case: Case, specimens: Sequence[Specimen]) -> list[Any]:
        (specimen,) = specimens
        service = self._client.create_service("{urn:test:specimen:wsdl}Soap11", self._url(case))
        self._wire.texts = beyond_zeep(specimen)
        arguments = zeep_arguments(specimen, zeep.xsd.Nil)
        try:
            found = await asyncio.to_thread(getattr(service, _operation(case)), **arguments)
        except Fault as fault:
            raise _refusal(fault) from fault
        if case.inbound.replies is Count.NONE:
            assert found is None
            return []
        return [self._reply(case)]

    async def misspeak(self, case: Case) -> None:
        operation = _operation(case)
        element = fill(etree.Element(tag(operation[0].lower() + operation[1:])), {"id": "", "small": "many"})
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"urn:test:specimen#{operation}"'}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self._url(case), data=_envelope(SOAP11, element), headers=headers) as response,
        ):
            assert response.status == 500
            fault = etree.fromstring(await response.read()).find(f"{{{SOAP11}}}Body/{{{SOAP11}}}Fault")
            assert fault is not None
            code, text, detail = (fault.find(name) for name in ("faultcode", "faultstring", "detail"))
            raise _refusal(Fault(text.text, code.text, detail=detail))

    def code(self, code: Code, case: Case, *, declared: bool) -> str:
        """Where the fault is not the declared one, its detail is the gateway's own, with the code."""
        name = "Client" if code in _SENDER else "Server"
        return name if declared and case.inbound is Pattern.REQUEST_REPLY else f"{name} {code.name}"

    def _url(self, case: Case) -> str:
        return f"http://{self._listen}/{case.id}"

    def _reply(self, case: Case) -> Any:
        """Of the reply's XML, because zeep cuts timestamps and durations off at microseconds."""
        element = self._wire.body
        SCHEMA.assertValid(element)
        match case.reply_shape:
            case Shape.SPECIMEN:
                return specimen_of(element)
            case Shape.BATCH:
                return [specimen_of(one) for one in element]
            case Shape.RECEIPT:
                texts = {etree.QName(child).localname: child.text or "" for child in element}
                return {name: int(text) if name in ("partition", "offset") else text for name, text in texts.items()}


def _operation(case: Case) -> str:
    if case.inbound is Pattern.ONE_WAY:
        return "Send"
    return {Shape.SPECIMEN: "Echo", Shape.BATCH: "Gather", Shape.RECEIPT: "Submit"}[case.reply_shape]


class _Wire(Plugin):
    """Sends what zeep can't, and keeps the reply as it came. texts: of elements, by name."""

    def __init__(self) -> None:
        self.texts: Mapping[str, str] = {}
        self.body: Any = None

    def egress(self, envelope: Any, http_headers: Any, operation: Any, binding_options: Any) -> Any:
        for name, text in self.texts.items():
            envelope.find(f".//{tag(name)}").text = text
        SCHEMA.assertValid(envelope.find(f"{{{SOAP11}}}Body")[0])
        return envelope, http_headers

    def ingress(self, envelope: Any, http_headers: Any, operation: Any) -> Any:
        self.body = etree.fromstring(etree.tostring(envelope.find(f"{{{SOAP11}}}Body")[0]))
        return envelope, http_headers


def _refusal(fault: Any) -> RefusedError:
    code, detail = fault.code.rpartition(":")[2], None
    for element in () if fault.detail is None else fault.detail:
        if element.tag == tag("outOfStock"):
            SCHEMA.assertValid(etree.fromstring(etree.tostring(element)))
            detail = {"sku": element[0].text, "available": int(element[1].text)}
        elif element.tag == f"{{{FAILURE}}}failure":
            code += f" {element.findtext(f'{{{FAILURE}}}code')}"
            for one in element.findall(f"{{{FAILURE}}}detail"):
                if names_out_of_stock(one.get("type")):
                    told = json.loads(one.text)
                    detail = {"sku": told["sku"], "available": int(told["available"])}
    return RefusedError(code, fault.message, detail)


def _envelope(version: str, *body: Any) -> bytes:
    envelope = etree.Element(f"{{{version}}}Envelope", nsmap={"e": version, "t": NAMESPACE})
    etree.SubElement(envelope, f"{{{version}}}Body").extend(body)
    return etree.tostring(envelope, xml_declaration=True, encoding="utf-8")


class Backend:
    typed = True
    dialect: Dialect | None = Dialect.XSD
    receipt: tuple[str, ...] = ()

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self.record = Record()
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=_LIMIT)
        application.router.add_post("/specimens", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def target(self, case: Case) -> Place:
        where = f"http://127.0.0.1:{self._port}/specimens"
        endpoint = {"protocol": "soap", "wsdl": str(WSDL), "target": where, "version": "1.2"}
        batch = case.request_shape is Shape.BATCH
        if case.outbound is Pattern.ONE_WAY:
            return "service", endpoint, {"operation": "SendAll" if batch else "Send"}
        return "service", endpoint, {"operation": "Fold" if batch else "Echo"}

    def refusal(self, case: Case) -> tuple[Code, bool]:
        """A one-way operation declares no faults, so the fault code is all that its client can understand."""
        declared = case.outbound is Pattern.REQUEST_REPLY
        return (Code.FAILED_PRECONDITION, True) if declared else (Code.INVALID_ARGUMENT, False)

    def receipts(self) -> list[Mapping[str, Any]]:
        return []

    async def _answer(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/soap+xml"
        envelope = etree.fromstring(await request.read())
        element = etree.fromstring(etree.tostring(envelope.find(f"{{{SOAP12}}}Body")[0]))
        SCHEMA.assertValid(element)
        name = etree.QName(element).localname
        batch = name in ("fold", "sendAll")
        message = [specimen_of(one) for one in element] if batch else specimen_of(element)
        self.record.add(message)
        if refuses([message]):
            return _fault()
        if name in ("send", "sendAll"):
            return web.Response(status=202)
        (reply,) = answers(Pattern.REQUEST_REPLY, [message])
        return _answered(200, fill(etree.Element(tag(f"{name}Response")), reply))


def _answered(status: int, element: Any) -> web.Response:
    return web.Response(status=status, body=_envelope(SOAP12, element), content_type="application/soap+xml")


def _fault() -> web.Response:
    soap = f"{{{SOAP12}}}"
    fault = etree.Element(f"{soap}Fault")
    etree.SubElement(etree.SubElement(fault, f"{soap}Code"), f"{soap}Value").text = "e:Sender"
    text = etree.SubElement(etree.SubElement(fault, f"{soap}Reason"), f"{soap}Text")
    text.set("{http://www.w3.org/XML/1998/namespace}lang", "en")
    text.text = "the shelf is empty"
    detail = etree.SubElement(etree.SubElement(fault, f"{soap}Detail"), tag("outOfStock"))
    for name, value in DETAIL.items():
        etree.SubElement(detail, tag(name)).text = str(value)
    return _answered(400, fault)
