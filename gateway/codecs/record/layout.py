"""Layouts: how records without an IDL are declared (`record:` of an endpoint), and the types that they have.

A layout is read once, with every problem found at load. What the wire needs and the message does not (constants,
fillers, counts, lengths, checksums) is no field of the type: it is checked on the way in and computed on the way out.
"""

import codecs
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self, TypeAlias, Union

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from gateway.schema import types
from gateway.schema.types import Enumeration, List, Record, Type
from gateway.section import Section

WIDTH: Final = 65_536
ITEMS: Final = 65_536
NESTING: Final = 16


def _charset(name: str) -> str:
    try:
        codec = codecs.lookup(name)
    except LookupError:
        raise ValueError(f"there is no charset {name}") from None
    if not getattr(codec, "_is_text_encoding", True):
        raise ValueError(f"{name} is no charset")
    return codec.name


def _hex(text: str) -> str:
    bytes.fromhex(text)
    return text


Charset = Annotated[str, AfterValidator(_charset)]
Endian = Literal["big", "little"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", description="The field's name.")]
Width = Annotated[int, Field(ge=1, le=WIDTH)]


def _code_texts(value: Any) -> Any:
    # YAML reads a bare 1 as a number.
    return {str(code): name for code, name in value.items()} if isinstance(value, Mapping) else value


Codes = Annotated[
    Mapping[str, str] | None,
    BeforeValidator(_code_texts),
    Field(
        default=None,
        description="Code on the wire -> name; makes the field an enumeration. A code that is not here is refused.",
    ),
]
_INTEGER_BYTES: Final = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "i8": 1, "i16": 2, "i32": 4, "i64": 8}
_OPTIONAL: Final = "A field full of `pad` is absent, and an absent one is written so."


class _Part(Section):
    @property
    def size(self) -> int | None:
        """Bytes on the wire, where they are always as many."""
        return None

    @property
    def least(self) -> int:
        """Bytes that it has at least."""
        return self.size or 0

    def check(self) -> Iterator[str]:
        """What is wrong with it, apart from its neighbours."""
        return iter(())


class _Named(_Part):
    name: Name

    @property
    def optional_field(self) -> bool:
        return False

    def type_of(self) -> Type:
        raise TypeError(type(self).__name__)


class _Sized(_Named):
    """Text or bytes; exactly one of width, length, until and rest says where they end."""

    width: Width | None = Field(default=None, description="Bytes on the wire.")
    length: str | None = Field(
        default=None,
        description="Type of the integer before it that says its bytes (u8, u16, u32), or the name of an earlier "
        "integer field that does; that field is computed and no part of the message.",
    )
    until: str | None = Field(default=None, min_length=1, max_length=16, description="The bytes that end it.")
    rest: bool = Field(default=False, description="It goes on to the record's end.")

    @model_validator(mode="after")
    def _ends(self) -> Self:
        given = [self.width is not None, self.length is not None, self.until is not None, self.rest]
        if sum(given) != 1:
            raise ValueError(f"{self.name}: give one of width, length, until, rest")
        if self.until is not None and any(ord(character) > 0xFF for character in self.until):
            raise ValueError(f"{self.name}: until is bytes, characters up to \\xff")
        return self

    @property
    def size(self) -> int | None:
        return self.width

    @property
    def least(self) -> int:
        if self.width is not None:
            return self.width
        return len(self.until) if self.until else _INTEGER_BYTES.get(self.length or "", 0)


class TextPart(_Sized):
    """Text."""

    type: Literal["text"] = Field(description="Text.")
    charset: Charset | None = Field(default=None, description="Such as ascii, utf-8, latin-1, cp037 or cp500 (EBCDIC).")
    pad: str = Field(default=" ", min_length=1, max_length=1, description="Fills up `width`, and is taken off again.")
    align: Literal["left", "right"] = Field(default="left", description="The side on which padded text stands.")
    optional: bool = Field(default=False, description=_OPTIONAL)
    codes: Codes

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.optional and self.width is None:
            raise ValueError(f"{self.name}: optional needs width")
        _check_codes(self.name, self.codes)
        return self

    @property
    def optional_field(self) -> bool:
        return self.optional

    def type_of(self) -> Type:
        if self.codes is None:
            return types.STRING
        return Enumeration(self.name, {name: index for index, name in enumerate(self.codes.values())})


