"""Report: what one step of the tour saw, part by part, and what it found to be right."""

import time
from enum import Enum
from typing import Any, NamedTuple


class Kind(Enum):
    """Where a part was seen."""

    SENT = "what a caller sent"
    ARRIVED = "what the service behind the gateway received"
    REPLIED = "what the caller got"


class Part(NamedTuple):
    """language: of the text, as syntax highlighting names it."""

    kind: Kind
    label: str
    text: str
    language: str


class UnexpectedError(Exception):
    """A check of the tour did not hold."""

    def __init__(self, what: str, expected: Any, got: Any) -> None:
        super().__init__(f"{what}: expected {expected!r}, got {got!r}")


class Report:
    """seconds: from start() to stop(), which is how long the gateway took."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.checked: list[str] = []
        self.seconds = 0.0
        self._started = 0.0

    def start(self) -> None:
        self._started = time.perf_counter()

    def stop(self) -> None:
        self.seconds = time.perf_counter() - self._started

    def sent(self, label: str, text: str = "", language: str = "text") -> None:
        self.parts.append(Part(Kind.SENT, label, text, language))

    def arrived(self, label: str, text: str = "", language: str = "text") -> None:
        self.parts.append(Part(Kind.ARRIVED, label, text, language))

    def replied(self, label: str, text: str = "", language: str = "text") -> None:
        self.parts.append(Part(Kind.REPLIED, label, text, language))

    def expect(self, what: str, expected: Any, got: Any) -> None:
        """Raises UnexpectedError unless they are equal."""
        if expected != got:
            raise UnexpectedError(what, expected, got)
        self.checked.append(what)
