"""Codes as `extensions.code` and back, and what HTTP statuses mean where there is no GraphQL."""

from collections.abc import Mapping
from typing import Final

from gateway.codecs.graphql.error import FROM_EXTENSION, TO_EXTENSION
from gateway.net.http import status as http_status
from gateway.status import Code

TO_WIRE: Final = TO_EXTENSION
FROM_WIRE: Final = FROM_EXTENSION

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
