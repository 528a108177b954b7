"""What GraphQL services answer: the value that was asked for, or a Failure."""

import logging
from typing import Any, Final

import msgspec

from gateway.codecs.graphql.error import failure_of
from gateway.codecs.json.format import too_deep
from gateway.schema.idl.graphql.document import GraphqlCall
from gateway.status import Code, Failure

_NULL: Final = b"null"

log = logging.getLogger("gateway.graphql")


class Response(msgspec.Struct, frozen=True):
    """GraphQL's response (spec 7.1)."""

    data: dict[str, msgspec.Raw] | None = None
    errors: Any = None


_decode: Final = msgspec.json.Decoder(Response).decode


def read_response(body: bytes | msgspec.Raw) -> Response | None:
    """None where it is no GraphQL response."""
    try:
        if too_deep(bytes(body)):
            return None
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class Answer:
    """Takes one call's value out of responses.

    partial: take data although there are errors.
    """

    def __init__(self, call: GraphqlCall, *, partial: bool) -> None:
        self._key = call.root.name
        self._member = call.root.member
        self._prefix = b"{%b:" % msgspec.json.encode(call.root.name)
        self._partial = partial

    def value(self, response: Response, code: Code = Code.UNKNOWN) -> bytes:
        """The JSON that the operation's reply is read from. code: of errors without one. Raises Failure."""
        if response.errors:
            failure = failure_of(response.errors, code)
            if not self._partial or not self._usable(response):
                raise failure
            log.warning("the upstream sent data with errors: %s", failure)
        data = response.data
        if data is None:
            raise Failure(Code.INTERNAL, "the upstream's response has neither data nor errors")
        if not self._key:
            return msgspec.json.encode(data)
        found = data.get(self._key)
        if found is None:
            raise Failure(Code.INTERNAL, f"the upstream's data has no {self._key}")
        value = bytes(found)
        if self._member:
            return b"%b%b}" % (self._prefix, value)
        if value == _NULL:
            raise Failure(Code.NOT_FOUND, f"{self._key} is null")
        return value

    def _usable(self, response: Response) -> bool:
        if response.data is None:
            return False
        found = response.data.get(self._key)
        return not self._key or (found is not None and bytes(found) != _NULL)
