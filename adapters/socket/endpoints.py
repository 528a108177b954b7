"""Where connections come from: a listener, or a peer that is dialled."""

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from typing import Final

from adapters.socket.config import TcpEndpoint
from adapters.socket.connection import Connection
from gateway.net.address import split_host_port
from gateway.net.network import Network
from gateway.net.tls import client_context, server_context

CONNECT_SECONDS: Final = 5.0
HANDSHAKE_SECONDS: Final = 10.0

log = logging.getLogger("gateway.socket")


def tls_context(endpoint: TcpEndpoint, network: Network) -> ssl.SSLContext | None:
    """None for plain text. Raises ContractError where a file is not what it should be."""
    if endpoint.tls is None:
        return None
    make = server_context if endpoint.listen is not None else client_context
    return make(endpoint.tls, network.path)


async def dial(endpoint: TcpEndpoint, tls: ssl.SSLContext | None, make: Callable[[], Connection]) -> Connection:
    """A new connection to the target. Raises OSError (TimeoutError and ssl.SSLError are)."""
    host, port = split_host_port(str(endpoint.target))
    name = (endpoint.tls.server_name or host) if endpoint.tls is not None else None
    async with asyncio.timeout(CONNECT_SECONDS):
        _, connection = await asyncio.get_running_loop().create_connection(
            make,
            host,
            port,
            ssl=tls,
            server_hostname=name,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
        )
    return connection


async def listen(endpoint: TcpEndpoint, tls: ssl.SSLContext | None, make: Callable[[], Connection]) -> asyncio.Server:
    """Raises OSError when the port is taken."""
    host, port = split_host_port(str(endpoint.listen))
    return await asyncio.get_running_loop().create_server(
        make, host or None, port, ssl=tls, ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None, backlog=1024
    )


class Dialler:
    """Keeps one connection to the target up. unready: why there is none."""

    def __init__(self, name: str, endpoint: TcpEndpoint, make: Callable[[], Connection]) -> None:
        self.unready = "not connected yet"
        self._name = name
        self._endpoint = endpoint
        self._make = make
        self._task: asyncio.Task[None] | None = None

    def start(self, tls: ssl.SSLContext | None) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._keep(tls), name=f"dials {self._endpoint.target}")

    async def stop(self) -> None:
        """Dial no more; a connection that is open stays open."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _keep(self, tls: ssl.SSLContext | None) -> None:
        attempt = 0
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection = await dial(self._endpoint, tls, self._make)
            except OSError as error:
                self._tell(f"can't reach {self._endpoint.target}: {error or type(error).__name__}")
                attempt += 1
            else:
                self._tell("")
                since = loop.time()
                await connection.gone()
                self._tell(f"{self._endpoint.target} has closed the connection")
                # A peer that takes connections and drops them is as good as down.
                attempt = 1 if loop.time() - since > self._endpoint.max_backoff else attempt + 1
            wait = min(self._endpoint.max_backoff, self._endpoint.backoff * 2.0 ** min(attempt - 1, 32))
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  jitter is no secret

    def _tell(self, why: str) -> None:
        if why != self.unready:
            self.unready = why
            log.log(logging.WARNING if why else logging.INFO, "%s: %s", self._name, why or "connected")
