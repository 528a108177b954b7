"""Settlement: what becomes of a delivery, whatever its route, its broker and its sender do."""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec
import pytest

from gateway.broker.endpoint import BrokerEndpoint
from gateway.message import Message
from gateway.net.broker.redelivery import Redelivery, Retries
from gateway.net.broker.reply import Reply, message_of, reply_of
from gateway.net.broker.settlement import Settlement, counts_of
from gateway.net.counters import Counters
from gateway.status import Code, Failure, invalid

NEVER = float("inf")
ENDPOINT = BrokerEndpoint(max_message_bytes=100)


class Letter(msgspec.Struct):
    asks: bool = False
    deadline: float = NEVER
    name: str = "t/0/7"
    body: bytes | None = b"letter"
    origin: Mapping[str, str] = MappingProxyType({"topic": "t"})


class Courier:
    """Keeps what it was given. outcomes, refusals: of the next calls; the last one stays."""

    def __init__(self, *outcomes: Message | Failure, refusals: Sequence[Failure | None] = (None,)) -> None:
        self.tries = 0
        self.buried: list[dict[str, str]] = []
        self.sent: list[Reply] = []
        self._outcomes = outcomes or (Message(None),)
        self._refusals = refusals
        self._offered = 0

    async def deliver(self, delivery: Letter) -> Message:
        outcome = self._outcomes[min(self.tries, len(self._outcomes) - 1)]
        self.tries += 1
        if isinstance(outcome, Failure):
            raise outcome
        return outcome

    def grave(self, delivery: Letter) -> str:
        return "the graveyard"

    async def bury(self, delivery: Letter, reason: Sequence[tuple[str, str]]) -> None:
        self.buried.append(dict(reason))
        self._refuse()

    async def answer(self, delivery: Letter, reply: Reply) -> None:
        self.sent.append(reply)
        self._refuse()

    def _refuse(self) -> None:
        refusal = self._refusals[min(self._offered, len(self._refusals) - 1)]
        self._offered += 1
        if refusal is not None:
            raise refusal


class Desk:
    def __init__(self) -> None:
        self.counters = Counters()
        self.settlement = Settlement("toy", counts_of(self.counters, "toy"), ENDPOINT, logging.getLogger("toy"))
        self.ending: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.redelivery = Redelivery(
            Retries.model_validate({"max_deliveries": 3, "backoff": "1ms", "max_backoff": "2ms"}), self.ending
        )

    async def settle(self, courier: Courier, letter: Letter, until: float = NEVER) -> bool:
        async with asyncio.timeout(10):
            return await self.settlement.settle(courier, letter, self.redelivery, until)

    @property
    def counted(self) -> dict[str, int]:
        return {name: value for _, name, value in self.counters if value}


async def test_handled() -> None:
    desk, courier = Desk(), Courier(Failure(Code.UNAVAILABLE, "down"), Message(None))
    assert await desk.settle(courier, Letter())
    assert (courier.tries, courier.buried, courier.sent, desk.counted) == (2, [], [], {})


async def test_a_reply_that_nobody_asked_for_is_counted() -> None:
    desk, courier = Desk(), Courier(Message(b"x"))
    assert await desk.settle(courier, Letter())
    assert desk.counted == {"discarded_replies": 1}


async def test_buried_with_the_reason() -> None:
    desk, courier = Desk(), Courier(Failure(Code.INTERNAL, "oops", path="$.a"))
    assert await desk.settle(courier, Letter())
    (reason,) = courier.buried
    assert reason == {
        "dead-letter-reason": "INTERNAL: oops",
        "dead-letter-path": "$.a",
        "dead-letter-deliveries": "3",
        "dead-letter-topic": "t",
    }
    assert desk.counted == {"dead_letters": 1}


async def test_what_can_not_be_buried_is_told_and_kept_trying_without_another_try_of_the_route() -> None:
    desk = Desk()
    told: list[str] = []

    class Watched(Courier):
        async def bury(self, delivery: Letter, reason: Sequence[tuple[str, str]]) -> None:
            told.append(desk.settlement.unready)
            await super().bury(delivery, reason)

    courier = Watched(invalid("no"), refusals=[Failure(Code.UNAVAILABLE, "full")] * 3 + [None])
    assert await desk.settle(courier, Letter())
    assert told == ["", *["t/0/7 can't be put into the graveyard: UNAVAILABLE: full"] * 3]
    assert (courier.tries, len(courier.buried), desk.settlement.unready) == (1, 4, "")


