"""Codes as types of TApplicationException, and back.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-rpc.md, "Protocol exceptions".
"""

import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from gateway.status import Code, Failure

MAX_TEXT: Final = 1000
"""Characters of an error's text, either way."""
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

FROM_HTTP: Final[Mapping[int, Code]] = {
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    405: Code.UNIMPLEMENTED,
    408: Code.DEADLINE_EXCEEDED,
    412: Code.FAILED_PRECONDITION,
    413: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
"""For answers that bear no Thrift message; other statuses are INTERNAL."""


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
