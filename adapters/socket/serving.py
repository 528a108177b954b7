"""Serving: what becomes of the messages that come in."""

from typing import Any, Protocol

from adapters.socket.config import TcpEndpoint, UdpEndpoint
from gateway.codecs.declared_format import Formats
from gateway.message import Context, Departure, Message
from gateway.net.counters import Counter, Rejections
from gateway.net.failure_message import failure_message
from gateway.pattern import Count
from gateway.port import Binding
from gateway.status import Failure


class Peer(Protocol):
    """Who is answered."""

    @property
    def peer(self) -> str: ...

    @property
    def departure(self) -> Departure: ...

    def framed(self, message: bytes) -> bytes:
        """What goes over the wire. Raises Failure for a message that can't be sent."""
        ...


class Serving:
    """failed: counts the messages whose call failed. rejections: counts what no route does."""

    def __init__(
        self,
        endpoint: TcpEndpoint | UdpEndpoint,
        formats: Formats,
        binding: Binding,
        *,
        failed: Counter,
        rejections: Rejections,
    ) -> None:
        self.binding = binding
        self.failed = failed
        self._rejections = rejections
        self.answered = answered = binding.pattern.replies is not Count.NONE
        self._correlation = formats.correlation if answered else None
        kind = endpoint.on_failure
        if kind is None:
            kind = "error" if answered and formats.json else endpoint.default_failure
        self._closes = kind == "close"
        self._message = failure_message(kind, formats)

    async def answer(self, request: bytes, peer: Peer) -> bytes | None:
        """The reply as it goes over the wire, or None. Raises Failure where only the connection's end can tell."""
        correlation = self._correlation
        key: Any = None
        try:
            if correlation is not None:
                key = correlation.key(request)
            message = Message(request, (), {"peer": peer.peer})
            reply = (await self.binding.service.call(message, Context(peer=peer.peer, departure=peer.departure))).body
            if not self.answered or reply is None:
                return None
            return peer.framed(reply if correlation is None else correlation.put_reply(reply, key))
        except Failure as failure:
            self.failed.add()
            return self.told(failure, peer, key)

    def told(self, failure: Failure, peer: Peer, key: Any = None) -> bytes | None:
        """What goes over the wire to tell of a failure; None where it is only counted.

        key: as correlation took it from the request. Raises Failure where only the connection's end can tell.
        """
        self._rejections.add(failure)
        if self._message is None:
            if self._closes:
                raise failure
            return None
        message = self._message(failure)
        if key is not None and self._correlation is not None:
            message = self._correlation.put_reply(message, key)
        return peer.framed(message)
