"""What an endpoint that lies on a backbone does there, by the sides of its Bus: publish, subscribe, and stream."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from pydantic import ValidationError

from gateway.broker.live import Live
from gateway.codecs.cloudevents import CloudEvent, traceparent
from gateway.journal.entry import Entry
from gateway.journal.journal import Retention
from gateway.journal.subscription import Deliver, Settings
from gateway.journal.topic import Filter
from gateway.message import Context, Message
from gateway.net.counters import Counters
from gateway.pattern import Pattern
from gateway.port import Address, Binding, Bus, ContractError, EveryHeader, Inbound, UnaryService
from gateway.status import Code, Failure, invalid

PUBLISH_SECONDS: Final = 30.0

log = logging.getLogger("gateway.bus")


class BusLog:
    """As gateway.event_log.EventLog, on the backbone. Raises ContractError for a stream that the backbone can't have.

    name: of the endpoint.
    """

    positions = False

    def __init__(self, name: str, bus: Bus, counters: Counters) -> None:
        self._name = name
        self._bus = bus
        self._counters = counters
        self._outbound = bus.outbound()
        address = _address(lambda: bus.backbone.publish(bus.stream))
        self._service = self._outbound.service(address, self._outbound.contract(address), Pattern.ONE_WAY)
        self._live: Live[CloudEvent] | None = None
        self._started = False

    @property
    def unready(self) -> str:
        return self._outbound.unready or (self._live.unready if self._live is not None else "")

    def check(self, settings: Settings) -> None:
        bus, given = self._bus, settings.model_fields_set
        if "dead_letters" in given:
            raise ContractError(f"dead letters go {self.letters(settings)}", field=("dead_letters",))
        if "start" in given and settings.start == "earliest" and not bus.backbone.replays:
            told = f"{bus.name} keeps nothing for a subscription that is new"
            raise ContractError(told, field=("start",), hint="start: latest")
        _address(lambda: bus.backbone.durable(bus.stream, settings))

    def letters(self, settings: Settings) -> str:
        return f"where {self._bus.name} puts them"

    @property
    def published(self) -> str:
        return f"{self._bus.name} has the event"

    def subscriptions(self) -> "BusSubscriptions":
        return BusSubscriptions(self._bus)

    def streamed(self) -> Live[CloudEvent]:
        """What all gateways publish from now on. Raises ContractError."""
        if self._live is None:
            bus, inbound = self._bus, self._bus.inbound()
            address = _address(lambda: bus.backbone.live(bus.stream))
            live = self._live = Live(self._name, inbound, self._counters, _size)
            receiver = _Receiver(
                bus, lambda entry: live.keep(entry.topic, entry.event), lambda topic: True, lenient=True
            )
            inbound.bind([_binding(bus, inbound, address, receiver)])
            if self._started:
                live.start()
        return self._live

    async def publish(self, events: Sequence[tuple[str, CloudEvent]]) -> int:
        """Return once the broker has them all, in their order. Raises Failure; some may be published then."""
        write = self._bus.backbone.write
        for number, (topic, event) in enumerate(events):
            try:
                async with asyncio.timeout(PUBLISH_SECONDS):
                    await self._service.call(write(topic, event), Context(trace=traceparent(event)))
            except TimeoutError:
                raise Failure(Code.DEADLINE_EXCEEDED, "the backbone does not answer") from None
            except Failure as failure:
                if not number:
                    raise
                told = f"{number} of {len(events)} events are published, then: {failure.message}"
                raise Failure(failure.code, told, path=failure.path, retry_after=failure.retry_after) from failure
        return 0

    async def start(self, retention: Retention) -> None:
        self._started = True
        await self._outbound.start()
        if self._live is not None:
            self._live.start()

    async def stop(self) -> None:
        self._started = False
        if self._live is not None:
            await self._live.stop()
        await self._outbound.stop()


class BusSubscriptions:
    """As gateway.journal.subscription.Subscriptions, for durable subscriptions that the backbone keeps."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._inbound = bus.inbound()
        self._bound = self._started = False

    @property
    def unready(self) -> str:
        return self._inbound.unready if self._started else ""

    def replace(self, wanted: Mapping[Settings, Deliver[CloudEvent]]) -> None:
        """A subscription whose settings stay goes on as it is."""
        bus = self._bus
        self._bound = bool(wanted)
        bindings = []
        for settings, deliver in wanted.items():
            address = bus.backbone.durable(bus.stream, settings)
            bindings.append(_binding(bus, self._inbound, address, _Receiver(bus, deliver, Filter(settings.topics))))
        self._inbound.bind(bindings)

    async def start(self) -> None:
        if self._bound and not self._started:
            self._started = True
            await self._inbound.start()

    async def drain(self) -> None:
        if self._started:
            await self._inbound.drain()

    async def stop(self) -> None:
        if self._started:
            self._started = False
            await self._inbound.stop()


class _Receiver(UnaryService):
    """The Service that the backbone's inbound calls.

    lenient: what can't be read is logged and passed over; a durable subscription's dead letters tell it.
    """

    def __init__(
        self, bus: Bus, deliver: Deliver[CloudEvent], wanted: Callable[[str], bool], *, lenient: bool = False
    ) -> None:
        self._bus = bus
        self._deliver = deliver
        self._wanted = wanted
        self._lenient = lenient

    async def call(self, request: Message, context: Context) -> Message:
        try:
            topic, event = self._bus.backbone.read(request)
            if event.data is not None and not event.json:
                raise invalid("data is JSON here", "$.datacontenttype")
        except Failure as failure:
            if not self._lenient:
                raise
            log.warning("bus %s: %s is passed over: %s", self._bus.name, context.peer, failure)
            return Message(None)
        if self._wanted(topic):
            await self._deliver(Entry(0, topic, event))
        return Message(None)


def _binding(bus: Bus, inbound: Inbound, address: Address, receiver: _Receiver) -> Binding:
    name = f"{bus.name}/{bus.stream}"
    return Binding(name, address, inbound.contract(address), Pattern.ONE_WAY, receiver, EveryHeader())


def _size(event: CloudEvent) -> int:
    return len(event.data or b"")


def _address(make: Callable[[], Address]) -> Address:
    try:
        return make()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = ".".join(str(step) for step in first["loc"])
        raise ContractError(f"the backbone can't have this: {what}: {first['msg']}") from None
