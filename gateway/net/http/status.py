"""Codes as HTTP statuses: google.rpc.Code's HTTP mapping, statuses by RFC 9110; and what a status of an upstream means
where HTTP only carries another protocol. Where HTTP is all that is spoken, a status may mean something else (404 is a
missing resource there, not a missing method), so those adapters have tables of their own."""

from collections.abc import Mapping
from typing import Final

from gateway.status import Code

HTTP_STATUS: Final[Mapping[Code, int]] = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}


_CARRIED: Final[Mapping[int, Code]] = {
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    405: Code.UNIMPLEMENTED,
    406: Code.UNIMPLEMENTED,
    408: Code.DEADLINE_EXCEEDED,
    412: Code.FAILED_PRECONDITION,
    415: Code.UNIMPLEMENTED,
    429: Code.RESOURCE_EXHAUSTED,
    501: Code.UNIMPLEMENTED,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}


def code_of_carrier(status: int) -> Code:
    """Of an answer that does not speak the protocol which HTTP carries at this URL: nobody who does was reached, so 404
    is no verdict on the request's data. Total over HTTP statuses."""
    return code_of_status(status, _CARRIED)


def code_of_status(status: int, known: Mapping[int, Code]) -> Code:
    """By the protocol's own table, and by the status' class where that is silent; total over HTTP statuses."""
    code = known.get(status)
    if code is not None:
        return code
    if 400 <= status < 500:
        return Code.INVALID_ARGUMENT
    return Code.INTERNAL if status >= 500 else Code.UNKNOWN