class BytesPart(_Sized):
    """Bytes as they are."""

    type: Literal["bytes"] = Field(description="Bytes as they are.")

    def type_of(self) -> Type:
        return types.BYTES


class IntegerPart(_Named):
    """A binary integer."""

    type: Literal["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"] = Field(
        description="A binary integer, unsigned or in two's complement."
    )
    endian: Endian | None = Field(default=None, description="Order of its bytes; the record's where absent.")
    codes: Codes

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_codes(self.name, self.codes)
        low, high = self.range
        for code in self.codes or ():
            try:
                number = int(code, 0)
            except ValueError:
                raise ValueError(f"{self.name}: code {code!r} is no integer") from None
            if not max(low, -(2**31)) <= number <= min(high, 2**31 - 1):
                raise ValueError(f"{self.name}: code {code} is out of range")
        return self

    @property
    def size(self) -> int:
        return _INTEGER_BYTES[self.type]

    @property
    def range(self) -> tuple[int, int]:
        bits = 8 * self.size
        return (0, 2**bits - 1) if self.type[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)

    def type_of(self) -> Type:
        if self.codes is not None:
            return Enumeration(self.name, {name: int(code, 0) for code, name in self.codes.items()})
        if self.type == "u64":
            return types.UINT64
        if self.type == "i64":
            return types.INT64
        return types.UINT32 if self.type[0] == "u" else types.INT32


class FloatPart(_Named):
    """A binary floating-point number, IEEE 754."""

    type: Literal["f32", "f64"] = Field(description="A binary floating-point number.")
    endian: Endian | None = Field(default=None, description="Order of its bytes; the record's where absent.")

    @property
    def size(self) -> int:
        return 4 if self.type == "f32" else 8

    def type_of(self) -> Type:
        return types.FLOAT32 if self.type == "f32" else types.FLOAT64


class _Digits(_Named):
    digits: int = Field(ge=1, le=38, description="Decimal digits, those behind the point included.")
    places: int = Field(default=0, ge=0, le=38, description="How many of them stand behind the implied point.")

    @model_validator(mode="after")
    def _places(self) -> Self:
        if self.places > self.digits:
            raise ValueError(f"{self.name}: more places than digits")
        return self

    def type_of(self) -> Type:
        if self.places:
            return types.DECIMAL
        return types.INT64 if self.digits <= 18 else types.INTEGER


class PackedPart(_Digits):
    """Packed decimal: two digits a byte (COMP-3)."""

    type: Literal["packed"] = Field(description="Packed decimal: two digits a byte, COMP-3.")
    sign: Literal["signed", "unsigned", "none"] = Field(
        default="signed",
        description="The last half byte: signed, C or D; unsigned, F; none, there is no sign and it is a digit.",
    )

    @property
    def size(self) -> int:
        return (self.digits + 1) // 2 if self.sign == "none" else self.digits // 2 + 1


class BcdPart(_Digits):
    """Unpacked BCD: one digit a byte, 0x00 to 0x09."""

    type: Literal["bcd"] = Field(description="Unpacked BCD: one digit a byte, 0x00 to 0x09, without sign.")

    @property
    def size(self) -> int:
        return self.digits


class ZonedPart(_Digits):
    """Digits as characters (DISPLAY, PIC 9)."""

    type: Literal["zoned"] = Field(description="Digits as characters: DISPLAY, PIC 9.")
    sign: Literal["none", "overpunch", "leading", "trailing"] = Field(
        default="none",
        description="overpunch: in the last digit ({A-I positive, }J-R negative); leading, trailing: a character of "
        "its own, + or -.",
    )
    charset: Charset | None = Field(default=None, description="The record's where absent.")
    optional: bool = Field(default=False, description="A field of blanks is absent, and an absent one is written so.")

    @property
    def size(self) -> int:
        return self.digits + (self.sign in ("leading", "trailing"))

    @property
    def optional_field(self) -> bool:
        return self.optional


_DIRECTIVES: Final = {"%Y": 4, "%m": 2, "%d": 2, "%H": 2, "%M": 2, "%S": 2, "%f": 6, "%y": 2, "%j": 3}


def directives(format_: str) -> list[str]:
    """The literal characters and directives of a date format. Raises ValueError."""
    found: list[str] = []
    rest = format_
    while rest:
        if rest[0] != "%":
            found.append(rest[0])
            rest = rest[1:]
            continue
        directive = rest[:2]
        if directive not in _DIRECTIVES:
            raise ValueError(f"{directive} is none of {' '.join(_DIRECTIVES)}")
        if directive in found:
            raise ValueError(f"{directive} is there twice")
        found.append(directive)
        rest = rest[2:]
    return found


