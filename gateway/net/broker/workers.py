"""Workers: what runs for an endpoint in the background. Consumers: those that serve its inbound routes."""

import asyncio
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from gateway.net.tasks import end

K = TypeVar("K", bound=Hashable)


class Worker(Protocol):
    @property
    def unready(self) -> str:
        """Why it can't do its work now; empty when it can."""
        ...

    def start(self) -> None:
        """Work in the background."""
        ...

    async def stop(self) -> None:
        """Cancel what runs and release everything. Safe at any time."""
        ...


class Consumer(Worker, Protocol):
    """binding: whose service is called; may be replaced at any time by one with the same address."""

    binding: Any

    async def drain(self) -> None:
        """Begin nothing new; return when what runs has ended and is settled."""
        ...


W = TypeVar("W", bound=Worker)
C = TypeVar("C", bound=Consumer)


class Workers(Generic[K, W]):
    """By what they are for.

    beneath: what all of them work with, which begins before them and ends after them.
    """

    def __init__(self, *beneath: Worker) -> None:
        self._beneath = beneath
        self._running: dict[K, W] = {}
        self._started = False

    def __len__(self) -> int:
        return len(self._running)

    @property
    def unready(self) -> str:
        """Why some can't do their work now, or what is beneath them can't."""
        return "; ".join(dict.fromkeys(why for worker in self._all if (why := worker.unready)))

    @property
    def _all(self) -> Iterator[Worker]:
        yield from self._beneath
        yield from self._running.values()

    def rest_on(self, client: Worker) -> None:
        """Put this beneath them, where it is not there."""
        if client not in self._beneath:
            self._beneath = (*self._beneath, client)
            if self._started:
                client.start()

    def obtain(self, key: K, make: Callable[[], W]) -> W:
        """The one for this, made and started where it is not there."""
        worker = self._running.get(key)
        if worker is None:
            worker = self._running[key] = make()
            if self._started:
                worker.start()
        return worker

    def start(self) -> None:
        self._started = True
        for worker in self._all:
            worker.start()

    async def stop(self) -> None:
        """As Worker.stop."""
        self._started = False
        await asyncio.gather(*(worker.stop() for worker in self._running.values()))
        await asyncio.gather(*(worker.stop() for worker in self._beneath))


class Consumers(Workers[K, C]):
    """Replaced as a whole when the routes change."""

    def __init__(self, *beneath: Worker) -> None:
        super().__init__(*beneath)
        self._leaving: dict[asyncio.Task[None], C] = {}

    def bind(self, bindings: Mapping[K, Any], make: Callable[[Any], C]) -> None:
        """Those that are wanted further go on with their new binding; the others end in the background."""
        leaving = {key: consumer for key, consumer in self._running.items() if key not in bindings}
        for key, consumer in leaving.items():
            del self._running[key]
            if self._started:
                task = asyncio.create_task(_retire(consumer), name="consumer retires")
                self._leaving[task] = consumer
                task.add_done_callback(self._leaving.pop)
        for key, binding in bindings.items():
            self.obtain(key, lambda binding=binding: make(binding)).binding = binding  # type: ignore[misc]

    async def drain(self) -> None:
        """As Consumer.drain, of those too that are leaving."""
        await asyncio.gather(*(consumer.drain() for consumer in self._running.values()), *self._leaving)

    async def stop(self) -> None:
        """As Worker.stop, of those too that are leaving."""
        leaving = dict(self._leaving)
        await end(leaving)
        # A task that is cancelled before it has begun stops nothing.
        await asyncio.gather(*(consumer.stop() for consumer in leaving.values()))
        await super().stop()


async def _retire(consumer: Consumer) -> None:
    try:
        await consumer.drain()
    finally:
        await consumer.stop()
