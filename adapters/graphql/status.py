"""Codes as `extensions.code` and back. GraphQL has no table of its own; these are the names in common use."""

from collections.abc import Mapping
from typing import Final

from gateway.net import http_status
from gateway.status import Code

PARSE_FAILED: Final = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED: Final = "GRAPHQL_VALIDATION_FAILED"
LIMIT_EXCEEDED: Final = "LIMIT_EXCEEDED"
BAD_REQUEST: Final = "BAD_REQUEST"

TO_WIRE: Final[Mapping[Code, str]] = {
    Code.OK: "INTERNAL_SERVER_ERROR",  # a failure without a cause is ours
    Code.CANCELLED: "CANCELLED",
    Code.UNKNOWN: "INTERNAL_SERVER_ERROR",
    Code.INVALID_ARGUMENT: "BAD_USER_INPUT",
    Code.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    Code.NOT_FOUND: "NOT_FOUND",
    Code.ALREADY_EXISTS: "CONFLICT",
    Code.PERMISSION_DENIED: "FORBIDDEN",
    Code.RESOURCE_EXHAUSTED: "RATE_LIMITED",
    Code.FAILED_PRECONDITION: "FAILED_PRECONDITION",
    Code.ABORTED: "CONFLICT",
    Code.OUT_OF_RANGE: "BAD_USER_INPUT",
    Code.UNIMPLEMENTED: "NOT_IMPLEMENTED",
    Code.INTERNAL: "INTERNAL_SERVER_ERROR",
    Code.UNAVAILABLE: "UNAVAILABLE",
    Code.DATA_LOSS: "INTERNAL_SERVER_ERROR",
    Code.UNAUTHENTICATED: "UNAUTHENTICATED",
}

FROM_WIRE: Final[Mapping[str, Code]] = {
    **{code.name: code for code in Code if code is not Code.OK},
    BAD_REQUEST: Code.INVALID_ARGUMENT,
    "BAD_USER_INPUT": Code.INVALID_ARGUMENT,
    LIMIT_EXCEEDED: Code.INVALID_ARGUMENT,
    "CONFLICT": Code.ABORTED,
    "FORBIDDEN": Code.PERMISSION_DENIED,
    "RATE_LIMITED": Code.RESOURCE_EXHAUSTED,
    "TOO_MANY_REQUESTS": Code.RESOURCE_EXHAUSTED,
    "NOT_IMPLEMENTED": Code.UNIMPLEMENTED,
    "INTERNAL_SERVER_ERROR": Code.INTERNAL,
    "DOWNSTREAM_SERVICE_ERROR": Code.UNAVAILABLE,
    "SERVICE_UNAVAILABLE": Code.UNAVAILABLE,
    "TIMEOUT": Code.DEADLINE_EXCEEDED,
    # The document is ours: that it does not fit the service's schema is no fault of the caller's.
    PARSE_FAILED: Code.INTERNAL,
    VALIDATION_FAILED: Code.INTERNAL,
    "OPERATION_RESOLUTION_FAILURE": Code.INTERNAL,
    "PERSISTED_QUERY_NOT_FOUND": Code.INTERNAL,
}

FROM_HTTP: Final[Mapping[int, Code]] = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.UNIMPLEMENTED,
    405: Code.UNIMPLEMENTED,
    406: Code.UNIMPLEMENTED,
    408: Code.DEADLINE_EXCEEDED,
    413: Code.INVALID_ARGUMENT,
    415: Code.UNIMPLEMENTED,
    422: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
    501: Code.UNIMPLEMENTED,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}
"""Of answers without GraphQL, and of errors without a code: 404 is no verdict on the request's data."""


def code_of_status(status: int) -> Code:
    """Total over HTTP statuses."""
    return http_status.code_of_status(status, FROM_HTTP)
