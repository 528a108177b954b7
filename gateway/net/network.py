"""Network: the sockets that endpoints of one process share, and where files are."""

from pathlib import Path

from gateway.net.counters import Counters
from gateway.net.http_server import HttpServer


class Network:
    """One per process.

    base: the folder that relative file names of routes.yaml start from.
    counters: what endpoints count beside calls; the admin endpoint shows them.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.counters = Counters()
        self._http: dict[str, HttpServer] = {}

    def http_server(self, listen: str) -> HttpServer:
        """The HTTP server of this address (host:port); endpoints with the same `listen` share it."""
        server = self._http.get(listen)
        if server is None:
            server = self._http[listen] = HttpServer(listen)
        return server

    def path(self, name: str) -> Path:
        """A file named in routes.yaml."""
        return self.base / name
