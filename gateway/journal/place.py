"""Place: a topic or filter of routes.yaml. {$.customer} and {$params.room} stand in it for one level that the request
gives."""

import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.journal import topic
from gateway.journal.topic import is_level, is_topic
from gateway.status import invalid

_HOLE: Final = re.compile(r"\{(\$[^{}]*)\}")


def check_filter(text: str) -> str:
    """The text, with holes or without. Raises ValueError."""
    topic.check_filter(_HOLE.sub("x", text), text)
    return text


def check_topic(text: str) -> str:
    """The text, with holes or without. Raises ValueError."""
    if not is_topic(_HOLE.sub("x", text)):
        raise ValueError(f"nothing can be published to {text}: * and > are for subscribing")
    return text


class Place:
    """name: tells its sources from those of other places.

    sources: the source expressions of its holes, as a Contract has them.
    """

    def __init__(self, text: str, name: str) -> None:
        self._text = text
        self._parts = _HOLE.sub("\n", text).split("\n")
        self.sources = {f"{name}.{number}": path for number, path in enumerate(_HOLE.findall(text))}

    def __str__(self) -> str:
        return self._text

    def fill(self, params: Mapping[str, Any]) -> str:
        """params: with the sources. Raises Failure(INVALID_ARGUMENT) for what is not one level."""
        if not self.sources:
            return self._text
        levels = []
        for name, path in self.sources.items():
            level = str(params.get(name, ""))
            if not is_level(level):
                raise invalid("one level of a topic is expected: letters, digits, - and _", path)
            levels.append(level)
        return "".join(part + level for part, level in zip(self._parts, [*levels, ""], strict=True))
