"""Codes at the HTTP front, and what the answers of webhooks' receivers mean.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/http-webhook.md, 2.2: 410 and 415 are final, 429 asks for
less. A refusal that an operator may mend (401, 403, 404) is worth some tries, and so is what says nothing.
"""

from collections.abc import Mapping
from typing import Final

from gateway.net.http.failure import retry_after
from gateway.net.http.status import HTTP_STATUS
from gateway.status import Code, Failure

TO_WIRE: Final = HTTP_STATUS

FROM_WIRE: Final[Mapping[int, Code]] = {
    400: Code.INVALID_ARGUMENT,
    408: Code.DEADLINE_EXCEEDED,
    410: Code.NOT_FOUND,
    413: Code.INVALID_ARGUMENT,
    415: Code.INVALID_ARGUMENT,
    422: Code.INVALID_ARGUMENT,
    425: Code.UNAVAILABLE,
    429: Code.RESOURCE_EXHAUSTED,
    500: Code.INTERNAL,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.UNAVAILABLE,
}


def refusal(status: int, headers: Mapping[str, str]) -> Failure | None:
    """Why a receiver did not take an event; None where it did."""
    if 200 <= status < 300:
        return None
    code = FROM_WIRE.get(status, Code.UNKNOWN)
    return Failure(code, f"the receiver answered {status}", retry_after=retry_after(headers))
