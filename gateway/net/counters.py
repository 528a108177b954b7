"""Counters of endpoints: what a protocol counts beside calls (datagrams dropped, replies that nobody waits for)."""

from collections.abc import Iterator
from typing import Final

STALLED_PEERS: Final = "stalled_peers"
"""Connections, or calls on one, that were cut off because the peer took nothing."""


class Counter:
    """Only rises; written by the event loop's thread."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, count: int = 1) -> None:
        self.value += count


class Counters:
    """All counters of the process, kept over reloads."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str], Counter] = {}

    def counter(self, endpoint: str, name: str) -> Counter:
        """The counter of this name, always the same one. name: a metric's label, such as unmatched_replies."""
        return self._counters.setdefault((endpoint, name), Counter())

    def __iter__(self) -> Iterator[tuple[str, str, int]]:
        """(endpoint, name, value)"""
        for (endpoint, name), counter in self._counters.items():
            yield endpoint, name, counter.value
