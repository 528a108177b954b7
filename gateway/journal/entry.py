"""Entry: an event that a journal keeps, and what the journal must know of it."""

from collections.abc import Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

import msgspec

from gateway.status import Failure

T = TypeVar("T")

ENTRY_BYTES: Final = 400
"""What an event takes besides its content, about."""


class Entry(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """A kept event. position: its place in the journal; it rises with each event and is never given again. 0 of
    an event that is in none."""

    position: int
    topic: str
    event: T


class Batch(msgspec.Struct, Generic[T], frozen=True):
    """entries: in their order. scanned: all up to here were looked at."""

    entries: Sequence[Entry[T]]
    scanned: int


Wanted = Callable[[str], bool]
"""Whether events of this topic are wanted."""


class Content(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What the events of a journal are.

    encode, decode: as they are kept. decode raises ValueError or msgspec.MsgspecError for what encode() has not made.
    size: about what one takes, in bytes.
    lane: those of one lane are handled in their order.
    dead_letter: (entry, why it can't be handled, deliveries) -> the event that tells it.
    """

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]
    size: Callable[[T], int]
    lane: Callable[[T], Hashable]
    dead_letter: Callable[[Entry[T], Failure, int], T]
