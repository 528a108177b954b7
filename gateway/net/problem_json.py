"""Error bodies of HTTP: application/problem+json, RFC 9457."""

from http import HTTPStatus
from typing import Any, Final

import msgspec

from gateway.status import Code

PROBLEM_JSON: Final = "application/problem+json"

_encode = msgspec.json.Encoder(decimal_format="number").encode


def problem_json(status: int, code: Code, detail: str, **members: Any) -> bytes:
    """The body for this status; members without a value are left out. `type` stays about:blank (RFC 9457, 4.2.1)
    unless a member gives one."""
    problem: dict[str, Any] = {"title": title(status), "status": status, "detail": detail, "code": code.name}
    problem.update((name, value) for name, value in members.items() if value)
    return _encode(problem)


def title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
