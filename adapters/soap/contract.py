"""What a SOAP endpoint speaks: its WSDL, and the Contract of each operation."""

import asyncio
from pathlib import Path

from adapters.soap.config import SoapEndpoint
from gateway.codecs.format import Unknown
from gateway.codecs.xml.format import SoapFormat
from gateway.net.network import Network
from gateway.port import Contract, ContractError
from gateway.schema.idl.xml.wsdl import Port, Version, Wsdl
from gateway.schema.idl.xml.xsd_library import XsdError
from gateway.schema.types import Operation

VERSIONS = {"1.1": Version.SOAP_1_1, "1.2": Version.SOAP_1_2}


async def load(endpoint: SoapEndpoint, network: Network) -> Wsdl:
    """Raises ContractError."""
    path = network.path(endpoint.wsdl)
    include = [network.path(folder) for folder in endpoint.include]
    try:
        return await asyncio.to_thread(_read, path, include)
    except XsdError as error:
        raise ContractError(str(error), field=("wsdl",)) from error


def _read(path: Path, include: list[Path]) -> Wsdl:
    return Wsdl(path, include)


def port_of(wsdl: Wsdl, endpoint: SoapEndpoint) -> Port:
    """The port that the endpoint means. Raises ContractError."""
    try:
        if endpoint.version is not None:
            wanted = VERSIONS[endpoint.version]
            for port in wsdl.ports(endpoint.service, endpoint.port):
                if port.version is wanted:
                    return wsdl.port(port.service, port.name)
        return wsdl.port(endpoint.service, endpoint.port)
    except XsdError as error:
        raise ContractError(str(error), field=("service",)) from error


def contract_of(port: Port, name: str, endpoint: SoapEndpoint, format_: SoapFormat) -> Contract:
    """Without claim and description, and as untrusting as towards a caller. Raises ContractError."""
    try:
        operation = port.operation(name)
    except XsdError as error:
        raise ContractError(str(error), field=("operation",)) from error
    return Contract(
        patterns=frozenset({operation.pattern}),
        format=format_,
        request=operation.request,
        reply=operation.reply,
        unknown=Unknown.REJECT,
        failure=operation.failure,
        failures=tuple(operation.failures),
        headers=endpoint.forwarded,
        wire=operation,
    )


def operation_of(contract: Contract) -> Operation:
    operation = contract.wire
    assert isinstance(operation, Operation)  # noqa: S101  contract_of() put it there
    return operation
