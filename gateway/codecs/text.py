"""Text: a whole message is one text, the field `text` of a record, so that rules can reach it."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from gateway.codecs.format import Decode, Encode, Unknown
from gateway.schema.types import STRING, Field, Record, Type
from gateway.schema.values import struct_of
from gateway.status import invalid

TEXT: Final = Record("Text", [Field("text", STRING, required=True)])
"""The type of every message in this format."""


@dataclass(frozen=True, slots=True)
class TextFormat:
    encoded: ClassVar[type] = bytes
    charset: str = "utf-8"

    @property
    def name(self) -> str:
        return "text"

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        _check(type_)
        charset, struct = self.charset, struct_of(TEXT)

        def decode(body: bytes) -> Any:
            try:
                return struct(text=body.decode(charset))
            except UnicodeDecodeError as error:
                raise invalid(f"the message is no {charset} text (byte {error.start})", "$.text") from None

        return decode

    def encoder(self, type_: Type) -> Encode:
        _check(type_)
        charset = self.charset

        def encode(value: Any) -> bytes:
            text: str = value.text
            try:
                return text.encode(charset)
            except UnicodeEncodeError as error:
                raise invalid(f"{charset} can't write {text[error.start]!r}", "$.text") from None

        return encode


def _check(type_: Type) -> None:
    if type_ is not TEXT:
        raise TypeError(f"{type_} is no Text")
