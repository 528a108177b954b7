"""What a Thrift endpoint speaks: its IDL, and the Contract of each function."""

import asyncio

import msgspec

from adapters.thrift.config import ThriftEndpoint, ThriftSource, ThriftTarget
from gateway.codecs.thrift.format import Protocol, ThriftFormat
from gateway.net.network import Network
from gateway.port import Contract, ContractError
from gateway.schema.idl.thrift.document import ThriftError
from gateway.schema.idl.thrift.reader import ThriftField, ThriftFunction, ThriftSchema
from gateway.schema.types import Operation, Record


class Throw(msgspec.Struct, frozen=True):
    """A declared exception: the result's field that it is, in a Format of its own."""

    name: str
    record: Record
    format: ThriftFormat


class Function(msgspec.Struct, frozen=True):
    """Contract.wire. name: as it is called. throws: by the id of the result's field."""

    name: str
    service: str
    oneway: bool
    void: bool
    throws: dict[int, Throw]


async def load(endpoint: ThriftEndpoint, network: Network) -> ThriftSchema:
    """Raises ContractError."""
    path = network.path(endpoint.thrift)
    include = [network.path(folder) for folder in endpoint.include]
    try:
        return await asyncio.to_thread(ThriftSchema.load, path, include)
    except ThriftError as error:
        raise ContractError(str(error), field=("thrift",)) from error


def service_of(schema: ThriftSchema, endpoint: ThriftEndpoint) -> str:
    """The service that calls without one are of. Raises ContractError."""
    services = schema.services
    if endpoint.service:
        if endpoint.service not in services:
            raise ContractError(
                f"{endpoint.thrift} has no service {endpoint.service!r}",
                field=("service",),
                hint=f"it has {', '.join(services) or 'none'}",
            )
        return endpoint.service
    if len(services) != 1:
        found = f"the services {', '.join(services)}" if services else "no service"
        raise ContractError(f"{endpoint.thrift} has {found}: name one", field=("service",))
    return services[0]


def contract_of(
    schema: ThriftSchema, endpoint: ThriftEndpoint, address: ThriftSource | ThriftTarget, where: str
) -> Contract:
    """Without the claim. Raises ContractError."""
    default = service_of(schema, endpoint)
    service = address.service or default
    if service != default and not endpoint.multiplexed:
        raise ContractError(
            f"only one service is at this endpoint, {default}", field=("service",), hint="give it multiplexed: true"
        )
    try:
        operation = schema.operation(service, address.function)
    except ThriftError as error:
        raise ContractError(str(error), field=("service" if address.service else "function",)) from error
    wire: ThriftFunction = operation.wire
    protocol = Protocol(endpoint.encoding)
    format_ = ThriftFormat(protocol, wire.argument)
    _check(format_, operation, address.function)
    return Contract(
        patterns=frozenset({operation.pattern}),
        format=format_,
        reply_format=ThriftFormat(protocol, wire.result),
        request=operation.request,
        reply=operation.reply,
        unknown=endpoint.unknown,
        failure=operation.failure,
        failures=tuple(operation.failures),
        headers=endpoint.forwarded,
        describe=f"Thrift {service}.{address.function} ({endpoint.encoding}, {endpoint.transport}) at {where}",
        wire=_function(operation, wire, protocol),
    )


def function_of(contract: Contract) -> Function:
    function = contract.wire
    assert isinstance(function, Function)  # noqa: S101  contract_of() put it there
    return function


def _check(format_: ThriftFormat, operation: Operation, name: str) -> None:
    for type_ in (operation.request, operation.reply, *operation.failures.values()):
        refusal = format_.refusal(type_) if isinstance(type_, Record) else ""
        if refusal:
            raise ContractError(
                f"{name} can't be called so: {refusal}", field=("function",), hint="use binary or compact"
            )


def _function(operation: Operation, wire: ThriftFunction, protocol: Protocol) -> Function:
    def throw(name: str, field: ThriftField) -> Throw:
        return Throw(name, operation.failures[name], ThriftFormat(protocol, field))

    reply = operation.reply
    return Function(
        wire.name,
        wire.service,
        reply is None,
        wire.result is None and isinstance(reply, Record) and not reply.fields,
        {field.id: throw(name, field) for name, field in wire.throws.items()},
    )
