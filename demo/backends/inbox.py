"""Inbox: what a backend received, so that the tour can show and check the far side of each translation."""

import asyncio
from collections import deque
from typing import Any, Final, NamedTuple

KEPT: Final = 100


class Received(NamedTuple):
    """text: as it came, for people. value: what the backend understood."""

    operation: str
    text: str
    value: Any


class Inbox:
    """name: whose it is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._received: deque[Received] = deque(maxlen=KEPT)
        self._more = asyncio.Condition()

    def __len__(self) -> int:
        return len(self._received)

    async def put(self, operation: str, text: str, value: Any) -> None:
        async with self._more:
            self._received.append(Received(operation, text, value))
            self._more.notify_all()

    async def take(self, operation: str) -> Received:
        """The oldest call of this operation, waiting for one."""
        async with self._more:
            while True:
                for received in self._received:
                    if received.operation == operation:
                        self._received.remove(received)
                        return received
                await self._more.wait()

    def clear(self) -> None:
        self._received.clear()
