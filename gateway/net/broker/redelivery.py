"""Redelivery: a broker's delivery is tried until it is settled, and waits in between."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Self

import msgspec
from pydantic import BaseModel, Field, model_validator

from gateway.duration import Duration
from gateway.net.http.problem_json import details_json
from gateway.status import Disposition, Failure, as_failure, disposition

DEAD_LETTER_REASON: Final = "dead-letter-reason"
DEAD_LETTER_PATH: Final = "dead-letter-path"
DEAD_LETTER_DELIVERIES: Final = "dead-letter-deliveries"
DEAD_LETTER_DETAILS: Final = "dead-letter-details"

log = logging.getLogger("gateway.redelivery")

Deliver = Callable[[], Awaitable[None]]
"""One try. Raises Failure."""

Bury = Callable[[Failure, int], Awaitable[None]]
"""(why, deliveries): returns once the delivery is kept elsewhere. Raises Failure."""


class Retries(BaseModel):
    """As routes.yaml writes them, for all sources that redeliver."""

    max_deliveries: int = Field(
        default=5,
        ge=1,
        description="How often a message is tried that fails with INTERNAL, UNKNOWN or DATA_LOSS, before it is "
        "dead-lettered; one that asks for a reply, whatever may pass, before the failure is its reply. Other failures "
        "are tried for ever or dead-lettered at once.",
    )
    backoff: Duration = Field(default=0.1, gt=0, le=60, description="Longest wait before the second try.")
    max_backoff: Duration = Field(
        default=30.0, gt=0, le=24 * 3600, description="Longest wait before any try; it doubles up to here, with jitter."
    )

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if self.max_backoff < self.backoff:
            raise ValueError("max_backoff is less than backoff")
        return self


class Redelivery:
    """What becomes of deliveries whose route fails, after gateway.status.disposition.

    ending: done when nothing shall be tried again.
    """

    def __init__(self, retries: Retries, ending: "asyncio.Future[None]") -> None:
        self._retries = retries
        self._ending = ending

    async def settle(self, deliver: Deliver, bury: Bury, *, awaited: bool = False, until: float = float("inf")) -> bool:
        """Whether it is settled: handled or buried. False: it ended before that, and the broker must keep it.

        awaited: someone waits for the outcome, so that no failure is tried for ever.
        until: begin no try after this time on the event loop's clock.
        """
        clock = asyncio.get_running_loop().time
        deliveries = bounded = 0
        while not self._ending.done() and clock() < until:
            deliveries += 1
            try:
                await deliver()
            except Exception as error:
                why = as_failure(error, "while handling a delivery", log)
            else:
                return True
            fate = disposition(why.code)
            bounded += awaited or fate is Disposition.REDELIVER_THEN_DEAD_LETTER
            if fate is Disposition.DEAD_LETTER or bounded >= self._retries.max_deliveries:
                return await self.persist(partial(bury, why, deliveries))
            await self._pause(deliveries, why.retry_after, until)
        return False

    async def persist(self, keep: Deliver) -> bool:
        """Whether `keep` succeeded; it is tried until it does, whatever it raises, but after the end only once more."""
        attempt = 0
        while True:
            try:
                await keep()
            except Failure:
                pass
            except Exception:
                log.exception("bug while keeping a delivery")
            else:
                return True
            if self._ending.done():
                return False
            attempt += 1
            await self._pause(attempt)

    async def _pause(self, attempt: int, least: float | None = None, until: float = float("inf")) -> None:
        longest = self._retries.max_backoff
        seconds = backoff(attempt, self._retries.backoff, longest)
        if least is not None:
            seconds = max(seconds, min(least, longest))
        seconds = min(seconds, max(0.0, until - asyncio.get_running_loop().time()))
        await asyncio.wait((self._ending,), timeout=seconds)


def backoff(attempt: int, first: float, most: float) -> float:
    """Seconds to wait after the attempt of this number (from 1): doubling, capped, with jitter over its upper half."""
    longest = min(most, first * 2.0 ** min(attempt - 1, 62))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  jitter is no secret


def reasons(failure: Failure, deliveries: int) -> list[tuple[str, str]]:
    """The headers of a dead letter that tell why it is one; its details as problem+json has them."""
    found = [
        (DEAD_LETTER_REASON, f"{failure.code.name}: {failure.message}"),
        (DEAD_LETTER_PATH, failure.path),
        (DEAD_LETTER_DELIVERIES, str(deliveries)),
    ]
    if failure.details:
        found.append((DEAD_LETTER_DETAILS, msgspec.json.encode(details_json(failure)).decode()))
    return found
