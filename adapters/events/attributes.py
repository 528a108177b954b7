"""CloudEvents' attributes as a message's metadata, and back.

A header that crosses is the extension attribute of its name without all but letters and digits: x-tenant is xtenant.
The id is also the header message-id, the partition key the extension partitionkey, the trace traceparent.
https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents/extensions
"""

import re
from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any, Final

import msgspec

from gateway.codecs.cloudevents import CloudEvent
from gateway.event_log import EventLog
from gateway.journal.entry import Content, Entry
from gateway.message import MESSAGE_ID, Header
from gateway.net.broker.redelivery import reasons
from gateway.schema import text
from gateway.schema.types import INT64, STRING, TIMESTAMP, Kind, Scalar
from gateway.status import Failure

PARTITION_KEY: Final = "partitionkey"
CONVERSATION: Final = "conversation"
"""The extension attribute of events that one call has published, by which it knows its own."""

METADATA: Final[Mapping[str, Scalar]] = {
    "topic": STRING,
    "position": INT64,
    "id": STRING,
    "source": STRING,
    "type": STRING,
    "subject": STRING,
    "time": TIMESTAMP,
}
UNCERTAIN: Final = frozenset({"subject", "time"})

_TAKEN: Final = frozenset(
    {"id", "source", "type", "subject", "time", "data", "specversion", "dataschema", CONVERSATION}
)
_UNFIT: Final = re.compile(r"[^a-z0-9]")
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UNKEYED: Final = object()

_timestamp = text.PARSE[Kind.TIMESTAMP]


def present(names: Mapping[str, Scalar], log: EventLog) -> Mapping[str, Scalar]:
    """Those of METADATA, or of a receipt, that events of this log have."""
    return {name: type_ for name, type_ in names.items() if log.positions or name != "position"}


@cache
def extension(header: str) -> str:
    """The extension attribute of a header, whose name a configuration gave."""
    name = _UNFIT.sub("", header.lower())[:20]
    return f"x{name}" if name in _TAKEN or not name else name


def params_of(entry: Entry[CloudEvent]) -> dict[str, Any]:
    """METADATA of an event."""
    event = entry.event
    params: dict[str, Any] = {
        "topic": entry.topic,
        "id": event.id,
        "source": event.source,
        "type": event.type,
    }
    if entry.position:
        params["position"] = entry.position
    if event.subject is not None:
        params["subject"] = event.subject
    if event.time is not None:
        params["time"] = _timestamp(event.time)
    return params


def headers_of(event: CloudEvent, wanted: frozenset[str]) -> list[Header]:
    """The headers of these names that the event has."""
    found: list[Header] = []
    for name in wanted:
        value = event.id if name == MESSAGE_ID else event.extensions.get(extension(name))
        if value is not None:
            found.append((name, ("true" if value else "false") if isinstance(value, bool) else str(value)))
    return found


def key_of(event: CloudEvent) -> bytes | None:
    """The partition key."""
    key = event.extensions.get(PARTITION_KEY)
    return key.encode() if isinstance(key, str) else None


def lane(event: CloudEvent) -> Hashable:
    """Events of one lane keep their order: those of one partition key, or subject, or with neither."""
    key = event.extensions.get(PARTITION_KEY)
    if isinstance(key, str):
        return ("key", key)
    return _UNKEYED if event.subject is None else ("subject", event.subject)


def dead_letter(entry: Entry[CloudEvent], failure: Failure, deliveries: int) -> CloudEvent:
    """The event as it came, with why it can't be handled and where it was."""
    told = {extension(name): _CONTROLS.sub(" ", value) for name, value in reasons(failure, deliveries)}
    told |= {"deadlettertopic": entry.topic, "deadletterposition": str(entry.position)}
    return msgspec.structs.replace(entry.event, extensions={**entry.event.extensions, **told})


CONTENT: Final = Content(
    encode=msgspec.msgpack.Encoder().encode,
    decode=msgspec.msgpack.Decoder(CloudEvent).decode,
    size=lambda event: len(event.data or b""),
    lane=lane,
    dead_letter=dead_letter,
)
"""CloudEvents as a journal keeps them."""
