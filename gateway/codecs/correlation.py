"""Correlation by a field, which belongs to the connection and comes into and out of messages on the wire."""

from typing import Any, Final, Protocol

import msgspec
from msgspec import UNSET

from gateway.codecs.delimited import DelimitedFormat
from gateway.codecs.format import Unknown
from gateway.codecs.record import RecordFormat
from gateway.schema.types import STRING, attribute
from gateway.status import invalid

Key = Any
"""The field's value as this correlation keeps it."""


class FieldCorrelation(Protocol):
    """field: its name. numbers: how many numbers the field can hold."""

    field: str
    numbers: int

    def take_request(self, body: bytes) -> tuple[Key, bytes]:
        """The field's value and the message without it. Raises Failure(INVALID_ARGUMENT) where it is missing."""
        ...

    def put_reply(self, body: bytes, key: Key) -> bytes:
        """The reply with the request's value."""
        ...

    def put_request(self, body: bytes, number: int) -> bytes:
        """The message with this number in the field."""
        ...

    def take_reply(self, body: bytes) -> tuple[int | None, bytes]:
        """The number, or None where it is none, and the message without the field. Raises Failure."""
        ...


_decode: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


class JsonCorrelation:
    """A member of the JSON object; all others stay as they are written."""

    numbers = 2**53

    def __init__(self, field: str) -> None:
        self.field = field

    def take_request(self, body: bytes) -> tuple[Key, bytes]:
        members = self._members(body)
        key = members.pop(self.field, None)
        if key is None:
            raise invalid("missing required field", f"$.{self.field}")
        return bytes(key), _encode(members)

    def put_reply(self, body: bytes, key: Key) -> bytes:
        return _encode(self._members(body) | {self.field: msgspec.Raw(key)})

    def put_request(self, body: bytes, number: int) -> bytes:
        return self.put_reply(body, str(number).encode())

    def take_reply(self, body: bytes) -> tuple[int | None, bytes]:
        members = self._members(body)
        key = bytes(members.pop(self.field, b"")).strip(b'" \t\r\n')
        return int(key) if key.isdigit() and len(key) < 20 else None, _encode(members)

    def _members(self, body: bytes) -> dict[str, msgspec.Raw]:
        try:
            return _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise invalid(f"a JSON object with the member {self.field} is expected") from None


class RecordCorrelation:
    """A field of the record. request, reply: formats that have it, unlike the route's own."""

    def __init__(
        self,
        field: str,
        request: RecordFormat | DelimitedFormat,
        reply: RecordFormat | DelimitedFormat,
        numbers: int,
    ) -> None:
        self.field = field
        self.numbers = numbers
        self._attr = attribute(field)
        self._read_request = request.decoder(request.type, Unknown.REJECT)
        self._write_request = request.encoder(request.type)
        self._read_reply = reply.decoder(reply.type, Unknown.REJECT)
        self._write_reply = reply.encoder(reply.type)
        self._text = (_is_text(request, field), _is_text(reply, field))

    def take_request(self, body: bytes) -> tuple[Key, bytes]:
        key = getattr(self._read_request(body), self._attr)
        if key is UNSET:
            raise invalid("missing required field", f"$.{self.field}")
        return key, body

    def put_reply(self, body: bytes, key: Key) -> bytes:
        value = self._read_reply(body)
        setattr(value, self._attr, _as(key, text=self._text[1]))
        written: bytes = self._write_reply(value)
        return written

    def put_request(self, body: bytes, number: int) -> bytes:
        value = self._read_request(body)
        setattr(value, self._attr, _as(number, text=self._text[0]))
        written: bytes = self._write_request(value)
        return written

    def take_reply(self, body: bytes) -> tuple[int | None, bytes]:
        key = getattr(self._read_reply(body), self._attr)
        if isinstance(key, str):
            return int(key) if key.isascii() and key.isdigit() and len(key) < 20 else None, body
        return None if key is UNSET else int(key), body


def _is_text(format_: RecordFormat | DelimitedFormat, field: str) -> bool:
    found = format_.type.field(field)
    return found is not None and found.type == STRING


def _as(key: Any, *, text: bool) -> Any:
    if text:
        return str(key)
    if isinstance(key, str):
        if not key.isdigit():
            raise invalid(f"{key[:40]!r} is no number, as the reply needs it")
        return int(key)
    return key
