"""Topics and the filters over them, as NATS has its subjects: levels divided by dots, `*` any one level, `>` any
further levels, one at least. https://docs.nats.io/nats-concepts/subjects"""

import re
from collections.abc import Sequence
from typing import Final

MAX_LENGTH: Final = 255

_LEVEL: Final = r"[A-Za-z0-9_-]+"
_IS_LEVEL: Final = re.compile(_LEVEL)
_IS_TOPIC: Final = re.compile(rf"{_LEVEL}(\.{_LEVEL})*")
_IS_FILTER: Final = re.compile(rf"({_LEVEL}|\*)(\.({_LEVEL}|\*))*(\.>)?|>")


def is_topic(text: str) -> bool:
    """Whether events can be published to it."""
    return len(text) <= MAX_LENGTH and _IS_TOPIC.fullmatch(text) is not None


def is_level(text: str) -> bool:
    """Whether it is one level of a topic."""
    return len(text) <= MAX_LENGTH and _IS_LEVEL.fullmatch(text) is not None


def is_filter(text: str) -> bool:
    """Whether it can be subscribed to."""
    return len(text) <= MAX_LENGTH and _IS_FILTER.fullmatch(text) is not None


def check_topic(text: str) -> str:
    """The text. Raises ValueError where nothing can be published to it."""
    if not is_topic(text):
        raise ValueError(f"{text!r} is no topic: levels of letters, digits, - and _, divided by dots")
    return text


def check_filter(text: str, written: str = "") -> str:
    """The text. Raises ValueError where it can't be subscribed to. written: as whoever reads that knows it."""
    if not is_filter(text):
        told = "levels divided by dots, * for any one, > at the end for any further"
        raise ValueError(f"{written or text!r} is no filter: {told}")
    return text


class Filter:
    """What a subscription is given: the topics that match any of the patterns, but for one.

    without: a topic that is left out, or empty.
    """

    __slots__ = ("_pattern", "_without")

    def __init__(self, patterns: Sequence[str], without: str = "") -> None:
        self._pattern = re.compile("|".join(_expression(pattern) for pattern in patterns))
        self._without = without

    def __call__(self, topic: str) -> bool:
        """Whether it is given events of this topic."""
        return topic != self._without and self._pattern.fullmatch(topic) is not None


def _expression(pattern: str) -> str:
    levels = {"*": _LEVEL, ">": rf"{_LEVEL}(?:\.{_LEVEL})*"}
    return r"\.".join(levels.get(level, re.escape(level)) for level in pattern.split("."))
