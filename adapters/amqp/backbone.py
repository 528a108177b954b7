"""Backbone: a topic exchange bears the events of a stream, as CloudEvents in binary mode.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/amqp-protocol-binding.md: attributes are headers
with cloudEvents: (application properties, where RabbitMQ speaks AMQP 1.0); cloudEvents_ and the ce- of Knative are read
too. The routing key is the event's topic.
"""

from typing import Final
from uuid import uuid4

from adapters.amqp.config import DeadLetters, ExchangeDeclaration, QueueBinding, QueueDeclaration, Source, Target
from gateway.codecs.amqp_properties import SHORT_BYTES, timestamp_text
from gateway.codecs.cloudevents import JSON, CloudEvent, from_properties, to_properties
from gateway.journal.subscription import Settings
from gateway.journal.topic import is_topic
from gateway.message import MESSAGE_ID, Message
from gateway.port import Backbone
from gateway.status import invalid

PREFIX: Final = "cloudEvents:"
PREFIXES: Final = ("cloudevents:", "cloudevents_", "ce-")
LIVE_PREFETCH: Final = 1000
# A queue of a process that is gone. Until then it keeps what comes, so that a connection may break for a while.
LIVE_EXPIRES_MILLISECONDS: Final = 10 * 60 * 1000
_TIMES: Final = frozenset({"cloudevents:time", "cloudevents_time"})


def _publish(stream: str) -> Target:
    return Target(
        exchange=stream, declare=ExchangeDeclaration(type="topic"), routing_key="$params.topic", mandatory=False
    )


def _durable(stream: str, settings: Settings) -> Source:
    bindings = [{"exchange": stream, "routing_key": _pattern(topic)} for topic in settings.topics]
    return Source.model_validate(
        {
            "queue": f"{stream}.{settings.name}",
            # One gateway at a time, as a subscription has one place where it is.
            "declare": {"bindings": bindings, "arguments": {"x-single-active-consumer": True}},
            "prefetch": settings.max_in_flight,
            **settings.retries,
        }
    )


def live(exchange: str, routing_key: str = "#") -> Source:
    """Where what is published from now on comes to this process alone."""
    name = exchange.removeprefix("amq.")  # which no queue's name may begin with
    return Source(
        queue=f"{name}.live.{uuid4().hex}",
        declare=QueueDeclaration(
            type="classic",
            bindings=(QueueBinding(exchange=exchange, routing_key=routing_key),),
            arguments={"x-expires": LIVE_EXPIRES_MILLISECONDS},
        ),
        prefetch=LIVE_PREFETCH,
        dead_letters=DeadLetters(routing_key=f"{name}.live.dead-letters"),
    )


def _pattern(topic: str) -> str:
    """A filter as a binding key, where # may also stand for nothing."""
    return "#" if topic == ">" else topic.removesuffix(".>") + ".*.#" if topic.endswith(".>") else topic


def _write(topic: str, event: CloudEvent) -> Message:
    headers = to_properties(event, PREFIX)
    if len(event.id.encode()) <= SHORT_BYTES:
        headers.append((MESSAGE_ID, event.id))
    params = {"routing_key": topic, "content_type": event.datacontenttype or JSON if event.data is not None else ""}
    return Message(event.data, headers, params)


def _read(request: Message) -> tuple[str, CloudEvent]:
    params = request.params
    topic = params["routing_key"]
    if not is_topic(topic):
        raise invalid("the routing key is no topic")
    headers = [(name, timestamp_text(value) if name in _TIMES else value) for name, value in request.headers]
    return topic, from_properties(headers, PREFIXES, params["content_type"], request.body)


BACKBONE: Final = Backbone(publish=_publish, durable=_durable, live=live, write=_write, read=_read, replays=False)
