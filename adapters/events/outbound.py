"""Outbound: publishes events, and streams them to callers."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

from adapters.events.attributes import (
    METADATA,
    PARTITION_KEY,
    WITHOUT_POSITION,
    extension,
    headers_of,
    params_of,
)
from adapters.events.config import Endpoint, Target
from adapters.events.hub import Hub, shared_hub
from gateway.codecs.cloudevents import JSON, SPEC_VERSION, CloudEvent, event
from gateway.journal.entry import Entry
from gateway.journal.journal import Journal
from gateway.journal.topic import Filter, is_level
from gateway.message import MESSAGE_ID, TRACEPARENT, Context, Message
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Bus, Contract, ContractError, Service, UnaryService
from gateway.schema.types import INT64, STRING, Scalar
from gateway.status import Code, Failure, invalid

PATTERNS: Final = frozenset({Pattern.ONE_WAY, Pattern.SERVER_STREAM, Pattern.SUBSCRIBE})
RECEIPT: Final[Mapping[str, Scalar]] = {"id": STRING, "topic": STRING, "position": INT64}


class EventsOutbound:
    """All routes of an endpoint share its journal."""

    def __init__(self, name: str, endpoint: Endpoint, network: Network, bus: Bus | None = None) -> None:
        self._name = name
        self._endpoint = endpoint
        self._hub = shared_hub(name, endpoint, network, bus)
        self._bus = bus
        self._started = False

    async def load(self) -> None:
        """There is nothing to read: the contract is the caller's."""

    def contract(self, address: Target) -> Contract:
        endpoint = self._endpoint
        sources = {f"topic.{number}": path for number, path in enumerate(address.holes)}
        bus = self._bus
        if address.mode == "subscribe":
            for key in ("start", "after") if bus is not None else ():
                if key in address.model_fields_set and getattr(address, key) != "latest":
                    raise ContractError("a stream over a backbone begins with the latest events", field=(key,))
            return Contract(
                patterns=frozenset({Pattern.SERVER_STREAM, Pattern.SUBSCRIBE}),
                format=endpoint.format,
                sources=sources | {"after": address.after},
                receipt=METADATA if bus is None else WITHOUT_POSITION,
                headers=endpoint.forwarded,
                describe=f"streams the events of {address.topic} from the {address.start} on",
            )
        sources |= {name: path for name in ("key", "subject", "id") if (path := getattr(address, name))}
        return Contract(
            patterns=frozenset({Pattern.ONE_WAY}),
            format=endpoint.format,
            sources=sources,
            receipt={name: type_ for name, type_ in RECEIPT.items() if bus is None or name != "position"},
            headers=endpoint.forwarded,
            describe=f"publishes to topic {address.topic}, and answers once "
            + (f"the event is synced to {endpoint.store}" if bus is None else f"{bus.name} has the event"),
        )

    def service(self, address: Target, contract: Contract, pattern: Pattern) -> Service:
        if address.mode == "subscribe":
            self._hub.stream()
            return Subscribe(address, self._hub.journal, contract.headers, positions=self._bus is None)
        source = self._endpoint.source or f"/{self._name}"
        return Publish(address, self._hub, source, self._endpoint.max_message_bytes)

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


class _Place:
    """The topic of an address, with what the request gives for its holes."""

    def __init__(self, address: Target) -> None:
        self._topic = address.topic
        self._parts = address.parts
        self._names = [(f"topic.{number}", path) for number, path in enumerate(address.holes)]

    def topic(self, params: Mapping[str, Any]) -> str:
        """Raises Failure(INVALID_ARGUMENT) for what is not one level."""
        if not self._names:
            return self._topic
        levels = []
        for name, path in self._names:
            level = str(params.get(name, ""))
            if not is_level(level):
                raise invalid("one level of a topic is expected: letters, digits, - and _", path)
            levels.append(level)
        return "".join(part + level for part, level in zip(self._parts, [*levels, ""], strict=True))


class Publish(UnaryService):
    """The Service of one place to publish to. A request without a body is an event without data."""

    def __init__(self, address: Target, hub: Hub, source: str, limit: int) -> None:
        self._place = _Place(address)
        self._type = address.type
        self._hub = hub
        self._source = source
        self._limit = limit

    async def call(self, request: Message, context: Context) -> Message:
        params = request.params
        topic = self._place.topic(params)
        if request.body is not None and len(request.body) > self._limit:
            raise invalid(f"the message is larger than the limit of {self._limit} bytes")
        attributes: dict[str, Any] = {"specversion": SPEC_VERSION, "source": self._source, "type": self._type or topic}
        identity = params.get("id", "")
        for name, value in request.headers:
            text = value if isinstance(value, str) else value.decode(errors="backslashreplace")
            if name == MESSAGE_ID:
                identity = identity or text
            else:
                attributes[extension(name)] = text
        attributes["id"] = identity or uuid4().hex
        attributes["time"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        if "subject" in params:
            attributes["subject"] = params["subject"]
        if request.key is not None:
            attributes[PARTITION_KEY] = _text(request.key)
        if context.trace:
            attributes[TRACEPARENT] = context.trace
        if request.body is not None:
            attributes["datacontenttype"] = JSON
        position = await self._hub.publish([(topic, event(attributes, request.body))])
        receipt = {"id": attributes["id"], "topic": topic}
        return Message(None, params={**receipt, "position": position} if position else receipt)


class Subscribe:
    """The Service of one filter. The request says no more than what the address asks of it.

    Each reply's key is its position: what a caller gives as `after` to go on from there.
    positions: whether events have them.
    """

    def __init__(
        self, address: Target, journal: Journal[CloudEvent], wanted: frozenset[str], *, positions: bool
    ) -> None:
        self._place = _Place(address)
        self._start = address.start
        self._after = address.after
        self._journal = journal
        self._wanted = wanted
        self._positions = positions

    async def call(self, request: Message, context: Context) -> Message:
        raise Failure(Code.UNIMPLEMENTED, "a subscription has many replies", sent=False)

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        wanted = Filter([self._place.topic(request.params)])
        await self._journal.opened()
        after = self._position(str(request.params.get("after", "")))
        async with aclosing(self._journal.follow(after, wanted)) as entries:
            async for entry in entries:
                found = entry.event
                if not self._positions:
                    entry = Entry(0, entry.topic, found)
                yield Message(
                    b"{}" if found.data is None else found.data,
                    headers_of(found, self._wanted),
                    params_of(entry),
                    b"%d" % entry.position if entry.position else None,
                )

    def _position(self, after: str) -> int:
        journal = self._journal
        if after and not self._positions:
            told = "events have no positions on the backbone: begin anew, without one"
            raise Failure(Code.UNIMPLEMENTED, told, path=self._after, sent=False)
        if not after:
            return journal.last if self._start == "latest" else journal.first - 1
        if not (after.isascii() and after.isdigit() and len(after) < 20):
            raise invalid("the position of an event is expected", self._after)
        if int(after) > journal.last:
            raise Failure(Code.OUT_OF_RANGE, f"there is no event {after} yet", path=self._after, sent=False)
        return int(after)


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise invalid("the key is not UTF-8 text", "$key") from None
