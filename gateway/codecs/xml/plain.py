"""Plain XML: a message is one element, whatever contract its type is of."""

from dataclasses import dataclass
from typing import Any, ClassVar

from gateway.codecs.format import Decode, Encode, NoFormError, Unknown
from gateway.codecs.xml.format import decoder
from gateway.codecs.xml.writer import XmlWriters
from gateway.schema.idl.xml.derived import NoXmlError, xml_record
from gateway.schema.types import Record, Type

_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'


@dataclass(frozen=True, slots=True, eq=False)
class XmlFormat:
    """The wire form is an element to the decoder, which does not look at its name, and bytes from the encoder."""

    encoded: ClassVar[type] = bytes

    @property
    def name(self) -> str:
        return "xml"

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        return decoder(_record(type_), unknown)

    def encoder(self, type_: Type) -> Encode:
        write = XmlWriters(_record(type_)).encode

        def encode(value: Any) -> bytes:
            return _DECLARATION + write(value).encode()

        return encode


def _record(type_: Type) -> Record:
    if not isinstance(type_, Record):
        raise NoFormError(f"{type_} is no XML element")
    try:
        return xml_record(type_)
    except NoXmlError as error:
        raise NoFormError(str(error)) from None
