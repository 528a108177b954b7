"""Tasks: several that are ended, or waited for until the first is done."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


async def end(tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Cancel them, and return when they have ended, however they did."""
    running = list(tasks)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def first(*work: Coroutine[Any, Any, Any]) -> "list[asyncio.Task[Any]]":
    """Their tasks, once one of them is done; the others are cancelled, as all are when the caller is."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    return [task for task in tasks if task in done]
