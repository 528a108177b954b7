"""Thrift calls as calls of routes."""

import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from adapters.thrift.contract import function_of
from adapters.thrift.status import write_failure
from gateway.codecs.format import Encode
from gateway.codecs.thrift.format import Protocol
from gateway.codecs.thrift.message import SEPARATOR, Envelope, MessageType, write_message
from gateway.message import Context, Header, Message
from gateway.net.counters import Rejections
from gateway.port import Binding
from gateway.status import Code, Failure, invalid

log = logging.getLogger("gateway.thrift")


class _Served(msgspec.Struct, frozen=True):
    """A bound function. throws: writes the result that is the declared exception of this name."""

    call: Callable[[Message, Context], Awaitable[Message]]
    throws: dict[str, Encode]
    oneway: bool
    headers: frozenset[str]


class Processor:
    """Finds the function, calls its route, and answers.

    default: the service that calls without one are of; multiplexed: others are called by name.
    limit: of a reply, in bytes. rejections: counts what no route does.
    """

    def __init__(
        self, protocol: Protocol, default: str, *, multiplexed: bool, limit: int, rejections: Rejections
    ) -> None:
        self._protocol = protocol
        self._default = default
        self._multiplexed = multiplexed
        self._limit = limit
        self._rejections = rejections
        self._served: dict[str, _Served] = {}

    def bind(self, bindings: Sequence[Binding]) -> None:
        """Replace all routes, atomically."""
        served: dict[str, _Served] = {}
        for binding in bindings:
            function = function_of(binding.contract)
            one = _Served(
                binding.service.call,
                {throw.name: throw.format.encoder(throw.record) for throw in function.throws.values()},
                function.oneway,
                binding.headers,
            )
            if function.service == self._default:
                served[function.name] = one
            if self._multiplexed:
                served[f"{function.service}{SEPARATOR}{function.name}"] = one
        self._served = served

    def headers(self, call: Envelope) -> frozenset[str]:
        """The names of the headers that the call's route wants."""
        served = self._served.get(call.name)
        return frozenset() if served is None else served.headers

    def oneway(self, call: Envelope) -> bool:
        """Whether its caller does not wait, and would take an answer for that of its next call."""
        served = self._served.get(call.name)
        return call.type == MessageType.ONEWAY or (served is not None and served.oneway)

    async def answer(self, call: Envelope, context: Context, headers: Sequence[Header] = ()) -> bytes | None:
        """The reply; None where the caller takes none. Raises Failure only where such a call failed."""
        served = self._served.get(call.name)
        silent = self.oneway(call)
        try:
            if served is None:
                raise self._unknown(call.name)
            if call.type not in (MessageType.CALL, MessageType.ONEWAY):
                raise invalid(f"a message of type {call.type} is no call")
            reply = await served.call(Message(call.body, headers), context)
        except Failure as failure:
            if silent:
                self._rejections.add(failure)
                raise
            return self._failed(call, failure, served)
        return None if silent else self._reply(call, reply.body)

    def _unknown(self, name: str) -> Failure:
        hint = f" without its service, as Service{SEPARATOR}function" if SEPARATOR not in name else ""
        return Failure(
            Code.UNIMPLEMENTED,
            f"no function {name[:200]!r} is served{hint if self._multiplexed else ''}",
            sent=False,
        )

    def _failed(self, call: Envelope, failure: Failure, served: _Served | None) -> bytes:
        throws = {} if served is None else served.throws
        for detail in failure.details:
            write = throws.get(detail.name)
            if write is not None and isinstance(detail.value, msgspec.Struct):
                try:
                    return self._reply(call, write(detail.value))
                except Failure as misfit:
                    log.warning("exception %s can't be written: %s", detail.name, misfit)
        return self.told(call, failure)

    def told(self, call: Envelope, failure: Failure) -> bytes:
        """The answer where a failure has no form of the call's own."""
        self._rejections.add(failure)
        return write_failure(self._protocol, call, failure)

    def _reply(self, call: Envelope, body: bytes) -> bytes:
        # The answer to a multiplexed call bears the function's name alone.
        name = call.name.rpartition(SEPARATOR)[2]
        reply = write_message(self._protocol, Envelope(name, MessageType.REPLY, call.seqid, body, call.strict))
        if len(reply) > self._limit:
            text = f"the reply has {len(reply)} bytes, more than the limit of {self._limit}"
            return self.told(call, Failure(Code.INTERNAL, text))
        return reply
