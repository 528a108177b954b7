"""A peer that takes nothing is cut off, one that takes little is not."""

import asyncio
import socket
from typing import cast

import pytest
import uvloop
from support.ports import free_port

from gateway.message import LEFT, Context
from gateway.net.counters import Counter
from gateway.net.stall import MessageStall, TransportStall
from gateway.status import Code, Failure

SECONDS = 0.3


class _Sender(asyncio.Protocol):
    """Sends 32 MiB at once."""

    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()
        self.told: list[bool] = []
        self.stall: TransportStall | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(b"x" * 32 * 1024 * 1024)

    def pause_writing(self) -> None:
        self.stall = TransportStall(self.transport, SECONDS, lambda: self.told.append(self.transport.is_closing()))

    def connection_lost(self, error: Exception | None) -> None:
        if self.stall is not None:
            self.stall.end()
        self.lost.set_result(None)


async def _sender() -> tuple[_Sender, socket.socket]:
    senders: list[_Sender] = []

    def make() -> _Sender:
        senders.append(_Sender())
        return senders[0]

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", port := free_port())
    peer = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port))
    while not senders:
        await asyncio.sleep(0.01)
    server.close()
    return senders[0], peer


async def _takes_nothing() -> None:
    sender, peer = await _sender()
    with peer:
        await asyncio.wait_for(sender.lost, 5)
    assert sender.told == [False], "told once, before it is cut off"


async def _takes_little() -> None:
    sender, peer = await _sender()
    with peer:
        for _ in range(12):
            await asyncio.to_thread(peer.recv, 1024 * 1024)
            await asyncio.sleep(SECONDS / 3)
        assert not sender.lost.done()
        assert sender.transport.get_write_buffer_size() > 0


async def test_a_peer_that_takes_nothing() -> None:
    await _takes_nothing()


async def test_a_peer_that_takes_little() -> None:
    await _takes_little()


def test_on_uvloop() -> None:
    async def both() -> None:
        await asyncio.gather(_takes_nothing(), _takes_little())

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(both())


async def test_messages() -> None:
    stalled, call = Counter(), Context()

    async def sends() -> None:
        with MessageStall(0.1, call, stalled) as stall:
            for _ in range(3):
                stall.writing()
                await asyncio.sleep(0.05)
                stall.written()
                await asyncio.sleep(0.15)  # a quiet stream
            stall.writing()
            await asyncio.sleep(5)

    with pytest.raises(Failure) as told:
        await sends()
    assert (told.value.code, told.value.counted) == (Code.DEADLINE_EXCEEDED, True)
    assert "took no message for 0.1 seconds" in told.value.message
    assert stalled.value == 1
    assert "took nothing for 0.1 s" in call.departure.why and "took nothing" not in LEFT.why


async def test_what_was_raised_for_a_stall_stays_and_the_task_goes_on() -> None:
    async def sends() -> None:
        with MessageStall(0.05, Context(), Counter()) as stall:
            stall.writing()
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                raise ZeroDivisionError from None

    with pytest.raises(ZeroDivisionError):
        await sends()
    await asyncio.sleep(0)  # the cancellation is taken back
    with MessageStall(0.05, Context(), Counter()):
        await asyncio.sleep(0.15)  # nothing is on its way


async def test_a_cancellation_that_is_no_stall() -> None:
    stalled, call = Counter(), Context()

    async def sends() -> None:
        with MessageStall(5, call, stalled) as stall:
            stall.writing()
            await asyncio.sleep(5)

    task = asyncio.create_task(sends())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait((task,))
    assert task.cancelled() and stalled.value == 0 and call.departure is LEFT
