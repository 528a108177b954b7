"""Waiting for what will happen."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

PATIENCE_SECONDS: Final = 20.0


async def until(
    condition: Callable[[], Any],
    what: Callable[[], str] = lambda: "it did not happen",
    *,
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Poll until the condition holds; fails with `what` after so many seconds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, what()
        await asyncio.sleep(0.005)
