"""Consumer: one queue, from taking a message to acknowledging it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final
from uuid import uuid4

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp import commands

from adapters.amqp import topology
from adapters.amqp.channel import Channel
from adapters.amqp.config import Endpoint, Source
from adapters.amqp.connection import BROKEN, CLOSE_SECONDS, Connection, log
from adapters.amqp.delivery import DIRECT_REPLY_TO, JSON, Delivery, delivery_of, written
from adapters.amqp.publisher import Publisher
from gateway.codecs.amqp_properties import WireError, dead_letter, write
from gateway.message import Context, Message
from gateway.net.broker.in_flight import InFlight
from gateway.net.broker.keeper import bounded
from gateway.net.broker.redelivery import Redelivery
from gateway.net.broker.reply import Reply
from gateway.net.broker.settlement import UNLIMITED, Counts, Settlement
from gateway.pattern import Pattern
from gateway.port import Binding
from gateway.status import invalid

PERSISTENT: Final = 2
# The broker takes back what is not acknowledged for 30 minutes, and ends the channel over it.
HOLD_SECONDS: Final = 15 * 60.0


class Consumer:
    """Consumes the queue of one source and calls its binding's service; the Courier of its messages.

    consuming, publishing: two connections, because the broker stops reading from one that publishes when it is short
        of memory, and acknowledgements must pass.
    binding: may be replaced at any time by one with the same address.
    """

    def __init__(
        self,
        consuming: Connection,
        publishing: Connection,
        endpoint: Endpoint,
        binding: Binding,
        counts: Counts,
    ) -> None:
        self.binding = binding
        self.source: Source = binding.address
        self._publishing = publishing
        queue = self.source.queue
        self._channel = Channel(consuming, f"queue {queue}", self._consume, self._abandon, confirms=False)
        self._letters = Publisher(publishing, f"dead letters of {queue}", UNLIMITED, self._prepare_letters)
        self._replies = Publisher(publishing, f"replies of {queue}", UNLIMITED)
        self._settlement = Settlement(f"amqp queue {queue}", counts, endpoint.max_message_bytes, log)
        self._open: AbstractChannel | None = None
        self._tag = ""
        self._in_flight = InFlight(self.source)
        self._draining = False

    @property
    def unready(self) -> str:
        replies = self._replies.unready if self.source.replies == "one" else ""
        return self._channel.unready or self._letters.unready or replies or self._settlement.unready

    def start(self) -> None:
        """Consume in the background."""
        self._draining = False
        self._in_flight.start()
        self._letters.start()
        if self.source.replies == "one":
            self._replies.start()
        self._channel.start()

    async def drain(self) -> None:
        """Take nothing more; return when what runs is done. What waits for another try goes back into the queue."""
        self._draining = True
        if self._open is not None and self._tag:
            tag, self._tag = self._tag, ""
            await bounded(self._open.basic_cancel(tag), CLOSE_SECONDS)
        await self._in_flight.drain()

    async def stop(self) -> None:
        """Cancel what runs: the broker keeps what is not acknowledged."""
        self._abandon()
        await self._channel.stop()
        await asyncio.gather(self._letters.stop(), self._replies.stop())

    # -- taking

    async def _consume(self, channel: AbstractChannel) -> None:
        source = self.source
        await topology.queue(channel, source.queue, source.declare)
        if self._draining:  # a channel that was lost meanwhile
            return
        await channel.basic_qos(prefetch_count=source.prefetch)
        channel.on_consumer_cancel_callbacks.add(self._cancelled)
        consuming = await channel.basic_consume(source.queue, self._take)
        self._open, self._tag = channel, consuming.consumer_tag or ""
        log.info("amqp queue %s: consuming", source.queue)

    async def _cancelled(self, frame: commands.Basic.Cancel) -> None:
        """The broker did, because the queue was deleted or moved."""
        if self._open is not None:
            # Not from within the channel's own reader, which would wait for itself.
            closing = self._open.close(ChannelNotFoundEntity("the queue was deleted"))
            self._in_flight.add(asyncio.create_task(closing, name="amqp channel closes"))

    def _abandon(self) -> None:
        """What was taken is no longer the gateway's."""
        self._open, self._tag = None, ""
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
        binding = self.binding
        if delivery.trouble:
            raise invalid(f"the message's properties can't be read: {delivery.trouble}")
        headers, trace = delivery.properties.metadata(binding.headers)
        context = Context(deadline=delivery.deadline, peer=f"{self.source.queue}/{delivery.name}", trace=trace)
        return await binding.service.call(Message(delivery.body, headers, delivery.params), context)

    def grave(self, delivery: Delivery) -> str:
        """As Courier.grave."""
        letters = self.source.letters
        return f"{letters.exchange or 'queue'} {letters.routing_key or delivery.routing_key}"

    async def bury(self, delivery: Delivery, reason: Sequence[tuple[str, str]]) -> None:
        """As Courier.bury."""
        letters = self.source.letters
        found = delivery.properties
        message_id = found.message_id = found.message_id or uuid4().hex
        try:
            properties = dead_letter(delivery.raw, reason, message_id)
        except WireError:
            properties = write(reason, delivery_mode=PERSISTENT, message_id=message_id)
        key = letters.routing_key or delivery.routing_key
        await self._letters.publish(letters.exchange, key, message_id, properties, delivery.body)

    async def answer(self, delivery: Delivery, reply: Reply) -> None:
        """As Courier.answer."""
        request = delivery.properties
        properties = written(
            reply.headers,
            content_type=reply.content_type or JSON,
            delivery_mode=PERSISTENT,
            correlation_id=request.correlation_id,
            message_id=reply.message_id,
        )
        # RabbitMQ returns what it hands to a direct reply-to, for there is no queue.
        queued = not request.reply_to.startswith(f"{DIRECT_REPLY_TO}.")
        await self._replies.publish("", request.reply_to, reply.message_id, properties, reply.body, mandatory=queued)

    async def _prepare_letters(self, channel: AbstractChannel) -> None:
        probe = await self._publishing.channel(confirms=False)
        try:
            await topology.dead_letters(channel, probe, self.source.letters)
        finally:
            await bounded(probe.close(), CLOSE_SECONDS)
