"""google.protobuf's well-known types as plain values, to and from their messages.

https://protobuf.dev/reference/protobuf/google.protobuf/. Readers take the message, writers the plain value and the
message to fill, which they always mark as present. All raise ValueError or TypeError with a sentence for the caller.
"""

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from gateway.schema.text import SECOND, check_timestamp, format_bytes, parse_bytes, parse_decimal

_MAX_DURATION: Final = 315_576_000_000 * SECOND
_FLOAT32_LIMIT: Final = 3.4028235677973366e38  # the least double that rounds to infinity as a single
_EXACT: Final = 2**53


def read_timestamp(message: Any) -> int:
    nanos: int = message.nanos
    if not 0 <= nanos < SECOND:
        raise ValueError("the nanoseconds of a timestamp lie between 0 and 999999999")
    return check_timestamp(message.seconds * SECOND + nanos)


def write_timestamp(value: int, message: Any) -> None:
    message.seconds, message.nanos = divmod(check_timestamp(value), SECOND)


def read_duration(message: Any) -> int:
    seconds: int = message.seconds
    nanos: int = message.nanos
    if not -SECOND < nanos < SECOND or (seconds > 0 > nanos) or (seconds < 0 < nanos):
        raise ValueError(
            "seconds and nanoseconds of a duration have one sign, and there is less than one second of them"
        )
    return _check_duration(seconds * SECOND + nanos)


def write_duration(value: int, message: Any) -> None:
    seconds, nanos = divmod(abs(_check_duration(value)), SECOND)
    message.seconds, message.nanos = (-seconds, -nanos) if value < 0 else (seconds, nanos)


def _check_duration(value: int) -> int:
    if not -_MAX_DURATION <= value <= _MAX_DURATION:
        raise ValueError("the duration is longer than 10000 years")
    return value


def read_field_mask(message: Any) -> str:
    text: str = message.ToJsonString()
    return text


def write_field_mask(value: str, message: Any) -> None:
    message.SetInParent()
    message.FromJsonString(value)


def read_decimal(message: Any) -> Decimal:
    return parse_decimal(message.value or "0")


def write_decimal(value: Decimal, message: Any) -> None:
    message.value = str(value)


def float32(value: float) -> float:
    """The value itself. upb would turn a finite double beyond the range into an infinity."""
    if -_FLOAT32_LIMIT < value < _FLOAT32_LIMIT or value - value != 0:
        return value
    raise ValueError(f"{value!r} is out of the range of float32")


def float32s(values: list[float]) -> list[float]:
    for value in values:
        float32(value)
    return values


def read_struct(message: Any) -> dict[str, Any]:
    return {name: read_value(value) for name, value in message.fields.items()}


def read_list(message: Any) -> list[Any]:
    return [read_value(value) for value in message.values]


def read_value(message: Any) -> Any:
    kind = message.WhichOneof("kind")
    if kind == "string_value" or kind == "bool_value":
        return getattr(message, kind)
    if kind == "number_value":
        number = message.number_value
        if number - number != 0:
            raise ValueError(f"google.protobuf.Value holds no {number}")  # struct.proto forbids it, and JSON has none
        integral = number.is_integer() and -_EXACT <= number <= _EXACT
        return int(number) if integral and (number or math.copysign(1, number) > 0) else number
    if kind == "struct_value":
        return read_struct(message.struct_value)
    if kind == "list_value":
        return read_list(message.list_value)
    return None


def write_struct(value: Any, message: Any) -> None:
    if not isinstance(value, dict):
        raise TypeError("google.protobuf.Struct needs an object")
    message.SetInParent()
    fields = message.fields
    for name, item in value.items():
        write_value(item, fields[name])


def write_list(value: Any, message: Any) -> None:
    if not isinstance(value, list):
        raise TypeError("google.protobuf.ListValue needs a list")
    message.SetInParent()
    add = message.values.add
    for item in value:
        write_value(item, add())


