"""TLS, and a gateway that may do little."""

import asyncio
from pathlib import Path

import pytest
from support.amqp_gateway import consuming, endpoint, name, publishing, source, target
from support.amqp_peer import declare, publish, take
from support.handler import Handler
from support.rabbitmq_broker import RabbitMQ
from support.until import until

from gateway.message import Context, Message
from gateway.status import Code, Failure, invalid

USER, PASSWORD = "gateway", "hush-hush"


async def test_tls(mortal_rabbitmq: RabbitMQ) -> None:
    if not mortal_rabbitmq.tls:
        pytest.skip("openssl is not on the PATH, which makes the broker's certificate")
    queue = name()
    handler = Handler()
    config = endpoint(mortal_rabbitmq.tls, tls={"ca": str(mortal_rabbitmq.authority)})
    async with (
        consuming(config, source(queue), handler),
        publishing(config, target(routing_key=queue)) as (_, (send,)),
    ):
        await send.call(Message(b"x" * 500_000), Context())
        await handler.wait(1)
    assert handler.bodies == [b"x" * 500_000]


async def test_a_certificate_that_nobody_trusts(mortal_rabbitmq: RabbitMQ) -> None:
    if not mortal_rabbitmq.tls:
        pytest.skip("openssl is not on the PATH, which makes the broker's certificate")
    for url in (mortal_rabbitmq.tls, mortal_rabbitmq.tls.replace("amqps", "amqp")):
        async with publishing(endpoint(url), target(routing_key="q"), ready=False) as (side, (send,)):
            told = "certificate verify failed" if url.startswith("amqps") else "can't reach"
            await until(lambda told=told, side=side: told in side.unready, what=lambda side=side: side.unready)  # type: ignore[misc]
            with pytest.raises(Failure, match="can't be reached") as refused:
                await send.call(Message(b"x"), Context())
            assert refused.value.code is Code.UNAVAILABLE


@pytest.fixture
def limited(mortal_rabbitmq: RabbitMQ, tmp_path: Path) -> str:
    """URL of a user who may read queues named in-*, write out-* and *.dead-letters, and declare nothing."""
    commands = [
        ("add_user", USER, PASSWORD),
        ("set_permissions", USER, "^$", "^(out-.*|amq\\.default)$", "^in-"),
    ]
    for command in commands:
        mortal_rabbitmq.control(*command)
    return mortal_rabbitmq.url.replace("guest:guest", f"{USER}:{PASSWORD}")


async def test_a_gateway_that_may_do_little(mortal_rabbitmq: RabbitMQ, limited: str) -> None:
    url = mortal_rabbitmq.url
    incoming, letters, other = name("in"), name("letters"), name("other")
    for queue in (incoming, letters, other):
        declare(url, queue)
    config = endpoint(limited)

    async with consuming(config, source(other, declare=None), Handler(), ready=False) as side:
        await until(lambda: "ACCESS_REFUSED" in side.unready, what=lambda: side.unready)
        assert PASSWORD not in side.unready
    async with publishing(config, target(exchange="amq.topic", routing_key="k")) as (_, (send,)):
        with pytest.raises(Failure, match="may not do this") as refused:
            await send.call(Message(b"x"), Context())
        assert refused.value.code is Code.UNAVAILABLE, "no fault of the caller's"

    async def outcome(request: Message) -> Failure:
        return invalid("no")

    async with consuming(config, source(incoming, declare=None, dead_letters=letters), Handler(outcome)):
        publish(url, incoming, b"1", user_id="guest")
        (letter,) = await asyncio.to_thread(take, url, letters)
    # The broker lets nobody publish in another's name.
    assert (letter.properties.user_id, letter.headers["dead-letter-user-id"]) == (None, "guest")
