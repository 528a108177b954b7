"""Connection: one connection to the broker, kept up in the background."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable
from typing import Any, Final

from aiormq import Connection as Client
from aiormq.abc import AbstractChannel
from aiormq.exceptions import AMQPError, ProbableAuthenticationError

from adapters.amqp.config import Endpoint
from adapters.amqp.status import failure, unreachable
from gateway.net.network import Network
from gateway.net.redelivery import backoff
from gateway.net.tls import ClientTls, client_context
from gateway.status import Failure

CONNECT_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 3.0
CHANNEL_SECONDS: Final = 10.0
WATCH_SECONDS: Final = 1.0
RECONNECT_SECONDS: Final = 0.2
MAX_RECONNECT_SECONDS: Final = 5.0

BROKEN: Final = (AMQPError, OSError, RuntimeError, TimeoutError, EOFError)
"""What aiormq raises when the broker refuses something or is gone."""

log = logging.getLogger("gateway.amqp")
# All that matters of it is told by the gateway; it would log whole messages, and each try to connect.
logging.getLogger("aiormq").setLevel(logging.CRITICAL)


class Connection:
    """load() must have been awaited before start().

    purpose: what it is for, told to the broker beside the endpoint's connection name.
    """

    def __init__(self, endpoint: Endpoint, network: Network, purpose: str) -> None:
        self.purpose = purpose
        self.blocked = False
        self._endpoint = endpoint
        self._network = network
        self._tls: ssl.SSLContext | None = None
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed: asyncio.Future[None] | None = None
        self._unready = "not connected yet"
        self._refusal = unreachable()

    @property
    def unready(self) -> str:
        if not self._unready and self.blocked:
            return f"{self._endpoint.place} takes no messages now: it is short of memory or disk"
        return self._unready

    @property
    def up(self) -> bool:
        return self._client is not None

    @property
    def refusal(self) -> Failure:
        """What a caller is told while it is down."""
        return Failure(self._refusal.code, self._refusal.message, sent=False)

    async def load(self) -> None:
        """Read the certificates. Raises ContractError where a file is not what it should be."""
        if self._endpoint.address.scheme == "amqps":
            self._tls = client_context(self._endpoint.tls or ClientTls(), self._network.path)

    def start(self) -> None:
        """Connect in the background."""
        if self._task is None:
            self._changed = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._keep(), name=f"amqp {self.purpose}")

    async def stop(self) -> None:
        """Close it, within CLOSE_SECONDS."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._unready = "stopped"

    async def channel(self, *, confirms: bool) -> AbstractChannel:
        """A new channel, as soon as there is a connection. Raises one of BROKEN."""
        while (client := self._client) is None:
            if self._changed is None:
                raise RuntimeError("the connection was not started")
            await asyncio.shield(self._changed)
        async with asyncio.timeout(CHANNEL_SECONDS):
            return await client.channel(publisher_confirms=confirms)

    async def _keep(self) -> None:
        attempt = 0
        while True:
            client = self._open()
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await client.connect()
                attempt = 0
                await self._watch(client)
                self._down("the broker closed the connection", None)
            except asyncio.CancelledError:
                if cancelled():
                    raise
                self._down("the broker is silent", None)
            except Exception as error:
                if not isinstance(error, BROKEN):
                    log.exception("amqp %s: bug in the connection", self._endpoint.place)
                self._down(_text(error), error)
            finally:
                self._client, self.blocked = None, False
                await bounded(client.close(), CLOSE_SECONDS)
            attempt += 1
            await asyncio.sleep(backoff(attempt, RECONNECT_SECONDS, MAX_RECONNECT_SECONDS))

    def _open(self) -> Client:
        endpoint = self._endpoint
        name = f"{endpoint.connection_name}: {self.purpose}"
        url = endpoint.address.with_query(heartbeat=str(int(endpoint.heartbeat)), name=name)
        return Client(url, context=self._tls)

    async def _watch(self, client: Client) -> None:
        """Return or raise when the connection has ended."""
        self._client, self._unready, self._refusal = client, "", unreachable()
        log.info("amqp %s: connected, for %s", self._endpoint.place, self.purpose)
        changed, self._changed = self._changed, asyncio.get_running_loop().create_future()
        if changed is not None:
            changed.set_result(None)
        closing = client.closing
        while not closing.done():
            await asyncio.wait((closing,), timeout=WATCH_SECONDS)
            self.blocked = not await _unblocked(client)
        await closing

    def _down(self, why: str, error: Exception | None) -> None:
        told = f"can't reach {self._endpoint.place}: {why}"
        if told != self._unready:
            log.warning("amqp %s: %s", self.purpose, told)
        self._unready = told
        self._refusal = unreachable() if error is None else failure(error, sent=False)


async def _unblocked(client: Client) -> bool:
    try:
        async with asyncio.timeout(0.01):
            await client.ready()
    except TimeoutError:
        return False
    return True


async def bounded(closing: Awaitable[Any], seconds: float) -> None:
    """Await what closes something, for so long at most, whatever it raises."""
    task = asyncio.ensure_future(closing)
    done, _ = await asyncio.wait((task,), timeout=seconds)
    if not done:
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def cancelled() -> bool:
    """Whether the running task itself was cancelled. aiormq raises CancelledError for connections that ended, too."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _text(error: Exception) -> str:
    if isinstance(error, ProbableAuthenticationError):
        return f"it refuses the login: {error}"
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_SECONDS:.0f} s"
    return str(error) or type(error).__name__
