"""Hub: all that runs for one endpoint, whichever of its sides are in use."""

import asyncio

from adapters.events.attributes import CONTENT
from adapters.events.config import Endpoint
from adapters.events.front import Front
from adapters.events.webhook import ANSWER_BYTES, push
from gateway.bus import BusLog
from gateway.event_log import EventLog, JournalLog
from gateway.net.http.client import HttpClient
from gateway.net.http.server import HttpServer
from gateway.net.network import Network
from gateway.port import Bus, ContractError


def shared_hub(name: str, endpoint: Endpoint, network: Network, bus: Bus | None) -> "Hub":
    """The endpoint's hub, the same one for both its sides and after a reload that leaves it its store."""
    return network.shared(("events", name, bus or endpoint.store), lambda: Hub(name, endpoint, network, bus))


class Hub:
    """Each side calls start() and stop() in turn; how it works is what the last start() said."""

    def __init__(self, name: str, endpoint: Endpoint, network: Network, bus: Bus | None) -> None:
        self.log: EventLog
        if bus is None:
            self.log = JournalLog(name, endpoint.store, CONTENT, endpoint.retains, network)
        else:
            self.log = BusLog(name, bus, network.counters)
        for number, webhook in enumerate(endpoint.webhooks):
            try:
                self.log.check(webhook)
            except ContractError as error:
                field = ("webhooks", number, *error.field)
                raise ContractError(error.message, field=field, hint=error.hint) from None
        self._name = name
        self._network = network
        self._endpoint: Endpoint | None = None
        self._server: HttpServer | None = None
        self._client = HttpClient(ANSWER_BYTES)
        self._webhooks = self.log.subscriptions()
        self._users = 0
        self._changing = asyncio.Lock()

    @property
    def unready(self) -> str:
        return self.log.unready or self._webhooks.unready

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
            former, self._endpoint, self._server = self._server, endpoint, None
            await self.log.start(endpoint.retains)
            if endpoint.listen is not None:
                self._server = self._network.http_server(endpoint.listen, endpoint.tls)
                self._server.mount(self._name, Front(self._name, endpoint, self.log.publish).routes)
                await self._server.start()
            if former is not None and former is not self._server:
                former.mount(self._name, ())
            self._webhooks.replace({webhook: push(webhook, self._client) for webhook in endpoint.webhooks})
            await self._webhooks.start()

    async def drain(self) -> None:
        """Take nothing more from outside, and return when what runs has ended."""
        drains = [] if self._server is None else [self._server.drain()]
        await asyncio.gather(self._webhooks.drain(), *drains)

    async def stop(self) -> None:
        """Of the last user: release everything."""
        async with self._changing:
            self._users -= 1
            if self._users:
                return
            self._endpoint = None
            server, self._server = self._server, None
            if server is not None:
                await server.stop()
            await self._webhooks.stop()
            await self._client.close()
            await self.log.stop()
