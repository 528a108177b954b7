"""Pulse: whether a kept client's peer answers, where the client's library does not tell."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from gateway.net.broker.keeper import Keeper

T = TypeVar("T")

ASK_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 5.0
IDLE_TURNS: Final = 10  # of ASK_SECONDS, between two questions while nothing is wrong
STUCK_SECONDS: Final = 60.0  # without an answer, after which another client may find the peer elsewhere


class Pulse(Generic[T]):
    """Tells a keeper by its peer's answers whether its client works, and renews one that is silent for STUCK_SECONDS.

    silence: seconds without an answer after which it does not work. why: it is not up then.
    """

    def __init__(self, keeper: Keeper[T], client: T, silence: float, why: str) -> None:
        self._keeper = keeper
        self._client = client
        self._silence = silence
        self._why = why
        self._answered = 0
        self._heard = asyncio.get_running_loop().time()
        keeper.up(client)

    def feel(self, answered: int | None) -> None:
        """answered: when it last did, on whatever clock; None where it was asked nothing."""
        now = asyncio.get_running_loop().time()
        if answered is None or answered != self._answered:
            self._answered, self._heard = answered or 0, now
        silent = now - self._heard
        if silent <= self._silence:
            self._keeper.up(self._client)
            return
        self._keeper.down(self._why)
        if silent > STUCK_SECONDS:
            self._keeper.renew(self._client, self._why)


async def ask(
    keeper: Keeper[T], client: T, answered: Callable[[], int | None], answers: Callable[[], Awaitable[bool]], why: str
) -> None:
    """Serve a client whose peer must be asked where nothing else tells. Does not return.

    answered: how often the peer has answered the client's work; None where nothing waits for it.
    answers: whether the peer does now, being asked; cancelled after ANSWER_SECONDS.
    why: it is not up while the peer does not answer.
    """
    pulse = Pulse(keeper, client, 0.0, why)
    before: int | None = None
    turns = heard = 0
    while True:
        await asyncio.sleep(ASK_SECONDS)
        turns += 1
        now = answered()
        stalled, before = now is not None and now == before, now
        if stalled or keeper.client is None or turns % IDLE_TURNS == 0:
            heard += await _within(answers())
            pulse.feel(heard)


async def _within(answers: Awaitable[bool]) -> bool:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):  # wait_for() may swallow a cancellation
            return await answers
    except TimeoutError:
        return False
