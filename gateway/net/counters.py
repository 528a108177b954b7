"""Counters of endpoints: what a protocol counts beside calls (datagrams dropped, replies that nobody waits for), and
requests that it refused without a route."""

from collections.abc import Iterator
from typing import Final

from gateway.status import Code, Failure

STALLED_PEERS: Final = "stalled_peers"
"""Connections, or calls on one, that were cut off because the peer took nothing."""


class Counter:
    """Only rises; written by the event loop's thread."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def add(self, count: int = 1) -> None:
        self.value += count


class Rejections:
    """Requests that an endpoint answered with a failure which no route counts, by code: mostly no route saw them."""

    __slots__ = ("_codes",)

    def __init__(self) -> None:
        self._codes = [0] * len(Code)

    def add(self, failure: Failure) -> None:
        """Count what a caller is told, unless it is counted."""
        if not failure.counted:
            failure.counted = True
            self._codes[failure.code] += 1

    def count(self, code: Code) -> None:
        """Of a request that is refused without a Failure."""
        self._codes[code] += 1

    def __iter__(self) -> Iterator[tuple[Code, int]]:
        """Those that there were."""
        return ((code, self._codes[code]) for code in Code if self._codes[code])


class Counters:
    """All counters of the process, kept over reloads."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str], Counter] = {}
        self._rejections: dict[str, Rejections] = {}

    def counter(self, endpoint: str, name: str) -> Counter:
        """The counter of this name, always the same one. name: a metric's label, such as unmatched_replies."""
        return self._counters.setdefault((endpoint, name), Counter())

    def __iter__(self) -> Iterator[tuple[str, str, int]]:
        """(endpoint, name, value)"""
        for (endpoint, name), counter in self._counters.items():
            yield endpoint, name, counter.value

    def rejections(self, endpoint: str) -> Rejections:
        """Those of this endpoint, always the same ones."""
        return self._rejections.setdefault(endpoint, Rejections())

    def rejected(self) -> Iterator[tuple[str, Code, int]]:
        """(endpoint, code, requests)"""
        for endpoint, rejections in self._rejections.items():
            for code, count in rejections:
                yield endpoint, code, count
