"""Publisher: publishes with confirms, mandatory."""

import asyncio
from typing import Final

from aiormq.abc import AbstractChannel
from aiormq.exceptions import DeliveryError, PublishError

from adapters.amqp.channel import Channel, Lost, Prepare
from adapters.amqp.connection import BROKEN, Connection
from adapters.amqp.status import failure, reply_code, unreachable
from adapters.amqp.wire import ContentProperties
from gateway.net.broker.keeper import cancelled
from gateway.status import invalid

HEADER_FRAME: Final = 8 + 12  # the frame around a message's properties, and its head, in bytes
ROUTING_KEY_BYTES: Final = 255
PRECONDITION_FAILED: Final = 406


class Publisher(Channel):
    """Confirmed publishing on a channel of its own. Without a broker publish() fails at once.

    limit: of a message's body, in bytes.
    """

    def __init__(
        self, connection: Connection, what: str, limit: int, prepare: Prepare | None = None, lost: Lost | None = None
    ) -> None:
        super().__init__(connection, what, prepare, lost, confirms=True)
        self._limit = limit
        self._open = self._begun = 0
        self._ids: dict[str, asyncio.Future[None]] = {}

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
        """Return once the broker has put the message into a queue. Raises Failure; cancelled, the outcome is unknown.

        properties: as they go over the wire, with this message id.
        mandatory: no queue for it is a failure.
        """
        if len(body) > self._limit:
            raise invalid(f"the message is larger than the limit of {self._limit} bytes")
        if len(routing_key.encode()) > ROUTING_KEY_BYTES:
            raise invalid(f"the routing key is longer than {ROUTING_KEY_BYTES} bytes")
        # A returned message is told by its id alone: two of one id must not be under way at once.
        while (other := self._ids.get(message_id)) is not None:
            await asyncio.wait((other,))
        done = self._ids[message_id] = asyncio.get_running_loop().create_future()
        try:
            await self._publish(exchange, routing_key, message_id, properties, body, mandatory)
        finally:
            del self._ids[message_id]
            done.set_result(None)

    async def _publish(
        self, exchange: str, routing_key: str, message_id: str, raw: bytes, body: bytes, mandatory: bool
    ) -> None:
        channel = await self.get()
        _check_frame(channel, len(raw))
        properties = ContentProperties(message_id=message_id)
        properties.raw = raw
        self._open += 1
        self._begun += 1
        alone, begun = self._open == 1, self._begun
        try:
            await channel.basic_publish(
                body, exchange=exchange, routing_key=routing_key, properties=properties, mandatory=mandatory
            )
        except PublishError as error:
            raise failure(error, sent=False) from error
        except DeliveryError as error:
            raise failure(error) from error
        except asyncio.CancelledError as error:
            if cancelled():
                raise
            raise unreachable(sent=True) from error
        except BROKEN as error:
            # The broker ends the channel over one message; which one can't be told unless all are alike in it.
            guilty = (alone and begun == self._begun) or reply_code(error) != PRECONDITION_FAILED
            raise (failure(error) if guilty else unreachable(sent=True)) from error
        finally:
            self._open -= 1


def _check_frame(channel: AbstractChannel, size: int) -> None:
    most = channel.connection.connection_tune.frame_max or size + HEADER_FRAME
    if size + HEADER_FRAME > most:
        raise invalid("the message's headers are larger than AMQP takes")
