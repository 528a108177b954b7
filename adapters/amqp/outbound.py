"""Outbound: publishes to exchanges, asks over them, and streams what they are given."""

import time
from typing import Final

from aiormq.abc import AbstractChannel, DeliveredMessage

from adapters.amqp import topology
from adapters.amqp.backbone import live
from adapters.amqp.channel import Channel
from adapters.amqp.config import Endpoint, Source, Target
from adapters.amqp.connection import Connection
from adapters.amqp.consumer import DIRECT_REPLY_TO
from adapters.amqp.delivery import METADATA, Delivery, delivery_of
from adapters.amqp.inbound import AmqpInbound
from adapters.amqp.status import unreachable
from gateway.broker.sides import BrokerOutbound
from gateway.codecs.amqp_properties import PERSISTENT, TRANSIENT, UNCERTAIN, write
from gateway.message import Context, Message
from gateway.net.broker.pending_replies import PendingReplies
from gateway.net.broker.reply import GATEWAY_STATUS, message_id, message_of
from gateway.net.counters import Counter
from gateway.net.deadlines import remaining
from gateway.net.network import Network
from gateway.port import Contract, Service, UnaryService
from gateway.schema.types import STRING, Scalar
from gateway.status import invalid

RECEIPT: Final[dict[str, Scalar]] = {"id": STRING, "exchange": STRING, "routing_key": STRING}
_PROPERTIES: Final = ("content_type", "correlation_id", "type")
_COMPUTED: Final = ("routing_key", "message_id", "correlation_id", "type")


class AmqpOutbound(BrokerOutbound[Target]):
    """All routes of an endpoint share a connection; each address has a channel of its own, or, where it is streamed, a
    consumer.

    Counter: unmatched_replies (late ones, second ones, and those to nobody's question).
    """

    def __init__(self, name: str, endpoint: Endpoint, network: Network) -> None:
        self._endpoint = endpoint
        self._unmatched = network.counters.counter(name, "unmatched_replies")
        self._connection = Connection(endpoint, network, f"publishers of {name}")
        super().__init__(AmqpInbound, name, endpoint, network, self._connection)

    def contract(self, address: Target) -> Contract:
        exchange = f"exchange {address.exchange}" if address.exchange else "the default exchange"
        where = f"{exchange} of {self._endpoint.place}, routing key {address.routing_key or 'none'}"
        if address.mode == "subscribe":
            return self.streaming(where, METADATA, UNCERTAIN)
        taken = "a queue" if address.mandatory else "the broker"
        return self.publishing(
            where,
            address.mode,
            confirmed=f"once {taken} has it",
            replied="the consumer's reply",
            sources={param: text for param, text in _texts(address).items() if text.startswith("$")},
            receipt=RECEIPT,
        )

    def live(self, address: Target) -> Source:
        """As BrokerOutbound.live."""
        return live(address.exchange, address.routing_key)

    def publisher(self, address: Target, contract: Contract) -> Service:
        """As BrokerOutbound.publisher."""

        def make() -> Publish:
            if address.mode == "reply":
                return Request(address, self._connection, contract.headers, self._unmatched)
            return Publish(address, self._connection)

        publish: Publish = self.worker(address.identity, make)
        return publish


def _texts(address: Target) -> dict[str, str]:
    """What of the address may come from the request: name of the param -> text or expression."""
    texts: dict[str, str] = {name: getattr(address, name) for name in _COMPUTED}
    return texts | {f"header {name}": text for name, text in address.headers.items()}


class Publish(Channel, UnaryService):
    """The Service of one address."""

    def __init__(self, address: Target, connection: Connection) -> None:
        super().__init__(connection, f"publisher to {address.exchange or address.routing_key}")
        self._address = address
        self._limit = connection.endpoint.max_message_bytes
        self._literals = {param: "" if text.startswith("$") else text for param, text in _texts(address).items()}
        self._literals["content_type"] = connection.endpoint.content_type
        self._headers = [(name, f"header {name}") for name in address.headers]
        self._fixed = {
            "delivery_mode": PERSISTENT if address.persistent else TRANSIENT,
            "app_id": address.app_id,
            "priority": address.priority,
        }

    async def call(self, request: Message, context: Context) -> Message:
        return await self._send(request, context, self._address.expiration)

    async def _send(self, request: Message, context: Context, patience: float | None, **asking: str) -> Message:
        """patience: seconds until it expires. asking: properties that a reply needs."""
        address, body = self._address, request.body or b""
        given = {**self._literals, **request.params}
        routing_key = given["routing_key"]
        if not routing_key and address.routing_key:
            raise invalid("the routing key needs a value", address.routing_key)
        if len(body) > self._limit:
            raise invalid(f"the message is larger than the limit of {self._limit} bytes")
        identity = given["message_id"] or message_id(request.headers)
        properties = {
            **self._fixed,
            **{name: given[name] for name in _PROPERTIES},
            "message_id": identity,
            "timestamp": int(time.time()),
            **asking,
        }
        headers = [*request.headers, *((name, text) for name, param in self._headers if (text := given[param]))]
        raw = write(headers, context.trace, patience, **properties)
        await self.publish(address.exchange, routing_key, identity, raw, body, mandatory=address.mandatory)
        return Message(None, params={"id": identity, "exchange": address.exchange, "routing_key": routing_key})

    async def prepare(self, channel: AbstractChannel) -> None:
        await topology.exchange(channel, self._address.exchange, self._address.declare)


class Request(Publish):
    """The Service of one address that replies: direct reply-to, on the channel that publishes."""

    def __init__(self, address: Target, connection: Connection, wanted: frozenset[str], unmatched: Counter) -> None:
        super().__init__(address, connection)
        self._wanted = wanted
        self._pending: PendingReplies[Delivery] = PendingReplies(unmatched, shared=False)

    async def call(self, request: Message, context: Context) -> Message:
        given = (remaining(context), self._address.expiration)
        patience = min((seconds for seconds in given if seconds is not None), default=None)
        with self._pending.ask() as question:
            asking = {"reply_to": DIRECT_REPLY_TO, "correlation_id": question.correlation_id}
            await self._send(request, context, patience, **asking)
            delivery = await question.reply
        headers, _ = delivery.properties.metadata(self._wanted)
        status = str(delivery.properties.headers.get(GATEWAY_STATUS, ""))
        return message_of(delivery.body, headers, status, self._limit)

    async def prepare(self, channel: AbstractChannel) -> None:
        await super().prepare(channel)
        await channel.basic_consume(DIRECT_REPLY_TO, self._take, no_ack=True)

    async def _take(self, message: DeliveredMessage) -> None:
        delivery = delivery_of(message, DIRECT_REPLY_TO)
        self._pending.take(delivery.properties.correlation_id, delivery)

    def lost(self) -> None:
        self._pending.fail(unreachable(sent=True))
