"""Logs of events: one that keeps them itself, and one on a backbone that takes and gives as a test says."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError
from support.handler import Handler
from support.until import until

from adapters.events.attributes import CONTENT, METADATA, present
from gateway import bus as bus_module
from gateway.bus import BusLog
from gateway.codecs.cloudevents import CloudEvent
from gateway.event_log import JournalLog
from gateway.journal import journal
from gateway.journal.entry import Entry
from gateway.journal.journal import Retention
from gateway.journal.subscription import Settings
from gateway.message import Context, Message
from gateway.net.counters import Counters
from gateway.net.network import Network
from gateway.port import Address, Backbone, Binding, Bus, ContractError
from gateway.status import Code, Failure

RETENTION = Retention(limit=2**20, retained=2**19, seconds=60.0)
AFTER = "$headers.last-event-id"


def event(number: int = 1, data: bytes | None = b"{}", **attributes: Any) -> CloudEvent:
    return CloudEvent(id=str(number), source="/s", type="t", data=data, **attributes)


def settings(**given: Any) -> Settings:
    return Settings.model_validate({"topic": "a.*", "subscription": "s", **given})


class Queue(Address):
    """An address of the backbone. stream: nothing longer than eight letters."""

    stream: str
    name: str = ""

    def __init__(self, **given: Any) -> None:
        if len(given["stream"]) > 8:
            raise ValidationError.from_exception_data("Queue", [{"type": "missing", "loc": ("stream",), "input": {}}])
        super().__init__(**given)


class Exchange:
    """A backbone in memory, both its sides: what is published to it comes to those that are bound and started."""

    def __init__(self, outcome: Callable[[Message], Awaitable[Failure | Message | None]] | None = None) -> None:
        self.published = Handler(outcome)
        self.bindings: list[Binding] = []
        self.running = 0
        self.unready = ""
        self.address: Address | None = None

    def contract(self, address: Address) -> Any:
        return SimpleNamespace(address=address)

    def service(self, address: Address, contract: Any, pattern: Any) -> Handler:
        return self.published

    def bind(self, bindings: Sequence[Binding]) -> None:
        self.bindings = list(bindings)

    async def give(self, topic: str, given: CloudEvent) -> None:
        for binding in self.bindings:
            await binding.service.call(Message(given.data, params={"topic": topic, "event": given}), Context(peer="b"))

    async def load(self) -> None: ...

    async def start(self) -> None:
        self.running += 1

    async def drain(self) -> None: ...

    async def stop(self) -> None:
        self.running -= 1

    def bus(self, stream: str = "news", *, replays: bool = False) -> Bus:
        backbone = Backbone(
            publish=lambda stream: Queue(stream=stream),
            durable=lambda stream, settings: Queue(stream=stream, name=settings.name),
            live=lambda stream: Queue(stream=stream, name="live"),
            write=lambda topic, event: Message(event.data, params={"topic": topic, "event": event}),
            read=lambda request: (request.params["topic"], request.params["event"]),
            replays=replays,
        )
        return Bus(name="mq", stream=stream, backbone=backbone, inbound=lambda: self, outbound=lambda: self)


def journal_log(folder: Path, store: str = "memory") -> JournalLog:
    return JournalLog("events", store, CONTENT, RETENTION, Network(folder))


@pytest.mark.parametrize("store", ["memory", "events.db"])
async def test_a_log_of_its_own(tmp_path: Path, store: str) -> None:
    log = journal_log(tmp_path, store)
    log.check(settings(start="earliest", dead_letters="b"))
    assert (log.published, log.letters(settings())) == (f"the event is synced to {store}", "to dead-letters.s")
    assert dict(present(METADATA, log)) == METADATA
    with pytest.raises(Failure, match="not open"):
        await log.publish([("a.b", event())])
    await log.start(RETENTION)
    try:
        await until(lambda: not log.unready, lambda: log.unready)
        assert await log.publish([("a.b", event(1)), ("a.c", event(2))]) == 1
        streamed = log.streamed()
        assert [await streamed.begin(start, "", AFTER) for start in ("earliest", "latest")] == [0, 2]
        assert await streamed.begin("latest", "1", AFTER) == 1
        for after, code in (("3", Code.OUT_OF_RANGE), ("-1", Code.INVALID_ARGUMENT), ("9" * 20, Code.INVALID_ARGUMENT)):
            with pytest.raises(Failure) as refused:
                await streamed.begin("latest", after, AFTER)
            assert (refused.value.code, refused.value.path, refused.value.sent) == (code, AFTER, False)
        given: list[str] = []

        async def deliver(entry: Entry[CloudEvent]) -> None:
            given.append(entry.event.id)

        durable = log.subscriptions()
        durable.replace({settings(topic="a.c"): deliver})
        await durable.start()
        await until(lambda: given == ["2"])
        await durable.drain()
        await durable.stop()
        retention = Retention(limit=2**20, retained=2**19, seconds=1.0)
        await log.start(retention)
        assert log.journal.retention is retention
    finally:
        await log.stop()
    assert log.unready == "stopped"


def test_what_a_backbone_can_not_do_is_told_before() -> None:
    log = BusLog("events", Exchange().bus(), Counters())
    log.check(settings())
    log.check(settings(start="latest"))
    assert (log.published, log.letters(settings())) == ("mq has the event", "where mq puts them")
    assert "position" not in present(METADATA, log) and len(present(METADATA, log)) == len(METADATA) - 1
    with pytest.raises(ContractError) as refused:
        log.check(settings(dead_letters="b"))
    assert (refused.value.field, refused.value.message) == (("dead_letters",), "dead letters go where mq puts them")
    with pytest.raises(ContractError) as refused:
        log.check(settings(start="earliest"))
    assert (refused.value.field, refused.value.hint) == (("start",), "start: latest")
    BusLog("events", Exchange().bus(replays=True), Counters()).check(settings(start="earliest"))
    with pytest.raises(ContractError, match="the backbone can't have this: stream"):
        BusLog("events", Exchange().bus("newspaper"), Counters())


async def test_streams_of_a_backbone_begin_with_what_comes() -> None:
    exchange = Exchange()
    log = BusLog("events", exchange.bus(), Counters())
    await log.start(RETENTION)
    streamed = log.streamed()
    assert log.streamed() is streamed
    try:
        assert await streamed.begin("earliest", "", AFTER) == 0
        with pytest.raises(Failure) as refused:
            await streamed.begin("latest", "1", AFTER)
        assert (refused.value.code, refused.value.path, refused.value.sent) == (Code.UNIMPLEMENTED, AFTER, False)
        await exchange.give("a.b", event(1))
        await exchange.give("a.b", event(2, b"<a/>", datacontenttype="text/xml"))  # passed over
        await exchange.give("a.b", event(3))
        found = []
        async with aclosing(streamed.follow(0, lambda topic: True)) as entries:
            async for entry in entries:
                found.append(entry.event.id)
                if len(found) == 2:
                    break
        assert found == ["1", "3"]
        assert exchange.running == 2 and not log.unready
        exchange.unready = "mq is away"
        assert log.unready == "mq is away"
    finally:
        await log.stop()
    assert exchange.running == 0


async def test_no_stream_begins_while_the_broker_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "OPEN_SECONDS", 0.0)
    exchange = Exchange()
    exchange.unready = "mq is away"
    log = BusLog("events", exchange.bus(), Counters())
    await log.start(RETENTION)
    streamed = log.streamed()
    try:
        with pytest.raises(Failure, match="nothing can be streamed now") as refused:
            await streamed.begin("latest", "", AFTER)
        assert (refused.value.code, refused.value.sent) == (Code.UNAVAILABLE, False)
        exchange.unready = ""
        await until(lambda: not log.unready, lambda: log.unready)
        assert await streamed.begin("latest", "", AFTER) == 0
    finally:
        await log.stop()


async def test_what_a_backbone_has_of_a_batch_is_told() -> None:
    async def outcome(request: Message) -> Failure | None:
        return Failure(Code.UNAVAILABLE, "away", retry_after=2.0) if request.params["event"].id == "2" else None

    exchange = Exchange(outcome)
    log = BusLog("events", exchange.bus(), Counters())
    assert await log.publish([("a.b", event(1)), ("a.b", event(3))]) == 0
    with pytest.raises(Failure) as refused:
        await log.publish([("a.b", event(2)), ("a.b", event(1))])
    assert (refused.value.message, refused.value.retry_after) == ("away", 2.0)
    with pytest.raises(Failure) as refused:
        await log.publish([("a.b", event(1)), ("a.b", event(2)), ("a.b", event(3))])
    assert refused.value.message == "1 of 3 events are published, then: away"
    assert (refused.value.code, refused.value.retry_after, refused.value.sent) == (Code.UNAVAILABLE, 2.0, True)
    assert [request.params["event"].id for request in exchange.published.requests] == ["1", "3", "2", "1", "2"]


async def test_a_backbone_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def silence(request: Message) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(bus_module, "PUBLISH_SECONDS", 0.05)
    log = BusLog("events", Exchange(silence).bus(), Counters())
    with pytest.raises(Failure) as refused:
        await log.publish([("a.b", event())])
    assert (refused.value.code, refused.value.message) == (Code.DEADLINE_EXCEEDED, "the backbone does not answer")


async def test_durable_subscriptions_of_a_backbone_are_given_their_topics_alone() -> None:
    exchange = Exchange()
    durable = BusLog("events", exchange.bus(), Counters()).subscriptions()
    given: list[tuple[str, int]] = []

    async def deliver(entry: Entry[CloudEvent]) -> None:
        given.append((entry.topic, entry.position))

    await durable.start()
    assert not exchange.running, "nothing is wanted yet"
    wanted = settings()
    durable.replace({wanted: deliver})
    assert exchange.bindings[0].address == Queue(stream="news", name="s")
    await durable.start()
    await exchange.give("a.b", event(1))
    await exchange.give("b", event(2))
    assert given == [("a.b", 0)]
    with pytest.raises(Failure, match="data is JSON here"):
        await exchange.give("a.b", event(3, b"<a/>", datacontenttype="text/xml"))
    exchange.unready = "mq is away"
    assert durable.unready == "mq is away"
    await durable.drain()
    await durable.stop()
    assert (exchange.running, durable.unready) == (0, "")
