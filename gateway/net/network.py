"""Network: the sockets that endpoints of one process share, and where files are."""

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar

from gateway.net.counters import Counters
from gateway.net.http.server import HttpServer
from gateway.net.tls import Tls
from gateway.status import ContractError

T = TypeVar("T")


class Network:
    """One per process.

    base: the folder that relative file names of routes.yaml start from.
    counters: what endpoints count beside calls; the admin endpoint shows them.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.counters = Counters()
        self._http: dict[str, HttpServer] = {}
        self._shared: dict[Hashable, Any] = {}

    def http_server(self, listen: str, tls: Tls | None = None) -> HttpServer:
        """The HTTP server of this address (host:port); endpoints with the same `listen` share it.

        Raises ContractError where another endpoint has it with other TLS.
        """
        server = self._http.get(listen)
        if server is None:
            server = self._http[listen] = HttpServer(listen, self.counters, tls)
        elif server.tls != tls:
            raise ContractError(f"endpoints that share {listen} need the same tls", field=("tls",))
        return server

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """What the sides of an endpoint share, and those before and after a reload; made once for its key."""
        found: T | None = self._shared.get(key)
        if found is None:
            found = self._shared[key] = make()
        return found

    def path(self, name: str) -> Path:
        """A file named in routes.yaml."""
        return self.base / name
