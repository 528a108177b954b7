"""A stream that others end while it is read."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from gateway.message import Message
from gateway.reading import Reading
from gateway.status import Code, Failure

STOP = Failure(Code.UNAVAILABLE, "enough")


class Upstream:
    """Two messages, and then nothing for ever. ended: it was let go of."""

    def __init__(self) -> None:
        self.ended = False

    async def replies(self) -> AsyncGenerator[Message, None]:
        try:
            yield Message(b"1")
            yield Message(b"2")
            await asyncio.Event().wait()
        finally:
            self.ended = True


async def test_a_wait_is_cut_short() -> None:
    upstream, reading = Upstream(), Reading()
    asyncio.get_running_loop().call_later(0.05, reading.end, STOP)
    async with asyncio.timeout(10), aclosing(upstream.replies()) as replies:
        for body in (b"1", b"2"):
            reply = await reading.next(replies)
            assert reply is not None
            assert reply.body == body
        with pytest.raises(Failure, match="enough"):
            await reading.next(replies)
    assert upstream.ended
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_caller_that_is_busy_is_told_when_it_asks() -> None:
    upstream, reading = Upstream(), Reading()
    async with aclosing(upstream.replies()) as replies:
        assert await reading.next(replies) is not None
        reading.end(STOP)
        reading.end(Failure(Code.INTERNAL, "too late"))
        await asyncio.sleep(0.01)  # the caller's own waits are its own
        with pytest.raises(Failure, match="enough"):
            await asyncio.create_task(reading.next(replies))


async def test_a_caller_that_leaves_is_cancelled_though_the_stream_was_ended() -> None:
    upstream, reading = Upstream(), Reading()

    async def read() -> None:
        async with aclosing(upstream.replies()) as replies:
            while await reading.next(replies) is not None:
                pass

    task = asyncio.create_task(read())
    await asyncio.sleep(0.01)
    task.cancel()
    reading.end(STOP)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert upstream.ended


async def test_each_message_may_be_waited_for_in_a_task_of_its_own() -> None:
    upstream, reading = Upstream(), Reading()
    async with asyncio.timeout(10), aclosing(upstream.replies()) as replies:
        for body in (b"1", b"2"):
            reply = await asyncio.create_task(reading.next(replies))
            assert reply is not None
            assert reply.body == body
        waiting = asyncio.create_task(reading.next(replies))
        await asyncio.sleep(0.01)
        reading.end(STOP)
        with pytest.raises(Failure, match="enough"):
            await waiting
