"""Follow: what a broker's source is given from now on, streamed to many callers and consumed once."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from gateway.broker.endpoint import AFTER, BrokerEndpoint
from gateway.broker.live import Live
from gateway.declared_charset import CONTENT_TYPE, contradiction
from gateway.message import Context, Message
from gateway.net.broker.settlement import UNLIMITED
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Address, Binding, Inbound, StreamService, UnaryService
from gateway.status import Code, Failure

Kept = Message | str
"""A message, or why it can't be streamed."""


class Follow(StreamService):
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
        limit, text = endpoint.max_message_bytes, endpoint.format == "text"
        # What is too large, or in another charset, is for the streams to tell, not a dead letter.
        side = inbound(name, endpoint.model_copy(update={"max_message_bytes": UNLIMITED, "format": "json"}), network)
        self._live: Live[Kept] = Live(name, side, network.counters, _size, limit)
        keep = _Keep(self._live, limit, endpoint.charset if text else "")
        wanted = endpoint.forwarded | {CONTENT_TYPE} if text else endpoint.forwarded
        side.bind([Binding(name, source, side.contract(source), Pattern.ONE_WAY, keep, wanted)])

    @property
    def unready(self) -> str:
        return self._live.unready

    def start(self) -> None:
        self._live.start()

    async def stop(self) -> None:
        await self._live.stop()

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        begun = await self._live.begin("latest", str(request.params.get("after", "")), AFTER)
        async with aclosing(self._live.follow(begun, _every)) as entries:
            async for entry in entries:
                kept = entry.event
                if isinstance(kept, str):
                    raise Failure(Code.DATA_LOSS, kept)
                yield kept


class _Keep(UnaryService):
    """The Service that the source is bound to. charset: of texts; empty where messages are something else."""

    def __init__(self, live: Live[Kept], limit: int, charset: str) -> None:
        self._live = live
        self._limit = limit
        self._charset = charset

    async def call(self, request: Message, context: Context) -> Message:
        kept: Kept
        if request.body is None:
            kept = f"{context.peer} has no body"
        elif len(request.body) > self._limit:
            kept = f"{context.peer} is larger than the limit of {self._limit} bytes"
        elif self._charset and (why := contradiction(request.headers, self._charset)):
            kept = f"{context.peer}: {why}"
        else:
            # A reply's key is a place to go on from, which there is not.
            key = (request.key or b"").decode(errors="backslashreplace")
            kept = Message(request.body, request.headers, {**request.params, "key": key})
        await self._live.keep("", kept)
        return Message(None)


def _size(kept: Kept) -> int:
    if isinstance(kept, str):
        return len(kept)
    return len(kept.body) + sum(len(name) + len(value) for name, value in kept.headers)


def _every(topic: str) -> bool:
    return True
