"""Outbound: publishes events, and streams them to callers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from adapters.events.attributes import CONVERSATION, METADATA, PARTITION_KEY, extension, headers_of, params_of, present
from adapters.events.config import Endpoint, Target
from adapters.events.hub import shared_hub
from gateway.codecs.cloudevents import JSON, SPEC_VERSION, CloudEvent, event
from gateway.event_log import EventLog
from gateway.journal.entry import Entry
from gateway.journal.topic import Filter
from gateway.message import MESSAGE_ID, TRACEPARENT, Context, Message
from gateway.net.network import Network
from gateway.net.tasks import end
from gateway.pattern import Ends, Pattern
from gateway.port import Bus, Contract, ContractError, Service, StreamService, UnaryService
from gateway.schema.types import INT64, STRING, Scalar
from gateway.status import Code, Failure, invalid

PATTERNS_BY_MODE: Final = {
    "publish": frozenset({Pattern.ONE_WAY}),
    "subscribe": frozenset({Pattern.SERVER_STREAM, Pattern.SUBSCRIBE}),
    "converse": frozenset({Pattern.BIDI}),
}
PATTERNS: Final = frozenset[Pattern]().union(*PATTERNS_BY_MODE.values())
RECEIPT: Final[Mapping[str, Scalar]] = {"id": STRING, "topic": STRING, "position": INT64}


class EventsOutbound:
    """All routes of an endpoint share its journal."""

    def __init__(self, name: str, endpoint: Endpoint, network: Network, bus: Bus | None = None) -> None:
        self._name = name
        self._endpoint = endpoint
        self._hub = shared_hub(name, endpoint, network, bus)
        self._log = self._hub.log
        self._started = False

    async def load(self) -> None:
        """Without a contract of its own: that is the caller's."""
        self._hub.load(self._endpoint)

    def contract(self, address: Target) -> Contract:
        endpoint, log = self._endpoint, self._log
        publishes, subscribes = address.mode != "subscribe", address.mode != "publish"
        said: dict[str, str] = {}
        heard: dict[str, str] = {}
        does = []
        if publishes:
            given = {name: path for name in ("key", "subject", "id") if (path := getattr(address, name))}
            said = {**address.said.sources, **given}
            goes_on = "answers" if not subscribes else "takes the next message"
            does.append(f"publishes to topic {address.said}, and {goes_on} once {log.published}")
        if subscribes:
            for key in () if log.positions else ("start", "after"):
                if key in address.model_fields_set and getattr(address, key) != "latest":
                    raise ContractError("a stream over a backbone begins with the latest events", field=(key,))
            heard = {**address.heard.sources, "after": address.after}
            does.append(f"streams the events of {address.heard} from the {address.start} on")
        return Contract(
            patterns=PATTERNS_BY_MODE[address.mode],
            format=endpoint.format,
            unknown=endpoint.unknown,
            sources=said or heard,
            opening=heard if publishes else {},
            ends=Ends.NEVER if subscribes else Ends.SURELY,
            receipt=present(METADATA if subscribes else RECEIPT, log),
            headers=endpoint.forwarded,
            describe="; ".join(does),
        )

    def service(self, address: Target, contract: Contract, pattern: Pattern) -> Service:
        if address.mode == "publish":
            return self._publish(address)
        subscribe = Subscribe(address, self._log, contract.headers)
        if address.mode == "subscribe":
            return subscribe
        return Converse(self._publish(address), subscribe, echo=address.echo)

    def _publish(self, address: Target) -> "Publish":
        source = self._endpoint.source or f"/{self._name}"
        return Publish(address, self._log, source, self._endpoint.max_message_bytes)

    async def start(self) -> None:
        if not self._started:
            self._started = True
            await self._hub.start(self._endpoint)

    async def stop(self) -> None:
        if self._started:
            self._started = False
            await self._hub.stop()

    @property
    def unready(self) -> str:
        return self._hub.unready if self._started else ""


