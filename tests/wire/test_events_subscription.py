"""Durable subscriptions and streams, with a test's own route behind them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import ValidationError
from support.handler import Handler
from support.until import until

from adapters.events.config import Endpoint, Source, Target
from adapters.events.inbound import EventsInbound
from adapters.events.outbound import EventsOutbound
from gateway.codecs.cloudevents import CloudEvent
from gateway.journal.journal import Journal
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Binding, ContractError, Service
from gateway.status import Code, Failure


class Sides:
    """Both sides of one endpoint."""

    def __init__(self, folder: Path, network: Network | None = None, **settings: Any) -> None:
        self.endpoint = Endpoint.model_validate({"store": "events.db", "forward_headers": ["x-tenant"], **settings})
        self.network = network = network or Network(folder)
        self.inbound = EventsInbound("events", self.endpoint, network)
        self.outbound = EventsOutbound("events", self.endpoint, network)

    def bind(self, *routes: tuple[dict[str, Any], Handler]) -> None:
        bindings = []
        for settings, handler in routes:
            address = Source.model_validate({"backoff": "10ms", "max_backoff": "20ms", **settings})
            contract = self.inbound.contract(address)
            headers = contract.headers | {"message-id"}
            bindings.append(Binding("test", address, contract, Pattern.ONE_WAY, handler, headers))
        self.inbound.bind(bindings)

    def target(self, **settings: Any) -> Service:
        address = Target.model_validate(settings)
        contract = self.outbound.contract(address)
        pattern = Pattern.SERVER_STREAM if address.mode == "subscribe" else Pattern.ONE_WAY
        return self.outbound.service(address, contract, pattern)

    async def publish(self, topic: str, body: bytes = b"{}", **request: Any) -> Message:
        return await self.target(topic=topic).call(Message(body, **request), Context())


@asynccontextmanager
async def serving(folder: Path, *routes: tuple[dict[str, Any], Handler], **settings: Any) -> AsyncIterator[Sides]:
    sides = Sides(folder, **settings)
    await sides.outbound.start()
    sides.bind(*routes)
    await sides.inbound.start()
    try:
        await until(lambda: not sides.inbound.unready, lambda: sides.inbound.unready)
        yield sides
    finally:
        await sides.inbound.stop()
        await sides.outbound.stop()


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_what_a_route_is_given(tmp_path: Path) -> None:
    handler = Handler()
    async with serving(tmp_path, ({"topic": "orders.*", "subscription": "s"}, handler)) as sides:
        publish = sides.target(topic="orders.{$.kind}", type="placed", subject="$.id", key="$.id")
        request = Message(
            b'{"a": 1}',
            [("x-tenant", "acme"), ("message-id", "m1")],
            {"topic.0": "big", "subject": "o1"},
            b"k1",
        )
        receipt = await publish.call(request, Context(trace=TRACE))
        assert receipt.params == {"id": "m1", "topic": "orders.big", "position": 1}
        await sides.publish("orders", b"{}")
        await sides.publish("orders.a.b", b"{}")
        await sides.publish("orders.plain", b"[]")
        await handler.wait(2)
    first, second = handler.requests
    assert first.body == b'{"a": 1}'
    assert sorted(first.headers) == [("message-id", "m1"), ("x-tenant", "acme")]
    assert first.key == b"k1"
    params = dict(first.params)
    assert isinstance(params.pop("time"), int)
    assert params == {
        "topic": "orders.big",
        "position": 1,
        "id": "m1",
        "source": "/events",
        "type": "placed",
        "subject": "o1",
    }
    assert handler.contexts[0].trace == TRACE
    assert second.params["position"] == 4
    assert second.params["type"] == "orders.plain"
    assert second.key is None
    assert "subject" not in second.params
    assert len(handler.requests) == 2


async def test_keys_keep_their_order_and_lanes_run_at_once(tmp_path: Path) -> None:
    running: set[bytes | None] = set()
    most = 0
    done: dict[Any, list[Any]] = {}

    async def outcome(request: Message) -> None:
        nonlocal most
        assert request.key not in running, "two of one key at once"
        running.add(request.key)
        most = max(most, len(running))
        await asyncio.sleep(0.002)
        running.discard(request.key)
        done.setdefault(request.key, []).append(request.body)

    handler = Handler(outcome)
    async with serving(tmp_path, ({"topic": "t", "subscription": "s", "max_in_flight": 6}, handler)) as sides:
        for number in range(60):
            await sides.publish("t", b"%d" % number, key=b"k%d" % (number % 10))
        await handler.wait(60)
        await until(lambda: sum(map(len, done.values())) == 60)
    assert all(bodies == sorted(bodies, key=int) for bodies in done.values())
    assert 2 <= most <= 6


async def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    address = {"topic": "t", "subscription": "s"}
    first, second = Handler(), Handler()
    async with serving(tmp_path, (address, first)) as sides:
        for number in range(5):
            await sides.publish("t", b"%d" % number)
        await first.wait(5)
        await sides.inbound.drain()
        await sides.publish("t", b"5")
    async with serving(tmp_path, (address, second)):
        await second.wait(1)
    assert first.bodies == [b"0", b"1", b"2", b"3", b"4"]
    assert second.bodies == [b"5"]


async def test_where_it_begins(tmp_path: Path) -> None:
    early, late = Handler(), Handler()
    async with serving(tmp_path) as sides:
        await sides.publish("t", b"1")
        sides.bind(
            ({"topic": "t", "subscription": "early"}, early),
            ({"topic": "t", "subscription": "late", "start": "latest"}, late),
        )
        await early.wait(1)
        # What comes while it is away is not skipped.
        await until(lambda: "late" in sides.outbound._hub.log.journal._store.subscriptions)
    async with serving(tmp_path) as sides:
        await sides.publish("t", b"2")
    async with serving(tmp_path, ({"topic": "t", "subscription": "late", "start": "latest"}, late)):
        await late.wait(1)
    assert late.bodies == [b"2"]


async def test_failures(tmp_path: Path) -> None:
    """Refused ones are dead-lettered at once, broken ones after some tries; those worth it are tried on."""
    tries: dict[Any, int] = {}

    async def outcome(request: Message) -> None:
        count = tries[request.body] = tries.get(request.body, 0) + 1
        match request.body:
            case b"1":
                raise Failure(Code.INVALID_ARGUMENT, "too\nmuch", path="$.qty")
            case b"2":
                raise Failure(Code.INTERNAL, "broken")
            case b"3" if count < 8:
                raise Failure(Code.UNAVAILABLE, "away")

    letters = Handler()
    async with serving(
        tmp_path,
        ({"topic": ">", "subscription": "s", "max_deliveries": 3}, Handler(outcome)),
        ({"topic": "dead-letters.*", "subscription": "letters"}, letters),
        forward_headers=["dead-letter-reason", "dead-letter-path", "dead-letter-deliveries", "dead-letter-topic"],
    ) as sides:
        for body in (b"1", b"2", b"3", b"4"):
            await sides.publish("t", body, headers=[("message-id", "m" + body.decode())])
        await until(lambda: b"4" in tries and len(letters.requests) == 2)
        assert ("events", "dead_letters", 2) in sides.network.counters
    assert tries == {b"1": 1, b"2": 3, b"3": 8, b"4": 1}, "its own dead letters did not come back"
    told = [(request.body, request.params["id"], dict(request.headers)) for request in letters.requests]
    assert told[0][:2] == (b"1", "m1")
    # Names of extensions are cut at 20 characters, as the specification wants them.
    assert told[0][2] == {
        "message-id": "m1",
        "dead-letter-reason": "INVALID_ARGUMENT: too much",
        "dead-letter-path": "$.qty",
        "dead-letter-deliveries": "1",
        "dead-letter-topic": "t",
    }
    assert told[1][1:] == (
        "m2",
        {**told[1][2], "dead-letter-reason": "INTERNAL: broken", "dead-letter-deliveries": "3"},
    )


async def test_settings_that_change_wait_for_their_predecessor(tmp_path: Path) -> None:
    gate = asyncio.Event()

    async def outcome(request: Message) -> None:
        await gate.wait()

    old, new = Handler(outcome), Handler()
    address = {"topic": "t", "subscription": "s"}
    async with serving(tmp_path, (address, old)) as sides:
        await sides.publish("t", b"1")
        await old.wait(1)
        sides.bind(({**address, "max_in_flight": 2}, new))
        await sides.publish("t", b"2")
        await asyncio.sleep(0.05)
        assert new.bodies == []
        gate.set()
        await new.wait(1)
    assert (old.bodies, new.bodies) == ([b"1"], [b"2"])


async def test_an_endpoint_that_changes_while_it_serves(tmp_path: Path) -> None:
    """The new sides start before the old ones stop, as in a reload; nothing is refused, nothing handled twice."""
    old, new = Handler(), Handler()
    address = {"topic": "t", "subscription": "s"}
    async with serving(tmp_path, (address, old)) as former:
        await former.publish("t", b"1")
        await old.wait(1)
        latter = Sides(tmp_path, former.network, retention="1h")
        await latter.outbound.start()
        await latter.publish("t", b"2")
        latter.bind((address, new))
        await latter.inbound.start()
        await former.inbound.stop()
        await former.outbound.stop()
        try:
            await latter.publish("t", b"3")
            await until(lambda: len(old.requests) + len(new.requests) == 3)
            assert latter.outbound._hub.log.journal.retention.seconds == 3600
        finally:
            await latter.inbound.stop()
            await latter.outbound.stop()
    assert old.bodies + new.bodies == [b"1", b"2", b"3"]
    assert b"3" in new.bodies


async def _forget(journal: Journal[CloudEvent]) -> None:
    """What is older than nothing at all, but for what is needed."""
    journal.retention = msgspec.structs.replace(journal.retention, seconds=0.0)
    await asyncio.sleep(0.001)
    await journal._prune()


async def test_streams(tmp_path: Path) -> None:
    """From the latest on or the earliest, and after any position that is still there."""
    async with serving(tmp_path) as sides:
        for number in range(1, 6):
            await sides.publish("a" if number % 2 else "b", b"%d" % number)

        async def take(count: int, after: str = "", **settings: Any) -> list[tuple[Any, Any]]:
            subscribe = sides.target(mode="subscribe", **settings)
            found: list[tuple[Any, Any]] = []
            params = {"after": after} if after else {}
            async with aclosing(subscribe.stream(Message(None, params=params), None, Context())) as replies:
                async with asyncio.timeout(5):
                    async for reply in replies:
                        found.append((reply.key, reply.body))
                        if len(found) == count:
                            break
            return found

        assert await take(3, topic="a", start="earliest") == [(b"1", b"1"), (b"3", b"3"), (b"5", b"5")]
        assert await take(2, "2", topic="*") == [(b"3", b"3"), (b"4", b"4")]
        waiting = asyncio.create_task(take(1, topic=">"))
        await asyncio.sleep(0.02)
        await sides.publish("c.d", b"6")
        assert await waiting == [(b"6", b"6")]
        for after, code in (("7", Code.OUT_OF_RANGE), ("x", Code.INVALID_ARGUMENT), ("-1", Code.INVALID_ARGUMENT)):
            with pytest.raises(Failure) as told:
                await take(1, after, topic=">")
            assert told.value.code is code
        journal = sides.outbound._hub.log.journal
        await _forget(journal)
        assert journal.first == 7
        with pytest.raises(Failure) as told:
            await take(1, "2", topic=">")
        assert told.value.code is Code.OUT_OF_RANGE
        await sides.publish("a", b"7")
        assert await take(1, "6", topic=">") == [(b"7", b"7")]


async def test_what_a_subscription_needs_is_kept(tmp_path: Path) -> None:
    """However old it is; once the subscription is gone for longer than the retention, it is not."""
    gate = asyncio.Event()

    async def outcome(request: Message) -> None:
        await gate.wait()

    async with serving(tmp_path, ({"topic": "t", "subscription": "s"}, Handler(outcome))) as sides:
        journal = sides.outbound._hub.log.journal
        for _ in range(3):
            await sides.publish("t")
        await _forget(journal)
        assert journal.first == 1
        sides.bind()
        await sides.inbound.stop()
        await _forget(journal)
        assert journal.first == 4


async def test_publishing_what_can_t_be(tmp_path: Path) -> None:
    async with serving(tmp_path, max_message_bytes=100) as sides:
        with pytest.raises(Failure, match="limit of 100 bytes"):
            await sides.publish("t", b"x" * 101)
        with pytest.raises(Failure, match="UTF-8"):
            await sides.publish("t", key=b"\xff")
        with pytest.raises(Failure, match="control characters"):
            await sides.publish("t", headers=[("x-tenant", "a\nb")])
        with pytest.raises(Failure, match="one level"):
            await sides.target(topic="t.{$.x}").call(Message(b"{}", params={"topic.0": "a.b"}), Context())
        assert sides.outbound._hub.log.journal.last == 0
    with pytest.raises(Failure) as told:
        await sides.publish("t")
    assert (told.value.code, told.value.sent) == (Code.UNAVAILABLE, False)


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        (Target, {"topic": "a.*"}, "nothing can be published"),
        (Target, {"topic": "a..b"}, "is no filter"),
        (Target, {"topic": "a", "start": "earliest"}, "start has no meaning in mode publish"),
        (Target, {"topic": "a", "mode": "subscribe", "key": "$.a"}, "key has no meaning in mode subscribe"),
        (Source, {"topic": "a.#", "subscription": "s"}, "is no filter"),
        (Source, {"topic": "a", "subscription": "s", "dead_letters": "a"}, "dead_letters would take a"),
        (Source, {"topic": "a", "subscription": "s s"}, "pattern"),
        (Source, {"topic": "a", "subscription": "s", "backoff": "2s", "max_backoff": "1s"}, "less than backoff"),
        (Endpoint, {"store": "a.db", "retain_bytes": 2**30, "max_bytes": 2**20}, "more than max_bytes"),
        (Endpoint, {"store": "a.db", "secret": "short"}, "whsec_"),
        (Endpoint, {"store": "a.db", "webhooks": [{"url": "ftp://x", "topic": "a", "subscription": "s"}]}, "not a URL"),
        (
            Endpoint,
            {"store": "a.db", "webhooks": [{"url": "http://x", "topic": "a", "subscription": "s"}] * 2},
            "two webhooks",
        ),
    ],
)
def test_configurations_that_are_refused(model: Any, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        model.model_validate(given)


def test_a_secret_is_not_told() -> None:
    with pytest.raises(ValidationError) as told:
        Endpoint.model_validate({"store": "memory", "secret": "whsec_hush"})
    assert "hush" not in str(told.value.errors(include_input=False))
    endpoint = Endpoint.model_validate({"store": "memory", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
    assert "MfKQ" not in repr(endpoint)


def test_a_route_can_t_take_a_webhook_s_subscription(tmp_path: Path) -> None:
    hook = {"url": "http://x", "topic": "a", "subscription": "s"}
    sides = Sides(tmp_path, webhooks=[hook])
    with pytest.raises(ContractError, match="webhook"):
        sides.bind(({"topic": "a", "subscription": "s"}, Handler()))
