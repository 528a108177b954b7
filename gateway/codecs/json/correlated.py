"""JSON messages with a member that tells whose reply is whose."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import msgspec

from gateway.codecs.correlation import whole_number
from gateway.codecs.format import Decode, Encode, Format, Unknown
from gateway.codecs.json.format import JsonFormat
from gateway.schema.types import Record, Type
from gateway.status import Code, Failure, invalid

ID_BYTES: Final = 256

_encode = msgspec.json.encode
_raw_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class JsonCorrelation:
    """A member of JSON objects. Keys are as they stand in the message, a JSON text or number.

    field: its name, without quotation marks, backslashes and control characters.
    """

    numbers = 2**53

    def __init__(self, field: str) -> None:
        self.field = field
        self._name = _encode(field)
        head = msgspec.defstruct("Head", [("id", msgspec.Raw, msgspec.Raw(b""))], rename={"id": field})
        self._head = msgspec.json.Decoder(head).decode

    def received(self, format_: Format) -> Format:
        return CorrelatedJson(format_, self.field) if isinstance(format_, JsonFormat) else format_

    def key(self, request: bytes) -> bytes:
        """Raises Failure(INVALID_ARGUMENT) for a message that is no object, too, and for what is no id."""
        raw = self._member(request)
        if not raw:
            raise invalid("missing required field", f"$.{self.field}")
        return raw

    def put_reply(self, body: bytes, key: bytes) -> bytes:
        try:
            return self._put(body, key)
        except ValueError as misfit:
            raise Failure(Code.INTERNAL, f"the reply {misfit}") from None

    def write(self, request: bytes, number: int) -> bytes:
        try:
            return self._put(request, b"%d" % number)
        except ValueError as misfit:
            raise Failure(Code.INVALID_ARGUMENT, f"the request {misfit}", sent=False) from None

    def read(self, reply: bytes) -> tuple[int | None, bytes]:
        try:
            return whole_number(self._member(reply).strip(b'"').decode()), reply
        except Failure:
            return None, reply

    def _member(self, body: bytes) -> bytes:
        """The id; empty where there is none. Raises Failure(INVALID_ARGUMENT)."""
        try:
            found: Any = self._head(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise invalid(f"a JSON object is expected: {error}") from None
        raw = bytes(found.id).strip()
        if raw and (raw[:1] not in b'"-0123456789' or len(raw) > ID_BYTES):
            raise invalid(f"the id is a text or number of at most {ID_BYTES} bytes", f"$.{self.field}")
        return raw

    def _put(self, body: bytes, raw: bytes) -> bytes:
        """Raises ValueError where the message has another id, or is no object."""
        try:
            own = self._member(body)
        except Failure:
            raise ValueError("is no object that the id could be a member of") from None
        if own == raw:
            return body
        if own:
            raise ValueError(f"has a member {self.field} of its own, where the call's id belongs")
        rest = body.lstrip()[1:].lstrip()
        return b"{%b:%b%b%b" % (self._name, raw, b"" if rest[:1] == b"}" else b",", rest)


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
        if isinstance(type_, Record):
            own = any(field in (own.name, own.json_name) for own in type_.fields)
            if own or unknown is Unknown.DROP:
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
