"""MessagePack, with the names and forms of JSON, but for bytes, which it has a form of its own for.

Its timestamps (extension -1) and other extensions are refused: a timestamp is a string, as in JSON, for the parser
would cut its nanoseconds off.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Final

import msgspec

from gateway.codecs.format import Decode, Encode, Unknown
from gateway.codecs.json.format import NESTING, JsonFormat, MisfitError, inward, other_names, read, unbounded
from gateway.schema.types import Type
from gateway.schema.values import annotation
from gateway.status import Failure, invalid

_generic: Final = msgspec.msgpack.Decoder().decode
_encode: Final = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class MsgpackFormat:
    """json: the forms of integers and decimals."""

    encoded: ClassVar[type] = bytes
    json: JsonFormat

    @property
    def name(self) -> str:
        return "msgpack"

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        parse: Callable[[bytes], Any] | None = None
        if not unbounded(type_):
            parse = msgspec.msgpack.Decoder(annotation(type_, closed=unknown is Unknown.REJECT)).decode
        convert = inward(type_)
        others = other_names(type_) if unknown is Unknown.DROP else ()

        def decode(body: bytes) -> Any:
            if parse is not None and not any(name in body for name in others):
                try:
                    value = parse(body)
                    return value if convert is None else convert(value)
                except (msgspec.ValidationError, MisfitError):
                    pass  # read more leniently, or with the path of what is wrong
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                    raise _malformed(body, error) from None
            try:
                parsed = _generic(body)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise _malformed(body, error) from None
            return read(type_, _as_json(parsed, "$", 0), unknown)

        return decode

    def encoder(self, type_: Type) -> Encode:
        convert = self.json.outward(type_)
        if convert is None:
            return _encode

        def encode(value: Any) -> bytes:
            return _encode(convert(value))

        return encode


def _as_json(value: Any, path: str, depth: int) -> Any:
    """What JSON would have parsed, but for bytes. Raises Failure(INVALID_ARGUMENT)."""
    if isinstance(value, dict | list) and depth == NESTING:
        raise invalid(f"MessagePack is nested deeper than {NESTING} levels")
    match value:
        case dict():
            return {_key(name, path): _as_json(item, f"{path}.{name}", depth + 1) for name, item in value.items()}
        case list():
            return [_as_json(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
        case float():
            return Decimal(repr(value)) if value - value == 0 else _NOT_FINITE[repr(value)]
        case None | bool() | int() | str() | bytes():
            return value
        case _:
            raise invalid("MessagePack extensions, timestamps too, are not read", path)


_NOT_FINITE: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _key(name: Any, path: str) -> str:
    match name:
        case str():
            return name
        case bool():
            return "true" if name else "false"
        case int():
            return str(name)
        case _:
            raise invalid("a member's name must be text, a whole number or a boolean", path)


def _malformed(body: bytes, error: Exception) -> Failure:
    if not body:
        return invalid("the body is empty, MessagePack is expected")
    if isinstance(error, RecursionError):
        return invalid(f"MessagePack is nested deeper than {NESTING} levels")
    if isinstance(error, UnicodeDecodeError):
        return invalid("a text in the MessagePack is not valid UTF-8")
    return invalid(f"malformed MessagePack: {str(error).removeprefix('MessagePack data is malformed: ')}")
