"""Failures as messages, in protocols that have no other way to tell them."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
from pydantic import Field

from gateway.codecs.declared_format import Formats
from gateway.codecs.format import Unknown
from gateway.codecs.json.format import read
from gateway.net.json_error import error_message
from gateway.section import Section
from gateway.status import ContractError, Failure


class FailureReply(Section):
    """A fixed message that tells of a failure."""

    reply: dict[str, Any] = Field(description="The message, as JSON would give it.")


OnFailure = Literal["error", "close", "drop"] | FailureReply
"""What a caller is told of a failure."""


def failure_message(on_failure: OnFailure, formats: Formats) -> Callable[[Failure], bytes] | None:
    """Makes the message that tells a caller of a failure; None where no message does. Raises ContractError."""
    if on_failure == "error":
        if not formats.json:
            raise ContractError(
                f"on_failure of the endpoint: error is JSON; {formats.request.name} has no form for errors of its own"
            )
        return error_message
    if not isinstance(on_failure, FailureReply):
        return None
    type_, correlation = formats.reply_type, formats.correlation
    if correlation is not None and correlation.field in on_failure.reply:
        raise ContractError(f"on_failure of the endpoint: the request's {correlation.field} is put into the reply")
    try:
        if type_ is None:
            fixed: bytes = msgspec.json.encode(on_failure.reply)
        else:
            fixed = formats.reply.encoder(type_)(read(type_, on_failure.reply, Unknown.REJECT))
    except Failure as failure:
        raise ContractError(f"on_failure of the endpoint: {failure.text}") from None
    return lambda failure: fixed
