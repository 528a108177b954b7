"""Error replies over brokers that have none of their own.

A reply tells a failure by the header `gateway-status` with the code's name, and a body of application/problem+json with
`detail`, `code` and, where there are any, `path`, `details` and `retry_after` (seconds). A reply without that header is
a success.
"""

from contextlib import suppress
from typing import Any, Final

import msgspec

from gateway.net.problem_json import details_json, failure_of, problem_json
from gateway.status import Code, Failure

GATEWAY_STATUS: Final = "gateway-status"


def error_body(failure: Failure) -> bytes:
    """The body of an error reply."""
    return problem_json(
        None,
        failure.code,
        failure.text,
        path=failure.path,
        details=details_json(failure),
        retry_after=failure.retry_after,
    )


def told_failure(status: str, body: bytes) -> Failure:
    """What an upstream's error reply means."""
    problem: Any = None
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        problem = msgspec.json.decode(body)
    code = Code.__members__.get(status, Code.UNKNOWN)
    return failure_of(problem if isinstance(problem, dict) else {}, code, f"the upstream answered {code.name}")
