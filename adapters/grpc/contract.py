"""What an endpoint's contract is read from, and the methods in it."""

from typing import Final

from adapters.grpc.config import Endpoint
from adapters.grpc.status import MAX_DETAILS, MAX_MESSAGE
from gateway.codecs.protobuf.format import ProtobufFormat
from gateway.codecs.protobuf.google_status import GoogleStatus
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Contract, ContractError
from gateway.schema.idl.proto.reader import ProtoError, ProtoSchema, compile_files, load_descriptor_set
from gateway.schema.names import suggestion

KINDS: Final = {
    Pattern.REQUEST_REPLY: "unary",
    Pattern.SERVER_STREAM: "server stream",
    Pattern.CLIENT_STREAM: "client stream",
    Pattern.BIDI: "bidirectional stream",
}


def read_files(endpoint: Endpoint, network: Network) -> ProtoSchema:
    """The contract of `proto` or `descriptor_set`. Raises ContractError."""
    if endpoint.descriptor_set:
        try:
            return ProtoSchema.load(load_descriptor_set(network.path(endpoint.descriptor_set)))
        except ProtoError as error:
            raise ContractError(f"{endpoint.descriptor_set}: {error}", field=["descriptor_set"]) from error
    try:
        include = [network.path(name) for name in endpoint.include]
        return ProtoSchema.load(compile_files([network.path(name) for name in endpoint.proto], include))
    except ProtoError as error:
        raise ContractError(str(error), field=["proto"]) from error


class ProtoContract:
    """A contract that is loaded: its types, its codec and that of its failures."""

    def __init__(self, schema: ProtoSchema) -> None:
        self.schema = schema
        self.format = ProtobufFormat(schema)
        self.status = GoogleStatus(schema, self.format, max_message=MAX_MESSAGE, max_details=MAX_DETAILS)

    def at(self, method: str, endpoint: Endpoint, address: str, *, claim: str = "") -> Contract:
        """What is spoken at a method. Raises ContractError, naming what the contract has instead."""
        operation = self.schema.schema.operations.get(method)
        if operation is None:
            raise ContractError(
                f"the contract has no method {method}",
                field=["method"],
                hint=suggestion(method, sorted(self.schema.schema.operations), 10),
            )
        return Contract(
            patterns=frozenset({operation.pattern}),
            format=self.format,
            request=operation.request,
            reply=operation.reply,
            unknown=endpoint.unknown,
            failure=self.schema.failure,
            headers=endpoint.forwarded,
            claim=claim,
            link=(lambda _: f"/{method}") if claim else None,
            describe=f"gRPC {KINDS[operation.pattern]} {method} at {address}",
            wire=operation,
        )
