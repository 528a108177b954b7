"""Backbone: one topic of Kafka bears the events of a stream, as CloudEvents in binary mode.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md: attributes are headers
with ce_. The event's topic is the header `topic`; of a record without one, as others write them, the event's type.
Key: the partition key, or else the subject, or else the topic.
"""

from typing import Final
from uuid import uuid4

from adapters.kafka.config import Source, Target
from gateway.codecs.cloudevents import JSON, CloudEvent, from_properties, to_properties
from gateway.journal.subscription import Settings
from gateway.journal.topic import is_topic
from gateway.message import MESSAGE_ID, Message
from gateway.net.broker.byte_headers import CONTENT_TYPE
from gateway.port import Backbone
from gateway.status import invalid

PREFIX: Final = "ce_"
TOPIC: Final = "topic"
LIVE_IN_FLIGHT: Final = 1000


def _publish(stream: str) -> Target:
    return Target(topic=stream)


def _durable(stream: str, settings: Settings) -> Source:
    return Source.model_validate(
        {
            "topic": stream,
            "group": f"{stream}.{settings.name}",
            "start": settings.start,
            "max_in_flight": settings.max_in_flight,
            "dead_letters": f"{stream}.{settings.name}.dead-letters",
            **settings.retries,
        }
    )


def live(topic: str) -> Source:
    """Where what comes from now on is consumed by this process alone."""
    return Source(topic=(topic,), group=f"{topic}.live.{uuid4().hex}", start="latest", max_in_flight=LIVE_IN_FLIGHT)


def _write(topic: str, event: CloudEvent) -> Message:
    headers = to_properties(event, PREFIX)
    headers += [(TOPIC, topic), (MESSAGE_ID, event.id)]
    if event.data is not None:
        headers.append((CONTENT_TYPE, event.datacontenttype or JSON))
    key = event.extensions.get("partitionkey") or event.subject or topic
    return Message(event.data, headers, key=str(key).encode())


def _read(request: Message) -> tuple[str, CloudEvent]:
    told = dict(request.headers)
    event = from_properties(request.headers, (PREFIX,), str(told.get(CONTENT_TYPE, "")), request.body)
    topic = told.get(TOPIC, event.type)
    if not isinstance(topic, str) or not is_topic(topic):
        raise invalid("neither the header topic nor the event's type is a topic")
    return topic, event


BACKBONE: Final = Backbone(publish=_publish, durable=_durable, live=live, write=_write, read=_read, replays=True)