class Publish(UnaryService):
    """The Service of one place to publish to. A request without a body is an event without data."""

    def __init__(self, address: Target, log: EventLog, source: str, limit: int) -> None:
        self._place = address.said
        self._type = address.type
        self._log = log
        self._source = source
        self._limit = limit

    async def call(self, request: Message, context: Context) -> Message:
        topic, event, position = await self.publish(request, context)
        receipt = {"id": event.id, "topic": topic}
        return Message(None, params={**receipt, "position": position} if position else receipt)

    async def publish(self, request: Message, context: Context, conversation: str = "") -> tuple[str, CloudEvent, int]:
        """(topic, event, position or 0), once it is kept.

        conversation: the call that the request is one message of; its headers are then those of the call, none is the
            message's own id.
        """
        params = request.params
        topic = self._place.fill(params)
        if request.body is not None and len(request.body) > self._limit:
            raise invalid(f"the message is larger than the limit of {self._limit} bytes")
        attributes: dict[str, Any] = {"specversion": SPEC_VERSION, "source": self._source, "type": self._type or topic}
        identity = params.get("id", "")
        for name, value in request.headers:
            text = value if isinstance(value, str) else value.decode(errors="backslashreplace")
            if name != MESSAGE_ID:
                attributes[extension(name)] = text
            elif not conversation:
                identity = identity or text
        attributes["id"] = identity or uuid4().hex
        attributes["time"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        if "subject" in params:
            attributes["subject"] = params["subject"]
        if request.key is not None:
            attributes[PARTITION_KEY] = _text(request.key)
        if conversation:
            attributes[CONVERSATION] = conversation
        if context.trace:
            attributes[TRACEPARENT] = context.trace
        if request.body is not None:
            attributes["datacontenttype"] = JSON
        made = event(attributes, request.body)
        return topic, made, await self._log.publish([(topic, made)])


class Subscribe(StreamService):
    """The Service of one filter. The request says no more than what the address asks of it.

    Each reply's key is its position: what a caller gives as `after` to go on from there.
    """

    def __init__(self, address: Target, log: EventLog, wanted: frozenset[str]) -> None:
        self._place = address.heard
        self._start = address.start
        self._after = address.after
        self._wanted = wanted
        self._positions = log.positions
        self.log = log.streamed()

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        async with aclosing(self.log.follow(*await self.begin(request))) as entries:
            async for entry in entries:
                yield self.message(entry)

    async def begin(self, request: Message) -> tuple[int, Filter]:
        """After which position the stream begins, once it can, and what it is given. Raises Failure."""
        wanted = Filter([self._place.fill(request.params)])
        return await self.log.begin(self._start, str(request.params.get("after", "")), self._after), wanted

    def message(self, entry: Entry[CloudEvent]) -> Message:
        """The reply that an event is."""
        found = entry.event
        if not self._positions:
            entry = Entry(0, entry.topic, found)
        return Message(
            b"{}" if found.data is None else found.data,
            headers_of(found, self._wanted),
            params_of(entry),
            b"%d" % entry.position if entry.position else None,
        )


class Converse(StreamService):
    """The Service of one place to publish to and one filter. It listens from before the first message on; the last
    one ends the publishing, not the listening. What can't be published ends both.

    echo: whether a caller is given its own events.
    """

    def __init__(self, publish: Publish, subscribe: Subscribe, *, echo: bool) -> None:
        self._publish = publish
        self._subscribe = subscribe
        self._echo = echo

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        if more is None:
            raise Failure(Code.UNIMPLEMENTED, "a conversation has many requests", sent=False)
        subscribe = self._subscribe
        after, wanted = await subscribe.begin(request)
        own = uuid4().hex
        publishing = asyncio.create_task(self._say(more, context, own), name="events conversation")
        publishing.add_done_callback(lambda _: subscribe.log.rouse())

        def check() -> None:
            if publishing.done():
                publishing.result()

        try:
            async with aclosing(subscribe.log.follow(after, wanted, check)) as entries:
                async for entry in entries:
                    if self._echo or entry.event.extensions.get(CONVERSATION) != own:
                        yield subscribe.message(entry)
        finally:
            await end([publishing])

    async def _say(self, more: AsyncIterator[Message], context: Context, conversation: str) -> None:
        """One after the other: their order is kept, and a slow store slows the caller."""
        async for message in more:
            await self._publish.publish(message, context, conversation)


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise invalid("the key is not UTF-8 text", "$key") from None
