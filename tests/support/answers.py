"""What every backend of the pair suite answers, whichever protocol it speaks."""

from collections.abc import Sequence
from typing import Any

from gateway.pattern import Pattern
from support.specimen import REFUSED, Specimen, answered, specimen

STREAM = 3
"""Replies to one request, or to none."""


def answers(pattern: Pattern, call: Sequence[Any]) -> list[Any]:
    """What every backend answers to the messages of one call."""
    specimens = _specimens(call)
    match pattern:
        case Pattern.ONE_WAY:
            return [None]
        case Pattern.REQUEST_REPLY | Pattern.CLIENT_STREAM:
            return [answered(specimens[-1], len(specimens))]
        case Pattern.SERVER_STREAM:
            return [answered(specimens[-1], number) for number in range(STREAM)]
        case Pattern.BIDI:
            return [answered(specimen) for specimen in specimens]
        case Pattern.SUBSCRIBE:
            return [answered(specimen(number)) for number in range(STREAM)]


def refuses(call: Sequence[Any]) -> bool:
    """Whether a specimen among the messages of a call is to be refused."""
    return any(specimen["label"] == REFUSED for specimen in _specimens(call))


def _specimens(call: Sequence[Any]) -> list[Specimen]:
    return [specimen for message in call for specimen in (message if isinstance(message, list) else [message])]
