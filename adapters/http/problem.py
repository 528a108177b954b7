"""Failures as problem+json and back (RFC 9457)."""

from collections.abc import Mapping
from math import ceil
from typing import Any, Final

import msgspec

from adapters.http.status import TO_WIRE, code_of
from gateway.net.http_server import ENCODINGS, HttpReply, PayloadTooLarge, RequestTimeout, UnsupportedEncoding
from gateway.net.problem_json import PROBLEM_JSON, problem_json, title
from gateway.status import Code, Detail, Failure


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
    details = [
        {"type": detail.name, **detail.value}
        if isinstance(detail.value, Mapping)
        else {"type": detail.name, "value": msgspec.to_builtins(detail.value, str_keys=True)}
        for detail in failure.details
    ]
    return problem_json(status_of(failure), failure.code, failure.text, path=failure.path, details=details)


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
    name = problem.get("code")
    code = Code[name] if isinstance(name, str) and name in Code.__members__ else code_of(status)
    message = problem.get("detail") or problem.get("title") or problem.get("message")
    path = problem.get("path")
    text = message if isinstance(message, str) else f"the upstream answered {status} {title(status)}"
    path = path if isinstance(path, str) else ""
    details = [
        Detail(str(entry["type"]), {name: value for name, value in entry.items() if name != "type"})
        for entry in (problem.get("details") if isinstance(problem.get("details"), list) else ()) or ()
        if isinstance(entry, dict) and "type" in entry
    ]
    return Failure(
        Code.UNKNOWN if code is Code.OK else code,
        text.removesuffix(f" at {path}") if path else text,
        path=path,
        details=details,
        retry_after=float(retry_after) if retry_after.isdigit() else None,
    )
