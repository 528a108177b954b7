"""Messages that come in one of several formats, as each of them says."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

from gateway.codecs.format import Decode, Encode, Format, NoFormError, Unknown
from gateway.schema.types import Type
from gateway.status import Code, Failure


class InFormat(msgspec.Struct, frozen=True):
    """A message in another than the first format. body: its wire form."""

    name: str
    body: Any


@dataclass(frozen=True, slots=True)
class SeveralFormat:
    """The wire form is that of the first format, or an InFormat. It is read alone, never written."""

    encoded: ClassVar[type] = bytes
    formats: tuple[Format, ...]

    @property
    def name(self) -> str:
        return " or ".join(format_.name for format_ in self.formats)

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        first, *others = self.formats
        plain = first.decoder(type_, unknown)
        decoders: dict[str, Decode] = {}
        for other in others:
            with suppress(NoFormError):
                decoders[other.name] = other.decoder(type_, unknown)

        def decode(message: Any) -> Any:
            if message.__class__ is not InFormat:
                return plain(message)
            chosen = decoders.get(message.name)
            if chosen is None:
                raise Failure(Code.INTERNAL, f"{type_} has no form in {message.name}")
            return chosen(message.body)

        return decode

    def encoder(self, type_: Type) -> Encode:
        raise NoFormError("which of several formats to write is not known")
