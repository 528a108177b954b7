"""Raw: a whole message is bytes, the field `data` of a record, so that rules can reach it."""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

from gateway.codecs.format import Decode, Encode, Unknown
from gateway.schema.types import BYTES, Field, Record, Type
from gateway.schema.values import struct_of

DATA: Final = Record("Data", [Field("data", BYTES, required=True)])
"""The type of every message in this format."""


@dataclass(frozen=True, slots=True)
class RawFormat:
    encoded: ClassVar[type] = bytes

    @property
    def name(self) -> str:
        return "raw"

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        _check(type_)
        struct = struct_of(DATA)

        def decode(body: bytes) -> Any:
            return struct(data=body)

        return decode

    def encoder(self, type_: Type) -> Encode:
        _check(type_)

        def encode(value: Any) -> bytes:
            data: bytes = value.data
            return data

        return encode


def _check(type_: Type) -> None:
    if type_ is not DATA:
        raise TypeError(f"{type_} is no Data")
