"""Serving: what becomes of the messages of an inbound's connections."""

from contextlib import suppress
from typing import Any

from adapters.socket.config import TcpEndpoint
from adapters.socket.formats import Formats, failure_message
from gateway.message import Context, Message
from gateway.net.counters import Counters
from gateway.net.tcp.connection import Connection
from gateway.net.tcp.framing import FramingError
from gateway.pattern import Count
from gateway.port import Binding
from gateway.status import Code, Failure


class Serving:
    """received: messages. failed: those whose call failed. malformed: connections that broke the framing."""

    def __init__(
        self, name: str, endpoint: TcpEndpoint, formats: Formats, counters: Counters, binding: Binding
    ) -> None:
        self.binding = binding
        self.formats = formats
        self.max_in_flight = endpoint.max_in_flight
        self._answered = answered = binding.pattern.replies is not Count.NONE
        self._correlation = formats.correlation if answered else None
        self.in_order = answered and formats.correlation is None
        kind = endpoint.on_failure
        if kind is None:
            kind = "error" if answered and endpoint.format == "json" else "close"
        self._closes = kind == "close"
        self._message = failure_message(kind, formats)
        self.received, self.failed, self.malformed = (
            counters.counter(name, label) for label in ("received", "failed", "malformed")
        )

    def take(self, message: bytes) -> tuple[bytes, None, bool]:
        self.received.add()
        return message, None, self._answered

    async def answer(self, request: bytes, connection: Connection) -> bytes | None:
        correlation = self._correlation
        key: Any = None
        try:
            if correlation is not None:
                key, request = correlation.take_request(request)
            message = Message(request, (), {"peer": connection.peer})
            reply = (await self.binding.service.call(message, Context(peer=connection.peer))).body
            if not self._answered or reply is None:
                return None
            if correlation is not None:
                reply = correlation.put_reply(reply, key)
            return connection.framed(self.formats.compact(reply))
        except Failure as failure:
            self.failed.add()
            return self.told(failure, connection, key)

    def refusal(self, error: FramingError, connection: Connection) -> bytes | None:
        with suppress(Failure):
            return self.told(self.malformation(error), connection)
        return None

    def malformation(self, error: FramingError) -> Failure:
        """What bytes that break the framing are."""
        self.malformed.add()
        return Failure(Code.INVALID_ARGUMENT, str(error), sent=False)

    def told(self, failure: Failure, connection: Connection, key: Any = None) -> bytes | None:
        """What goes over the wire to tell of a failure; None where it is only counted.

        key: as correlation took it from the request. Raises Failure where only the connection's end can tell.
        """
        if self._message is None:
            if self._closes:
                raise failure
            return None
        message = self._message(failure)
        if key is not None and self._correlation is not None:
            message = self._correlation.put_reply(message, key)
        return connection.framed(message)
