"""The parts of a record one by one: each makes a reader (bytes, offset) -> plain value and a writer value -> bytes."""

import zlib
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from functools import reduce
from operator import xor
from typing import Any, Final, NoReturn

from msgspec import UNSET

from gateway.codecs.record.layout import (
    BcdPart,
    DatePart,
    IntegerPart,
    PackedPart,
    TextPart,
    ZonedPart,
    directives,
)
from gateway.schema.text import format_timestamp, parse_timestamp
from gateway.status import Failure, invalid

Reader = Callable[[bytes, int], Any]
Writer = Callable[[Any], bytes]


class MisfitError(Exception):
    """A record or value that does not fit its layout. path: below the record being read, as "lines[2].sku"."""

    def __init__(self, message: str, path: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.path = path
        self.offset = offset

    def inside(self, outer: str) -> "MisfitError":
        """The same, as the record around it tells it."""
        return MisfitError(self.message, f"{outer}.{self.path}" if self.path else outer, self.offset)

    @property
    def failure(self) -> Failure:
        where = "" if self.offset is None else f" (byte {self.offset})"
        return invalid(self.message + where, f"$.{self.path}" if self.path else "$")


def _shown(raw: bytes) -> str:
    return f"0x{raw[:16].hex()}{'...' if len(raw) > 16 else ''}"


# -- text


def text_codec(part: TextPart, charset: str) -> tuple[Reader, Writer]:
    """Without the width, length or delimiter that says where it ends; with padding, where it has a width."""
    names = dict(part.codes) if part.codes is not None else None
    codes = {name: code for code, name in names.items()} if names is not None else None
    path, width, pad, right = part.name, part.width, part.pad, part.align == "right"
    fill = pad.encode(charset) if width else b""
    blank = fill * (width or 0)

    def read(raw: bytes, offset: int) -> Any:
        if part.optional and raw == blank:
            return UNSET
        try:
            text = raw.decode(charset)
        except UnicodeDecodeError:
            raise MisfitError(f"{_shown(raw)} is no {charset} text", path, offset) from None
        if names is not None:
            name = names.get(text)
            if name is None:
                name = names.get(_stripped(text)) if width else None
            if name is None:
                raise MisfitError(f"{text[:40]!r} is none of the codes {', '.join(names)}", path, offset)
            return name
        return _stripped(text) if width else text

    def _stripped(text: str) -> str:
        return text.lstrip(pad) if right else text.rstrip(pad)

    def write(value: Any) -> bytes:
        if value is UNSET:
            return blank
        if codes is not None:
            code = codes.get(value)
            if code is None:
                raise MisfitError(f"{value!r} has no code", path)
            text = code
        else:
            text = value
        try:
            raw = text.encode(charset)
        except UnicodeEncodeError as error:
            raise MisfitError(f"{charset} can't write {text[error.start]!r}", path) from None
        if width is None:
            return raw
        if len(raw) > width:
            raise MisfitError(f"{len(raw)} bytes are more than the {width} of the field", path)
        if codes is None and text and (text[0] if right else text[-1]) == pad:
            raise MisfitError(f"text {'beginning' if right else 'ending'} in {pad!r} can't be told from padding", path)
        if part.optional and not text:
            raise MisfitError("an empty text can't be told from an absent one", path)
        return raw.rjust(width, fill) if right else raw.ljust(width, fill)

    return read, write


# -- decimal digits


def packed_codec(part: PackedPart) -> tuple[Reader, Writer]:
    size, path, signed = part.size, part.name, part.sign == "signed"
    has_sign = part.sign != "none"

    def read(raw: bytes, offset: int) -> Any:
        text = raw.hex()
        negative = False
        if has_sign:
            text, sign = text[:-1], text[-1]
            if sign not in "abcdef":
                raise MisfitError(f"{_shown(raw)} ends in no sign", path, offset)
            negative = sign in "bd"
            if negative and not signed:
                raise MisfitError("an unsigned number is negative", path, offset)
        return _number(part, text, negative, offset, raw)

    def write(value: Any) -> bytes:
        text, negative = _digits(part, value)
        if negative and not signed:
            raise MisfitError("the field has no sign", path)
        if has_sign:
            text += "d" if negative else "c" if signed else "f"
        return bytes.fromhex(text.rjust(2 * size, "0"))

    return read, write


def bcd_codec(part: BcdPart) -> tuple[Reader, Writer]:
    def read(raw: bytes, offset: int) -> Any:
        if max(raw) > 9:
            raise MisfitError(f"{_shown(raw)} is no BCD: a byte is more than 9", part.name, offset)
        return _number(part, raw.hex()[1::2], False, offset, raw)

    def write(value: Any) -> bytes:
        text, negative = _digits(part, value)
        if negative:
            raise MisfitError("the field has no sign", part.name)
        return bytes(map(int, text))

    return read, write


_POSITIVE: Final = "{ABCDEFGHI"
_NEGATIVE: Final = "}JKLMNOPQR"


def zoned_codec(part: ZonedPart, charset: str) -> tuple[Reader, Writer]:
    path, sign, size = part.name, part.sign, part.size
    blank = " ".encode(charset) * size

    def read(raw: bytes, offset: int) -> Any:
        if part.optional and raw == blank:
            return UNSET
        try:
            text = raw.decode(charset)
        except UnicodeDecodeError:
            raise MisfitError(f"{_shown(raw)} is no {charset} text", path, offset) from None
        negative = False
        match sign:
            case "overpunch":
                last = text[-1]
                negative = last in _NEGATIVE
                if negative or last in _POSITIVE:
                    text = text[:-1] + str((_NEGATIVE if negative else _POSITIVE).index(last))
            case "leading" | "trailing":
                mark, text = (text[0], text[1:]) if sign == "leading" else (text[-1], text[:-1])
                if mark not in "+- ":
                    raise MisfitError(f"{mark!r} is no sign", path, offset)
                negative = mark == "-"
            case _:
                pass
        return _number(part, text, negative, offset, raw)

    def write(value: Any) -> bytes:
        if value is UNSET:
            return blank
        text, negative = _digits(part, value)
        match sign:
            case "overpunch":
                text = text[:-1] + (_NEGATIVE if negative else _POSITIVE)[int(text[-1])]
            case "leading":
                text = ("-" if negative else "+") + text
            case "trailing":
                text += "-" if negative else "+"
            case _:
                if negative:
                    raise MisfitError("the field has no sign", path)
        return text.encode(charset)

    return read, write


def _number(part: PackedPart | BcdPart | ZonedPart, text: str, negative: bool, offset: int, raw: bytes) -> Any:
    if not (text.isascii() and text.isdecimal()):
        raise MisfitError(f"{_shown(raw)} has something else than digits", part.name, offset)
    number = -int(text) if negative else int(text)
    if len(text) > part.digits and abs(number) >= 10**part.digits:
        raise MisfitError(f"{_shown(raw)} has more than {part.digits} digits", part.name, offset)
    return _scaled(number, part.places) if part.places else number


def _scaled(number: int, places: int) -> Decimal:
    # Decimal.scaleb would round to the context's precision.
    sign, digits, _ = Decimal(number).as_tuple()
    return Decimal((sign, digits, -places))


def _digits(part: PackedPart | BcdPart | ZonedPart, value: Any) -> tuple[str, bool]:
    """The digits that are written, and whether the value is negative."""
    number = int(value) if not part.places else _unscaled(part, value)
    text = str(abs(number))
    if len(text) > part.digits:
        raise MisfitError(f"{value} has more than {part.digits - part.places} digits before the point", part.name)
    return text.rjust(part.digits, "0"), number < 0


def _unscaled(part: PackedPart | BcdPart | ZonedPart, value: Decimal) -> int:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or len(digits) + abs(exponent) > 4096:
        raise MisfitError(f"{str(value)[:40]} is no number that fits", part.name)
    shift = exponent + part.places
    number = int("".join(map(str, digits)))
    if shift < 0:
        number, lost = divmod(number, 10**-shift)
        if lost:
            raise MisfitError(f"{value} has more than {part.places} decimal places", part.name)
    else:
        number *= int(10**shift)
    return -number if sign else number


# -- dates


def date_codec(part: DatePart, charset: str) -> tuple[Reader, Writer]:
    path, parts = part.name, directives(part.format)
    size = part.size
    blank, zeros = " ".encode(charset) * size, "0".encode(charset) * size
    widths = {"%Y": 4, "%f": 6, "%j": 3}

    def read(raw: bytes, offset: int) -> Any:
        if part.optional and raw in (blank, zeros):
            return UNSET
        try:
            text = raw.decode(charset)
        except UnicodeDecodeError:
            raise MisfitError(f"{_shown(raw)} is no {charset} text", path, offset) from None
        at, found = 0, {}
        for step in parts:
            width = widths.get(step, 2) if len(step) == 2 else 1
            piece = text[at : at + width]
            at += width
            if len(step) == 1:
                if piece != step:
                    break
            elif piece.isascii() and piece.isdecimal():
                found[step] = int(piece)
            else:
                break
        else:
            try:
                return _assembled(part, found)
            except (ValueError, OverflowError):
                pass
        raise MisfitError(f"{text!r} is no {part.type} of the form {part.format}", path, offset)

    def write(value: Any) -> bytes:
        if value is UNSET:
            return blank
        found = _divided(part, value)
        return "".join(step if len(step) == 1 else f"{found[step]:0{widths.get(step, 2)}d}" for step in parts).encode(
            charset
        )

    return read, write


def _assembled(part: DatePart, found: Mapping[str, int]) -> Any:
    hour, minute, second, micro = (found.get(step, 0) for step in ("%H", "%M", "%S", "%f"))
    clock = f"{hour:02d}:{minute:02d}:{second:02d}" + (f".{micro:06d}" if "%f" in found else "")
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(clock)
    if part.type == "time":
        return clock
    year = found["%Y"] if "%Y" in found else found["%y"] + (1900 if found["%y"] > 68 else 2000)
    if "%j" in found:
        day = date(year, 1, 1) + timedelta(days=found["%j"] - 1)
        if day.year != year:
            raise ValueError(day)
    else:
        day = date(year, found["%m"], found["%d"])
    return day.isoformat() if part.type == "date" else parse_timestamp(f"{day.isoformat()}T{clock}Z")


def _divided(part: DatePart, value: Any) -> dict[str, int]:
    """The numbers of a date, time or timestamp by directive; refuses what the format can't hold."""
    format_, path = part.format, part.name
    day_text, clock = "", ""
    match part.type:
        case "date":
            day_text = value
        case "time":
            clock = value
        case _:
            if value % 1000:
                raise MisfitError(f"{part.format} has no room for nanoseconds", path)
            day_text, _, clock = format_timestamp(value).rstrip("Z").partition("T")
    found: dict[str, int] = {}
    if day_text:
        try:
            day = date.fromisoformat(day_text)
        except ValueError:
            raise MisfitError(f"{day_text!r} can't be written as {format_}", path) from None
        if "%y" in format_ and not 1969 <= day.year <= 2068:
            raise MisfitError(f"the year {day.year} can't be written with two digits", path)
        found = {"%Y": day.year, "%y": day.year % 100, "%m": day.month, "%d": day.day, "%j": day.timetuple().tm_yday}
    if clock:
        whole, _, fraction = clock.partition(".")
        pieces = whole.split(":")
        if len(pieces) != 3 or not all(map(str.isdecimal, pieces)) or (fraction and not fraction.isdecimal()):
            raise MisfitError(f"{clock!r} can't be written as {format_}: it has a zone", path)
        if fraction[6:].strip("0"):
            raise MisfitError(f"{format_} has no room for nanoseconds", path)
        found["%H"], found["%M"], found["%S"] = map(int, pieces)
        found["%f"] = int(fraction[:6].ljust(6, "0"))
        for step in ("%H", "%M", "%S", "%f"):
            if found[step] and step not in format_:
                raise MisfitError(f"{clock} does not fit in {format_}", path)
        if found["%H"] > 23 or found["%S"] > 59:
            raise MisfitError(f"{clock} can't be written as {format_}", path)
    return found


# -- integers with codes


def coded_integer(part: IntegerPart) -> tuple[Callable[[int, int], str], Callable[[Any], int]]:
    names = {int(code, 0): name for code, name in (part.codes or {}).items()}
    codes = {name: code for code, name in names.items()}
    path = part.name

    def read(number: int, offset: int) -> str:
        name = names.get(number)
        if name is None:
            raise MisfitError(f"{number} is none of the codes {', '.join(map(str, names))}", path, offset)
        return name

    def write(value: Any) -> int:
        code = codes.get(value)
        if code is None:
            raise MisfitError(f"{value!r} has no code", path)
        return code

    return read, write


# -- checksums


def _xor(data: bytes) -> int:
    return reduce(xor, data, 0)


CHECKSUMS: Final[Mapping[str, Callable[[bytes], int]]] = {
    "crc32": zlib.crc32,
    "sum8": lambda data: sum(data) & 0xFF,
    "xor": _xor,
    "lrc": lambda data: -sum(data) & 0xFF,
}


# -- what generated code calls


def truncated(total: int, offset: int, table: tuple[tuple[int, str], ...]) -> NoReturn:
    """table: (end relative to offset, path) of each part of the run that does not fit."""
    begin = 0
    for end, path in table:
        if offset + end > total:
            raise MisfitError(
                f"the record ends after {total} bytes, inside or before a field of {end - begin}",
                path,
                offset + begin,
            )
        begin = end
    raise AssertionError("the run fits")


def missing_until(path: str, offset: int, until: bytes) -> NoReturn:
    raise MisfitError(f"the record ends without {_shown(until)}, which ends the field", path, offset)


def outside(value: Any, low: int, high: int, path: str) -> NoReturn:
    raise MisfitError(f"{value} is not within {low} and {high}", path)


def unlike(raw: bytes, wanted: bytes, path: str, offset: int) -> NoReturn:
    raise MisfitError(f"{_shown(wanted)} is expected, not {_shown(raw)}", path, offset)


def mismatch(found: int, wanted: int, kind: str, path: str, offset: int) -> NoReturn:
    raise MisfitError(f"the {kind} is {found:#x}, expected is {wanted:#x}", path, offset)


def too_many(count: int, limit: int, path: str, offset: int) -> NoReturn:
    raise MisfitError(f"{count} items are not within 0 and {limit}", path, offset)


def too_few(count: int, wanted: int, path: str) -> NoReturn:
    raise MisfitError(f"{count} items are given, {wanted} is their number", path)


def contains(raw: bytes, until: bytes, path: str) -> bytes:
    """The field with what ends it."""
    if (raw + until).find(until) < len(raw):
        raise MisfitError(f"the field contains {_shown(until)}, which ends it", path)
    return raw + until