class DatePart(_Named):
    """A date, time or timestamp written in digits."""

    type: Literal["date", "time", "timestamp"] = Field(description="Written in digits, as `format` says.")
    format: str = Field(
        min_length=1,
        max_length=64,
        description="%Y %y %m %d %j %H %M %S %f and literal characters, such as %Y%m%d. Two digits of a year are "
        "1969 to 2068; timestamps are in UTC.",
    )
    charset: Charset | None = Field(default=None, description="The record's where absent.")
    optional: bool = Field(
        default=False, description="A field of blanks or zeros is absent, and an absent one is written as blanks."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        found = set(directives(self.format))
        dated = bool({"%Y", "%y"} & found) and (
            ({"%m", "%d"} <= found and "%j" not in found) or ("%j" in found and not {"%m", "%d"} & found)
        )
        timed = bool({"%H", "%M", "%S", "%f"} & found)
        if {"%Y", "%y"} <= found:
            raise ValueError(f"{self.name}: %Y and %y exclude each other")
        if self.type != "time" and not dated:
            raise ValueError(f"{self.name}: the format of a {self.type} has a year with %m and %d, or with %j")
        if self.type == "date" and timed:
            raise ValueError(f"{self.name}: a date has no time of day; make it a timestamp")
        if self.type == "time" and ({"%Y", "%y", "%m", "%d", "%j"} & found or "%H" not in found):
            raise ValueError(f"{self.name}: a time has %H and no date")
        return self

    @property
    def size(self) -> int:
        return sum(_DIRECTIVES.get(part, 1) for part in directives(self.format))

    @property
    def optional_field(self) -> bool:
        return self.optional

    def type_of(self) -> Type:
        return {"date": types.DATE, "time": types.TIME, "timestamp": types.TIMESTAMP}[self.type]


class Bit(Section):
    """Some bits of a group."""

    name: Name | None = Field(
        default=None, description="Without a name the bits are reserved: zero, and not looked at."
    )
    size: int = Field(default=1, ge=1, le=64, description="How many bits; one is a boolean, more are an integer.")


class BitsPart(_Part):
    """Bytes that are divided into bits, from the highest one on. The bits are fields of the record."""

    type: Literal["bits"] = Field(description="Bytes divided into bits, which are fields of the record.")
    width: Literal[1, 2, 3, 4, 8] = Field(default=1, description="Bytes of the group.")
    endian: Endian | None = Field(default=None, description="Order of its bytes; the record's where absent.")
    bits: tuple[Bit, ...] = Field(description="From the highest bit on.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        total = sum(bit.size for bit in self.bits)
        if total != 8 * self.width:
            raise ValueError(f"bits are {total} together, {self.width} bytes have {8 * self.width}")
        return self

    @property
    def size(self) -> int:
        return self.width


class ConstPart(_Part):
    """Fixed bytes: others are refused."""

    type: Literal["const"] = Field(description="Fixed bytes: others are refused.")
    value: str | None = Field(default=None, min_length=1, max_length=1024, description="As text in the charset.")
    hex: Annotated[str, AfterValidator(_hex)] | None = Field(
        default=None, min_length=2, max_length=2048, description="As hexadecimal digits."
    )
    charset: Charset | None = Field(default=None, description="The record's where absent.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.value is None) == (self.hex is None):
            raise ValueError("const: give value or hex")
        return self


class FillerPart(_Part):
    """Bytes that mean nothing: not looked at, and written as `byte`."""

    type: Literal["filler"] = Field(description="Bytes that mean nothing: not looked at.")
    width: Width = Field(description="Bytes on the wire.")
    byte: int | None = Field(
        default=None, ge=0, le=255, description="What is written; the charset's blank where absent."
    )

    @property
    def size(self) -> int:
        return self.width


class ChecksumPart(_Part):
    """Over the bytes before it: verified on the way in, computed on the way out."""

    type: Literal["crc32", "sum8", "xor", "lrc"] = Field(
        description="crc32 (IEEE), sum8 (sum modulo 256), xor, or lrc (two's complement of sum8, ISO 1155)."
    )
    since: str | None = Field(
        default=None,
        description="Name of the field that it begins with; the record's, or group's, beginning if absent.",
    )
    endian: Endian | None = Field(default=None, description="Order of a crc32's bytes; the record's where absent.")

    @property
    def size(self) -> int:
        return 4 if self.type == "crc32" else 1


class GroupPart(_Named):
    """Fields that are repeated, or that stand together."""

    type: Literal["group"] = Field(description="Fields that stand together, or are repeated.")
    count: int | str | None = Field(
        default=None,
        description="How often: a number, the name of an earlier integer field (which is computed and no part of the "
        "message), or `rest`, to the record's end. Without it, the fields stand there once.",
    )
    fields: tuple["Part", ...] = Field(description="The fields.")

    @model_validator(mode="after")
    def _counted(self) -> Self:
        if isinstance(self.count, int) and not 1 <= self.count <= ITEMS:
            raise ValueError(f"{self.name}: count is 1 to {ITEMS}")
        return self

    @property
    def least(self) -> int:
        inner = sum(part.least for part in self.fields)
        return inner * (self.count if isinstance(self.count, int) else 0 if self.count else 1)


def _kind(value: Any) -> str | None:
    found = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return _TAGS.get(found) if isinstance(found, str) else None


_PARTS: Final[tuple[type[_Part], ...]] = (
    TextPart,
    BytesPart,
    IntegerPart,
    FloatPart,
    PackedPart,
    BcdPart,
    ZonedPart,
    DatePart,
    BitsPart,
    ConstPart,
    FillerPart,
    ChecksumPart,
    GroupPart,
)
_TAGS: Final[dict[str, str]] = {
    value: part.__name__
    for part in _PARTS
    for value in part.model_fields["type"].annotation.__args__  # type: ignore[union-attr]
}
KINDS: Final = tuple(_TAGS)
"""Every `type` that a field may have."""

Part: TypeAlias = Annotated[
    Union[
        Annotated[TextPart, Tag("TextPart")],
        Annotated[BytesPart, Tag("BytesPart")],
        Annotated[IntegerPart, Tag("IntegerPart")],
        Annotated[FloatPart, Tag("FloatPart")],
        Annotated[PackedPart, Tag("PackedPart")],
        Annotated[BcdPart, Tag("BcdPart")],
        Annotated[ZonedPart, Tag("ZonedPart")],
        Annotated[DatePart, Tag("DatePart")],
        Annotated[BitsPart, Tag("BitsPart")],
        Annotated[ConstPart, Tag("ConstPart")],
        Annotated[FillerPart, Tag("FillerPart")],
        Annotated[ChecksumPart, Tag("ChecksumPart")],
        Annotated[GroupPart, Tag("GroupPart")],
    ],
    Discriminator(
        _kind, custom_error_type="part", custom_error_message=f"type: is missing or none of {', '.join(KINDS)}"
    ),
]
GroupPart.model_rebuild()


class Layout(Section):
    """A record of fields one after the other."""

    name: str = Field(default="Record", min_length=1, description="The record's name in messages and contracts.")
    charset: Charset = Field(default="ascii", description="Of texts that do not say theirs.")
    endian: Endian = Field(default="big", description="Byte order of numbers that do not say theirs.")
    fields: tuple[Part, ...] = Field(description="The fields, in the order of the wire.")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        problems = list(_problems(self, self.fields, "", 0, last=True))
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def charset_of(self, part: TextPart | ZonedPart | DatePart | ConstPart) -> str:
        return part.charset or self.charset

    def endian_of(self, part: IntegerPart | FloatPart | BitsPart | ChecksumPart) -> Endian:
        return part.endian or self.endian

    def const_of(self, part: ConstPart) -> bytes:
        return bytes.fromhex(part.hex) if part.hex is not None else str(part.value).encode(self.charset_of(part))

    def record(self, without: str = "") -> Record:
        """A new type of this layout. without: the field that belongs to the connection and not to the message."""
        return _record(self.name, self.fields, without)


def counters(parts: Sequence[Part]) -> dict[str, Part]:
    """The integer fields that say how long or how many a later field is, by name, with that field."""
    found: dict[str, Part] = {}
    names = {part.name for part in parts if isinstance(part, IntegerPart)}
    for part in parts:
        counted = part.count if isinstance(part, GroupPart) else part.length if isinstance(part, _Sized) else None
        if isinstance(counted, str) and counted in names:
            found.setdefault(counted, part)
    return found


def _record(name: str, parts: Sequence[Part], without: str) -> Record:
    hidden = {*counters(parts), without}
    fields: list[types.Field] = []
    for part in parts:
        match part:
            case BitsPart():
                fields += [
                    types.Field(
                        bit.name,
                        types.BOOL if bit.size == 1 else types.UINT32 if bit.size <= 32 else types.UINT64,
                        required=True,
                    )
                    for bit in part.bits
                    if bit.name
                ]
            case GroupPart():
                inner = _record(f"{name}.{part.name}", part.fields, "")
                fields.append(types.Field(part.name, inner if part.count is None else List(inner), required=True))
            case _Named() if part.name not in hidden:
                fields.append(types.Field(part.name, part.type_of(), required=not part.optional_field))
            case _:
                pass
    return Record(name, fields)


def _check_codes(name: str, codes: Mapping[str, str] | None) -> None:
    if codes is None:
        return
    if not codes:
        raise ValueError(f"{name}: codes are empty")
    if len(set(codes.values())) < len(codes):
        raise ValueError(f"{name}: two codes have one name")


def _problems(layout: Layout, parts: Sequence[Part], where: str, depth: int, *, last: bool) -> Iterator[str]:
    """What is wrong between fields. last: nothing follows these parts."""
    if not parts:
        yield f"{where}fields: there are none"
    if depth > NESTING:
        yield f"{where}: groups are nested deeper than {NESTING}"
        return
    seen: set[str] = set()
    integers: set[str] = set()
    used: set[str] = set()
    for index, part in enumerate(parts):
        ends = last and index == len(parts) - 1
        shown = f"{where}{getattr(part, 'name', None) or f'{part.type} (field {index})'}"
        for name in (
            [bit.name for bit in part.bits if bit.name]
            if isinstance(part, BitsPart)
            else [part.name for part in (part,) if isinstance(part, _Named)]
        ):
            if name in seen:
                yield f"{where}{name} is there twice"
            seen.add(name)
        yield from _charset_problems(layout, part, shown)
        match part:
            case GroupPart():
                repeated = part.count is not None
                yield from _problems(
                    layout, part.fields, f"{shown}.", depth + 1, last=ends and (not repeated or part.count == 1)
                )
                if part.count == "rest" and not ends:
                    yield f"{shown}: only the last field can go on to the end"
                if isinstance(part.count, str) and part.count != "rest":
                    yield from _counting(shown, part.count, integers, used)
                if repeated and not sum(inner.least for inner in part.fields):
                    yield f"{shown}: an item may be of no bytes at all, so a count would mean nothing"
            case _Sized():
                if part.rest and not ends:
                    yield f"{shown}: only the last field can go on to the end"
                if part.length is not None and part.length not in ("u8", "u16", "u32"):
                    yield from _counting(shown, part.length, integers, used)
            case IntegerPart() if part.codes is None:
                integers.add(part.name)
            case ChecksumPart() if part.since is not None and part.since not in seen:
                yield f"{shown}: there is no field {part.since} before it"
            case _:
                pass


def _counting(shown: str, name: str, integers: set[str], used: set[str]) -> Iterator[str]:
    if name not in integers:
        yield f"{shown}: there is no integer field {name} before it"
    elif name in used:
        yield f"{shown}: {name} counts another field already"
    used.add(name)


def _charset_problems(layout: Layout, part: Part, shown: str) -> Iterator[str]:
    texts: list[str] = []
    match part:
        case TextPart():
            texts = [*([part.pad] if part.width else []), *(part.codes or ())]
            if part.width and part.codes and any(_too_wide(code, layout.charset_of(part), part) for code in part.codes):
                yield f"{shown}: a code is wider than {part.width} bytes"
        case ZonedPart() | DatePart():
            texts = ["0"]
        case ConstPart() if part.value is not None:
            texts = [part.value]
        case _:
            return
    charset = layout.charset_of(part)
    for text in texts:
        try:
            encoded = text.encode(charset)
        except UnicodeEncodeError:
            yield f"{shown}: {charset} can't write {text!r}"
            continue
        if not isinstance(part, ConstPart) and (
            len(" ".encode(charset)) != 1 or (text in (" ", "0") and len(encoded) != 1)
        ):
            yield f"{shown}: {charset} has no fixed width, which this field needs"
            return


def _too_wide(code: str, charset: str, part: TextPart) -> bool:
    try:
        return len(code.encode(charset)) > (part.width or 0)
    except UnicodeEncodeError:
        return False
