"""Failures as problem+json and back (RFC 9457)."""

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

import msgspec

from adapters.http.status import TO_WIRE, code_of
from gateway.net.http_server import ENCODINGS, HttpReply, PayloadTooLarge, RequestTimeout, UnsupportedEncoding
from gateway.net.problem_json import PROBLEM_JSON, details_json, problem_json, title
from gateway.net.problem_json import failure_of as told
from gateway.status import Code, Failure


class UnsupportedMediaType(Failure):
    """A body in a format that the route does not read; HTTP has a status of its own for it (415)."""

    def __init__(self, given: str, expected: str) -> None:
        super().__init__(
            Code.INVALID_ARGUMENT, f"content type {given or 'none'} is not read here, {expected} is", sent=False
        )


_STATUS: Final[Mapping[type, int]] = {
    PayloadTooLarge: 413,
    UnsupportedMediaType: 415,
    UnsupportedEncoding: 415,
    RequestTimeout: 408,
}


def status_of(failure: Failure) -> int:
    # What went wrong while a stream of requests was read comes back through the route, as the cause of its own Failure.
    return _STATUS.get(type(failure)) or _STATUS.get(type(failure.__cause__)) or TO_WIRE[failure.code]


def body_of(failure: Failure) -> bytes:
    """The problem; details as a list of objects with their type's name."""
    return problem_json(
        status_of(failure), failure.code, failure.text, path=failure.path, details=details_json(failure)
    )


def reply_of(failure: Failure) -> HttpReply:
    headers = [("Content-Type", PROBLEM_JSON)]
    if failure.retry_after is not None:
        headers.append(("Retry-After", str(max(1, ceil(failure.retry_after)))))
    if isinstance(failure, UnsupportedEncoding):
        headers.append(("Accept-Encoding", ", ".join(ENCODINGS)))
    return HttpReply(status_of(failure), headers, body_of(failure))


def failure_of(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """What an upstream's error reply means. Its own words are passed on only where they are a problem+json's."""
    problem: dict[str, Any] = {}
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type in (PROBLEM_JSON, "application/json"):
        try:
            parsed = msgspec.json.decode(body)
            problem = parsed if isinstance(parsed, dict) else {}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            problem = {}
    return failure_of_problem(status, problem, headers.get("retry-after", ""))


def failure_of_problem(status: int, problem: Mapping[str, Any], retry_after: str = "") -> Failure:
    failure = told(problem, code_of(status), f"the upstream answered {status} {title(status)}")
    if retry_after.isdigit():
        failure.retry_after = float(retry_after)
    return failure
