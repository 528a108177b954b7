"""Failures as JSON messages, {"error": {...}}, and back; members as in a problem of RFC 9457."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.status import Code, Detail, Failure

TO_WIRE: Final[Mapping[Code, str]] = {code: code.name for code in Code}
"""The `code` of an error message. TCP and UDP have no error codes themselves."""

FROM_WIRE: Final[Mapping[str, Code]] = {name: code for code, name in TO_WIRE.items() if code is not Code.OK}
"""What the `code` of a peer's error message means."""

_encode = msgspec.json.Encoder(decimal_format="number").encode


def error_json(failure: Failure) -> bytes:
    """The message that tells of a failure."""
    details = [
        {"type": detail.name, **detail.value}
        if isinstance(detail.value, Mapping)
        else {"type": detail.name, "value": msgspec.to_builtins(detail.value, str_keys=True)}
        for detail in failure.details
    ]
    members = {"path": failure.path, "retry_after": failure.retry_after, "details": details}
    problem: dict[str, Any] = {"code": TO_WIRE[failure.code], "detail": failure.text}
    problem.update((name, value) for name, value in members.items() if value)
    return _encode({"error": problem})


def failure_of(body: bytes) -> Failure | None:
    """The failure that a peer's message tells of, or None where it is no error message."""
    if b'"error"' not in body[:64]:
        return None
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    problem = parsed.get("error") if isinstance(parsed, dict) and len(parsed) == 1 else None
    if not isinstance(problem, dict):
        return None
    code = FROM_WIRE.get(str(problem.get("code")))
    if code is None:
        return None
    message, path, entries = (problem.get(name) for name in ("detail", "path", "details"))
    text = message if isinstance(message, str) else f"the upstream answered with {code.name}"
    path = path if isinstance(path, str) else ""
    retry_after = problem.get("retry_after")
    details = [
        Detail(str(entry["type"]), {name: value for name, value in entry.items() if name != "type"})
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and "type" in entry
    ]
    return Failure(
        code,
        text.removesuffix(f" at {path}") if path else text,
        path=path,
        details=details,
        retry_after=float(retry_after) if isinstance(retry_after, int | float) and retry_after >= 0 else None,
    )
