"""Failures as GraphQL errors and back (spec 7.1.7)."""

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from graphql import GraphQLError

from adapters.graphql.status import FROM_WIRE, TO_WIRE, VALIDATION_FAILED, code_of_status
from gateway.net.problem_json import details_json
from gateway.status import Code, Detail, Failure

MESSAGE: Final = 2000  # of text that came from elsewhere
# The engine tells only in words where in the variables a value doesn't fit.
_VARIABLE: Final = re.compile(r"Variable '\$(\w+)' has invalid value(?: at ([\w.\[\]]+))?:")

log = logging.getLogger("gateway.graphql")


class RequestError(Exception):
    """A request that is not executed.

    errors: GraphQL's. status: HTTP's, of a reply as application/graphql-response+json. well_formed: it was a GraphQL
    request at least, to which clients of application/json expect status 200.
    """

    def __init__(self, errors: Iterable[Mapping[str, Any]], status: int = 400, *, well_formed: bool = True) -> None:
        super().__init__(status)
        self.errors = [dict(error) for error in errors]
        self.status = status
        self.well_formed = well_formed


def error(message: str, code: str) -> dict[str, Any]:
    return {"message": message, "extensions": {"code": code}}


def error_of_failure(failure: Failure) -> dict[str, Any]:
    """Without a place in the document. status: the code in full, of which several share one `code`."""
    extensions: dict[str, Any] = {"code": TO_WIRE[failure.code], "status": failure.code.name}
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
        told = error("internal error", TO_WIRE[Code.INTERNAL])
    if found.locations:
        told["locations"] = [{"line": place.line, "column": place.column} for place in found.locations]
    if found.path:
        told["path"] = found.path
    return told


def request_error(found: Iterable[GraphQLError], code: str = VALIDATION_FAILED) -> RequestError:
    return RequestError([error_of(one, code) for one in found])


def failure_of(errors: Any, status: int = 200) -> Failure:
    """What a server's errors mean: the first of them, and how many more there are. status: HTTP's."""
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
        _code(extensions, status),
        text,
        path=path,
        details=list(_details(extensions.get("details"))),
        retry_after=float(retry) if isinstance(retry, int | float) and retry >= 0 else None,
    )


def _code(extensions: Mapping[str, Any], status: int) -> Code:
    for name in (extensions.get("status"), extensions.get("code")):
        code = FROM_WIRE.get(name) if isinstance(name, str) else None
        if code is not None:
            return code
    return code_of_status(status)


def _details(details: Any) -> Iterable[Detail]:
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and isinstance(detail.get("type"), str):
            yield Detail(detail["type"], {name: value for name, value in detail.items() if name != "type"})
