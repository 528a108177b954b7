"""CloudEvents 1.0: the JSON event format (structured and batched content mode), and the binary content mode of HTTP and
of message brokers.

https://github.com/cloudevents/spec/tree/v1.0.2: spec.md, formats/json-format.md, bindings/http-protocol-binding.md,
bindings/kafka-protocol-binding.md, bindings/amqp-protocol-binding.md.
Data is kept as the bytes of its own content type; JSON data as it came, checked for being well-formed JSON.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from gateway.message import TRACEPARENT, trace_of
from gateway.schema import text
from gateway.schema.types import Kind
from gateway.status import invalid

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
JSON: Final = "application/json"
SPEC_VERSION: Final = "1.0"
PREFIX: Final = "ce-"

_CORE: Final = ("id", "source", "type", "subject", "time", "datacontenttype", "dataschema")
_RESERVED: Final = frozenset({*_CORE, "specversion", "data", "data_base64"})
_NAME: Final = re.compile(r"[a-z0-9]{1,64}")
_INTEGER: Final = (-(2**31), 2**31 - 1)
# U+0000-U+001F and U+007F-U+009F, unpaired surrogates and noncharacters (spec.md, "Type System", String).
_FORBIDDEN: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_SAFE: Final = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_value = msgspec.json.Decoder().decode
_encode = msgspec.json.encode

Attribute = str | int | bool


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event. Make one of strangers' values with event(), which checks them.

    time: RFC 3339. data: in datacontenttype, which is JSON where absent; None where the event has no data.
    extensions: attributes beside the specification's; their names are lower-case letters and digits.
    """

    id: str
    source: str
    type: str
    subject: str | None = None
    time: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    extensions: dict[str, Attribute] = {}
    data: bytes | None = None

    @property
    def json(self) -> bool:
        """The data is JSON."""
        return is_json(self.datacontenttype)


def is_json(content_type: str | None) -> bool:
    """Whether this is JSON's media type (json-format.md, 3.1): */json or */*+json; absent means application/json."""
    if content_type is None:
        return True
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type.endswith(("/json", "+json"))


def event(attributes: Mapping[str, Any], data: bytes | None) -> CloudEvent:
    """Raises Failure(INVALID_ARGUMENT) for attributes that are not what the specification says."""
    version = attributes.get("specversion")
    if version != SPEC_VERSION:
        raise invalid(f"CloudEvents {SPEC_VERSION} is read here, not {str(version)[:20]}", "$.specversion")
    core: dict[str, Any] = {}
    extensions: dict[str, Attribute] = {}
    for name, value in attributes.items():
        if name in _CORE:
            core[name] = _text(name, value)
        elif name not in _RESERVED:
            extensions[name] = _extension(name, value)
    for name in ("id", "source", "type"):
        if name not in core:
            raise invalid("the attribute is required", f"$.{name}")
    if "time" in core:
        try:
            text.PARSE[Kind.TIMESTAMP](core["time"])
        except ValueError:
            raise invalid("no RFC 3339 timestamp", "$.time") from None
    return CloudEvent(**core, extensions=extensions, data=data)


def traceparent(found: CloudEvent) -> str:
    """The W3C trace context, or empty."""
    return trace_of(found.extensions.get(TRACEPARENT))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise invalid("text is expected", f"$.{name}")
    return _printable(name, value)


def _extension(name: str, value: Any) -> Attribute:
    if not _NAME.fullmatch(name):
        raise invalid("attribute names are lower-case letters and digits", f"$.{name[:80]}")
    if isinstance(value, str):
        return _printable(name, value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and _INTEGER[0] <= value <= _INTEGER[1]:
        return value
    raise invalid("an attribute is text, a 32-bit integer or a boolean", f"$.{name}")


def _printable(name: str, value: str) -> str:
    if _FORBIDDEN.search(value):
        raise invalid("control characters are not allowed in attributes", f"$.{name}")
    return value


# -- structured and batched content mode


def read(body: bytes) -> CloudEvent:
    """The event of a structured message. Raises Failure(INVALID_ARGUMENT) with the path."""
    try:
        members = _members(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"malformed CloudEvent: {error}") from None
    return _event(members)


def read_batch(body: bytes, limit: int) -> list[CloudEvent]:
    """The events of a batch, limit at most. Raises as read() does."""
    try:
        items = _items(body)
        if len(items) > limit:
            raise invalid(f"a batch has at most {limit} events, this one {len(items)}")
        found = [_members(item) for item in items]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"malformed batch of CloudEvents: {error}") from None
    return [_event(members) for members in found]


def write(found: CloudEvent) -> bytes:
    """The event as a structured message."""
    return _encode(_object(found))


