"""Codes as SOAP fault codes and back. SOAP 1.1, 4.4.1; SOAP 1.2 part 1, 5.4.6."""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from gateway.status import Code


class FaultCode(Enum):
    """(faultcode of SOAP 1.1, Code/Value of SOAP 1.2, HTTP status of SOAP 1.2). In 1.1 every fault is a 500."""

    SENDER = ("Client", "Sender", 400)
    RECEIVER = ("Server", "Receiver", 500)
    MUST_UNDERSTAND = ("MustUnderstand", "MustUnderstand", 500)
    VERSION_MISMATCH = ("VersionMismatch", "VersionMismatch", 500)


TO_WIRE: Final[Mapping[Code, FaultCode]] = {
    Code.OK: FaultCode.RECEIVER,  # a failure without a cause is ours
    Code.CANCELLED: FaultCode.RECEIVER,
    Code.UNKNOWN: FaultCode.RECEIVER,
    Code.INVALID_ARGUMENT: FaultCode.SENDER,
    Code.DEADLINE_EXCEEDED: FaultCode.RECEIVER,
    Code.NOT_FOUND: FaultCode.SENDER,
    Code.ALREADY_EXISTS: FaultCode.SENDER,
    Code.PERMISSION_DENIED: FaultCode.SENDER,
    Code.RESOURCE_EXHAUSTED: FaultCode.RECEIVER,
    Code.FAILED_PRECONDITION: FaultCode.SENDER,
    Code.ABORTED: FaultCode.SENDER,
    Code.OUT_OF_RANGE: FaultCode.SENDER,
    Code.UNIMPLEMENTED: FaultCode.SENDER,
    Code.INTERNAL: FaultCode.RECEIVER,
    Code.UNAVAILABLE: FaultCode.RECEIVER,
    Code.DATA_LOSS: FaultCode.RECEIVER,
    Code.UNAUTHENTICATED: FaultCode.SENDER,
}

FROM_WIRE: Final[Mapping[str, Code]] = {
    "Client": Code.INVALID_ARGUMENT,
    "Sender": Code.INVALID_ARGUMENT,
    "Server": Code.INTERNAL,
    "Receiver": Code.INTERNAL,
    "DataEncodingUnknown": Code.INVALID_ARGUMENT,
    "MustUnderstand": Code.UNIMPLEMENTED,
    "VersionMismatch": Code.UNIMPLEMENTED,
}
"""By local name; of a dotted code (Client.Authentication) the part before the dot."""


def code_of_fault(name: str) -> Code:
    """Total over fault codes."""
    return FROM_WIRE.get(name.partition(".")[0], Code.UNKNOWN)
