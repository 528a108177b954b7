"""Both sides of gRPC on uvloop."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import uvloop
from support.grpc_ports import ORDERS, FunctionService, calling, service_of, serving

from gateway.message import Context, Message


async def place(request: Message, context: Context) -> Message:
    return Message(request.body)


async def negotiate(
    request: Message, more: AsyncIterator[Message] | None, context: Context
) -> AsyncGenerator[Message, None]:
    assert more is not None
    async for message in more:
        yield message


async def offers() -> AsyncIterator[Message]:
    for number in range(50):
        yield Message(b"\x10%c" % number)


async def calls() -> None:
    services = {
        f"{ORDERS}/PlaceOrder": FunctionService(place),
        f"{ORDERS}/Negotiate": FunctionService(streaming=negotiate),
    }
    async with serving(services) as inbound, calling(inbound.port, reflection=True) as outbound:
        unary, _ = service_of(outbound, f"{ORDERS}/PlaceOrder")
        replies = await asyncio.gather(*[unary.call(Message(b"\x1a\x01%c" % n), Context()) for n in range(65, 90)])
        assert [reply.body for reply in replies] == [b"\x1a\x01%c" % n for n in range(65, 90)]
        bidi, _ = service_of(outbound, f"{ORDERS}/Negotiate")
        async with aclosing(bidi.stream(Message(None), offers(), Context())) as echoes:
            assert [echo.body async for echo in echoes] == [b"\x10%c" % number for number in range(50)]
        await inbound.drain()


def test_calls_on_uvloop() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(calls(), 20))
