"""AMQP's reply codes and the gateway's codes. Reply codes: AMQP 0-9-1, 1.2 of the XML specification's constants."""

import asyncio
from collections.abc import Mapping
from typing import Final

from aiormq import channel, connection, exceptions
from pamqp import commands

from gateway.net.broker.keeper import Trouble
from gateway.status import Code, Disposition, Failure, disposition

ANSWER_SECONDS: Final = 10.0  # of a broker that is connected to, or is to open a channel

BROKEN: Final = (exceptions.AMQPError, OSError, RuntimeError, TimeoutError, EOFError)
"""What aiormq raises when the broker refuses something or is gone, besides CancelledError."""

TO_WIRE: Final[Mapping[Code, Disposition]] = {code: disposition(code) for code in Code}
"""What becomes of a consumed message whose route failed. AMQP has no error replies: where a message asks for a reply, a
failure is told as gateway.net.broker.reply has it."""

_UNREACHABLE: Final = "the AMQP broker can't be reached"
_BUSY: Final = "the AMQP broker can't take the message now"
# What the broker refuses the gateway itself is no fault of the caller or of its message.
_FORBIDDEN: Final = "the gateway may not do this at the AMQP broker"
_BUG: Final = "the AMQP broker does not understand the gateway"

FROM_WIRE: Final[Mapping[int, tuple[Code, str]]] = {
    311: (Code.INVALID_ARGUMENT, "the message is larger than the AMQP broker takes"),
    312: (Code.NOT_FOUND, "no queue takes a message with this routing key"),
    313: (Code.UNAVAILABLE, "nobody consumes from the queue"),
    320: (Code.UNAVAILABLE, _UNREACHABLE),
    402: (Code.UNAVAILABLE, "the virtual host does not exist"),
    403: (Code.UNAVAILABLE, _FORBIDDEN),
    404: (Code.NOT_FOUND, "the exchange or queue does not exist"),
    405: (Code.UNAVAILABLE, "another client has the queue for itself"),
    406: (Code.FAILED_PRECONDITION, "the AMQP broker refuses the message, or the exchange or queue as it is declared"),
    **dict.fromkeys((501, 502, 503), (Code.INTERNAL, _BUG)),
    # What the client had still to send on a channel that the broker has ended: no fault of any message's.
    **dict.fromkeys((504, 505), (Code.UNAVAILABLE, _UNREACHABLE)),
    506: (Code.RESOURCE_EXHAUSTED, _BUSY),
    530: (Code.UNAVAILABLE, _FORBIDDEN),
    540: (Code.UNIMPLEMENTED, "the AMQP broker can't do this"),
    541: (Code.UNAVAILABLE, "the AMQP broker is broken"),
}
"""A reply code of a returned message, a closed channel or a closed connection."""

_REPLY_CODES: Final[Mapping[type[BaseException], int]] = {
    **{kind: code for code, kind in channel.EXCEPTION_MAPPING.items()},
    **{kind: code for code, kind in connection.EXCEPTION_MAPPING.items()},
    exceptions.ProbableAuthenticationError: 403,
}


def reply_code(error: BaseException) -> int:
    """0 where the broker gave none."""
    if isinstance(error, exceptions.DeliveryError) and isinstance(error.frame, commands.Basic.Return):
        return error.frame.reply_code or 0
    known = _REPLY_CODES.get(type(error))
    if known is not None:
        return known
    code = error.args[0] if isinstance(error, exceptions.AMQPError) and error.args else 0
    return code if isinstance(code, int) else 0


def failure(error: BaseException, *, sent: bool = True) -> Failure:
    """The Failure of a client's or broker's error, in words that name no host. No queue has a returned message."""
    sent = sent and not isinstance(error, exceptions.PublishError)
    if isinstance(error, exceptions.DeliveryError) and isinstance(error.frame, commands.Basic.Nack):
        return Failure(Code.RESOURCE_EXHAUSTED, _BUSY, sent=sent)
    return Failure(*FROM_WIRE.get(reply_code(error), (Code.UNAVAILABLE, _UNREACHABLE)), sent=sent)


def unreachable(*, sent: bool = False) -> Failure:
    """No broker answers."""
    return Failure(Code.UNAVAILABLE, _UNREACHABLE, sent=sent)


def busy() -> Failure:
    """The broker has told that it takes nothing now."""
    return Failure(Code.UNAVAILABLE, _BUSY, sent=False)


def trouble(error: BaseException, where: str = "") -> Trouble:
    """As Explain has it."""
    why = str(error) or type(error).__name__
    if isinstance(error, exceptions.ProbableAuthenticationError):
        why = f"it refuses the login: {error}"
    elif isinstance(error, asyncio.CancelledError):  # which aiormq raises when no heartbeat comes
        why = "the broker is silent"
    elif isinstance(error, TimeoutError):
        why = f"no answer within {ANSWER_SECONDS:.0f} s"
    told = failure(error, sent=False)
    if told.code is Code.INTERNAL:  # the fault of a message that was sent before, if of any
        told = unreachable()
    return Trouble(where + why, told, isinstance(error, (*BROKEN, asyncio.CancelledError)))
