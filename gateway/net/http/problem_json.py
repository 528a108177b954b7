"""Failures as application/problem+json, RFC 9457, and back."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.status import Code, Detail, Failure

PROBLEM_JSON: Final = "application/problem+json"

_encode = msgspec.json.Encoder(decimal_format="number").encode


def problem_json(status: int | None, code: Code, detail: str, **members: Any) -> bytes:
    """The body for this status; members without a value are left out. `type` stays about:blank (RFC 9457, 4.2.1)
    unless a member gives one. status: HTTP's, or None in another protocol."""
    problem: dict[str, Any] = {} if status is None else {"title": title(status), "status": status}
    problem |= {"detail": detail, "code": code.name}
    problem.update((name, value) for name, value in members.items() if value)
    return _encode(problem)


def problem_of(failure: Failure) -> bytes:
    """The problem where there is no HTTP: all that a failure says, details as objects with their type's name."""
    return problem_json(
        None,
        failure.code,
        failure.text,
        path=failure.path,
        details=details_json(failure),
        retry_after=failure.retry_after,
    )


def title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def details_json(failure: Failure) -> list[dict[str, Any]]:
    """The member `details`: an object with its type's name for each."""
    return [
        {"type": detail.name, **detail.value}
        if isinstance(detail.value, Mapping)
        else {"type": detail.name, "value": msgspec.to_builtins(detail.value, str_keys=True)}
        for detail in failure.details
    ]


def failure_of(problem: Mapping[str, Any], code: Code, text: str) -> Failure:
    """The Failure that a problem tells. code, text: where it has none of its own."""
    name = problem.get("code")
    if isinstance(name, str) and name in Code.__members__:
        code = Code[name]
    message = problem.get("detail") or problem.get("title") or problem.get("message")
    path = problem.get("path")
    path = path if isinstance(path, str) else ""
    listed = problem.get("details")
    details = [
        Detail(str(entry["type"]), {name: value for name, value in entry.items() if name != "type"})
        for entry in (listed if isinstance(listed, list) else ())
        if isinstance(entry, dict) and "type" in entry
    ]
    text = message if isinstance(message, str) else text
    wait = problem.get("retry_after")
    return Failure(
        Code.UNKNOWN if code is Code.OK else code,
        text.removesuffix(f" at {path}") if path else text,
        path=path,
        details=details,
        retry_after=float(wait) if isinstance(wait, int | float) and wait >= 0 else None,
    )
