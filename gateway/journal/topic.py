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
