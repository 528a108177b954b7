"""The one error model: gRPC's codes as the hub, one Failure type, and what a broker does with each code;
and ContractError for what is found before any call.

Codes and numbers: https://grpc.github.io/grpc/core/md_doc_statuscodes.html
"""

import logging
from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import Any

import msgspec


class Code(IntEnum):
    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Disposition(Enum):
    """What a broker inbound does with a delivery whose route failed."""

    REDELIVER = "redeliver until it succeeds"
    REDELIVER_THEN_DEAD_LETTER = "redeliver a bounded number of times, then dead-letter"
    DEAD_LETTER = "dead-letter at once"


_REDELIVER = {Code.CANCELLED, Code.RESOURCE_EXHAUSTED, Code.DEADLINE_EXCEEDED, Code.UNAVAILABLE, Code.ABORTED}
_BOUNDED = {Code.INTERNAL, Code.DATA_LOSS, Code.UNKNOWN}


def disposition(code: Code) -> Disposition:
    """Total over Code."""
    if code in _REDELIVER:
        return Disposition.REDELIVER
    if code in _BOUNDED:
        return Disposition.REDELIVER_THEN_DEAD_LETTER
    return Disposition.DEAD_LETTER


class Detail(msgspec.Struct, frozen=True):
    """A typed detail of a failure: a declared SOAP fault, a google.rpc detail message, a problem's extension.

    name: the type's name in its own contract, such as OutOfStock or shop.orders.v1.OutOfStock.
    value: a plain value of the declared type, or a JSON-like value where the type is not declared.
    """

    name: str
    value: Any


class Failure(Exception):
    """The only error besides CancelledError that leaves a Service.

    path: where in the request the offence is, as $.lines[0].qty; empty where it is nowhere in particular.
    details: typed details, declared by the side that failed.
    retry_after: seconds after which the caller may try again, or None.
    sent: False means that the peer certainly saw nothing of the request.
    counted: it is in the metrics, of a route or of an endpoint.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        path: str = "",
        details: Sequence[Detail] = (),
        retry_after: float | None = None,
        sent: bool = True,
        counted: bool = False,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.path = path
        self.details = tuple(details)
        self.retry_after = retry_after
        self.sent = sent
        self.counted = counted

    def __str__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        return f"{self.code.name}: {self.message}{where}"

    @property
    def text(self) -> str:
        """The message with the offending path, as callers are told it."""
        return f"{self.message} at {self.path}" if self.path else self.message


def invalid(message: str, path: str = "") -> Failure:
    """A request that can't be right however often it is tried."""
    return Failure(Code.INVALID_ARGUMENT, message, path=path, sent=False)


def as_failure(error: Exception, where: str, log: logging.Logger) -> Failure:
    """What a caller is told of any error: of a bug no more than that there is one, for the log has the rest. where: in
    the gateway."""
    if isinstance(error, Failure):
        return error
    log.error("bug %s", where, exc_info=error)
    return Failure(Code.INTERNAL, "internal error")


class ContractError(Exception):
    """The address can't be served. field: the part of the address or endpoint at fault, as a path of keys."""

    def __init__(self, message: str, *, field: Sequence[str | int] = (), hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = tuple(field)
        self.hint = hint
