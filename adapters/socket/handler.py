"""Handler: what is done with the messages of an inbound's connections."""

from contextlib import suppress

from adapters.socket.config import TcpEndpoint
from adapters.socket.serving import Peer, Serving
from gateway.codecs.declared_format import Formats
from gateway.net.counters import Counter, Rejections
from gateway.net.tcp.framing import FramingError
from gateway.port import Binding
from gateway.status import Code, Failure


class Handler(Serving):
    """A RequestHandler. received: counts messages. malformed: connections that broke the framing."""

    def __init__(
        self,
        endpoint: TcpEndpoint,
        formats: Formats,
        binding: Binding,
        *,
        received: Counter,
        failed: Counter,
        rejections: Rejections,
        malformed: Counter,
    ) -> None:
        super().__init__(endpoint, formats, binding, failed=failed, rejections=rejections)
        self.max_in_flight = endpoint.max_in_flight
        self.in_order = self.answered and formats.correlation is None
        self.received = received
        self._malformed = malformed

    def take(self, message: bytes) -> tuple[bytes, None, bool]:
        self.received.add()
        return message, None, self.answered

    def refusal(self, error: FramingError, peer: Peer) -> bytes | None:
        with suppress(Failure):
            return self.told(self.malformation(error), peer)
        return None

    def malformation(self, error: FramingError) -> Failure:
        """What bytes that break the framing are."""
        self._malformed.add()
        return Failure(Code.INVALID_ARGUMENT, str(error), sent=False)
