"""Connection: one connection to the broker, kept up in the background."""

import asyncio
import logging
import ssl
from typing import Final

from aiormq import Connection as Client
from aiormq.abc import AbstractChannel

from adapters.amqp.config import Endpoint
from adapters.amqp.status import ANSWER_SECONDS, busy, trouble, unreachable
from gateway.net.broker.keeper import Keeper, Trouble, bounded
from gateway.net.network import Network
from gateway.net.tls import ClientTls, client_context

CLOSE_SECONDS: Final = 3.0
WATCH_SECONDS: Final = 1.0
READY_SECONDS: Final = 0.01  # for which a connection is asked whether the broker has blocked it

log = logging.getLogger("gateway.amqp")
# All that matters of it is told by the gateway; it would log whole messages, and each try to connect.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)


class Connection(Keeper[Client]):
    """load() must have been awaited before start().

    purpose: what it is for, told to the broker beside the endpoint's connection name.
    """

    def __init__(self, endpoint: Endpoint, network: Network, purpose: str) -> None:
        super().__init__(f"amqp {purpose}", unreachable(), log)
        self.endpoint = endpoint
        self._network = network
        self._purpose = purpose
        self._tls: ssl.SSLContext | None = None

    async def load(self) -> None:
        """Read the certificates. Raises ContractError where a file is not what it should be."""
        if self.endpoint.address.scheme == "amqps":
            self._tls = client_context(self.endpoint.tls or ClientTls(), self._network.path)

    async def channel(self) -> AbstractChannel:
        """A new channel, as soon as there is a connection. Raises one of BROKEN."""
        client = await self.opened()
        async with asyncio.timeout(ANSWER_SECONDS):
            return await client.channel()

    # -- as a Keeper

    async def open(self) -> Client:
        endpoint = self.endpoint
        name = f"{endpoint.connection_name}: {self._purpose}"
        url = endpoint.address.with_query(heartbeat=str(int(endpoint.heartbeat)), name=name)
        return Client(url, context=self._tls)

    async def serve(self, client: Client) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            await client.connect()
        closing = client.closing
        while not closing.done():
            ready = asyncio.ensure_future(client.ready())
            await bounded(ready, READY_SECONDS)
            if ready.cancelled():
                short = f"{self.endpoint.place} takes no messages now: it is short of memory or disk"
                self.down(short, busy())
            else:
                self.up(client)
            await asyncio.wait((closing,), timeout=WATCH_SECONDS)
        await closing
        raise ConnectionError("the broker closed the connection")

    async def close(self, client: Client) -> None:
        await bounded(client.close(), CLOSE_SECONDS)

    async def explain(self, error: BaseException) -> Trouble:
        return trouble(error, f"can't reach {self.endpoint.place}: ")