async def test_a_reason_that_has_no_room_is_left_out() -> None:
    desk, courier = Desk(), Courier(invalid("no"), refusals=[invalid("too large"), None])
    assert await desk.settle(courier, Letter())
    assert courier.buried[1] == {}
    assert desk.counted == {"dead_letters": 1}


async def test_larger_than_the_limit() -> None:
    desk, courier = Desk(), Courier()
    assert await desk.settle(courier, Letter(body=b"x" * 101))
    assert (courier.tries, courier.buried[0]["dead-letter-deliveries"]) == (0, "1")
    assert "limit of 100 bytes" in courier.buried[0]["dead-letter-reason"]


async def test_refused_without_a_try() -> None:
    desk, courier = Desk(), Courier()
    assert await desk.settlement.refuse(courier, Letter(), invalid("no such address"), desk.redelivery)
    assert (courier.tries, courier.buried[0]["dead-letter-deliveries"]) == (0, "0")


async def test_answered_and_the_same_reply_again_until_it_is_taken() -> None:
    desk = Desk()
    given = [("tenant", "a"), ("gateway-status", "INTERNAL"), ("correlation-id", "mine")]
    courier = Courier(Message(b"re", given), refusals=[Failure(Code.UNAVAILABLE, "down")] * 2 + [None])
    assert await desk.settle(courier, Letter(asks=True))
    assert courier.tries == 1
    assert len({reply.message_id for reply in courier.sent}) == 1, "duplicates bear the same message id"
    assert (courier.sent[0].body, courier.sent[0].headers) == (b"re", [("tenant", "a")])
    assert courier.sent[0].content_type == "application/json"
    assert reply_of(Message(b"", [("message-id", b"own")]), "").message_id == "own"


async def test_failures_are_replies_after_bounded_tries() -> None:
    desk, courier = Desk(), Courier(Failure(Code.UNAVAILABLE, "down", retry_after=0.001))
    assert await desk.settle(courier, Letter(asks=True))
    (reply,) = courier.sent
    assert (courier.tries, courier.buried, desk.counted) == (3, [], {})
    with pytest.raises(Failure, match="down") as told:
        message_of(reply.body, (), dict(reply.headers)["gateway-status"], 1000)  # type: ignore[arg-type]
    assert (told.value.code, told.value.retry_after) == (Code.UNAVAILABLE, 0.001)


async def test_replies_that_are_too_large_or_refused_become_errors() -> None:
    desk, courier = Desk(), Courier(Message(b"x" * 101))
    assert await desk.settle(courier, Letter(asks=True))
    assert "larger than the limit of 100 bytes" in json.loads(courier.sent[0].body)["detail"]
    courier = Courier(Message(b"x"), refusals=[invalid("odd headers"), None])
    assert await desk.settle(courier, Letter(asks=True))
    assert json.loads(courier.sent[1].body)["detail"] == "the reply can't be sent: odd headers"


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.PERMISSION_DENIED, Code.INVALID_ARGUMENT])
async def test_an_address_that_takes_no_reply_holds_up_nobody(code: Code) -> None:
    desk, courier = Desk(), Courier(Message(b"x"), refusals=[Failure(code, "no")])
    assert await desk.settle(courier, Letter(asks=True))
    assert desk.counted == {"undeliverable_replies": 1}


async def test_the_callers_deadline() -> None:
    desk, courier = Desk(), Courier(Failure(Code.INTERNAL, "oops"))
    now = asyncio.get_running_loop().time()
    slow = Redelivery(
        Retries.model_validate({"max_deliveries": 1000, "backoff": "60s", "max_backoff": "60s"}), desk.ending
    )
    async with asyncio.timeout(10):
        letter = Letter(asks=True, deadline=now + 0.05)
        assert await desk.settlement.settle(courier, letter, slow, now + 3600)
    assert json.loads(courier.sent[0].body)["code"] == "DEADLINE_EXCEEDED"
    assert courier.tries == 1, "no pause is longer than what is left"


async def test_what_is_not_settled_at_the_end_stays_with_the_broker() -> None:
    desk, courier = Desk(), Courier(Failure(Code.UNAVAILABLE, "down"))
    desk.ending.set_result(None)
    assert not await desk.settle(courier, Letter())
    assert not await desk.settle(courier, Letter(asks=True))
    assert (courier.sent, courier.buried) == ([], [])
    assert not await Desk().settle(courier, Letter(), asyncio.get_running_loop().time() + 0.02)
