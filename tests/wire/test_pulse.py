"""Pulse: a kept client whose library does not tell that its peer is gone."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from gateway.net.broker import pulse
from gateway.net.broker.keeper import Keeper, Trouble
from gateway.net.broker.pulse import Pulse, ask
from gateway.status import Code, Failure

GONE = Failure(Code.UNAVAILABLE, "gone")


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "ASK_SECONDS", 0.002)
    monkeypatch.setattr(pulse, "IDLE_TURNS", 1_000_000)


class Peer(Keeper[int]):
    """Serves numbers as clients by asking whether it is there."""

    def __init__(self) -> None:
        super().__init__("toy", GONE, logging.getLogger("toy"))
        self.there = True
        self.hangs = False
        self.answered: int | None = None
        self.asked = self.served = 0

    async def open(self) -> int:
        self.served += 1
        return self.served

    async def serve(self, client: int) -> None:
        await ask(self, client, lambda: self.answered, self._answers, "silent")

    async def close(self, client: int) -> None:
        pass

    async def _answers(self) -> bool:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        return self.there

    async def explain(self, error: BaseException) -> Trouble:
        return Trouble(str(error), GONE)


@asynccontextmanager
async def kept() -> AsyncGenerator[Peer, None]:
    peer = Peer()
    peer.start()
    try:
        async with asyncio.timeout(20):
            assert await peer.get() == 1
            yield peer
    finally:
        await peer.stop()


async def turns(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def test_a_peer_is_asked_when_what_waits_for_it_stands_still() -> None:
    async with kept() as peer:
        for number in range(20):
            peer.answered = number
            await asyncio.sleep(0.002)
        peer.answered, asked = None, peer.asked
        await asyncio.sleep(0.03)
        assert peer.asked == asked, "nothing waits for it"
        peer.answered = 20
        await turns(lambda: peer.asked > asked)
        assert not peer.trouble
        peer.there = False
        await turns(lambda: peer.trouble == "silent")
        with pytest.raises(Failure, match="gone"):
            await peer.get()
        peer.answered = None
        peer.there = True
        await turns(lambda: not peer.trouble)
        assert await peer.get() == 1, "it is asked until it answers, and is the same one then"


async def test_a_peer_that_leaves_a_question_open_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "ANSWER_SECONDS", 0.01)
    async with kept() as peer:
        peer.hangs, peer.answered = True, 0
        await turns(lambda: peer.trouble == "silent")
        peer.hangs = False
        await turns(lambda: not peer.trouble)


async def test_an_idle_peer_is_asked_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "IDLE_TURNS", 3)
    async with kept() as peer:
        await turns(lambda: peer.asked == 2)
        peer.there = False
        await turns(lambda: bool(peer.trouble))


async def test_a_client_that_asks_in_vain_for_long_gives_way_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "STUCK_SECONDS", 0.05)
    async with kept() as peer:
        peer.there, peer.answered = False, 0
        await turns(lambda: peer.served == 2)
        assert peer.asked > 1
        peer.there = True
        assert await peer.opened() >= 2


async def test_a_client_that_hears_nothing_for_long_gives_way_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "STUCK_SECONDS", 0.1)
    async with kept() as peer:
        heart = Pulse(peer, 1, 0.02, "silent")
        heart.feel(7)
        await asyncio.sleep(0.05)
        heart.feel(7)
        assert (peer.trouble, peer.served) == ("silent", 1)
        await asyncio.sleep(0.1)
        heart.feel(7)
        await turns(lambda: peer.served == 2)


async def test_a_pulse_is_lost_by_silence_alone() -> None:
    async with kept() as peer:
        heart = Pulse(peer, 1, 0.05, "silent")
        for answered in (7, 7):
            heart.feel(answered)
            await asyncio.sleep(0.1)
        heart.feel(7)
        assert peer.trouble == "silent"
        heart.feel(8)
        assert not peer.trouble
        await asyncio.sleep(0.1)
        heart.feel(None)
        await asyncio.sleep(0.1)
        heart.feel(None)
        assert not peer.trouble
