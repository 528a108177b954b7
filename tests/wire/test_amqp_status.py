"""What operators and callers are told of the client's errors."""

import asyncio

import pytest
from aiormq import exceptions
from aiormq.abc import DeliveredMessage
from pamqp import commands
from pamqp.header import ContentHeader

from adapters.amqp.status import failure, trouble
from gateway.status import Code


def returned(code: int) -> exceptions.PublishError:
    frame = commands.Basic.Return(code, "why", "exchange", "key")
    message = DeliveredMessage(frame, ContentHeader(), b"", None)  # type: ignore[arg-type]
    return exceptions.PublishError(message, frame)


@pytest.mark.parametrize(
    ("error", "why", "code", "known"),
    [
        (exceptions.ProbableAuthenticationError("no entry"), "it refuses the login: no entry", Code.UNAVAILABLE, True),
        (asyncio.CancelledError(), "the broker is silent", Code.UNAVAILABLE, True),
        (TimeoutError(), "no answer within 10 s", Code.UNAVAILABLE, True),
        (exceptions.ChannelNotFoundEntity("NOT_FOUND - no queue"), "NOT_FOUND - no queue", Code.NOT_FOUND, True),
        (exceptions.ConnectionSyntaxError("no table"), "no table", Code.UNAVAILABLE, True),
        (EOFError(), "EOFError", Code.UNAVAILABLE, True),
        (KeyError("bug"), "'bug'", Code.UNAVAILABLE, False),
    ],
)
def test_trouble(error: BaseException, why: str, code: Code, known: bool) -> None:
    found = trouble(error, "can't reach rabbit: ")
    assert (found.why, found.told.code, found.known) == (f"can't reach rabbit: {why}", code, known)
    assert not found.told.sent
    assert "rabbit" not in found.told.message


@pytest.mark.parametrize(
    ("error", "code", "sent"),
    [
        (returned(312), Code.NOT_FOUND, False),
        (returned(313), Code.UNAVAILABLE, False),
        (exceptions.DeliveryError(None, commands.Basic.Nack(1)), Code.RESOURCE_EXHAUSTED, True),
        (exceptions.ChannelPreconditionFailed("PRECONDITION_FAILED"), Code.FAILED_PRECONDITION, True),
        (exceptions.ConnectionFrameError("bad frame"), Code.INTERNAL, True),
        (exceptions.ConnectionUnexpectedFrame("bad frame"), Code.UNAVAILABLE, True),
        (exceptions.ConnectionChannelError("expected 'channel.open'"), Code.UNAVAILABLE, True),
        (exceptions.ConnectionClosed(320, "CONNECTION_FORCED"), Code.UNAVAILABLE, True),
        (exceptions.ChannelClosed(541, "INTERNAL_ERROR"), Code.UNAVAILABLE, True),
        (exceptions.ConnectionClosed(None, None), Code.UNAVAILABLE, True),
    ],
)
def test_failure(error: BaseException, code: Code, sent: bool) -> None:
    told = failure(error)
    assert (told.code, told.sent) == (code, sent)