def _event(members: Mapping[str, msgspec.Raw]) -> CloudEvent:
    # A member that is null is not set.
    given = {name: raw for name, raw in members.items() if bytes(raw) != b"null"}
    attributes = {name: _value(raw) for name, raw in given.items() if name not in ("data", "data_base64")}
    content_type = attributes.get("datacontenttype")
    data: bytes | None = None
    if "data" in given and "data_base64" in given:
        raise invalid("data and data_base64 exclude each other", "$.data_base64")
    if "data" in given:
        data = bytes(given["data"])
        if not is_json(content_type if isinstance(content_type, str) else None):
            value = _value(data)
            data = value.encode() if isinstance(value, str) else data
    elif "data_base64" in given:
        data = _base64(_value(given["data_base64"]))
        if is_json(content_type if isinstance(content_type, str) else None):
            check_json(data, "$.data_base64")
    return event(attributes, data)


def _object(found: CloudEvent) -> dict[str, Any]:
    members: dict[str, Any] = {"specversion": SPEC_VERSION}
    for name in _CORE:
        value = getattr(found, name)
        if value is not None:
            members[name] = value
    members.update(found.extensions)
    if found.data is not None:
        if found.json:
            members["data"] = msgspec.Raw(found.data)
        else:
            members["data_base64"] = base64.b64encode(found.data).decode()
    return members


def _base64(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise invalid("base64 text is expected", "$.data_base64") from None


def check_json(data: bytes, path: str = "$.data") -> None:
    """Raises Failure(INVALID_ARGUMENT) unless the data is well-formed JSON."""
    try:
        msgspec.json.decode(data, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"malformed JSON: {error}", path) from None


# -- HTTP's binary content mode


def is_binary(headers: Mapping[str, str]) -> bool:
    """Whether the headers are those of a binary message. headers: case-insensitive."""
    return f"{PREFIX}specversion" in headers


def from_headers(headers: Iterable[tuple[str, str]], body: bytes) -> CloudEvent:
    """The event of a binary message; an empty body means no data. Raises Failure(INVALID_ARGUMENT)."""
    attributes: dict[str, Any] = {}
    for name, value in headers:
        lower = name.lower()
        if lower == "content-type":
            attributes["datacontenttype"] = value
        elif lower.startswith(PREFIX):
            attributes[lower.removeprefix(PREFIX)] = _decoded(value)
    attributes.pop("data", None)
    data = body or None
    if data is not None and is_json(attributes.get("datacontenttype")):
        check_json(data)
    return event(attributes, data)


def to_headers(found: CloudEvent) -> Sequence[tuple[str, str]]:
    """The headers of the event as a binary message, whose body is its data."""
    headers = [(f"{PREFIX}specversion", SPEC_VERSION)]
    for name in _CORE:
        value = getattr(found, name)
        if value is not None and name != "datacontenttype":
            headers.append((PREFIX + name, quote(value, safe=_SAFE)))
    for name, value in found.extensions.items():
        headers.append((PREFIX + name, quote(_canonical(value), safe=_SAFE)))
    if found.data is not None:
        headers.append(("content-type", found.datacontenttype or JSON))
    return headers


def _canonical(value: Attribute) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _decoded(value: str) -> str:
    """http-protocol-binding.md, 3.1.3.2: a quoted value is unquoted first, then percent-decoded."""
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise invalid("a header's percent-encoding is not UTF-8") from None


# -- binary content mode of message brokers, and what they bear of structured mode


def to_properties(found: CloudEvent, prefix: str) -> list[tuple[str, str]]:
    """The attributes as a message's headers, all but datacontenttype, which is the message's content type."""
    headers = [(f"{prefix}specversion", SPEC_VERSION)]
    for name in _CORE:
        value = getattr(found, name)
        if value is not None and name != "datacontenttype":
            headers.append((prefix + name, value))
    headers.extend((prefix + name, _canonical(value)) for name, value in found.extensions.items())
    return headers


def from_properties(
    headers: Iterable[tuple[str, str | bytes]], prefixes: tuple[str, ...], content_type: str, body: bytes | None
) -> CloudEvent:
    """The event of a message in binary or structured mode. Raises Failure(INVALID_ARGUMENT).

    headers: names in lower case. content_type: empty where there is none. body: empty and None mean no data.
    """
    if content_type.partition(";")[0].strip().lower() == STRUCTURED:
        return read(body or b"")
    attributes: dict[str, Any] = {"datacontenttype": content_type} if content_type else {}
    for name, value in headers:
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        if prefix is not None:
            attributes[name.removeprefix(prefix)] = value
    attributes.pop("data", None)
    data = body or None
    if data is not None and is_json(content_type or None):
        check_json(data)
    return event(attributes, data)
