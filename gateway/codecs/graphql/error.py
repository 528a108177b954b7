"""Failures as GraphQL errors and back (spec 7.1.7). Codes stand in `extensions.code`, for which GraphQL has no table of
its own; these are the names in common use."""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from graphql import GraphQLError

from gateway.net.http.problem_json import details_json
from gateway.status import Code, Detail, Failure

PARSE_FAILED: Final = "GRAPHQL_PARSE_FAILED"
VALIDATION_FAILED: Final = "GRAPHQL_VALIDATION_FAILED"
LIMIT_EXCEEDED: Final = "LIMIT_EXCEEDED"
BAD_REQUEST: Final = "BAD_REQUEST"

TO_EXTENSION: Final[Mapping[Code, str]] = {
    Code.OK: "INTERNAL_SERVER_ERROR",  # a failure without a cause is ours
    Code.CANCELLED: "CANCELLED",
    Code.UNKNOWN: "INTERNAL_SERVER_ERROR",
    Code.INVALID_ARGUMENT: "BAD_USER_INPUT",
    Code.DEADLINE_EXCEEDED: "DEADLINE_EXCEEDED",
    Code.NOT_FOUND: "NOT_FOUND",
    Code.ALREADY_EXISTS: "CONFLICT",
    Code.PERMISSION_DENIED: "FORBIDDEN",
    Code.RESOURCE_EXHAUSTED: "RATE_LIMITED",
    Code.FAILED_PRECONDITION: "FAILED_PRECONDITION",
    Code.ABORTED: "CONFLICT",
    Code.OUT_OF_RANGE: "BAD_USER_INPUT",
    Code.UNIMPLEMENTED: "NOT_IMPLEMENTED",
    Code.INTERNAL: "INTERNAL_SERVER_ERROR",
    Code.UNAVAILABLE: "UNAVAILABLE",
    Code.DATA_LOSS: "INTERNAL_SERVER_ERROR",
    Code.UNAUTHENTICATED: "UNAUTHENTICATED",
}

FROM_EXTENSION: Final[Mapping[str, Code]] = {
    **{code.name: code for code in Code if code is not Code.OK},
    BAD_REQUEST: Code.INVALID_ARGUMENT,
    "BAD_USER_INPUT": Code.INVALID_ARGUMENT,
    LIMIT_EXCEEDED: Code.INVALID_ARGUMENT,
    "CONFLICT": Code.ABORTED,
    "FORBIDDEN": Code.PERMISSION_DENIED,
    "RATE_LIMITED": Code.RESOURCE_EXHAUSTED,
    "TOO_MANY_REQUESTS": Code.RESOURCE_EXHAUSTED,
    "NOT_IMPLEMENTED": Code.UNIMPLEMENTED,
    "INTERNAL_SERVER_ERROR": Code.INTERNAL,
    "DOWNSTREAM_SERVICE_ERROR": Code.UNAVAILABLE,
    "SERVICE_UNAVAILABLE": Code.UNAVAILABLE,
    "TIMEOUT": Code.DEADLINE_EXCEEDED,
    # The document is ours: that it does not fit the service's schema is no fault of the caller's.
    PARSE_FAILED: Code.INTERNAL,
    VALIDATION_FAILED: Code.INTERNAL,
    "OPERATION_RESOLUTION_FAILURE": Code.INTERNAL,
    "PERSISTED_QUERY_NOT_FOUND": Code.INTERNAL,
}

MESSAGE: Final = 2000  # of text that came from elsewhere
# The engine tells only in words where in the variables a value doesn't fit.
_VARIABLE: Final = re.compile(r"Variable '\$(\w+)' has invalid value(?: at ([\w.\[\]]+))?:")

log = logging.getLogger("gateway.graphql")


