"""Codes as HTTP statuses: google.rpc.Code's HTTP mapping, statuses by RFC 9110. What a status of an upstream means
differs with the protocol above HTTP (404 is a missing resource or a missing method), so each adapter has that table."""

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


def code_of_status(status: int, known: Mapping[int, Code]) -> Code:
    """By the protocol's own table, and by the status' class where that is silent; total over HTTP statuses."""
    code = known.get(status)
    if code is not None:
        return code
    if 400 <= status < 500:
        return Code.INVALID_ARGUMENT
    return Code.INTERNAL if status >= 500 else Code.UNKNOWN
