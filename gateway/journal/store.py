"""Store: keeps events in their order, and how far each durable subscription has come."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from gateway.journal.entry import Batch, Entry, Wanted

T = TypeVar("T")

NOUN: Final = "event store"
"""What failures call it."""


class Kept(msgspec.Struct, frozen=True):
    """How far a subscription has come, and when it was heard of last (seconds since the epoch)."""

    position: int
    seen: float


class Store(Protocol[T]):
    """All of it is called on the event loop. Positions begin with 1; each is one more than that before.

    appended: called with what was stored, in order, before append() returns.
    limit: in bytes, over which new events are refused.
    """

    appended: Callable[[Sequence[Entry[T]]], None]
    limit: int

    async def open(self) -> None:
        """Raises OSError, with the reason for operators. May be called again after that, and after close()."""
        ...

    async def close(self) -> None:
        """Finish what was begun. Safe at any time."""
        ...

    @property
    def first(self) -> int:
        """The oldest position that is still there; one more than last where none is."""
        ...

    @property
    def last(self) -> int:
        """The newest position that was given; 0 where none was."""
        ...

    @property
    def bytes(self) -> int:
        """What the events take."""
        ...

    async def append(self, events: Sequence[tuple[str, T]]) -> int:
        """Keep (topic, event) pairs, all or none, and return the first one's position, the others following.

        They are kept for good when this returns. Raises Failure: RESOURCE_EXHAUSTED for a full store, UNAVAILABLE.
        """
        ...

    async def read(self, after: int, wanted: Wanted, limit: int) -> Batch[T]:
        """The next wanted entries after a position, limit at most. Raises Failure(UNAVAILABLE)."""
        ...

    @property
    def subscriptions(self) -> Mapping[str, Kept]:
        """All durable subscriptions."""
        ...

    async def advance(self, subscription: str, position: int) -> None:
        """Keep how far a subscription has come. Raises Failure(UNAVAILABLE); works in a full store too."""
        ...

    async def prune(self, before: int, older: float, bytes_: int) -> bool:
        """Forget some of the oldest events: those before a position that are older than a time (seconds since the
        epoch) or without which the store takes no more than so many bytes. Whether there is more to forget."""
        ...
