"""Serving: what the sessions of one inbound have in common."""

import logging
from typing import Any

from adapters.socket.config import TcpEndpoint
from adapters.socket.connection import Connection, Connections
from adapters.socket.formats import Formats, failure_message
from gateway.net.counters import Counters
from gateway.pattern import Count
from gateway.port import Binding
from gateway.status import Failure

log = logging.getLogger("gateway.socket")


class Serving:
    """received: messages. failed: those whose call failed. malformed: connections that broke the framing.
    refused: connections over the limit."""

    def __init__(
        self, name: str, endpoint: TcpEndpoint, formats: Formats, counters: Counters, binding: Binding
    ) -> None:
        self.binding = binding
        self.endpoint = endpoint
        self.formats = formats
        self.connections = Connections()
        self.draining = False
        kind = endpoint.on_failure
        if kind is None:
            answered = binding.pattern.replies is not Count.NONE
            kind = "error" if answered and endpoint.format == "json" else "close"
        self.closes = kind == "close"
        self._message = failure_message(kind, formats)
        self.received, self.failed, self.malformed, self.refused = (
            counters.counter(name, label) for label in ("received", "failed", "malformed", "refused_connections")
        )

    def told(self, failure: Failure, key: Any, connection: Connection) -> bytes | None:
        """What goes over the wire to tell of a failure, or None."""
        if self._message is None:
            return None
        message = self._message(failure)
        correlation = self.formats.correlation
        try:
            if correlation is not None and key is not None:
                message = correlation.put_reply(message, key)
            return connection.framed(message)
        except Failure as misfit:
            log.warning("a failure could not be told to %s: %s", connection.peer, misfit.text)
            connection.close()
            return None

    def enter(self, connection: Connection) -> None:
        self.connections.add(connection)

    def leave(self, connection: Connection) -> None:
        self.connections.discard(connection)