class RequestError(Failure):
    """A request that is not executed.

    errors: GraphQL's. well_formed: it was a GraphQL request at least.
    """

    def __init__(
        self, errors: Sequence[Mapping[str, Any]], code: Code = Code.INVALID_ARGUMENT, *, well_formed: bool = True
    ) -> None:
        super().__init__(code, errors[0]["message"] if errors else "the request is not executed", sent=False)
        self.errors = errors
        self.well_formed = well_formed


def error(message: str, code: str) -> dict[str, Any]:
    return {"message": message, "extensions": {"code": code}}


def malformed(message: str) -> RequestError:
    """What is no GraphQL request."""
    return RequestError([error(message, BAD_REQUEST)], well_formed=False)


def errors_of(failure: Failure) -> Sequence[Mapping[str, Any]]:
    """All that a failure says, without places in the document but those it has itself."""
    return failure.errors if isinstance(failure, RequestError) else [error_of_failure(failure)]


def error_of_failure(failure: Failure) -> dict[str, Any]:
    """Without a place in the document. status: the code in full, of which several share one `code`."""
    extensions: dict[str, Any] = {"code": TO_EXTENSION[failure.code], "status": failure.code.name}
    if failure.path:
        extensions["path"] = failure.path
    if failure.details:
        extensions["details"] = details_json(failure)
    if failure.retry_after is not None:
        extensions["retryAfter"] = failure.retry_after
    return {"message": failure.text, "extensions": extensions}


def error_of(found: GraphQLError, code: str) -> dict[str, Any]:
    """code: of errors that the engine found in the request."""
    original = found.original_error
    while isinstance(original, GraphQLError):
        original = original.original_error
    if isinstance(original, Failure):
        told = error_of_failure(original)
    elif original is None or isinstance(original, ValueError | TypeError):
        told = error(found.message[:MESSAGE], code)
        variable = _VARIABLE.match(found.message)
        if variable is not None:
            told["extensions"]["path"] = f"$.{variable[1]}{variable[2] or ''}"
    else:
        log.error("bug behind a GraphQL field", exc_info=original)
        told = error("internal error", TO_EXTENSION[Code.INTERNAL])
    if found.locations:
        told["locations"] = [{"line": place.line, "column": place.column} for place in found.locations]
    if found.path:
        told["path"] = found.path
    return told


def request_error(found: Iterable[GraphQLError], code: str = VALIDATION_FAILED) -> RequestError:
    return RequestError([error_of(one, code) for one in found])


def failure_of(errors: Any, code: Code = Code.UNKNOWN) -> Failure:
    """What a server's errors mean: the first of them, and how many more there are. code: of errors without one."""
    listed = [one for one in errors if isinstance(one, dict)] if isinstance(errors, list) else []
    if not listed:
        return Failure(Code.INTERNAL, "the upstream's errors are malformed")
    first = listed[0]
    extensions = first.get("extensions")
    extensions = extensions if isinstance(extensions, dict) else {}
    message = first.get("message")
    text = message[:MESSAGE] if isinstance(message, str) and message else "the upstream answered with an error"
    path = extensions.get("path")
    path = path if isinstance(path, str) and path.startswith("$") else ""
    if path:
        text = text.removesuffix(f" at {path}")  # as error_of_failure() tells it
    if len(listed) > 1:
        text += f" (and {len(listed) - 1} more errors)"
    retry = extensions.get("retryAfter")
    return Failure(
        _code(extensions, code),
        text,
        path=path,
        details=list(_details(extensions.get("details"))),
        retry_after=float(retry) if isinstance(retry, int | float) and retry >= 0 else None,
    )


def _code(extensions: Mapping[str, Any], otherwise: Code) -> Code:
    for name in (extensions.get("status"), extensions.get("code")):
        code = FROM_EXTENSION.get(name) if isinstance(name, str) else None
        if code is not None:
            return code
    return otherwise


def _details(details: Any) -> Iterable[Detail]:
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(detail.get("type"), str):
            yield Detail(detail["type"], {name: value for name, value in detail.items() if name != "type"})
