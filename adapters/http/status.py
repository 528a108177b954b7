"""Codes as HTTP statuses and back. After google.rpc.Code's HTTP mapping; statuses by RFC 9110."""

from collections.abc import Mapping
from typing import Final

from gateway.net.http.status import HTTP_STATUS, code_of_status
from gateway.status import Code

TO_WIRE: Final = HTTP_STATUS

FROM_WIRE: Final[Mapping[int, Code]] = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    405: Code.UNIMPLEMENTED,
    406: Code.UNIMPLEMENTED,
    408: Code.DEADLINE_EXCEEDED,
    409: Code.ABORTED,
    410: Code.NOT_FOUND,
    412: Code.FAILED_PRECONDITION,
    413: Code.INVALID_ARGUMENT,
    415: Code.UNIMPLEMENTED,
    416: Code.OUT_OF_RANGE,
    422: Code.INVALID_ARGUMENT,
    428: Code.FAILED_PRECONDITION,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    500: Code.INTERNAL,
    501: Code.UNIMPLEMENTED,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}


def code_of(status: int) -> Code:
    """Total over HTTP statuses."""
    return code_of_status(status, FROM_WIRE)