def write_value(value: Any, message: Any) -> None:
    match value:
        case None:
            message.null_value = 0
        case bool():
            message.bool_value = value
        case str():
            message.string_value = value
        case int() | Decimal() | float():
            message.number_value = _double(value)
        case bytes():
            message.string_value = format_bytes(value)
        case dict():
            write_struct(value, message.struct_value)
        case list():
            write_list(value, message.list_value)
        case _:
            raise TypeError("google.protobuf.Value holds null, a boolean, a number, a string, an object or a list")


def _double(value: int | Decimal | float) -> float:
    number = float(value)
    # A decimal fraction is written with the digits of the nearest double; an integer must be that double.
    exact = Decimal(repr(number)) == value if isinstance(value, Decimal) else number == value or value != value
    if not exact:
        raise ValueError(f"google.protobuf.Value holds doubles, and {value} is none")
    return number


def any_reader(pool: DescriptorPool) -> Callable[[Any], dict[str, Any]]:
    """google.protobuf.Any in its proto3 JSON form. Of a type that the pool lacks the bytes are kept, under "value"."""

    def read_any(message: Any) -> dict[str, Any]:
        url: str = message.type_url
        if url and not _has(pool, url):
            return {"@type": url, "value": message.value}
        try:
            value: dict[str, Any] = json_format.MessageToDict(message, descriptor_pool=pool)
        except (json_format.Error, DecodeError, TypeError) as error:
            raise ValueError(f"the Any can't be read as {_type_name(url)}") from error
        return value

    return read_any


def any_writer(pool: DescriptorPool) -> Callable[[Any, Any], None]:
    """The inverse of any_reader."""

    def write_any(value: Any, message: Any) -> None:
        if not isinstance(value, dict):
            raise TypeError('google.protobuf.Any needs an object with "@type"')
        message.SetInParent()
        if not value:
            return
        url = value.get("@type")
        if not isinstance(url, str):
            raise TypeError('google.protobuf.Any needs an object with "@type"')
        if not _has(pool, url):
            content = value.get("value")
            if len(value) != 2 or not isinstance(content, bytes | str):
                raise ValueError(f"the contract has no message {_type_name(url)}")
            message.type_url = url
            message.value = parse_bytes(content) if isinstance(content, str) else content
            return
        try:
            json_format.ParseDict(_json(value), message, descriptor_pool=pool)
        except json_format.Error as error:
            raise ValueError(str(error)) from error

    return write_any


def _has(pool: DescriptorPool, url: str) -> bool:
    try:
        pool.FindMessageTypeByName(_type_name(url))
    except KeyError:
        return False
    return True


def _type_name(url: str) -> str:
    return url.rpartition("/")[2]


def _json(value: Any) -> Any:
    match value:
        case dict():
            return {name: _json(item) for name, item in value.items()}
        case list():
            return [_json(item) for item in value]
        case bytes():
            return format_bytes(value)
        case Decimal():
            return int(value) if value.adjusted() < 20 and value == value.to_integral_value() else _double(value)
        case _:
            return value


READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "google.protobuf.Timestamp": read_timestamp,
    "google.protobuf.Duration": read_duration,
    "google.protobuf.FieldMask": read_field_mask,
    "google.protobuf.Struct": read_struct,
    "google.protobuf.Value": read_value,
    "google.protobuf.ListValue": read_list,
    "google.type.Decimal": read_decimal,
}

WRITERS: Final[Mapping[str, Callable[[Any, Any], None]]] = {
    "google.protobuf.Timestamp": write_timestamp,
    "google.protobuf.Duration": write_duration,
    "google.protobuf.FieldMask": write_field_mask,
    "google.protobuf.Struct": write_struct,
    "google.protobuf.Value": write_value,
    "google.protobuf.ListValue": write_list,
    "google.type.Decimal": write_decimal,
}
