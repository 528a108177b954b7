"""Every inbound that can be told what others publish, before every outbound that streams it without end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from support.pairs import Case, Pair
from support.peers import RefusedError
from support.specimen import Specimen, bare, exact, refused, specimen

from gateway.pattern import Count, Ends, Pattern
from gateway.status import Code

pytestmark = pytest.mark.asyncio(loop_scope="session")

SAID = "said"
"""The label of what callers say, which comes back to those who converse."""
MOST = 200
"""Publications until somebody must have heard one."""


def _said(case: Case, name: str) -> list[Specimen]:
    if case.inbound.requests is Count.NONE:
        return []
    count = 3 if case.inbound.requests is Count.MANY else 1
    return [{**specimen(number), "label": f"{SAID} by {name} {number}"} for number in range(count)]


class Listener:
    """A call that has no end of its own.

    name: who says what it says. told: all that came. call: how it ended.
    """

    def __init__(self, pair: Pair, case: Case, name: str) -> None:
        self._case = case
        self._name = name
        self.said = _said(case, name)
        self.told: list[Any] = []
        self.call = asyncio.create_task(pair.caller.listen(case, self.said, self.told))

    @property
    def heard(self) -> list[Any]:
        """What others than callers have published."""
        return [one for one in self.told if not one["label"].startswith(SAID)]

    @property
    def echoed(self) -> list[Any]:
        """What it has said itself."""
        return [one for one in self.told if one["label"].startswith(f"{SAID} by {self._name} ")]

    @property
    def stands(self) -> bool:
        """It is told all that is published; or it has ended, which the test will see."""
        converses = self._case.outbound is Pattern.BIDI
        return self.call.done() or (bool(self.heard) and len(self.echoed) >= len(self.said) * converses)


@asynccontextmanager
async def _listening(pair: Pair, case: Case, name: str = "one") -> AsyncIterator[Listener]:
    """It leaves at the end."""
    listener = Listener(pair, case, name)
    try:
        yield listener
    finally:
        listener.call.cancel()
        await asyncio.gather(listener.call, return_exceptions=True)


async def _publish_until(pair: Pair, case: Case, holds: Callable[[], bool]) -> list[Specimen]:
    """All that was published until then, one after the other: nobody tells from when on somebody listens."""
    published: list[Specimen] = []
    while not holds():
        assert len(published) < MOST, "nothing that was published has come"
        published.append(specimen(len(published)))
        await pair.backend.publish(case, published[-1])
        await _soon(holds)
    return published


async def _soon(holds: Callable[[], bool]) -> None:
    for _ in range(10):
        if holds():
            return
        await asyncio.sleep(0.005)


async def _ended(pair: Pair, listener: Listener, case: Case) -> None:
    """By what can't be read, in the caller's own form."""
    await pair.backend.misspeak(case)
    with pytest.raises(RefusedError) as told:
        await listener.call
    assert told.value.code == pair.caller.code(Code.INTERNAL, case, declared=False), told.value.text


async def test_stream(pair: Pair, heard_case: Case) -> None:
    """The caller is told all that is published from some moment on, in its order, until something can't be read."""
    case = heard_case
    assert pair.contract(case).ends is Ends.NEVER, "streams that others end are no replies to the caller"
    async with _listening(pair, case) as listener:
        published = await _publish_until(pair, case, lambda: listener.stands)
        for one in (bare(), specimen(MOST), specimen(MOST + 1)):
            await pair.backend.publish(case, one)
            published.append(one)
        await _ended(pair, listener, case)
        assert len(listener.heard) > 3
        assert pair.told(listener.heard) == pair.told(published[-len(listener.heard) :])
        if case.outbound is Pattern.BIDI:
            assert pair.told(listener.echoed) == pair.told(listener.said)
            await pair.backend.record.ended(len(listener.said))
            assert exact(pair.backend.record.messages) == exact(listener.said)


async def test_leaving(pair: Pair, heard_case: Case) -> None:
    """A caller that leaves ends its own call, and nobody else's."""
    case = heard_case
    async with _listening(pair, case) as listener:
        async with _listening(pair, case, "another") as leaver:
            published = await _publish_until(pair, case, lambda: listener.stands and leaver.stands)
            assert not leaver.call.done()
            assert pair.in_flight(case) == 2
        published += await _publish_until(pair, case, lambda: pair.in_flight(case) < 2)
        await pair.backend.publish(case, bare())
        published.append(bare())
        await _ended(pair, listener, case)
        assert pair.told(listener.heard) == pair.told(published[-len(listener.heard) :])
    if case.outbound is Pattern.BIDI:
        await pair.backend.record.ended(len(listener.said + leaver.said))


async def test_first(pair: Pair, first_case: Case) -> None:
    """The caller is told the first that is published after it has asked, or that it can't be read."""
    case = first_case
    assert pair.contract(case).ends is Ends.NEVER
    call = await _asked(pair, case, 1)
    published = await _publish_until(pair, case, call.done)
    (told,) = await call
    assert pair.told([told]) in [pair.told([one]) for one in published]
    refusal = None
    for number, _ in enumerate(published):  # some of which may come only now
        call = await _asked(pair, case, 2 + number)
        for _ in range(MOST):
            if call.done():
                break
            await pair.backend.misspeak(case)
            await _soon(call.done)
        try:
            await call
        except RefusedError as error:
            refusal = error
            break
    assert refusal is not None, "what can't be read was told"
    assert refusal.code == pair.caller.code(Code.INTERNAL, case, declared=False), refusal.text


async def _asked(pair: Pair, case: Case, calls: int) -> asyncio.Task[list[Any]]:
    """A call, which is the so many-th. Who converses has spoken, and does not hear itself."""
    said = _said(case, "one")
    call = asyncio.create_task(pair.caller.call(case, said))
    if case.outbound is Pattern.BIDI:
        assert exact(await pair.backend.record.ended(calls)) == exact([said] * calls)
    return call


async def test_bad_request(pair: Pair, seeking_case: Case) -> None:
    """The caller is told that the request is bad; nobody is told of it."""
    case = seeking_case
    with pytest.raises(RefusedError) as told:
        await pair.caller.misspeak(case)
    assert told.value.code == pair.caller.code(Code.INVALID_ARGUMENT, case, declared=False), told.value.text
    assert pair.backend.record.messages == []


async def test_what_can_not_be_published(pair: Pair, saying_case: Case) -> None:
    """It ends the conversation of the caller who said it."""
    case = saying_case
    with pytest.raises(RefusedError) as told:
        await pair.caller.call(case, [refused()])
    code, _ = pair.backend.refusal(case)
    assert told.value.code == pair.caller.code(code, case, declared=False), told.value.text
    assert pair.backend.record.messages == []
