"""Failures as TApplicationExceptions, and back.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-rpc.md, "Protocol exceptions".
"""

import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from gateway.codecs.format import Unknown
from gateway.codecs.thrift.format import Protocol, ThriftFormat
from gateway.codecs.thrift.message import Envelope, MessageType, write_message
from gateway.schema.idl.thrift.reader import ThriftField, ThriftKind, ThriftType
from gateway.schema.types import INT32, STRING, Field, Record
from gateway.schema.values import struct_of
from gateway.status import Code, Failure

MAX_TEXT: Final = 1000
"""Characters of an error's text, either way."""
_EXCEPTION: Final = Record(
    "TApplicationException",
    [
        Field("message", STRING, default="", wire=ThriftField(1, ThriftType(ThriftKind.STRING, STRING))),
        Field("type", INT32, default=0, wire=ThriftField(2, ThriftType(ThriftKind.I32, INT32))),
    ],
)
_FORMATS: Final = {protocol: ThriftFormat(protocol, None) for protocol in Protocol}
_WRITE_EXCEPTION: Final = {protocol: format_.encoder(_EXCEPTION) for protocol, format_ in _FORMATS.items()}
_READ_EXCEPTION: Final = {protocol: format_.decoder(_EXCEPTION, Unknown.DROP) for protocol, format_ in _FORMATS.items()}
_TOLD: Final = re.compile(r"([A-Z_]{2,}): (.*?)(?: at (\$\S*))?", re.DOTALL)


class ApplicationError(IntEnum):
    """The type of a TApplicationException."""

    UNKNOWN = 0
    UNKNOWN_METHOD = 1
    INVALID_MESSAGE_TYPE = 2
    WRONG_METHOD_NAME = 3
    BAD_SEQUENCE_ID = 4
    MISSING_RESULT = 5
    INTERNAL_ERROR = 6
    PROTOCOL_ERROR = 7
    INVALID_TRANSFORM = 8
    INVALID_PROTOCOL = 9
    UNSUPPORTED_CLIENT_TYPE = 10


TO_WIRE: Final[Mapping[Code, ApplicationError]] = {
    **dict.fromkeys(Code, ApplicationError.INTERNAL_ERROR),
    Code.INVALID_ARGUMENT: ApplicationError.PROTOCOL_ERROR,
    Code.UNIMPLEMENTED: ApplicationError.UNKNOWN_METHOD,
}

FROM_WIRE: Final[Mapping[ApplicationError, Code]] = {
    ApplicationError.UNKNOWN: Code.UNKNOWN,
    ApplicationError.UNKNOWN_METHOD: Code.UNIMPLEMENTED,
    ApplicationError.INVALID_MESSAGE_TYPE: Code.INTERNAL,
    ApplicationError.WRONG_METHOD_NAME: Code.INTERNAL,
    ApplicationError.BAD_SEQUENCE_ID: Code.INTERNAL,
    ApplicationError.MISSING_RESULT: Code.INTERNAL,
    ApplicationError.INTERNAL_ERROR: Code.INTERNAL,
    ApplicationError.PROTOCOL_ERROR: Code.INVALID_ARGUMENT,
    ApplicationError.INVALID_TRANSFORM: Code.UNIMPLEMENTED,
    ApplicationError.INVALID_PROTOCOL: Code.UNIMPLEMENTED,
    ApplicationError.UNSUPPORTED_CLIENT_TYPE: Code.UNIMPLEMENTED,
}


def told(failure: Failure) -> str:
    """The text of a TApplicationException: the types are few, so it begins with the code."""
    return f"{failure.code.name}: {failure.text}"[:MAX_TEXT]


def failure_of(type_: int, text: str) -> Failure:
    """The failure that a TApplicationException is; where it was told() by a gateway, the very same."""
    found = _TOLD.fullmatch(text)
    if found is not None and found[1] in Code.__members__ and found[1] != Code.OK.name:
        return Failure(Code[found[1]], found[2], path=found[3] or "")
    known = ApplicationError(type_) if type_ in list(ApplicationError) else ApplicationError.UNKNOWN
    return Failure(FROM_WIRE[known], text[:MAX_TEXT] or f"the upstream answered {known.name}")


def write_failure(protocol: Protocol, call: Envelope, failure: Failure) -> bytes:
    """The reply that is a TApplicationException."""
    text = told(failure).encode(errors="replace").decode()
    value = struct_of(_EXCEPTION)(message=text, type=int(TO_WIRE[failure.code]))
    body = _WRITE_EXCEPTION[protocol](value)
    return write_message(protocol, Envelope(call.name, MessageType.EXCEPTION, call.seqid, body, call.strict))


def read_failure(protocol: Protocol, body: bytes) -> Failure:
    """The failure that a TApplicationException is."""
    try:
        value = _READ_EXCEPTION[protocol](body)
    except Failure:
        return Failure(Code.INTERNAL, "the upstream answered with a malformed exception")
    return failure_of(value.type, value.message)
