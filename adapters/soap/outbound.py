"""Calls of routes as SOAP requests."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from adapters.soap.config import SoapEndpoint, SoapTarget
from adapters.soap.contract import VERSIONS, contract_of, load, operation_of, port_of
from adapters.soap.security import username_token
from adapters.soap.status import code_of_fault
from adapters.soap.wire import CONTENT_TYPE, Fault, envelope, read_envelope, read_failure, read_fault
from gateway.codecs.format import Decode, Unknown
from gateway.codecs.xml.format import SoapFormat
from gateway.message import Context, Message
from gateway.net.deadlines import remaining
from gateway.net.http.call import reply_headers, request_headers
from gateway.net.http.client import HttpAnswer, HttpClient
from gateway.net.http.failure import retry_after
from gateway.net.http.media_type import parse_media_type
from gateway.net.http.status import code_of_carrier
from gateway.net.http.targeted import Targeted
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Contract, Service, UnaryService, loaded
from gateway.schema.idl.xml.document import Element, XmlError, local_name, parse_xml
from gateway.schema.idl.xml.wsdl import Port, Version
from gateway.status import Code, Detail, Failure


class SoapOutbound(Targeted[HttpClient]):
    """One SOAP service."""

    def __init__(self, name: str, endpoint: SoapEndpoint, network: Network) -> None:
        super().__init__(endpoint.target, HttpClient(endpoint.max_message_bytes), network, endpoint.tls)
        self._endpoint = endpoint
        self._format = SoapFormat()
        self._port: Port | None = None

    async def load(self) -> None:
        await super().load()
        self._port = port_of(await load(self._endpoint, self._network), self._endpoint)

    def contract(self, address: SoapTarget) -> Contract:
        port = loaded(self._port)
        version = self._version(port)
        shown = "1.1" if version is Version.SOAP_1_1 else "1.2"
        return replace(
            contract_of(port, address.operation, self._endpoint, self._format),
            unknown=Unknown.DROP,
            describe=f"SOAP {shown} {address.operation} at {self._target}",
        )

    def service(self, address: SoapTarget, contract: Contract, pattern: Pattern) -> Service:
        return _SoapCall(self._client, self._target, self._version(loaded(self._port)), contract, self._endpoint)

    def _version(self, port: Port) -> Version:
        return port.version if self._endpoint.version is None else VERSIONS[self._endpoint.version]


class _SoapCall(UnaryService):
    """One operation of the service."""

    def __init__(
        self, client: HttpClient, target: str, version: Version, contract: Contract, endpoint: SoapEndpoint
    ) -> None:
        operation = operation_of(contract)
        self._client = client
        self._target = target
        self._version = version
        self._output: str | None = None if operation.reply is None else operation.wire.output
        self._encoded: bool = operation.wire.encoded
        self._wanted = tuple(contract.headers)
        self._faults: Mapping[str, tuple[str, Decode]] = {
            operation.wire.faults[name]: (name, contract.format.decoder(record, Unknown.DROP))
            for name, record in operation.failures.items()
        }
        self._headers = _static_headers(version, operation.wire.action)
        self._security: Callable[[], str] = lambda: ""
        if endpoint.username:
            password = endpoint.password.get_secret_value()
            self._security = lambda: username_token(endpoint.username, password, digest=endpoint.password_digest)

    async def call(self, request: Message, context: Context) -> Message:
        headers = request_headers(self._headers, request, context)
        body = envelope(self._version, request.body, self._security(), encoded=self._encoded)
        answer = await self._client.request("POST", self._target, headers, body, remaining(context))
        return self._reply(answer)

    def _reply(self, answer: HttpAnswer) -> Message:
        headers = reply_headers(answer.headers, self._wanted)
        body = self._body(answer)
        if self._output is None:
            return Message(None, headers)
        if self._output and (body is None or local_name(str(body.tag)) != local_name(self._output)):
            found = "an empty body" if body is None else local_name(str(body.tag))[:100]
            raise Failure(Code.INTERNAL, f"the upstream answered with {found}, not {local_name(self._output)}")
        return Message(b"" if body is None else body, headers)

    def _body(self, answer: HttpAnswer) -> Element | None:
        """The body's element. Raises Failure for a fault and for what is no SOAP."""
        good = 200 <= answer.status < 300
        if good and self._output is None and not answer.body.strip():
            return None
        try:
            _, parameters = parse_media_type(answer.headers.get("content-type", ""))
            received = read_envelope(parse_xml(answer.body, parameters.get("charset", "")))
        except (XmlError, Failure) as error:
            if not good:
                raise _without_envelope(answer) from None
            raise Failure(Code.INTERNAL, f"the upstream's answer is not SOAP: {_sentence(error)}") from None
        fault = None if received.body is None else read_fault(received.body)
        if fault is not None:
            raise self._failure(fault, answer)
        if not good:
            raise _without_envelope(answer)
        return received.body

    def _failure(self, fault: Fault, answer: HttpAnswer) -> Failure:
        message = fault.text or f"the upstream answered with the fault {fault.code[:100]}"
        for element in fault.details:
            declared = self._faults.get(str(element.tag))
            if declared is not None:
                name, decode = declared
                try:
                    detail = Detail(name, decode(element))
                except Failure as misfit:
                    return Failure(Code.INTERNAL, f"the upstream's fault {name} is not as declared: {misfit.message}")
                # A declared fault is a verdict of the business, whoever the fault code blames.
                return Failure(Code.FAILED_PRECONDITION, message, details=[detail])
            own = read_failure(element)
            if own is not None and own[0] in Code.__members__ and own[0] != Code.OK.name:
                return Failure(Code[own[0]], own[1] or message, path=own[2], retry_after=retry_after(answer.headers))
        return Failure(code_of_fault(fault.code), message, retry_after=retry_after(answer.headers))


def _static_headers(version: Version, action: str) -> tuple[tuple[str, str], ...]:
    if version is Version.SOAP_1_1:
        return (("Content-Type", CONTENT_TYPE[version]), ("Accept", "text/xml"), ("SOAPAction", f'"{action}"'))
    content = CONTENT_TYPE[version] + (f'; action="{action}"' if action else "")
    return (("Content-Type", content), ("Accept", "application/soap+xml"))


def _without_envelope(answer: HttpAnswer) -> Failure:
    code = code_of_carrier(answer.status)
    return Failure(code, f"the upstream answered {answer.status} without SOAP", retry_after=retry_after(answer.headers))


def _sentence(error: Any) -> str:
    return error.message if isinstance(error, Failure) else str(error)
