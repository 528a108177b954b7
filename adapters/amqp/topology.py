"""Topology: exchanges, queues and bindings that must be there, or are declared."""

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity

from adapters.amqp.config import DeadLetters, ExchangeDeclaration, QueueDeclaration


async def exchange(channel: AbstractChannel, name: str, declaration: ExchangeDeclaration | None) -> None:
    """Raises AMQPError where it is not there, or not as declared."""
    if declaration is not None:
        await channel.exchange_declare(
            name, exchange_type=declaration.type, durable=declaration.durable, arguments=declaration.arguments
        )
    elif name:
        await channel.exchange_declare(name, passive=True)


async def queue(channel: AbstractChannel, name: str, declaration: QueueDeclaration | None) -> None:
    """Raises AMQPError where it is not there, or not as declared."""
    if declaration is None:
        await channel.queue_declare(name, passive=True)
        return
    arguments = {"x-queue-type": declaration.type, **declaration.arguments}
    await channel.queue_declare(name, durable=declaration.durable, arguments=arguments)
    for binding in declaration.bindings:
        await channel.queue_bind(name, binding.exchange, binding.routing_key, arguments=binding.arguments or None)


async def dead_letters(channel: AbstractChannel, probe: AbstractChannel, letters: DeadLetters) -> None:
    """A queue that is there stays as it is; else it is a durable one. probe: a channel that may end over this."""
    if letters.exchange:
        await channel.exchange_declare(letters.exchange, passive=True)
        return
    try:
        await probe.queue_declare(letters.routing_key, passive=True)
    except ChannelNotFoundEntity:
        await channel.queue_declare(letters.routing_key, durable=True)
