"""The payment worker: takes requests from the RabbitMQ queue `payments`, and replies to whoever asked."""

import json

import aiormq
from aiormq.abc import AbstractConnection, DeliveredMessage
from pamqp.commands import Basic

from demo.backends.inbox import Inbox

QUEUE = "payments"


class PaymentWorker:
    def __init__(self) -> None:
        self.inbox = Inbox("the payment worker")
        self._connection: AbstractConnection | None = None

    async def start(self, url: str) -> None:
        """Raises AMQPError or OSError where there is no broker."""
        self._connection = await aiormq.connect(url)
        channel = await self._connection.channel()
        await channel.queue_declare(QUEUE, auto_delete=True)
        await channel.basic_consume(QUEUE, self._pay, no_ack=True)

    async def stop(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _pay(self, message: DeliveredMessage) -> None:
        asked, properties = json.loads(message.body), message.header.properties
        text = f"correlation_id: {properties.correlation_id}\n{message.body.decode()}"
        await self.inbox.put("payment", text, asked)
        reply = {"order_id": asked.get("order_id"), "cents": asked.get("cents"), "paid": True}
        await message.channel.basic_publish(
            json.dumps(reply).encode(),
            routing_key=properties.reply_to or "",
            properties=Basic.Properties(correlation_id=properties.correlation_id, content_type="application/json"),
        )
