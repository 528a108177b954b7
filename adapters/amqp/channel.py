"""Channel: a channel that is opened anew whenever it or its connection ends, and publishes with confirms."""

import asyncio
from typing import Final

from aiormq.abc import AbstractChannel

from adapters.amqp.connection import CLOSE_SECONDS, Connection, log
from adapters.amqp.status import BROKEN, failure, reply_code, trouble, unreachable
from adapters.amqp.wire import ContentProperties
from gateway.codecs.amqp_properties import SHORT_BYTES
from gateway.net.broker.keeper import Keeper, Trouble, bounded, cancelled
from gateway.status import invalid

HEADER_FRAME: Final = 8 + 12  # the frame around a message's properties, and its head, in bytes
PRECONDITION_FAILED: Final = 406


class Channel(Keeper[AbstractChannel]):
    """The broker ends a channel over each error on it, so there is one for each address.

    what: it is for, told to operators.
    """

    def __init__(self, connection: Connection, what: str) -> None:
        super().__init__(f"amqp {what}", unreachable(), log)
        self._connection = connection
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self._begun = 0

    @property
    def unready(self) -> str:
        return self._connection.unready or super().unready

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        message_id: str,
        properties: bytes,
        body: bytes,
        *,
        mandatory: bool = True,
    ) -> None:
        """Return once the broker has put the message into a queue. Raises Failure, at once while there is no broker;
        cancelled, the outcome is unknown.

        properties: as they go over the wire, with this message id.
        mandatory: no queue for it is a failure.
        """
        if len(routing_key.encode()) > SHORT_BYTES:
            raise invalid(f"the routing key is longer than {SHORT_BYTES} bytes")
        # A returned message is told by its id alone: two of one id must not be under way at once.
        while (other := self._under_way.get(message_id)) is not None:
            await asyncio.wait((other,))
        done = self._under_way[message_id] = asyncio.get_running_loop().create_future()
        self._begun += 1
        begun = self._begun if len(self._under_way) == 1 else 0
        try:
            if self._connection.client is None:
                await self._connection.get()
            channel = self.client or await self.get()
            if HEADER_FRAME + len(properties) > (channel.connection.connection_tune.frame_max or float("inf")):
                raise invalid("the message's headers are larger than AMQP takes")
            carried = ContentProperties(message_id=message_id)
            carried.raw = properties
            await channel.basic_publish(
                body, exchange=exchange, routing_key=routing_key, properties=carried, mandatory=mandatory
            )
        except (*BROKEN, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and cancelled():
                raise
            if channel.is_closed:  # the next caller waits for another one
                self.renew(channel, error)
            # The broker ends the channel over one message; which one can't be told unless all are alike in it.
            guilty = begun == self._begun or reply_code(error) != PRECONDITION_FAILED
            raise (failure(error) if guilty else unreachable(sent=True)) from error
        finally:
            del self._under_way[message_id]
            done.set_result(None)

    # -- for its purpose

    async def prepare(self, channel: AbstractChannel) -> None:
        """Declare and consume on a new channel. Raises one of BROKEN."""

    def lost(self) -> None:
        """It ended, or could not be opened."""

    # -- as a Keeper

    async def open(self) -> AbstractChannel:
        return await self._connection.channel()

    async def serve(self, channel: AbstractChannel) -> None:
        await self.prepare(channel)
        self.up(channel)
        await asyncio.wait((closing := channel.closing,))
        log.warning("%s: opened anew after: %s", self.what, closing.exception())

    async def close(self, channel: AbstractChannel) -> None:
        self.lost()
        await bounded(channel.close(), CLOSE_SECONDS)

    async def explain(self, error: BaseException) -> Trouble:
        return trouble(error)
