"""Errors as messages among JSON messages, where nothing but the message itself can tell them."""

from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.net.http.problem_json import failure_of, problem_of
from gateway.status import Code, Failure

_ERROR: Final = b"error"
_HEAD: Final = 512
"""Bytes of a message that an error's member begins in, even after an id."""


def error_message(failure: Failure) -> bytes:
    """{"error": problem}. The problem has the members that RFC 9457 has without HTTP."""
    return b'{"error":%b}' % problem_of(failure)


def told_failure(body: bytes, field: str = "", *, own: bool = False) -> Failure | None:
    """The failure that a message tells, where it is no other message.

    It is one when it has an object `error` and no members besides but `field`, the id, and JSON-RPC's version.
    own: its `code` must be one of Code, as error_message() writes it.
    """
    if _ERROR not in body[:_HEAD]:
        return None
    try:
        message = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    problem = message.get("error") if isinstance(message, dict) else None
    if not isinstance(problem, Mapping) or not message.keys() <= {"error", field, "jsonrpc"}:
        return None
    if own and Code.__members__.get(str(problem.get("code"))) in (None, Code.OK):
        return None
    return failure_of(problem, Code.UNKNOWN, "the upstream answered with an error")
