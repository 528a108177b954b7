"""One channel between the gateway and a broker: what it is blamed for, and what it does when it ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiormq.abc import AbstractChannel
from support.amqp_gateway import endpoint, name, publishing, target
from support.amqp_peer import declare, ready, take
from support.until import until

from adapters.amqp.channel import Channel
from adapters.amqp.connection import Connection
from gateway.codecs.amqp_properties import write
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.status import Code, Failure


class Watched(Channel):
    """Tells what it was made ready for, and what it lost."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection, "channel of a test")
        self.seen: list[str] = []

    async def prepare(self, channel: AbstractChannel) -> None:
        self.seen.append("prepared")

    def lost(self) -> None:
        self.seen.append("lost")


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Watched, None]:
    connection = Connection(endpoint(url), Network(Path()), "a test")
    await connection.load()
    channel = Watched(connection)
    connection.start()
    channel.start()
    try:
        await until(lambda: not channel.unready, lambda: channel.unready)
        yield channel
    finally:
        await channel.stop()
        await connection.stop()


async def good(channel: Channel, queue: str, number: int) -> None:
    await channel.publish("", queue, f"m-{number}", write(message_id=f"m-{number}"), b"%d" % number)


async def good_again(channel: Channel, queue: str, number: int) -> None:
    """The client may have sent more on a channel that the broker had ended, which then ends the connection as well."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await good(channel, queue, number)
            except Failure as failure:
                if failure.code is not Code.UNAVAILABLE:
                    raise
            await asyncio.sleep(0.02)


async def refused(channel: Channel, queue: str, message_id: str = "bad") -> None:
    """An expiration that no broker understands, over which it ends the channel."""
    await channel.publish("", queue, message_id, write(message_id=message_id, expiration="soon"), b"bad")


async def test_a_message_over_which_the_broker_ends_the_channel(rabbitmq: str) -> None:
    queue = name()
    declare(rabbitmq, queue)
    async with opened(rabbitmq) as channel:
        with pytest.raises(Failure, match="refuses the message") as failed:
            await refused(channel, queue)
        assert (failed.value.code, failed.value.sent) == (Code.FAILED_PRECONDITION, True)
        await good(channel, queue, 1)
        assert channel.seen == ["prepared", "lost", "prepared"]
    assert channel.seen[-1] == "lost"
    assert [message.body for message in await asyncio.to_thread(take, rabbitmq, queue)] == [b"1"]


async def test_nobody_is_blamed_for_another_message(rabbitmq: str) -> None:
    queue = name()
    declare(rabbitmq, queue)
    async with opened(rabbitmq) as channel:
        outcomes = await asyncio.gather(
            *(good(channel, queue, number) for number in range(20)),
            refused(channel, queue),
            *(good(channel, queue, number) for number in range(20, 40)),
            return_exceptions=True,
        )
        failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
        assert outcomes[20] in failures
        assert len(failures) + outcomes.count(None) == len(outcomes)
        assert {failure.code for failure in failures} == {Code.UNAVAILABLE}, "which one it was can't be told"
        await asyncio.gather(*(good_again(channel, queue, 100 + number) for number in range(3)))
    confirmed = {number if number < 20 else number - 1 for number, told in enumerate(outcomes) if told is None}
    left = await asyncio.to_thread(take, rabbitmq, queue, ready(rabbitmq, queue))
    assert confirmed | {100, 101, 102} <= {int(message.body) for message in left}


async def test_one_that_gives_up_lets_the_next_of_its_id_pass(rabbitmq: str) -> None:
    queue = name()
    declare(rabbitmq, queue)
    async with opened(rabbitmq) as channel:
        first = asyncio.create_task(good(channel, queue, 1))
        second = asyncio.create_task(good(channel, queue, 1))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait_for(second, 10)
        with pytest.raises(asyncio.CancelledError):
            await first
        await good(channel, queue, 1)


async def test_what_does_not_fit_into_a_frame_or_a_name(rabbitmq: str) -> None:
    async with opened(rabbitmq) as channel:
        with pytest.raises(Failure, match="headers are larger than AMQP takes") as failed:
            await channel.publish("", "q", "m", b"\0" * 140_000, b"")
        assert (failed.value.code, failed.value.sent) == (Code.INVALID_ARGUMENT, False)
        with pytest.raises(Failure, match="routing key is longer than 255 bytes"):
            await channel.publish("", "ü" * 128, "m", write(), b"")
        assert channel.seen == ["prepared"], "neither was sent"


async def test_a_stopped_channel_refuses(rabbitmq: str) -> None:
    async with opened(rabbitmq) as channel:
        pass
    with pytest.raises(Failure, match="can't be reached") as failed:
        await good(channel, "q", 1)
    assert (failed.value.code, failed.value.sent) == (Code.UNAVAILABLE, False)


async def test_a_question_past_its_deadline_is_not_asked(rabbitmq: str) -> None:
    queue = name()
    declare(rabbitmq, queue)
    async with publishing(endpoint(rabbitmq), target(routing_key=queue, mode="reply")) as (_, (ask,)):
        with pytest.raises(Failure) as failed:
            await ask.call(Message(b"x"), Context(deadline=asyncio.get_running_loop().time() - 1))
        assert (failed.value.code, failed.value.sent) == (Code.DEADLINE_EXCEEDED, False)
    assert ready(rabbitmq, queue) == 0
