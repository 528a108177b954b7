"""Replies over brokers that have no errors of their own.

A reply tells a failure by the header `gateway-status` with the code's name, and a body of application/problem+json with
`detail`, `code` and, where there are any, `path`, `details` and `retry_after` (seconds). A reply without that header is
a success.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

import msgspec

from gateway.message import MESSAGE_ID, Header, Message
from gateway.net.http.problem_json import PROBLEM_JSON, failure_of, problem_of
from gateway.status import Code, Failure

GATEWAY_STATUS: Final = "gateway-status"
CORRELATION_ID: Final = "correlation-id"

_OWN: Final = frozenset({GATEWAY_STATUS, CORRELATION_ID, MESSAGE_ID})


class Reply(msgspec.Struct, gc=False):
    """To be sent. message_id: the same however often it is sent."""

    body: bytes
    headers: Sequence[Header]
    message_id: str
    content_type: str


def reply_of(message: Message, content_type: str) -> Reply:
    """A route's reply."""
    headers = [header for header in message.headers if header[0] not in _OWN]
    return Reply(message.body or b"", headers, message_id(message.headers), content_type)


def error_reply(failure: Failure) -> Reply:
    return Reply(problem_of(failure), [(GATEWAY_STATUS, failure.code.name)], uuid4().hex, PROBLEM_JSON)


def message_of(body: bytes, headers: Sequence[Header], status: str, limit: int) -> Message:
    """An upstream's reply. Raises the Failure that it tells. status: its header gateway-status, or empty."""
    if len(body) > limit:
        raise Failure(Code.INTERNAL, f"the upstream's reply is larger than {limit} bytes")
    if status not in ("", Code.OK.name):
        raise _told_failure(status, body)
    return Message(body, headers)


def message_id(headers: Sequence[Header]) -> str:
    """The one that these headers give, or a new one."""
    for name, value in headers:
        if name == MESSAGE_ID and value:
            return value if isinstance(value, str) else value.decode(errors="replace")
    return uuid4().hex


def _told_failure(status: str, body: bytes) -> Failure:
    problem: Any = None
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        problem = msgspec.json.decode(body)
    code = Code.__members__.get(status, Code.UNKNOWN)
    return failure_of(problem if isinstance(problem, dict) else {}, code, f"the upstream answered {code.name}")
