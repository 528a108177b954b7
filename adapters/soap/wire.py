"""SOAP envelopes and faults. Sans-io: parsed XML in, text out.

SOAP 1.1: https://www.w3.org/TR/2000/NOTE-SOAP-20000508/. SOAP 1.2: https://www.w3.org/TR/soap12-part1/.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from adapters.soap.status import TO_WIRE, FaultCode
from gateway.schema.idl.xml.document import Element, local_name, namespace_of
from gateway.schema.idl.xml.text import collapsed, escape
from gateway.schema.idl.xml.wsdl import Version
from gateway.status import Failure, invalid

FAILURE_NAMESPACE: Final = "urn:gateway:failure"
FAILURE: Final = f"{{{FAILURE_NAMESPACE}}}failure"
MAX_TEXT: Final = 1000
"""Characters of an upstream's fault that are passed on."""
ENCODING_STYLE: Final = "http://schemas.xmlsoap.org/soap/encoding/"

MEDIA_TYPE: Final[Mapping[Version, str]] = {
    Version.SOAP_1_1: "text/xml",
    Version.SOAP_1_2: "application/soap+xml",
}
CONTENT_TYPE: Final[Mapping[Version, str]] = {
    version: f"{media_type}; charset=utf-8" for version, media_type in MEDIA_TYPE.items()
}
_OPEN: Final[Mapping[Version, str]] = {
    version: f'<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="{version.value}">'
    for version in Version
}
_CLOSE: Final = "</soap:Body></soap:Envelope>"
_BY_NAMESPACE: Final = {version.value: version for version in Version}
_NEXT: Final = frozenset(
    {
        "",
        "http://schemas.xmlsoap.org/soap/actor/next",
        "http://www.w3.org/2003/05/soap-envelope/role/next",
        "http://www.w3.org/2003/05/soap-envelope/role/ultimateReceiver",
    }
)
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class SoapFault(Failure):
    """A failure of SOAP's own, with a fault code of its own and, for MustUnderstand, the headers that it is about."""

    def __init__(self, code: FaultCode, failure: Failure, headers: Sequence[str] = ()) -> None:
        super().__init__(failure.code, failure.message, path=failure.path, sent=False)
        self.fault_code = code
        self.headers = tuple(headers)


class Envelope(msgspec.Struct, frozen=True):
    """headers: the header blocks. body: the body's first child element, None in an empty body."""

    version: Version
    headers: Sequence[Element]
    body: Element | None


def read_envelope(root: Element) -> Envelope:
    """Raises Failure(INVALID_ARGUMENT) for what is no envelope, SoapFault for one of an unknown version."""
    if local_name(str(root.tag)) != "Envelope":
        raise invalid(f"a SOAP envelope is expected, this is {local_name(str(root.tag))}")
    namespace = namespace_of(str(root.tag))
    version = _BY_NAMESPACE.get(namespace)
    if version is None:
        raise SoapFault(
            FaultCode.VERSION_MISMATCH,
            invalid(f"the envelope's namespace {namespace[:100]!r} is neither SOAP 1.1 nor SOAP 1.2"),
        )
    header = root.find(f"{{{namespace}}}Header")
    body = root.find(f"{{{namespace}}}Body")
    if body is None:
        raise invalid("the SOAP envelope has no Body")
    return Envelope(version, () if header is None else list(header), body[0] if len(body) else None)


def envelope(version: Version, body: str, header: str = "", *, encoded: bool = False) -> bytes:
    """encoded: the body is of SOAP 1.1's encoding (section 5)."""
    style = f' soap:encodingStyle="{ENCODING_STYLE}"' if encoded and version is Version.SOAP_1_1 else ""
    head = f"<soap:Header>{header}</soap:Header>" if header else ""
    return f"{_OPEN[version]}{head}<soap:Body{style}>{body}{_CLOSE}".encode()


def not_understood(headers: Sequence[Element], version: Version, known: frozenset[str]) -> Sequence[str]:
    """Names of the blocks that the receiver must understand and does not (SOAP 1.1, 4.2.3; 1.2 part 1, 5.2.3)."""
    namespace = version.value
    missing = []
    for block in headers:
        must = block.get(f"{{{namespace}}}mustUnderstand")
        role = block.get(f"{{{namespace}}}actor") or block.get(f"{{{namespace}}}role") or ""
        if must in ("1", "true") and role in _NEXT and block.tag not in known:
            missing.append(str(block.tag))
    return missing


