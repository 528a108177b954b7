"""Hub: all that runs for one endpoint, whichever of its sides are in use."""

import asyncio

from adapters.events.attributes import CONTENT
from adapters.events.config import MEMORY, Endpoint
from adapters.events.front import Front
from adapters.events.webhook import ANSWER_BYTES, push
from gateway.codecs.cloudevents import CloudEvent
from gateway.journal.journal import Journal
from gateway.journal.memory import MemoryStore
from gateway.journal.sqlite import SqliteStore
from gateway.journal.store import Store
from gateway.journal.subscription import Subscriptions
from gateway.net.http_client import HttpClient
from gateway.net.network import Network


def shared_hub(name: str, endpoint: Endpoint, network: Network) -> "Hub":
    """The endpoint's hub, the same one for both its sides and after a reload that leaves it its store."""
    return network.shared(("events", name, endpoint.store), lambda: Hub(name, endpoint, network))


class Hub:
    """Each side calls start() and stop() in turn; how it works is what the last start() said."""

    def __init__(self, name: str, endpoint: Endpoint, network: Network) -> None:
        self._name = name
        self._network = network
        store: Store[CloudEvent]
        if endpoint.store == MEMORY:
            store = MemoryStore(CONTENT, endpoint.max_bytes)
        else:
            store = SqliteStore(network.path(endpoint.store), CONTENT, endpoint.max_bytes)
        self.journal = Journal(name, CONTENT, store, endpoint.retains, network.counters)
        self._endpoint: Endpoint | None = None
        self._front: Front | None = None
        self._client: HttpClient | None = None
        self._webhooks = Subscriptions(self.journal)
        self._users = 0
        self._changing = asyncio.Lock()

    @property
    def unready(self) -> str:
        return self.journal.unready or self._webhooks.unready

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
            self.journal.retention = endpoint.retains
            self.journal.start()
            self._front = None
            if endpoint.listen is not None:
                server = self._network.http_server(endpoint.listen)
                self._front = Front(self._name, endpoint, self.journal, server)
                await self._front.start()
            if former is not None:
                former.leave(self._front)
            client = self._client = self._client or HttpClient(ANSWER_BYTES)
            self._webhooks.replace(
                {webhook: (webhook.settings, push(webhook, client)) for webhook in endpoint.webhooks}
            )
            self._webhooks.start()

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
            await self.journal.stop()
