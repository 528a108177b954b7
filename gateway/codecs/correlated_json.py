"""JSON messages with a member that tells whose reply is whose."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec

from gateway.codecs.format import Decode, Encode, Unknown
from gateway.codecs.json import JsonFormat
from gateway.schema.types import Record, Type
from gateway.status import Failure, invalid

ID_BYTES: Final = 256

_encode = msgspec.json.encode
_raw_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Correlator:
    """Reads and writes the member that correlates.

    field: its name, without quotation marks, backslashes and control characters.
    """

    def __init__(self, field: str) -> None:
        self.field = field
        self._key = _encode(field) + b":"
        head = msgspec.defstruct("Head", [("id", msgspec.Raw, msgspec.Raw(b""))], rename={"id": field})
        self._read = msgspec.json.Decoder(head).decode

    def read(self, body: bytes) -> bytes:
        """The id as it stands in the message, a JSON text or number; empty where it has none.

        Raises Failure(INVALID_ARGUMENT) for a message that is no object, and for another id.
        """
        try:
            found: Any = self._read(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise invalid(f"a JSON object is expected: {error}") from None
        raw = bytes(found.id).strip()
        if raw and (raw[:1] not in b'"-0123456789' or len(raw) > ID_BYTES):
            raise invalid(f"the id is a text or number of at most {ID_BYTES} bytes", f"$.{self.field}")
        return raw

    def member(self, raw: bytes) -> bytes:
        """The member with this id."""
        return self._key + raw

    def write(self, body: bytes, raw: bytes) -> bytes:
        """The message with this id. Raises ValueError where it has another one, or is no object."""
        try:
            own = self.read(body)
        except Failure:
            raise ValueError("is no object that the id could be a member of") from None
        if own == raw:
            return body
        if own:
            raise ValueError(f"has a member {self.field} of its own, where the call's id belongs")
        rest = body.lstrip()[1:].lstrip()
        return b"{%b%b%b" % (self.member(raw), b"" if rest[:1] == b"}" else b",", rest)


@dataclass(frozen=True, slots=True)
class CorrelatedJson:
    """JSON whose messages bear an id besides the members of their type; a type's own member of that name keeps it."""

    json: JsonFormat
    field: str
    encoded: ClassVar[type] = bytes

    @property
    def name(self) -> str:
        return "json"

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        inner = self.json.decoder(type_, unknown)
        field = self.field
        if isinstance(type_, Record) and any(field in (own.name, own.json_name) for own in type_.fields):
            return inner

        def decode(body: bytes) -> Any:
            try:
                members = _raw_members(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return inner(body)  # it finds out what is wrong
            if members.pop(field, None) is None:
                return inner(body)
            return inner(_encode(members))

        return decode

    def encoder(self, type_: Type) -> Encode:
        return self.json.encoder(type_)
