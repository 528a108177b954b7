"""Step: one translation of the tour."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from demo.scene import Scene


class Step(NamedTuple):
    """route: of routes.yaml. story: one sentence for the visitor."""

    title: str
    route: str
    story: str
    run: Callable[[Scene], Awaitable[None]]
