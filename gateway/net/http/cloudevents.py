"""CloudEvents over HTTP: the events of a request in any content mode, and the request that tells one.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from gateway.codecs import cloudevents
from gateway.codecs.cloudevents import CloudEvent
from gateway.net.http import webhook_signature as signature
from gateway.net.http.failure import UnsupportedMediaType
from gateway.net.http.media_type import in_utf_8, parse_media_type
from gateway.status import invalid

_EXPECTED: Final = (cloudevents.STRUCTURED, cloudevents.BATCH, "ce- headers with JSON")
_MEMBERS: Final = msgspec.json.Decoder(dict[str, Any])


def read_events(
    headers: Mapping[str, str], body: bytes, most: int, plain: Callable[[], CloudEvent] | None = None
) -> tuple[Sequence[CloudEvent], bool]:
    """(the events, whether they came as a batch), whose data is JSON.

    headers: case-insensitive. most: events of a batch. plain: the event that JSON is which is none; without, that is
    refused.
    Raises Failure: INVALID_ARGUMENT, UnsupportedMediaType.
    """
    content_type = headers.get("content-type", "")
    media_type, parameters = parse_media_type(content_type)
    if not in_utf_8(parameters):
        raise UnsupportedMediaType(content_type, _EXPECTED)
    if media_type == cloudevents.BATCH:
        events = cloudevents.read_batch(body, most)
        for number, event in enumerate(events):
            _check_data(event, f"$[{number}].datacontenttype")
        return events, True
    if media_type == cloudevents.STRUCTURED:
        event = cloudevents.read(body)
    elif cloudevents.is_binary(headers):
        event = cloudevents.from_headers(headers.items(), body)
    elif plain is not None and cloudevents.is_json(content_type):
        event = plain()
    else:
        raise UnsupportedMediaType(content_type, _EXPECTED)
    _check_data(event, "$.datacontenttype")
    return (event,), False


def webhook_event(headers: Mapping[str, str], body: bytes, source: str, type_: str) -> CloudEvent:
    """The event that a signed webhook is which knows no CloudEvents.

    headers: as signature.verify() has found them right. type_: of the event where the payload has no `type`.
    Raises Failure(INVALID_ARGUMENT).
    """
    try:
        members = _MEMBERS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"malformed JSON: {error}") from None
    told = members.get("type")
    return cloudevents.event(
        {
            "specversion": cloudevents.SPEC_VERSION,
            "id": headers[signature.ID],
            "source": source,
            "type": told if isinstance(told, str) and told else type_,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(headers[signature.TIMESTAMP]))),
            "datacontenttype": cloudevents.JSON,
        },
        body,
    )


def write_event(event: CloudEvent, *, structured: bool) -> tuple[list[tuple[str, str]], bytes]:
    """(headers, body)"""
    if structured:
        return [("content-type", f"{cloudevents.STRUCTURED}; charset=utf-8")], cloudevents.write(event)
    return list(cloudevents.to_headers(event)), event.data or b""


def _check_data(event: CloudEvent, path: str) -> None:
    if event.data is not None and not event.json:
        raise invalid("data is JSON here", path)
