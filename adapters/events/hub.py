"""Hub: all that runs for one endpoint, whichever of its sides are in use."""

import asyncio
from collections.abc import Sequence
from typing import Final

from adapters.events.attributes import CONTENT
from adapters.events.config import MEMORY, Endpoint
from adapters.events.front import Front
from adapters.events.webhook import ANSWER_BYTES, push
from gateway.bus import BusSubscriptions, Publisher, check_durable, live
from gateway.codecs.cloudevents import CloudEvent
from gateway.journal.journal import Journal, Retention
from gateway.journal.memory import MemoryStore
from gateway.journal.sqlite import SqliteStore
from gateway.journal.store import Store
from gateway.journal.subscription import Subscriptions
from gateway.live import Live
from gateway.net.http.client import HttpClient
from gateway.net.network import Network
from gateway.port import Bus, ContractError

# Of what is streamed from a bus: how far a slow reader may be behind.
LIVE: Final = Retention(limit=32 * 1024 * 1024, retained=16 * 1024 * 1024, seconds=60.0)


def shared_hub(name: str, endpoint: Endpoint, network: Network, bus: Bus | None) -> "Hub":
    """The endpoint's hub, the same one for both its sides and after a reload that leaves it its store."""
    return network.shared(("events", name, bus or endpoint.store), lambda: Hub(name, endpoint, network, bus))


class Hub:
    """Each side calls start() and stop() in turn; how it works is what the last start() said.

    journal: all events; with a bus those that may be streamed.
    """

    def __init__(self, name: str, endpoint: Endpoint, network: Network, bus: Bus | None) -> None:
        self._name = name
        self._network = network
        store: Store[CloudEvent]
        retention = LIVE if bus is not None else endpoint.retains
        if bus is not None or endpoint.store == MEMORY:
            store = MemoryStore(CONTENT.size, retention.limit)
        else:
            store = SqliteStore(network.path(endpoint.store), CONTENT, endpoint.max_bytes)
        self.journal = Journal(name, store, retention, network.counters)
        self._bus = bus
        if bus is not None:
            for number, webhook in enumerate(endpoint.webhooks):
                try:
                    check_durable(bus, webhook.settings, webhook.model_fields_set)
                except ContractError as error:
                    field = ("webhooks", number, *error.field)
                    raise ContractError(error.message, field=field, hint=error.hint) from None
        self._publisher = Publisher(bus) if bus is not None else None
        self._live: Live[CloudEvent] | None = None
        self._endpoint: Endpoint | None = None
        self._front: Front | None = None
        self._client: HttpClient | None = None
        self._webhooks = self.subscriptions()
        self._users = 0
        self._changing = asyncio.Lock()

    @property
    def unready(self) -> str:
        if self._publisher is None:
            return self.journal.unready or self._webhooks.unready
        streams = self._live.unready if self._live is not None else ""
        return self._publisher.unready or streams or self._webhooks.unready

    def subscriptions(self) -> "Subscriptions[CloudEvent] | BusSubscriptions":
        """For one owner of durable subscriptions."""
        return Subscriptions(self.journal, CONTENT) if self._bus is None else BusSubscriptions(self._bus)

    async def publish(self, events: Sequence[tuple[str, CloudEvent]]) -> int:
        """Return once they are kept: the first one's position, the others following; 0 where they have none.

        Raises Failure; cancelled, the outcome is unknown.
        """
        if self._publisher is None:
            return await self.journal.append(events)
        await self._publisher.publish(events)
        return 0

    def stream(self) -> None:
        """The journal will be followed."""
        if self._bus is not None and self._live is None:
            self._live = live(self._bus, self.journal)
            if self._users:
                self._live.start()

    def load(self, endpoint: Endpoint) -> None:
        """Read the certificates of its front. Raises ContractError where a file is not as it should be."""
        if endpoint.listen is not None:
            self._network.http_server(endpoint.listen, endpoint.tls).load(self._network.path)

    def holds(self, endpoint: Endpoint) -> tuple[str, ...]:
        """What no two endpoints may share."""
        return () if endpoint.listen is None else (f"POST {endpoint.path}/* on {endpoint.listen}",)

    async def start(self, endpoint: Endpoint) -> None:
        """Raises OSError when the port is taken."""
        async with self._changing:
            self._users += 1
            if endpoint == self._endpoint:
                return
            former, self._endpoint = self._front, endpoint
            if self._publisher is None:
                self.journal.retention = endpoint.retains
                self.journal.start()
            else:
                await self._publisher.start()
            if self._live is not None:
                self._live.start()
            self._front = None
            if endpoint.listen is not None:
                server = self._network.http_server(endpoint.listen, endpoint.tls)
                self._front = Front(self._name, endpoint, self.publish, server)
                await self._front.start()
            if former is not None:
                former.leave(self._front)
            client = self._client = self._client or HttpClient(ANSWER_BYTES)
            self._webhooks.replace(
                {webhook: (webhook.settings, push(webhook, client)) for webhook in endpoint.webhooks}
            )
            await self._webhooks.start()

    async def drain(self) -> None:
        """Take nothing more from outside, and return when what runs has ended."""
        drains = [] if self._front is None else [self._front.drain()]
        await asyncio.gather(self._webhooks.drain(), *drains)

    async def stop(self) -> None:
        """Of the last user: release everything."""
        async with self._changing:
            self._users -= 1
            if self._users:
                return
            self._endpoint = None
            front, self._front = self._front, None
            if front is not None:
                await front.stop()
            await self._webhooks.stop()
            client, self._client = self._client, None
            if client is not None:
                await client.close()
            if self._live is not None:
                await self._live.stop()
            if self._publisher is None:
                await self.journal.stop()
            else:
                await self._publisher.stop()
