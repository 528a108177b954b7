"""Consumer: one queue, from taking a message to acknowledging it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final
from uuid import uuid4

from aiormq.abc import AbstractChannel, DeliveredMessage

from adapters.amqp import topology
from adapters.amqp.channel import Channel
from adapters.amqp.config import DeadLetters, Source
from adapters.amqp.connection import CLOSE_SECONDS, Connection, log
from adapters.amqp.delivery import Delivery, delivery_of
from adapters.amqp.status import BROKEN
from gateway.codecs.amqp_properties import PERSISTENT, dead_letter, write
from gateway.message import Context, Message
from gateway.net.broker.in_flight import InFlight
from gateway.net.broker.keeper import bounded
from gateway.net.broker.redelivery import Redelivery
from gateway.net.broker.reply import Reply
from gateway.net.broker.settlement import Counts, Settlement
from gateway.net.broker.workers import Workers
from gateway.pattern import Pattern
from gateway.port import Binding
from gateway.status import invalid

DIRECT_REPLY_TO: Final = "amq.rabbitmq.reply-to"
TAG: Final = "gateway"
# The broker takes back what is not acknowledged for 30 minutes, and ends the channel over it.
HOLD_SECONDS: Final = 15 * 60.0


class Consumer(Channel):
    """Consumes the queue of one source and calls its binding's service; the Courier of its messages.

    consuming, publishing: two connections, because the broker stops reading from one that publishes when it is short
        of memory, and acknowledgements must pass.
    binding: may be replaced at any time by one with the same address.
    """

    def __init__(self, consuming: Connection, publishing: Connection, binding: Binding, counts: Counts) -> None:
        self.binding = binding
        self.source: Source = binding.address
        queue = self.source.queue
        super().__init__(consuming, f"queue {queue}")
        self._letters = Letters(publishing, f"dead letters of {queue}", self.source.letters)
        self._replies = Channel(publishing, f"replies of {queue}")
        replies = [self._replies] if self.source.replies == "one" else []
        self._publishers: Workers[str, Channel] = Workers(self._letters, *replies)
        self._settlement = Settlement(self.what, counts, consuming.endpoint, log)
        self._in_flight = InFlight(self.source)

    @property
    def unready(self) -> str:
        return super().unready or self._publishers.unready or self._settlement.unready

    def start(self) -> None:
        """Consume in the background."""
        self._in_flight.start()
        self._publishers.start()
        super().start()

    async def drain(self) -> None:
        """Take nothing more; return when what runs is done. What waits for another try goes back into the queue."""
        if self.client is not None:
            await bounded(self.client.basic_cancel(TAG), CLOSE_SECONDS)
        await self._in_flight.drain()

    async def stop(self) -> None:
        """Cancel what runs: the broker keeps what is not acknowledged."""
        self.lost()
        await super().stop()
        await self._publishers.stop()

    # -- taking

    async def prepare(self, channel: AbstractChannel) -> None:
        source = self.source
        await topology.queue(channel, source.queue, source.declare)
        await channel.basic_qos(prefetch_count=source.prefetch)
        moved = "the queue was deleted or moved"
        channel.on_consumer_cancel_callbacks.add(lambda _: self.renew(channel, moved))
        if not self._in_flight.ended:
            await channel.basic_consume(source.queue, self._take, consumer_tag=TAG)
        if self._in_flight.ended:  # meanwhile: what is given back would come again and again
            await channel.basic_cancel(TAG)

    def lost(self) -> None:
        """What was taken is no longer the gateway's."""
        self._in_flight.cancel()

    async def _take(self, message: DeliveredMessage) -> None:
        await self._in_flight.handle(partial(self._settle, message))

    async def _settle(self, message: DeliveredMessage, redelivery: Redelivery) -> None:
        delivery = delivery_of(message, self.source.queue)
        now = asyncio.get_running_loop().time()
        if self.binding.pattern is Pattern.REQUEST_REPLY and delivery.properties.reply_to:
            delivery.asks, delivery.deadline = True, now + delivery.properties.patience
        settled = await self._settlement.settle(self, delivery, redelivery, now + HOLD_SECONDS)
        with suppress(*BROKEN):  # the broker delivers it again
            if settled:
                await message.channel.basic_ack(delivery.tag, wait=False)
            else:
                await message.channel.basic_nack(delivery.tag, requeue=True, wait=False)

    # -- as a Courier

    async def deliver(self, delivery: Delivery) -> Message:
        """As Courier.deliver."""
        binding, properties = self.binding, delivery.properties
        if properties.trouble:
            raise invalid(f"the message's properties can't be read: {properties.trouble}")
        headers, trace = properties.metadata(binding.headers)
        context = Context(deadline=delivery.deadline, peer=f"{self.source.queue}/{delivery.name}", trace=trace)
        return await binding.service.call(Message(delivery.body, headers, delivery.params), context)

    def grave(self, delivery: Delivery) -> str:
        """As Courier.grave."""
        return self.source.letters.place

    async def bury(self, delivery: Delivery, reason: Sequence[tuple[str, str]]) -> None:
        """As Courier.bury."""
        letters = self.source.letters
        # The same however often it is put there.
        message_id = delivery.properties.message_id = delivery.properties.message_id or uuid4().hex
        properties = dead_letter(delivery.raw, reason, message_id)
        key = letters.routing_key or delivery.routing_key
        await self._letters.publish(letters.exchange, key, message_id, properties, delivery.body)

    async def answer(self, delivery: Delivery, reply: Reply) -> None:
        """As Courier.answer."""
        request = delivery.properties
        properties = write(
            reply.headers,
            content_type=reply.content_type,
            delivery_mode=PERSISTENT,
            correlation_id=request.correlation_id,
            message_id=reply.message_id,
        )
        # RabbitMQ returns what it hands to a direct reply-to, for there is no queue.
        queued = not request.reply_to.startswith(f"{DIRECT_REPLY_TO}.")
        await self._replies.publish("", request.reply_to, reply.message_id, properties, reply.body, mandatory=queued)


class Letters(Channel):
    """Publishes dead letters, to where they can go."""

    def __init__(self, connection: Connection, what: str, letters: DeadLetters) -> None:
        super().__init__(connection, what)
        self._to = letters

    async def prepare(self, channel: AbstractChannel) -> None:
        probe = await self._connection.channel()
        try:
            await topology.dead_letters(channel, probe, self._to)
        finally:
            await bounded(probe.close(), CLOSE_SECONDS)
