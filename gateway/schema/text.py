"""Scalars as text: the forms that JSON strings, XML content, form fields and path segments share.

Each parse_ function raises ValueError with a sentence for the caller. Timestamps and durations are integers in
nanoseconds, so that nothing of RFC 3339's nine digits is lost.
"""

import base64
import binascii
import re
import struct
from collections.abc import Callable, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from gateway.schema.types import INTEGER_RANGE, Kind

SECOND: Final = 1_000_000_000
_EPOCH: Final = date(1970, 1, 1).toordinal()
_MIN_TIMESTAMP: Final = (date.min.toordinal() - _EPOCH) * 86_400 * SECOND
_MAX_TIMESTAMP: Final = (date.max.toordinal() - _EPOCH + 1) * 86_400 * SECOND - 1
DIGITS: Final = 4096  # int() is quadratic in the digits, so text longer than this is refused

_FLOAT32: Final = struct.Struct("<f")
_INTEGER: Final = re.compile(rf"[+-]?[0-9]{{1,{DIGITS}}}")
_DATE: Final = re.compile(r"-?[0-9]{4,9}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])(Z|[+-][0-9]{2}:[0-9]{2})?")
_TIME: Final = re.compile(
    r"(([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)|24:00:00)(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_TIMESTAMP: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9})[0-9]*)?"
    r"(?:([Zz])|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))?"
)
_ISO_DURATION: Final = re.compile(
    r"([+-]?)P(?:([0-9]+)Y)?(?:([0-9]+)M)?(?:([0-9]+)W)?(?:([0-9]+)D)?"
    r"(?:T(?:([0-9]+)H)?(?:([0-9]+)M)?(?:([0-9]+)(?:\.([0-9]{1,9})[0-9]*)?S)?)?"
)
_SECONDS: Final = re.compile(r"([+-]?)([0-9]{1,12})(?:\.([0-9]{1,9}))?s")


def parse_bool(text: str) -> bool:
    if text in ("true", "1"):
        return True
    if text in ("false", "0"):
        return False
    raise ValueError(f"{_shown(text)} is not true or false")


def parse_integer(text: str) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(f"{_shown(text)} is not a whole number")
    return int(text)


def _ranged(kind: Kind) -> Callable[[str], int]:
    low, high = INTEGER_RANGE[kind]

    def parse(text: str) -> int:
        value = parse_integer(text)
        if not low <= value <= high:
            raise ValueError(f"{_shown(text)} is out of the range of {kind.value}")
        return value

    return parse


def parse_float(text: str) -> float:
    """XSD's and proto JSON's spellings of the infinities and NaN are accepted."""
    special = _SPECIAL.get(text)
    if special is not None:
        return special
    try:
        if "_" in text or text != text.strip():
            raise ValueError
        value = float(text)
    except ValueError:
        raise ValueError(f"{_shown(text)} is not a number") from None
    if value - value != 0:
        raise ValueError(f"{_shown(text)} is out of the range of a float")
    return value


