"""How long an upstream may be silent: what counts as its silence, and what as its caller's."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import pytest

from gateway.message import Context, Message
from gateway.pattern import Pattern
from gateway.silence import SilenceLimit
from gateway.status import Code, Failure

SECONDS = 0.2
Replies = Callable[[AsyncIterator[Message] | None], AsyncGenerator[Message, None]]


class Upstream:
    """ended: its stream was let go of."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self.ended = False

    async def call(self, request: Message, context: Context) -> Message:
        async with aclosing(self.stream(request, None, context)) as replies:
            return await anext(replies)

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        try:
            async with aclosing(self._replies(more)) as replies:
                async for reply in replies:
                    yield reply
        finally:
            self.ended = True


async def ticks(more: AsyncIterator[Message] | None) -> AsyncGenerator[Message, None]:
    """Two of them, and then nothing for ever."""
    for body in (b"1", b"2"):
        await asyncio.sleep(SECONDS / 4)
        yield Message(body)
    await asyncio.Event().wait()


async def mute(more: AsyncIterator[Message] | None) -> AsyncGenerator[Message, None]:
    await asyncio.Event().wait()
    yield Message(b"never")


async def taken(more: AsyncIterator[Message] | None) -> AsyncGenerator[Message, None]:
    """One reply to all requests."""
    assert more is not None
    yield Message(b"".join([message.body async for message in more]))


async def takes_one(more: AsyncIterator[Message] | None) -> AsyncGenerator[Message, None]:
    assert more is not None
    await anext(more)
    await asyncio.Event().wait()
    yield Message(b"never")


async def slow(pauses: int) -> AsyncIterator[Message]:
    for _ in range(pauses):
        await asyncio.sleep(SECONDS * 0.75)
        yield Message(b"x")


def limited(replies: Replies, pattern: Pattern) -> tuple[SilenceLimit, Upstream]:
    upstream = Upstream(replies)
    return SilenceLimit(upstream, pattern, SECONDS), upstream


async def fails(waiting: asyncio.Future[Message] | asyncio.Task[Message]) -> float:
    """Seconds until it did, for silence."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    with pytest.raises(Failure, match="no message from the upstream for") as raised:
        async with asyncio.timeout(10):
            await waiting
    assert raised.value.code is Code.DEADLINE_EXCEEDED
    return loop.time() - start


@pytest.mark.parametrize("replies", [mute, ticks])
async def test_a_silent_upstream_is_cancelled(replies: Replies) -> None:
    service, upstream = limited(replies, Pattern.SERVER_STREAM)
    found = []

    async def read() -> Message:
        async with aclosing(service.stream(Message(b""), None, Context())) as stream:
            async for reply in stream:
                found.append(reply.body)
        return Message(None)

    assert await fails(asyncio.create_task(read())) >= SECONDS * 0.9
    assert found == ([] if replies is mute else [b"1", b"2"])
    assert upstream.ended


async def test_the_callers_own_time_does_not_count() -> None:
    service, _ = limited(ticks, Pattern.SERVER_STREAM)
    async with aclosing(service.stream(Message(b""), None, Context())) as stream:
        for body in (b"1", b"2"):
            assert (await anext(stream)).body == body
            await asyncio.sleep(SECONDS * 2)
        # Each reply may be waited for in a task of its own.
        assert await fails(asyncio.ensure_future(anext(stream))) >= SECONDS * 0.9


async def test_a_caller_that_leaves_is_no_silence() -> None:
    service, upstream = limited(mute, Pattern.SERVER_STREAM)
    async with aclosing(service.stream(Message(b""), None, Context())) as stream:
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(SECONDS / 4)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert upstream.ended


async def test_an_upload_may_take_its_caller_as_long_as_it_likes() -> None:
    service, _ = limited(taken, Pattern.CLIENT_STREAM)
    async with aclosing(service.stream(Message(None), slow(4), Context())) as stream:
        assert [reply.body async for reply in stream] == [b"xxxx"]


async def test_an_upstream_that_takes_no_more_of_an_upload_is_silent() -> None:
    service, upstream = limited(takes_one, Pattern.CLIENT_STREAM)
    async with aclosing(service.stream(Message(None), slow(4), Context())) as stream:
        assert await fails(asyncio.ensure_future(anext(stream))) >= SECONDS * 1.6
    assert upstream.ended


async def test_a_dialogue_that_gets_no_reply_is_silent_however_slow_its_caller() -> None:
    service, _ = limited(taken, Pattern.BIDI)
    async with aclosing(service.stream(Message(None), slow(100), Context())) as stream:
        assert await fails(asyncio.ensure_future(anext(stream))) < SECONDS * 10


async def test_each_call_of_a_stream_has_the_time() -> None:
    service, upstream = limited(mute, Pattern.REQUEST_REPLY)
    assert await fails(asyncio.create_task(service.call(Message(b""), Context()))) >= SECONDS * 0.9
    assert upstream.ended
    quick, _ = limited(ticks, Pattern.REQUEST_REPLY)
    assert (await quick.call(Message(b""), Context())).body == b"1"
