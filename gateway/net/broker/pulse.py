"""Pulse: whether a kept client's peer answers, where the client's library does not tell."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from gateway.net.broker.keeper import Keeper

T = TypeVar("T")

ASK_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 5.0
IDLE_TURNS: Final = 10  # of ASK_SECONDS, between two questions while nothing is wrong
STUCK_TURNS: Final = 60  # without an answer, after which another client may find the peer elsewhere


class Pulse(Generic[T]):
    """Tells a keeper by its peer's answers whether its client works.

    silence: seconds without an answer after which it does not. why: it is not up then.
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
        if now - self._heard > self._silence:
            self._keeper.down(self._why)
        else:
            self._keeper.up(self._client)


async def ask(
    keeper: Keeper[T], client: T, answered: Callable[[], int | None], answers: Callable[[], Awaitable[bool]], why: str
) -> None:
    """Tell a keeper, by asking the peer where nothing else tells, whether its client works. Returns when it had better
    be another one.

    answered: how often the peer has answered the client's work; None where nothing waits for it.
    answers: whether the peer does now, being asked; cancelled after ANSWER_SECONDS.
    why: it is not up while the peer does not answer.
    """
    keeper.up(client)
    before: int | None = None
    turns = unanswered = 0
    while unanswered < STUCK_TURNS:
        await asyncio.sleep(ASK_SECONDS)
        turns += 1
        now = answered()
        stalled, before = now is not None and now == before, now
        if not (stalled or unanswered or turns % IDLE_TURNS == 0):
            continue
        if await _within(answers()):
            unanswered = 0
            keeper.up(client)
        else:
            unanswered += 1
            keeper.down(why)


async def _within(answers: Awaitable[bool]) -> bool:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):  # wait_for() may swallow a cancellation
            return await answers
    except TimeoutError:
        return False
