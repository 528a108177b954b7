"""Consumer: one queue, from taking a message to acknowledging it."""

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final
from uuid import uuid4

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp import commands

from adapters.amqp import topology
from adapters.amqp.channel import Channel
from adapters.amqp.config import Endpoint, Source
from adapters.amqp.connection import BROKEN, CLOSE_SECONDS, Connection, bounded
from adapters.amqp.delivery import DIRECT_REPLY_TO, JSON, Delivery, Reply, delivery_of, error_reply
from adapters.amqp.publisher import Publisher
from gateway.codecs.amqp_properties import Properties, WireError, dead_letter, write
from gateway.message import Context, Message
from gateway.net.counters import Counter
from gateway.net.redelivery import Redelivery, reasons
from gateway.pattern import Pattern
from gateway.port import Binding
from gateway.status import Code, Failure, invalid

PERSISTENT: Final = 2
# The broker takes back what is not acknowledged for 30 minutes, and ends the channel over it.
HOLD_SECONDS: Final = 15 * 60.0
# The broker has already taken a message that is to be dead-lettered: it is to judge its size.
UNLIMITED: Final = 2**31 - 1

log = logging.getLogger("gateway.amqp")


class Consumer:
    """Consumes the queue of one source and calls its binding's service.

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
        buried: Counter,
        undeliverable: Counter,
    ) -> None:
        self.binding = binding
        self._buried = buried
        self._undeliverable = undeliverable
        self.source: Source = binding.address
        self._consuming = consuming
        self._publishing = publishing
        self._limit = endpoint.max_message_bytes
        queue = self.source.queue
        self._channel = Channel(consuming, self._consume, f"queue {queue}", confirms=False, lost=self._abandon)
        self._letters = Publisher(publishing, f"dead letters of {queue}", UNLIMITED, self._prepare_letters)
        self._replies = Publisher(publishing, f"replies of {queue}", self._limit, _nothing)
        self._open: AbstractChannel | None = None
        self._tag = ""
        self._running: set[asyncio.Task[Any]] = set()
        self._ending: asyncio.Future[None] | None = None
        self._redelivery: Redelivery | None = None
        self._unburied = ""
        self._draining = False

    @property
    def unready(self) -> str:
        replies = self._replies.unready if self.source.replies == "one" else ""
        return self._channel.unready or self._letters.unready or replies or self._unburied

    def start(self) -> None:
        """Consume in the background."""
        source = self.source
        self._ending = asyncio.get_running_loop().create_future()
        self._redelivery = Redelivery(source.max_deliveries, source.backoff, source.max_backoff, self._ending)
        self._letters.start()
        if source.replies == "one":
            self._replies.start()
        self._channel.start()

    async def drain(self) -> None:
        """Take nothing more; return when what runs is done. What waits for another try goes back into the queue."""
        if self._ending is None:
            return
        self._draining = True
        if self._open is not None and self._tag:
            tag, self._tag = self._tag, ""
            await bounded(self._open.basic_cancel(tag), CLOSE_SECONDS)
        if not self._ending.done():
            self._ending.set_result(None)
        while self._running:
            await asyncio.wait(self._running)

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
            closing = asyncio.create_task(self._open.close(ChannelNotFoundEntity("the queue was deleted")))
            self._running.add(closing)
            closing.add_done_callback(self._running.discard)

    def _abandon(self) -> None:
        """What was taken is no longer the gateway's."""
        self._open, self._tag = None, ""
        for task in self._running:
            task.cancel()

    async def _take(self, message: DeliveredMessage) -> None:
        task = asyncio.current_task()
        redelivery = self._redelivery
        if task is None or redelivery is None:
            return
        self._running.add(task)
        try:
            delivery = delivery_of(message)
            settled = await self._settle(delivery, redelivery)
            with suppress(*BROKEN):  # the broker delivers it again
                if settled:
                    await message.channel.basic_ack(delivery.tag, wait=False)
                else:
                    await message.channel.basic_nack(delivery.tag, requeue=True, wait=False)
        finally:
            self._running.discard(task)

    async def _settle(self, delivery: Delivery, redelivery: Redelivery) -> bool:
        clock = asyncio.get_running_loop().time
        asks = self.binding.pattern is Pattern.REQUEST_REPLY and delivery.properties.reply_to != ""
        deadline = clock() + delivery.patience if asks else float("inf")
        told: Reply | None = None

        async def deliver() -> None:
            nonlocal told
            reply = await self._call(delivery, deadline)
            told = Reply(reply.body or b"", reply.headers, JSON)

        async def give_up(failure: Failure, deliveries: int) -> None:
            nonlocal told
            if asks:
                told = error_reply(failure)
            else:
                await self._bury(delivery, failure, deliveries)

        settled = await redelivery.settle(deliver, give_up, awaited=asks, until=min(deadline, clock() + HOLD_SECONDS))
        if asks and not settled and clock() >= deadline:
            told = error_reply(Failure(Code.DEADLINE_EXCEEDED, "no answer before the request's expiration"))
        if not asks or told is None:
            return settled
        reply = told
        return await redelivery.persist(lambda: self._reply(delivery.properties, reply))

    async def _call(self, delivery: Delivery, deadline: float) -> Message:
        binding = self.binding
        if delivery.trouble:
            raise invalid(f"the message's properties can't be read: {delivery.trouble}")
        if len(delivery.body) > self._limit:
            raise invalid(f"the message is larger than the limit of {self._limit} bytes")
        headers, trace = delivery.metadata(binding.headers)
        context = Context(deadline=deadline, peer=f"{self.source.queue}/{delivery.name}", trace=trace)
        return await binding.service.call(Message(delivery.body, headers, delivery.params), context)

    # -- giving away

    async def _reply(self, request: Properties, reply: Reply) -> None:
        if len(reply.body) > self._limit:
            reply = error_reply(Failure(Code.INTERNAL, f"the reply is larger than the limit of {self._limit} bytes"))
        message_id = uuid4().hex
        try:
            properties = write(
                reply.headers,
                content_type=reply.content_type,
                delivery_mode=PERSISTENT,
                correlation_id=request.correlation_id,
                message_id=message_id,
            )
            # RabbitMQ returns what it hands to a direct reply-to, for there is no queue.
            queued = not request.reply_to.startswith(f"{DIRECT_REPLY_TO}.")
            await self._replies.publish("", request.reply_to, message_id, properties, reply.body, mandatory=queued)
        except WireError as error:
            await self._reply(request, error_reply(Failure(Code.INTERNAL, f"the reply has no room: {error}")))
        except Failure as failure:
            match failure.code:
                case Code.NOT_FOUND:
                    self._undeliverable.add()
                case Code.INVALID_ARGUMENT:
                    told = Failure(Code.INTERNAL, f"the reply can't be sent: {failure.message}")
                    await self._reply(request, error_reply(told))
                case _:
                    raise

    async def _prepare_letters(self, channel: AbstractChannel) -> None:
        probe = await self._publishing.channel(confirms=False)
        try:
            await topology.dead_letters(channel, probe, self.source.letters)
        finally:
            await bounded(probe.close(), CLOSE_SECONDS)

    async def _bury(self, delivery: Delivery, failure: Failure, deliveries: int) -> None:
        letters = self.source.letters
        key = letters.routing_key or delivery.routing_key
        where = f"{letters.exchange or 'queue'} {key}"
        message_id = delivery.properties.message_id or uuid4().hex
        reason = [
            *reasons(failure, deliveries),
            ("dead-letter-queue", self.source.queue),
            ("dead-letter-exchange", delivery.exchange),
            ("dead-letter-routing-key", delivery.routing_key),
        ]
        try:
            try:
                properties = dead_letter(delivery.raw, reason, message_id)
            except WireError:
                properties = write(reason, delivery_mode=PERSISTENT, message_id=message_id)
            try:
                await self._letters.publish(letters.exchange, key, message_id, properties, delivery.body)
            except Failure as trouble:
                if trouble.code is not Code.INVALID_ARGUMENT:
                    raise
                # With the reason its headers are larger than AMQP takes; as they came, they were not.
                properties = dead_letter(delivery.raw, (), message_id)
                await self._letters.publish(letters.exchange, key, message_id, properties, delivery.body)
        except Failure as trouble:
            self._unburied = f"a message of {self.source.queue} can't be put into {where}: {trouble}"
            log.warning("amqp queue %s: %s", self.source.queue, self._unburied)
            raise
        self._unburied = ""
        self._buried.add()
        log.warning("amqp queue %s: a message put into %s: %s", self.source.queue, where, failure)


async def _nothing(channel: AbstractChannel) -> None:
    """Replies go to queues that others declare."""