_SPECIAL: Final = {
    "NaN": float("nan"),
    "INF": float("inf"),
    "+INF": float("inf"),
    "-INF": float("-inf"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
}


def format_float(value: float, *, infinity: str = "INF") -> str:
    """The shortest text that reads back as the same double; NaN, INF and -INF as XSD spells them."""
    if value - value != 0:
        return "NaN" if value != value else infinity if value > 0 else f"-{infinity}"
    return repr(value)


def shortest_float32(value: float) -> float:
    """The double with the fewest digits that is the same single-precision number."""
    if value - value != 0:
        return value
    for digits in (6, 7, 8):
        short = float(f"{value:.{digits}g}")
        if _FLOAT32.unpack(_FLOAT32.pack(short))[0] == value:
            return short
    return float(f"{value:.9g}")


def parse_decimal(text: str) -> Decimal:
    try:
        if "_" in text or len(text) > DIGITS:
            raise InvalidOperation
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{_shown(text)} is not a decimal number") from None
    return check_decimal(value)


def check_decimal(value: Decimal) -> Decimal:
    """The value itself. Raises ValueError for what is not finite, or has more digits than DIGITS when written out."""
    if not value.is_finite():
        raise ValueError(f"{value} is not a decimal number")
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or abs(exponent) > DIGITS or value.adjusted() > DIGITS:
        raise ValueError(f"{_shown(str(value))} has too many digits")
    return value


def format_decimal(value: Decimal) -> str:
    """Without an exponent, as xsd:decimal demands; trailing zeros are kept."""
    return f"{value:f}"


def parse_bytes(text: str) -> bytes:
    """Base64, standard or URL-safe alphabet, padded or not (proto3 JSON)."""
    try:
        return base64.b64decode(
            text.replace("-", "+").replace("_", "/") + "=" * (-len(text.rstrip("=")) % 4 if "=" not in text else 0),
            validate=True,
        )
    except (binascii.Error, ValueError):
        raise ValueError("this is not base64") from None


def format_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode()


def parse_date(text: str) -> str:
    """ISO 8601 calendar date, kept as it is."""
    if _DATE.fullmatch(text) is None:
        raise ValueError(f"{_shown(text)} is not a date such as 2026-01-31")
    return text


def parse_time(text: str) -> str:
    """ISO 8601 time of day, kept as it is."""
    if _TIME.fullmatch(text) is None:
        raise ValueError(f"{_shown(text)} is not a time such as 13:30:00")
    return text


def parse_timestamp(text: str) -> int:
    """RFC 3339 or xsd:dateTime -> nanoseconds since the epoch. Without a zone it is taken as UTC."""
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        raise ValueError(f"{_shown(text)} is not a timestamp such as 2026-01-31T13:30:00Z")
    year, month, day, hour, minute, second, fraction, _, sign, zone_hour, zone_minute = match.groups()
    if len(match[0]) > 64 or (fraction and re.search(r"\.[0-9]{9}[0-9]*[1-9]", match[0])):
        raise ValueError(f"{_shown(text)} has more digits than nanoseconds")
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH
    except ValueError:
        raise ValueError(f"{_shown(text)} is not a date of the calendar") from None
    if int(hour) > 24 or int(minute) > 59 or int(second) > 60 or (hour == "24" and (minute, second) != ("00", "00")):
        raise ValueError(f"{_shown(text)} is not a time of day")
    seconds = days * 86_400 + int(hour) * 3600 + int(minute) * 60 + int(second)
    if sign:
        offset = int(zone_hour) * 3600 + int(zone_minute) * 60
        seconds += -offset if sign == "+" else offset
    nanoseconds = seconds * SECOND + int((fraction or "").ljust(9, "0"))
    return check_timestamp(nanoseconds)


def check_timestamp(nanoseconds: int) -> int:
    """The value itself. Raises ValueError outside the years 1 to 9999."""
    if not _MIN_TIMESTAMP <= nanoseconds <= _MAX_TIMESTAMP:
        raise ValueError("the timestamp is outside the years 1 to 9999")
    return nanoseconds


def format_timestamp(nanoseconds: int) -> str:
    """RFC 3339 in UTC with 0, 3, 6 or 9 digits of a second, as proto3 JSON writes it."""
    seconds, fraction = divmod(check_timestamp(nanoseconds), SECOND)
    days, rest = divmod(seconds, 86_400)
    day = date.fromordinal(days + _EPOCH)
    head = f"{day.year:04d}-{day.month:02d}-{day.day:02d}T{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{head}{_fraction(fraction)}Z"


def _fraction(nanoseconds: int) -> str:
    if not nanoseconds:
        return ""
    digits = f"{nanoseconds:09d}"
    return "." + (digits[:3] if digits.endswith("000000") else digits[:6] if digits.endswith("000") else digits)


def parse_duration(text: str) -> int:
    """ISO 8601 (PT1.5S, P2DT3H) or proto3 JSON (1.5s) -> nanoseconds. Years and months have no fixed length."""
    match = _SECONDS.fullmatch(text)
    if match is not None:
        sign, whole, fraction = match.groups()
        value = int(whole) * SECOND + int((fraction or "").ljust(9, "0"))
        return -value if sign == "-" else value
    match = _ISO_DURATION.fullmatch(text) if len(text) <= 64 else None
    if match is None or text[-1] in "PT":
        raise ValueError(f"{_shown(text)} is not a duration such as PT1.5S or 1.5s")
    if re.search(r"\.[0-9]{9}[0-9]*[1-9]", text):
        raise ValueError(f"{_shown(text)} has more digits than nanoseconds")
    sign, years, months, weeks, days, hours, minutes, seconds, fraction = match.groups()
    if int(years or 0) or int(months or 0):
        raise ValueError(f"{_shown(text)}: years and months have no fixed length; give days")
    total = int(weeks or 0) * 604_800 + int(days or 0) * 86_400
    total += int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    value = total * SECOND + int((fraction or "").ljust(9, "0"))
    return -value if sign == "-" else value


def format_duration(nanoseconds: int) -> str:
    """ISO 8601 in seconds, as xsd:duration reads it: PT1.5S."""
    sign, value = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    seconds, fraction = divmod(value, SECOND)
    return f"{sign}PT{seconds}{_trimmed(fraction)}S"


def format_seconds(nanoseconds: int) -> str:
    """Decimal seconds, as proto3 JSON writes a duration: 1.5s."""
    sign, value = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    seconds, fraction = divmod(value, SECOND)
    return f"{sign}{seconds}{_fraction(fraction)}s"


def _trimmed(nanoseconds: int) -> str:
    return f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""


def _any(text: str) -> str:
    return text


PARSE: Final[Mapping[Kind, Callable[[str], Any]]] = {
    Kind.BOOL: parse_bool,
    Kind.INT32: _ranged(Kind.INT32),
    Kind.INT64: _ranged(Kind.INT64),
    Kind.UINT32: _ranged(Kind.UINT32),
    Kind.UINT64: _ranged(Kind.UINT64),
    Kind.INTEGER: parse_integer,
    Kind.FLOAT32: parse_float,
    Kind.FLOAT64: parse_float,
    Kind.DECIMAL: parse_decimal,
    Kind.STRING: _any,
    Kind.BYTES: parse_bytes,
    Kind.DATE: parse_date,
    Kind.TIME: parse_time,
    Kind.TIMESTAMP: parse_timestamp,
    Kind.DURATION: parse_duration,
    Kind.ANY: _any,
}
"""Text -> plain value, by kind."""

FORMAT: Final[Mapping[Kind, Callable[[Any], str]]] = {
    Kind.BOOL: lambda value: "true" if value else "false",
    Kind.INT32: str,
    Kind.INT64: str,
    Kind.UINT32: str,
    Kind.UINT64: str,
    Kind.INTEGER: str,
    Kind.FLOAT32: lambda value: format_float(shortest_float32(value)),
    Kind.FLOAT64: format_float,
    Kind.DECIMAL: format_decimal,
    Kind.STRING: str,
    Kind.BYTES: format_bytes,
    Kind.DATE: str,
    Kind.TIME: str,
    Kind.TIMESTAMP: format_timestamp,
    Kind.DURATION: format_duration,
    Kind.ANY: str,
}
"""Plain value -> text, by kind; what PARSE reads back."""


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
