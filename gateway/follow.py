"""Follow: what a broker's source is given from now on, streamed to many callers and consumed once."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final

from gateway.broker import AFTER, BrokerEndpoint
from gateway.journal.journal import Journal, Retention
from gateway.journal.memory import MemoryStore
from gateway.live import Live
from gateway.message import Context, Message
from gateway.net.broker.settlement import UNLIMITED
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Address, Binding, Inbound, UnaryService
from gateway.status import Code, Failure

# How far a slow reader may be behind.
LIMIT: Final = 32 * 1024 * 1024
RETAINED: Final = 16 * 1024 * 1024
RETAINED_SECONDS: Final = 60.0

Kept = Message | str
"""A message, or why it can't be streamed."""


class Follow:
    """One source: a Worker, and the Service of the routes that stream it, with the patterns of broker.STREAMED.

    inbound: of the endpoint's own adapter, as Side.open has it.
    source: where messages from now on come to this process alone.
    """

    def __init__(
        self,
        inbound: Callable[[str, Any, Network], Inbound],
        name: str,
        endpoint: BrokerEndpoint,
        network: Network,
        source: Address,
    ) -> None:
        self._name = name
        limit = endpoint.max_message_bytes
        retention = Retention(limit=LIMIT + limit, retained=RETAINED + limit, seconds=RETAINED_SECONDS)
        store = MemoryStore(_size, retention.limit)
        self._journal: Journal[Kept] = Journal(name, store, retention, network.counters)
        # What is too large is for the streams to tell, not a dead letter.
        side = inbound(name, endpoint.model_copy(update={"max_message_bytes": UNLIMITED}), network)
        keep = _Keep(self._journal, limit)
        side.bind([Binding(name, source, side.contract(source), Pattern.ONE_WAY, keep, endpoint.forwarded)])
        self._live = Live(name, side, self._journal)

    @property
    def unready(self) -> str:
        return self._live.unready

    def start(self) -> None:
        self._live.start()

    async def stop(self) -> None:
        await self._live.stop()

    async def call(self, request: Message, context: Context) -> Message:
        raise Failure(Code.UNIMPLEMENTED, "a stream has many replies", sent=False)

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        if request.params.get("after"):
            told = "a stream of what is published from now on can't go on from a position: begin anew, without one"
            raise Failure(Code.UNIMPLEMENTED, told, path=AFTER, sent=False)
        journal = self._journal
        async with aclosing(journal.follow(await journal.begin("latest", "", AFTER), _every)) as entries:
            async for entry in entries:
                kept = entry.event
                if isinstance(kept, str):
                    raise Failure(Code.DATA_LOSS, kept)
                yield kept


class _Keep(UnaryService):
    """The Service that the source is bound to."""

    def __init__(self, journal: Journal[Kept], limit: int) -> None:
        self._journal = journal
        self._limit = limit

    async def call(self, request: Message, context: Context) -> Message:
        kept: Kept
        if request.body is None:
            kept = f"{context.peer} has no body"
        elif len(request.body) > self._limit:
            kept = f"{context.peer} is larger than the limit of {self._limit} bytes"
        else:
            # A reply's key is a place to go on from, which there is not.
            key = (request.key or b"").decode(errors="backslashreplace")
            kept = Message(request.body, request.headers, {**request.params, "key": key})
        await self._journal.append([("", kept)])
        return Message(None)


def _size(kept: Kept) -> int:
    if isinstance(kept, str):
        return len(kept)
    return len(kept.body) + sum(len(name) + len(value) for name, value in kept.headers)


def _every(topic: str) -> bool:
    return True