def header_texts(headers: Sequence[Element], wanted: frozenset[str]) -> list[tuple[str, str]]:
    """Header blocks with simple content, by local name in lower case."""
    return [
        (name, collapsed(block.text))
        for block in headers
        if (name := local_name(str(block.tag)).lower()) in wanted and not len(block) and block.text
    ]


def fault(version: Version, failure: Failure, detail: str = "") -> tuple[int, bytes]:
    """(HTTP status, envelope). detail: the declared fault's element; by default the failure in our own form."""
    code = failure.fault_code if isinstance(failure, SoapFault) else TO_WIRE[failure.code]
    name11, name12, status = code.value
    text = _clean(failure.text)
    detail = detail or _failure_detail(failure)
    if version is Version.SOAP_1_1:
        # Detail elements are about the body only (4.4): a fault about the envelope or its headers has none.
        inner = "" if isinstance(failure, SoapFault) else f"<detail>{detail}</detail>"
        return 500, envelope(
            version,
            f"<soap:Fault><faultcode>soap:{name11}</faultcode><faultstring>{text}</faultstring>{inner}</soap:Fault>",
        )
    headers = failure.headers if isinstance(failure, SoapFault) else ()
    return status, envelope(
        version,
        f'<soap:Fault><soap:Code><soap:Value>soap:{name12}</soap:Value><soap:Subcode xmlns:g="{FAILURE_NAMESPACE}">'
        f"<soap:Value>g:{failure.code.name}</soap:Value></soap:Subcode></soap:Code>"
        f'<soap:Reason><soap:Text xml:lang="en">{text}</soap:Text></soap:Reason>'
        f"<soap:Detail>{detail}</soap:Detail></soap:Fault>",
        "".join(_not_understood(header) for header in headers),
    )


def _not_understood(tag: str) -> str:
    return f'<soap:NotUnderstood xmlns:q="{escape(namespace_of(tag))}" qname="q:{escape(local_name(tag))}"/>'


def _failure_detail(failure: Failure) -> str:
    path = f"<gateway:path>{_clean(failure.path)}</gateway:path>" if failure.path else ""
    details = "".join(
        f'<gateway:detail type="{_clean(detail.name)}">{_json(detail.value)}</gateway:detail>'
        for detail in failure.details
    )
    return (
        f'<gateway:failure xmlns:gateway="{FAILURE_NAMESPACE}"><gateway:code>{failure.code.name}</gateway:code>'
        f"{path}<gateway:message>{_clean(failure.message)}</gateway:message>{details}</gateway:failure>"
    )


def _json(value: object) -> str:
    return _clean(msgspec.json.encode(value, enc_hook=str).decode())


def _clean(text: str) -> str:
    """Escaped; an error text must not fail for a character that XML can't carry."""
    return escape(_CONTROL.sub("\ufffd", text))


class Fault(msgspec.Struct, frozen=True):
    """A fault as it was received. code: local name of the fault code. details: the detail's child elements."""

    code: str
    text: str
    details: Sequence[Element]


def read_fault(body: Element) -> Fault | None:
    """The fault that the body's child is, or None where it is none."""
    tag = str(body.tag)
    version = _BY_NAMESPACE.get(namespace_of(tag))
    if version is None or local_name(tag) != "Fault":
        return None
    if version is Version.SOAP_1_1:
        code, text, detail = (body.find(name) for name in ("faultcode", "faultstring", "detail"))
    else:
        soap = f"{{{version.value}}}"
        code = body.find(f"{soap}Code/{soap}Value")
        text = body.find(f"{soap}Reason/{soap}Text")
        detail = body.find(f"{soap}Detail")
    name = _text(code).rpartition(":")[2]
    return Fault(name, _text(text), () if detail is None else list(detail))


def read_failure(detail: Element) -> tuple[str, str, str] | None:
    """(code, message, path) of a failure in our own form, as another gateway writes it; None where it is none."""
    if detail.tag != FAILURE:
        return None
    code, message, path = (_text(detail.find(f"{{{FAILURE_NAMESPACE}}}{name}")) for name in ("code", "message", "path"))
    return code, message, path


def _text(element: Element | None) -> str:
    return "" if element is None else collapsed("".join(map(str, element.itertext())))[:MAX_TEXT]
