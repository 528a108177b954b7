"""Where connections come from: a listening socket, or a peer that is dialled."""

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from typing import Final

from gateway.net.address import split_host_port
from gateway.net.tasks import end
from gateway.net.tcp.connection import Connection, TcpOptions

CONNECT_SECONDS: Final = 5.0
HANDSHAKE_SECONDS: Final = 10.0

log = logging.getLogger("gateway.tcp")


async def dial(target: str, options: TcpOptions, make: Callable[[], Connection]) -> Connection:
    """A new connection to host:port. Raises OSError (TimeoutError and ssl.SSLError are)."""
    host, port = split_host_port(target)
    tls = options.tls
    async with asyncio.timeout(CONNECT_SECONDS):
        _, connection = await asyncio.get_running_loop().create_connection(
            make,
            host,
            port,
            ssl=tls,
            server_hostname=(options.server_name or host) if tls else None,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
        )
    return connection


async def listen(address: str, tls: ssl.SSLContext | None, make: Callable[[], asyncio.BaseProtocol]) -> asyncio.Server:
    """Accept connections at host:port; an empty host is all interfaces. Raises OSError when the port is taken."""
    host, port = split_host_port(address)
    return await asyncio.get_running_loop().create_server(
        make, host or None, port, ssl=tls, ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None, backlog=1024
    )


def bound_port(server: asyncio.Server | None) -> int:
    """The port that a listening socket has; 0 without one."""
    return int(server.sockets[0].getsockname()[1]) if server is not None and server.sockets else 0


class Dialler:
    """Keeps one connection to host:port up. unready: why there is none.

    backoff, longest: seconds before dialling again; they double from the one up to the other, with jitter.
    """

    def __init__(self, name: str, target: str, *, backoff: float, longest: float) -> None:
        self.unready = "not connected yet"
        self._name = name
        self._target = target
        self._backoff = backoff
        self._longest = longest
        self._task: asyncio.Task[None] | None = None

    def start(self, options: TcpOptions, make: Callable[[], Connection]) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._keep(options, make), name=f"dials {self._target}")

    async def stop(self) -> None:
        """Dial no more; a connection that is open stays open."""
        task, self._task = self._task, None
        if task is not None:
            await end([task])

    async def _keep(self, options: TcpOptions, make: Callable[[], Connection]) -> None:
        attempt = 0
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection = await dial(self._target, options, make)
            except OSError as error:
                self._tell(f"can't reach {self._target}: {error or type(error).__name__}")
                attempt += 1
            else:
                self._tell("")
                since = loop.time()
                await connection.gone()
                self._tell(f"{self._target} has closed the connection")
                # A peer that takes connections and drops them is as good as down.
                attempt = 1 if loop.time() - since > self._longest else attempt + 1
            wait = min(self._longest, self._backoff * 2.0 ** min(attempt - 1, 32))
            await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311  jitter is no secret

    def _tell(self, why: str) -> None:
        if why != self.unready:
            self.unready = why
            log.log(logging.WARNING if why else logging.INFO, "%s: %s", self._name, why or "connected")
