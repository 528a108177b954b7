"""AMQP content properties: AMQP 0-9-1, 4.2.6.1 and 4.2.5, with RabbitMQ's types of field values."""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from gateway.message import MESSAGE_ID, TRACEPARENT, Header, trace_of
from gateway.schema.types import INT32, STRING, TIMESTAMP, Scalar
from gateway.status import invalid

SHORT_BYTES: Final = 255  # of a short string, such as a name or a routing key
NESTING: Final = 64
LONGEST_SECONDS: Final = 30 * 24 * 3600  # an expiration that brokers take, who count milliseconds with 32 bits
TRANSIENT: Final = 1
PERSISTENT: Final = 2
_LATEST: Final = 253_402_300_799  # the last second of the year 9999, in which text forms of timestamps end
_HEADERS: Final = "headers"
_NAMES: Final = (
    "content_type",
    "content_encoding",
    _HEADERS,
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)
_FLAGS: Final = {name: 1 << (15 - number) for number, name in enumerate(_NAMES)}
_OCTETS: Final = frozenset({"delivery_mode", "priority"})
_INSTEAD: Final[Mapping[str, str]] = {
    MESSAGE_ID: "message_id",
    "correlation-id": "correlation_id",
    "content-type": "content_type",
}
"""Headers of the gateway that properties are instead."""

_TEXTS: Final = ("content_type", "correlation_id", "reply_to", "message_id", "type", "user_id", "app_id")
METADATA: Final[Mapping[str, Scalar]] = {
    "priority": INT32,
    "timestamp": TIMESTAMP,
    **dict.fromkeys(_TEXTS, STRING),
}
"""What a route may read of properties; a text is empty where the message has none."""
UNCERTAIN: Final = frozenset({"timestamp"})


class _Unreadable(ValueError):
    """Bytes that are no content properties."""


class Properties(msgspec.Struct, gc=False):
    """Read properties; empty or None where a message lacks one.

    timestamp: seconds since the epoch. trouble: why they can't be read; all else is empty then.
    """

    content_type: str = ""
    content_encoding: str = ""
    headers: dict[str, Any] = {}
    delivery_mode: int = 0
    priority: int = 0
    correlation_id: str = ""
    reply_to: str = ""
    expiration: str = ""
    message_id: str = ""
    timestamp: int | None = None
    type: str = ""
    user_id: str = ""
    app_id: str = ""
    cluster_id: str = ""
    trouble: str = ""

    @property
    def params(self) -> dict[str, Any]:
        """After METADATA."""
        params: dict[str, Any] = {name: getattr(self, name) for name in _TEXTS}
        params["priority"] = self.priority
        if (moment := self.nanoseconds) is not None:
            params["timestamp"] = moment
        return params

    @property
    def patience(self) -> float:
        """Seconds for which whoever sent the message wants it handled; infinity where its expiration doesn't tell."""
        text = self.expiration
        return int(text) / 1000 if text.isascii() and text.isdigit() else float("inf")

    @property
    def nanoseconds(self) -> int | None:
        """The timestamp. Many write milliseconds, although AMQP has seconds; None for what is far off either way."""
        seconds = self.timestamp
        if seconds is None or seconds > 1000 * _LATEST:
            return None
        return seconds * 1_000_000 if seconds > _LATEST else seconds * 1_000_000_000

    def metadata(self, wanted: frozenset[str]) -> tuple[list[Header], str]:
        """The headers of these names, the ids and content type of the message among them, and the trace context."""
        found: list[Header] = []
        trace = ""
        for name, value in self.headers.items():
            lower = name.lower()
            if lower == TRACEPARENT:
                trace = trace_of(value) or trace
            elif lower in wanted and (text := header_text(value)) is not None:
                found.append((lower, text))
        for name, field in _INSTEAD.items():
            known: str = getattr(self, field)
            if known and name in wanted and not any(name == header for header, _ in found):
                found.append((name, known))
        return found, trace


def read(raw: bytes) -> Properties:
    """Texts that are not UTF-8 are read with replacement characters, header values stay bytes."""
    try:
        return Properties(**{name: _value(name, value) for name, value in _split(raw).items()})
    except _Unreadable as error:
        return Properties(trouble=str(error))


