"""Thrift bytes <-> plain values, in each of Thrift's protocols."""

from collections.abc import Callable
from enum import Enum
from typing import Any, ClassVar, Final

from gateway.codecs.format import Decode, Encode, Unknown
from gateway.codecs.thrift import binary, compact, json
from gateway.codecs.thrift.source import DEPTH, OffenceError
from gateway.schema.idl.thrift.reader import ThriftField, ThriftKind, ThriftType
from gateway.schema.types import Field, Record, Type
from gateway.schema.values import struct_of
from gateway.status import Failure, invalid


class Protocol(Enum):
    BINARY = "binary"
    COMPACT = "compact"
    JSON = "json"


_NESTED: Final = "the message is nested too deep"
_FIRST: Final = {
    Protocol.BINARY: binary.first_field,
    Protocol.COMPACT: compact.first_field,
    Protocol.JSON: json.first_field,
}


class ThriftFormat:
    """The bytes of one struct: the arguments or the result of a function.

    holder: the one field of the struct whose value the messages are; None where they are the struct itself.
    """

    encoded: ClassVar[type] = bytes

    def __init__(self, protocol: Protocol, holder: ThriftField | None) -> None:
        self._protocol = protocol
        self._holder = holder

    @property
    def name(self) -> str:
        return f"thrift {self._protocol.value}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ThriftFormat) and other._protocol is self._protocol and other._holder == self._holder

    def __hash__(self) -> int:
        return hash((self._protocol, self._holder))

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        """Raises ValueError for a type that is no struct of a Thrift contract."""
        record = self._struct(type_)
        read = _reader(self._protocol, record, reject=unknown is Unknown.REJECT)
        (attr,) = (None,) if record is type_ else (field.attr for field in record.fields)

        def decode(data: bytes) -> Any:
            try:
                value = read(data)
            except OffenceError as offence:
                raise _failure(offence) from None
            return value if attr is None else getattr(value, attr)

        return decode

    def encoder(self, type_: Type) -> Encode:
        """Raises ValueError for a type that is no struct of a Thrift contract."""
        record = self._struct(type_)
        write = _writer(self._protocol, record)
        hold = None if record is type_ else struct_of(record)
        (attr,) = ("",) if hold is None else (field.attr for field in record.fields)

        def encode(value: Any) -> bytes:
            try:
                return write(value if hold is None else hold(**{attr: value}))
            except OffenceError as offence:
                raise _failure(offence) from None
            except RecursionError:
                raise invalid(_NESTED) from None

        return encode

    def first_field(self, data: bytes) -> int | None:
        """The id of the struct's first field; None where it has none. Raises Failure(INVALID_ARGUMENT)."""
        try:
            return _FIRST[self._protocol](data)
        except OffenceError as offence:
            raise _failure(offence) from None

    def refusal(self, type_: Record) -> str:
        """Why the protocol can't carry this type; empty where it can."""
        return json.carries(type_) if self._protocol is Protocol.JSON else ""

    def _struct(self, type_: Type) -> Record:
        if not isinstance(type_, Record):
            raise ValueError(f"{type_} is no struct of a Thrift contract")  # noqa: TRY004  a value of the wrong sort
        return type_ if self._holder is None else _holding(self._holder, type_)


def _holding(holder: ThriftField, record: Record) -> Record:
    """The struct that has nothing but the message. Its field has no name, as paths begin in the message."""
    return Record(
        record.name,
        [Field("", record, required=True, wire=ThriftField(holder.id, ThriftType(ThriftKind.STRUCT, record)))],
    )


def _reader(protocol: Protocol, record: Record, *, reject: bool) -> Callable[[bytes], Any]:
    if protocol is Protocol.JSON:
        read_json = json.reader(record, reject=reject)
        return lambda data: read_json(json.parse(data), DEPTH)
    read = (binary if protocol is Protocol.BINARY else compact).reader(record, reject=reject)

    def whole(data: bytes) -> Any:
        value, end = read(data, 0, DEPTH)
        if end != len(data):
            raise OffenceError(f"{len(data) - end} bytes follow the message")
        return value

    return whole


def _writer(protocol: Protocol, record: Record) -> Callable[[Any], bytes]:
    if protocol is Protocol.JSON:
        return json.writer(record)
    write = (binary if protocol is Protocol.BINARY else compact).writer(record)

    def joined(value: Any) -> bytes:
        pieces: list[bytes] = []
        write(value, pieces.append)
        return b"".join(pieces)

    return joined


def _failure(offence: OffenceError) -> Failure:
    return invalid(offence.reason, f"${offence.path}")
