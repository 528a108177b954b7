"""Failures as replies with problem+json (RFC 9457), and an upstream's error replies as failures."""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.net.http.failure import headers_of, retry_after, status_of
from gateway.net.http.media_type import JSON, parse_media_type
from gateway.net.http.problem_json import PROBLEM_JSON, details_json, failure_of, problem_json, title
from gateway.net.http.server import HttpReply
from gateway.status import Code, Failure


def problem_of(failure: Failure) -> bytes:
    """The problem; details as a list of objects with their type's name."""
    return problem_json(
        status_of(failure), failure.code, failure.text, path=failure.path, details=details_json(failure)
    )


def problem_reply(failure: Failure) -> HttpReply:
    headers = [("Content-Type", PROBLEM_JSON), *headers_of(failure)]
    return HttpReply(status_of(failure), headers, problem_of(failure), failure)


def told_problem(body: bytes) -> Mapping[str, Any]:
    """The members of a problem, or of what stands in its place; empty where it is none."""
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return parsed if isinstance(parsed, dict) else {}


def answered_failure(status: int, headers: Mapping[str, str], body: bytes, code: Code, words: str = "") -> Failure:
    """What an upstream's error reply means. Its own words are passed on only where they are a problem's.

    code: where the problem has none of its own. words: what else to say of the reply.
    """
    media_type, _ = parse_media_type(headers.get("content-type", ""))
    problem = told_problem(body) if media_type in (PROBLEM_JSON, JSON) else {}
    failure = failure_of(problem, code, f"the upstream answered {status} {words or title(status)}")
    wait = retry_after(headers)
    if wait is not None:
        failure.retry_after = wait
    return failure