def write(
    headers: Iterable[Header] = (), trace: str = "", patience: float | None = None, **properties: str | int | None
) -> bytes:
    """Properties of a message of our own; an empty text and None are left out. Raises Failure(INVALID_ARGUMENT) for
    what has no room.

    headers: an id among them becomes the property, where it is not given; a content type in any case.
    trace: the trace context, instead of one among the headers.
    patience: the expiration, in seconds.
    """
    carried: list[Header] = []
    for name, value in headers:
        field = _INSTEAD.get(name)
        own = "" if field is None or field == "content_type" else properties.get(field, "")
        if field is not None and own in ("", text := _string(value)):
            properties[field] = text
        elif name != TRACEPARENT or not trace:
            carried.append((name, value))
    if trace:
        carried.append((TRACEPARENT, trace))
    if patience is not None:
        properties["expiration"] = str(int(1000 * min(max(patience, 0.001), LONGEST_SECONDS)))
    parts = {
        name: struct.pack(">Q", value)
        if name == "timestamp"
        else bytes((value,))
        if isinstance(value, int)
        else _short(name, value)
        for name, value in properties.items()
        if value is not None and value != ""
    }
    if carried:
        entries = _entries(carried)
        parts[_HEADERS] = struct.pack(">I", len(entries)) + entries
    return _join(parts)


def dead_letter(raw: bytes, headers: Sequence[tuple[str, str]], message_id: str) -> bytes:
    """The properties of a message's dead letter: the same, persistent and with more headers.

    What would make the broker drop it, refuse it or send it elsewhere is told by headers instead: its expiration, the
    user who published it, and the further routing keys in CC. What can't be read is left out.
    message_id: where it has none.
    """
    try:
        parts = _split(raw)
        told = [
            (f"dead-letter-{name.replace('_', '-')}", _text(parts.pop(name)))
            for name in ("expiration", "user_id")
            if name in parts
        ]
        entries = [
            _named(b"dead-letter-" + name if name in (b"CC", b"BCC") else name) + value
            for name, value in _Reader(parts.get(_HEADERS, b"\0\0\0\0")).entries()
        ]
    except _Unreadable:
        return write(headers, delivery_mode=PERSISTENT, message_id=message_id)
    table = b"".join(entries) + _entries([*told, *headers])
    parts[_HEADERS] = struct.pack(">I", len(table)) + table
    parts["delivery_mode"] = bytes((PERSISTENT,))
    if parts.get("message_id", b"\0") == b"\0":
        parts["message_id"] = _short("message_id", message_id)
    return _join(parts)


def message_id(raw: bytes) -> str:
    """The message id alone; empty where there is none, or where it can't be read."""
    try:
        return _text(_split(raw).get("message_id", b"\0"))
    except _Unreadable:
        return ""


