"""Correlation by a field: what tells whose reply is whose, where it is not the order.

The field belongs to the connection: it comes into messages on the wire and is no part of what a route translates. A
JSON message whose type has a member of that name itself keeps it, and is refused where another value must stand there.
"""

from typing import Any, Protocol

from msgspec import UNSET
from pydantic import Field

from gateway.codecs.delimited import DelimitedFormat
from gateway.codecs.format import Format, Unknown
from gateway.codecs.record.format import RecordFormat
from gateway.schema.types import STRING, attribute
from gateway.section import Section
from gateway.status import Code, Failure, invalid

Key = Any
"""The field's value as this correlation keeps it."""


class CorrelationField(Section):
    """Replies are known by a field that they have in common with their request."""

    field: str = Field(
        pattern=r'^[^"\\\x00-\x1f]{1,64}$',
        description="The field's name in requests and replies, a text or number. It is no part of the message: taken "
        "from the request and repeated in the reply by an inbound, numbered by an outbound.",
    )


class FieldCorrelation(Protocol):
    """field: its name. numbers: how many numbers, from 0 on, it can hold."""

    field: str
    numbers: int

    def received(self, format_: Format) -> Format:
        """The same format for messages that come with the field."""
        ...

    def key(self, request: bytes) -> Key:
        """The field's value in a request. Raises Failure(INVALID_ARGUMENT) where there is none."""
        ...

    def put_reply(self, body: bytes, key: Key) -> bytes:
        """The reply with the request's value. Raises Failure(INTERNAL) where it can't have it."""
        ...

    def write(self, request: bytes, number: int) -> bytes:
        """The request with this number in the field. Raises Failure(INVALID_ARGUMENT) where it can't have it."""
        ...

    def read(self, reply: bytes) -> tuple[int | None, bytes]:
        """(the number that a reply bears, or None where it is none, the reply)"""
        ...


def whole_number(text: str) -> int | None:
    """The number that a text of digits is, as write() writes it; None for any other."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


class RecordCorrelation:
    """A field of the record. request, reply: formats that have it, unlike the route's own."""

    def __init__(
        self,
        field: str,
        request: RecordFormat | DelimitedFormat,
        reply: RecordFormat | DelimitedFormat,
        numbers: int,
    ) -> None:
        self.numbers = numbers
        self.field = field
        self._attr = attribute(field)
        self._read_request = request.decoder(request.type, Unknown.REJECT)
        self._write_request = request.encoder(request.type)
        self._read_reply = reply.decoder(reply.type, Unknown.REJECT)
        self._write_reply = reply.encoder(reply.type)
        self._text = (_is_text(request, field), _is_text(reply, field))

    def received(self, format_: Format) -> Format:
        return format_

    def key(self, request: bytes) -> Key:
        key = getattr(self._read_request(request), self._attr)
        if key is UNSET:
            raise invalid("missing required field", f"$.{self.field}")
        return key

    def put_reply(self, body: bytes, key: Key) -> bytes:
        value = self._read_reply(body)
        if not self._text[1] and isinstance(key, str):
            number = whole_number(key)
            if number is None:
                raise Failure(Code.INTERNAL, f"{key[:40]!r} is no number, as the reply needs it")
            key = number
        setattr(value, self._attr, str(key) if self._text[1] else key)
        written: bytes = self._write_reply(value)
        return written

    def write(self, request: bytes, number: int) -> bytes:
        value = self._read_request(request)
        setattr(value, self._attr, str(number) if self._text[0] else number)
        written: bytes = self._write_request(value)
        return written

    def read(self, reply: bytes) -> tuple[int | None, bytes]:
        try:
            key = getattr(self._read_reply(reply), self._attr)
        except Failure:
            return None, reply
        if isinstance(key, str):
            return whole_number(key), reply
        return None if key is UNSET else int(key), reply


def _is_text(format_: RecordFormat | DelimitedFormat, field: str) -> bool:
    found = format_.type.field(field)
    return found is not None and found.type == STRING
