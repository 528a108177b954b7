"""Consumers: what consumes for an endpoint's routes, replaced as a whole when they change."""

import asyncio
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)


class Consumer(Protocol):
    @property
    def unready(self) -> str:
        """Why it can't do its work now; empty when it can."""
        ...

    def start(self) -> None:
        """Consume in the background."""
        ...

    async def drain(self) -> None:
        """Begin nothing new; return when what runs has ended and is settled."""
        ...

    async def stop(self) -> None:
        """Cancel what runs and release everything. Safe at any time."""
        ...


C = TypeVar("C", bound=Consumer)


class Consumers(Generic[K, C]):
    """By what they consume."""

    def __init__(self) -> None:
        self._running: dict[K, C] = {}
        self._leaving: dict[asyncio.Task[None], C] = {}
        self._started = False

    def __len__(self) -> int:
        return len(self._running)

    @property
    def unready(self) -> str:
        """Why some can't do their work now."""
        return "; ".join(dict.fromkeys(why for consumer in self._running.values() if (why := consumer.unready)))

    def replace(self, wanted: Mapping[K, Callable[[], C]]) -> Mapping[K, C]:
        """Those that are wanted further go on as they are; the others end in the background, and new ones are made."""
        running: dict[K, C] = {}
        for key, make in wanted.items():
            known = self._running.pop(key, None)
            running[key] = known or make()
            if known is None and self._started:
                running[key].start()
        leaving, self._running = self._running, running
        if self._started:
            for consumer in leaving.values():
                task = asyncio.create_task(_retire(consumer), name="consumer retires")
                self._leaving[task] = consumer
                task.add_done_callback(self._leaving.pop)
        return running

    def start(self) -> None:
        self._started = True
        for consumer in self._running.values():
            consumer.start()

    async def drain(self) -> None:
        """As Consumer.drain, of those too that are leaving."""
        await asyncio.gather(*(consumer.drain() for consumer in self._running.values()), *self._leaving)

    async def stop(self) -> None:
        """As Consumer.stop."""
        self._started = False
        leaving = list(self._leaving)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        await asyncio.gather(*(consumer.stop() for consumer in self._running.values()))


async def _retire(consumer: Consumer) -> None:
    try:
        await consumer.drain()
    finally:
        await consumer.stop()