def header_text(value: Any) -> str | bytes | None:
    """A header's value as the gateway's metadata: text, or bytes where it is none. None where there is no value."""
    match value:
        case None | str() | bytes():
            return value
        case bool():
            return "true" if value else "false"
        case int() | float() | Decimal():
            return str(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case _:
            return msgspec.json.encode(value).decode()


def _split(raw: bytes) -> dict[str, bytes]:
    """Each property's own bytes, in the order of the wire."""
    if len(raw) < 2:
        raise _Unreadable("flags are missing")
    flags, at, parts = int.from_bytes(raw[:2], "big"), 2, {}
    for name, flag in _FLAGS.items():
        if not flags & flag:
            continue
        if name == _HEADERS:
            size = 4 + int.from_bytes(raw[at : at + 4], "big")
        elif name == "timestamp":
            size = 8
        else:
            size = 1 if name in _OCTETS else 1 + int.from_bytes(raw[at : at + 1], "big")
        parts[name] = raw[at : at + size]
        at += size
        if at > len(raw):
            raise _Unreadable(f"{name} is cut off")
    if at != len(raw):
        raise _Unreadable("there is more than the flags tell")
    return parts


def _join(parts: Mapping[str, bytes]) -> bytes:
    flags = sum(_FLAGS[name] for name in parts)
    return struct.pack(">H", flags) + b"".join(parts[name] for name in _NAMES if name in parts)


def _value(name: str, encoded: bytes) -> Any:
    if name == _HEADERS:
        return _Reader(encoded).table(0)
    if name == "timestamp":
        return int.from_bytes(encoded, "big")
    return encoded[0] if name in _OCTETS else _text(encoded)


def _text(short: bytes) -> str:
    return short[1:].decode(errors="replace")


def _string(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def _short(name: str, text: str) -> bytes:
    encoded = text.encode()
    if len(encoded) > SHORT_BYTES:
        raise invalid(f"{name} is longer than {SHORT_BYTES} bytes")
    return bytes((len(encoded),)) + encoded


def _named(name: bytes) -> bytes:
    return bytes((len(name),)) + name


def _entries(headers: Sequence[tuple[str, str | bytes]]) -> bytes:
    parts = []
    for name, value in headers:
        encoded = value if isinstance(value, bytes) else value.encode()
        kind = b"x" if isinstance(value, bytes) else b"S"
        parts += [_short("a header's name", name), kind, struct.pack(">I", len(encoded)), encoded]
    return b"".join(parts)


class _Reader:
    """Reads a field table."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Each name, and the bytes of its value with their kind."""
        end = self._end()
        while self._at < end:
            name = self._take(self._take(1)[0])
            start = self._at
            self._value(1)
            yield name, self._data[start : self._at]
        self._close(end)

    def table(self, depth: int) -> dict[str, Any]:
        end = self._end()
        found: dict[str, Any] = {}
        while self._at < end:
            name = self._take(self._take(1)[0]).decode(errors="replace")
            found[name] = self._value(depth + 1)
        self._close(end)
        return found

    def _array(self, depth: int) -> list[Any]:
        end = self._end()
        found: list[Any] = []
        while self._at < end:
            found.append(self._value(depth + 1))
        self._close(end)
        return found

    def _value(self, depth: int) -> Any:
        if depth > NESTING:
            raise _Unreadable(f"headers are nested deeper than {NESTING}")
        kind = self._take(1)
        if kind == b"F":
            return self.table(depth)
        if kind == b"A":
            return self._array(depth)
        if kind in (b"S", b"x"):
            return _long(kind, self._take(self._size()))
        known = _FIXED.get(kind)
        if known is None:
            raise _Unreadable(f"a header's value is of the unknown kind {kind!r}")
        size, convert = known
        return convert(self._take(size))

    def _size(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def _end(self) -> int:
        size = self._size()
        if self._at + size > len(self._data):
            raise _Unreadable("headers are cut off")
        return self._at + size

    def _close(self, end: int) -> None:
        if self._at != end:
            raise _Unreadable("headers are cut off")

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise _Unreadable("headers are cut off")
        self._at += size
        return taken


def _long(kind: bytes, value: bytes) -> str | bytes:
    if kind == b"x":
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _signed(value: bytes) -> int:
    return int.from_bytes(value, "big", signed=True)


def _unsigned(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _float(value: bytes) -> float:
    found: float = struct.unpack(">f" if len(value) == 4 else ">d", value)[0]
    return found


def _decimal(value: bytes) -> Decimal:
    return Decimal(_signed(value[1:])).scaleb(-value[0])


def _moment(value: bytes) -> datetime | int:
    seconds = _unsigned(value)
    return datetime.fromtimestamp(seconds, UTC) if seconds <= _LATEST else seconds


_FIXED: Final[Mapping[bytes, tuple[int, Callable[[bytes], Any]]]] = {
    b"t": (1, lambda value: value != b"\0"),
    b"b": (1, _signed),
    b"B": (1, _unsigned),
    b"s": (2, _signed),
    b"u": (2, _unsigned),
    b"I": (4, _signed),
    b"i": (4, _unsigned),
    b"l": (8, _signed),
    b"L": (8, _signed),
    b"f": (4, _float),
    b"d": (8, _float),
    b"D": (5, _decimal),
    b"T": (8, _moment),
    b"V": (0, lambda value: None),
}
"""Kind of a field value -> its bytes, and what they mean."""


def timestamp_text(value: str | bytes) -> str | bytes:
    """AMQP 1.0's timestamps are milliseconds since the epoch, and libraries write them as numbers: RFC 3339 of those,
    and other values as they are."""
    if not isinstance(value, str) or not (value.isascii() and value.isdigit() and len(value) < 15):
        return value
    return datetime.fromtimestamp(int(value) / 1000, UTC).isoformat().replace("+00:00", "Z")
