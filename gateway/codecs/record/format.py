"""Records by layout (see gateway.codecs.record.layout): one generated reader and writer per layout.

Fields of fixed size that stand together are read and written by one struct call. A record that does not fit its layout
is refused with the field's path and the byte where it stands; nothing is clipped, padded away or guessed.
"""

import struct
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

from gateway.codecs.format import Decode, Encode, Unknown
from gateway.codecs.record.layout import (
    ITEMS,
    BcdPart,
    BitsPart,
    BytesPart,
    ChecksumPart,
    ConstPart,
    DatePart,
    FillerPart,
    FloatPart,
    GroupPart,
    IntegerPart,
    Layout,
    PackedPart,
    Part,
    TextPart,
    ZonedPart,
    counters,
)
from gateway.codecs.record.parts import (
    CHECKSUMS,
    MisfitError,
    Reader,
    Writer,
    bcd_codec,
    coded_integer,
    contains,
    date_codec,
    mismatch,
    missing_until,
    outside,
    packed_codec,
    text_codec,
    too_few,
    too_many,
    truncated,
    unlike,
    zoned_codec,
)
from gateway.schema.source import build
from gateway.schema.types import List, Record, Type, attribute
from gateway.schema.values import struct_of
from gateway.status import invalid

_CODES: Final = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i8": "b", "i16": "h", "i32": "i", "i64": "q"}
_BIT_CODES: Final = {1: "B", 2: "H", 3: "3s", 4: "I", 8: "Q"}


class RecordFormat:
    """Messages of one layout. Every instance equals only itself: its type is its own.

    without: the field that belongs to the connection and not to the message: not read, and written as zero or blank.
    """

    encoded: ClassVar[type] = bytes

    def __init__(self, layout: Layout, without: str = "") -> None:
        self.layout = layout
        self.type = layout.record(without)
        self._codec = _Generator(layout, without)
        self._read, self._write = self._codec.build(self.type)

    @property
    def name(self) -> str:
        return "record"

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        self._check(type_)
        read = self._read

        def decode(body: bytes) -> Any:
            size = len(body)
            try:
                value, end = read(body, 0, size)
            except MisfitError as misfit:
                raise misfit.failure from None
            if end != size:
                raise invalid(f"the record ends at byte {end}, {size - end} more follow")
            return value

        return decode

    def encoder(self, type_: Type) -> Encode:
        self._check(type_)
        write = self._write

        def encode(value: Any) -> bytes:
            out = bytearray()
            try:
                write(value, out)
            except MisfitError as misfit:
                raise misfit.failure from None
            return bytes(out)

        return encode

    def _check(self, type_: Type) -> None:
        if type_ is not self.type:
            raise TypeError(f"{type_} is not the record of this layout")


class _Run:
    """Parts of fixed size that stand together."""

    def __init__(self, parts: Sequence[tuple[int, Part]], endian: str) -> None:
        self.parts = parts
        self.endian = endian


class _Generator:
    def __init__(self, layout: Layout, without: str) -> None:
        self._layout = layout
        self._without = without
        self._names: dict[str, Any] = {
            "truncated": truncated,
            "missing_until": missing_until,
            "outside": outside,
            "unlike": unlike,
            "mismatch": mismatch,
            "too_many": too_many,
            "too_few": too_few,
            "contains": contains,
            "MisfitError": MisfitError,
        }
        self._source: list[str] = []

    def build(self, record: Record) -> tuple[Callable[..., Any], Callable[..., Any]]:
        read, write = self._functions(self._layout.fields, record, self._without)
        scope = build(f"record codec of {record.name}", "\n\n".join(self._source) + "\n", self._names)
        return scope[read], scope[write]

    def _constant(self, value: Any, stem: str = "c") -> str:
        name = f"{stem}_{len(self._names)}"
        self._names[name] = value
        return name

    def _functions(self, parts: Sequence[Part], record: Record, without: str) -> tuple[str, str]:
        one = _Function(self, self._layout, parts, record, without)
        number = len(self._source)
        read, write = f"read_{number}", f"write_{number}"
        self._source.append(f"def {read}(b, o, n):\n" + "\n".join(f"    {line}" for line in one.reading()))
        self._source.append(f"def {write}(v, out):\n" + "\n".join(f"    {line}" for line in one.writing()))
        return read, write


class _Function:
    """Reads and writes the parts of one record or group. In what it generates b is the record's bytes, n their number,
    o where the next part begins, s where the group began, v the plain value."""

    def __init__(
        self, generator: _Generator, layout: Layout, parts: Sequence[Part], record: Record, without: str
    ) -> None:
        self._generator = generator
        self._layout = layout
        self._parts = parts
        self._record = record
        self._without = without
        self._counts = counters(parts)
        self._inner: dict[int, tuple[str, str]] = {}
        self._codecs: dict[int, tuple[str, str]] = {}
        for index, part in enumerate(parts):
            if isinstance(part, GroupPart):
                self._inner[index] = generator._functions(part.fields, self._group_record(part), "")  # noqa: SLF001
            else:
                self._prepare(index, part)

    def _group_record(self, part: GroupPart) -> Record:
        field = self._record.field(part.name)
        type_ = field.type if field is not None else None
        found = type_.item if isinstance(type_, List) else type_
        assert isinstance(found, Record)  # noqa: S101  the layout made it so
        return found

    def _constant(self, value: Any, stem: str = "c") -> str:
        return self._generator._constant(value, stem)  # noqa: SLF001

    def _prepare(self, index: int, part: Part) -> None:
        layout = self._layout
        codec: tuple[Reader, Writer] | tuple[Any, Any] | None = None
        match part:
            case TextPart():
                codec = text_codec(part, layout.charset_of(part))
            case PackedPart():
                codec = packed_codec(part)
            case BcdPart():
                codec = bcd_codec(part)
            case ZonedPart():
                codec = zoned_codec(part, layout.charset_of(part))
            case DatePart():
                codec = date_codec(part, layout.charset_of(part))
            case IntegerPart() if part.codes is not None:
                codec = coded_integer(part)
            case _:
                return
        self._codecs[index] = (self._constant(codec[0], "read"), self._constant(codec[1], "write"))

    # -- runs

    def _steps(self) -> list[_Run | tuple[int, Part]]:
        """Runs of fixed size, and the parts between them."""
        steps: list[_Run | tuple[int, Part]] = []
        run: list[tuple[int, Part]] = []
        order = ""
        for index, part in enumerate(self._parts):
            if isinstance(part, GroupPart | ChecksumPart) or self._size(part) is None:
                if run:
                    steps.append(_Run(run, order or "big"))
                    run, order = [], ""
                steps.append((index, part))
                continue
            own = self._order(part)
            if own and order and own != order:
                steps.append(_Run(run, order))
                run, order = [], ""
            order = order or own
            run.append((index, part))
        if run:
            steps.append(_Run(run, order or "big"))
        return steps

    def _size(self, part: Part) -> int | None:
        return len(self._layout.const_of(part)) if isinstance(part, ConstPart) else part.size

    def _order(self, part: Part) -> str:
        match part:
            case IntegerPart() | FloatPart() if (part.size or 0) > 1:
                return self._layout.endian_of(part)
            case BitsPart() if part.width in (2, 4, 8):
                return self._layout.endian_of(part)
            case _:
                return ""

    def _struct(self, run: _Run) -> struct.Struct:
        codes = []
        for _, part in run.parts:
            match part:
                case IntegerPart():
                    codes.append(_CODES[part.type])
                case FloatPart():
                    codes.append("f" if part.type == "f32" else "d")
                case BitsPart():
                    codes.append(_BIT_CODES[part.width])
                case _:
                    codes.append(f"{self._size(part)}s")
        return struct.Struct((">" if run.endian == "big" else "<") + "".join(codes))

    # -- reading

    def reading(self) -> list[str]:
        lines = ["s = o"]
        members: dict[str, str] = {}
        # Where a checksum begins that does not begin with the group.
        marks = {part.since for part in self._parts if isinstance(part, ChecksumPart) and part.since}
        for step in self._steps():
            if isinstance(step, _Run):
                lines += self._read_run(step, members, marks)
            else:
                index, part = step
                if getattr(part, "name", None) in marks:
                    lines.append(f"m_{self._place(part)} = o")
                lines += self._read_part(index, part, members)
        arguments = ", ".join(f"{attribute(field.name)}={members[field.name]}" for field in self._record.fields)
        struct_name = self._constant(struct_of(self._record), "struct")
        lines.append(f"return {struct_name}({arguments}), o")
        return lines

    def _place(self, part: Part | str) -> int:
        """The part's number; a name is that of a field, or of one of the bits."""
        for index, known in enumerate(self._parts):
            names = [bit.name for bit in known.bits] if isinstance(known, BitsPart) else [getattr(known, "name", None)]
            if known is part or (isinstance(part, str) and part in names):
                return index
        raise AssertionError(part)

    def _read_run(self, run: _Run, members: dict[str, str], marks: set[str]) -> list[str]:
        layout = self._struct(run)
        ends, at = [], 0
        for _, part in run.parts:
            at += self._size(part) or 0
            ends.append((at, _label(part)))
        table = self._constant(tuple(ends), "table")
        targets = ", ".join(f"r{index}" for index, _ in run.parts)
        lines = [
            f"if n - o < {at}: truncated(n, o, {table})",
            f"{targets}, = {self._constant(layout.unpack_from, 'unpack')}(b, o)",
        ]
        begin = 0
        for (index, part), (end, _) in zip(run.parts, ends, strict=True):
            if any(self._place(mark) == index for mark in marks):
                lines.append(f"m_{index} = o + {begin}")
            lines += self._read_fixed(index, part, begin, members)
            begin = end
        lines.append(f"o += {at}")
        return lines

    def _read_fixed(self, index: int, part: Part, begin: int, members: dict[str, str]) -> list[str]:
        raw, where = f"r{index}", f"o + {begin}"
        match part:
            case FillerPart():
                return []
            case ConstPart():
                wanted = self._layout.const_of(part)
                return [f"if {raw} != {wanted!r}: unlike({raw}, {wanted!r}, {_label(part)!r}, {where})"]
            case BitsPart():
                lines = []
                if part.width == 3:
                    lines.append(f"{raw} = int.from_bytes({raw}, {self._layout.endian_of(part)!r})")
                shift = 8 * part.width
                for bit in part.bits:
                    shift -= bit.size
                    if bit.name:
                        masked = f"{raw} >> {shift} & {2**bit.size - 1:#x}"
                        members[bit.name] = f"({masked}) != 0" if bit.size == 1 else masked
                return lines
            case IntegerPart() | FloatPart() | BytesPart() if index not in self._codecs:
                members[part.name] = raw
                return []
            case _:
                members[part.name] = raw  # type: ignore[union-attr]
                if self._hidden(part):
                    return []
                return [f"{raw} = {self._codecs[index][0]}({raw}, {where})"]

    def _hidden(self, part: Part) -> bool:
        return getattr(part, "name", None) == self._without and bool(self._without)

    def _read_part(self, index: int, part: Part, members: dict[str, str]) -> list[str]:
        match part:
            case ChecksumPart():
                return self._read_checksum(part)
            case GroupPart():
                return self._read_group(index, part, members)
            case TextPart() | BytesPart():
                return self._read_sized(index, part, members)
            case _:
                raise AssertionError(part)

    def _read_checksum(self, part: ChecksumPart) -> list[str]:
        size = part.size
        table = self._constant(((size, part.type),), "table")
        start = "s" if part.since is None else f"m_{self._place(part.since)}"
        compute = self._constant(CHECKSUMS[part.type], "sum")
        return [
            f"if n - o < {size}: truncated(n, o, {table})",
            f"f, w = int.from_bytes(b[o:o + {size}], {self._layout.endian_of(part)!r}), {compute}(b[{start}:o])",
            f"if f != w: mismatch(f, w, {part.type!r}, '', o)",
            f"o += {size}",
        ]

    def _read_sized(self, index: int, part: TextPart | BytesPart, members: dict[str, str]) -> list[str]:
        raw, path = f"r{index}", part.name
        lines = []
        if part.rest:
            lines += [f"{raw} = b[o:]", f"p{index} = o", "o = n"]
        elif part.until is not None:
            until = part.until.encode("latin-1")
            lines += [
                f"e = b.find({until!r}, o)",
                f"if e < 0: missing_until({path!r}, o, {until!r})",
                f"{raw} = b[o:e]",
                f"p{index} = o",
                f"o = e + {len(until)}",
            ]
        else:
            if part.length in ("u8", "u16", "u32") and part.length not in self._counts:
                width = {"u8": 1, "u16": 2, "u32": 4}[part.length]
                table = self._constant(((width, path),), "table")
                lines += [
                    f"if n - o < {width}: truncated(n, o, {table})",
                    f"z = int.from_bytes(b[o:o + {width}], {self._layout.endian!r})",
                    f"o += {width}",
                ]
            else:
                lines.append(f"z = r{self._place(str(part.length))}")
            lines += [
                f"if z < 0 or n - o < z: truncated(n, o, ((max(z, n - o + 1), {path!r}),))",
                f"{raw} = b[o:o + z]",
                f"p{index} = o",
                "o += z",
            ]
        members[part.name] = raw
        if index in self._codecs and not self._hidden(part):
            lines.append(f"{raw} = {self._codecs[index][0]}({raw}, p{index})")
        return lines

    def _read_group(self, index: int, part: GroupPart, members: dict[str, str]) -> list[str]:
        read, _ = self._inner[index]
        target, path = f"r{index}", part.name
        members[part.name] = target
        if part.count is None:
            return [
                f"try: {target}, o = {read}(b, o, n)",
                f"except MisfitError as m: raise m.inside({path!r}) from None",
            ]
        least = sum(inner.least for inner in part.fields)
        lines = [f"{target} = []", "i = 0"]
        if part.count == "rest":
            loop = "while o < n:"
        else:
            count = str(part.count) if isinstance(part.count, int) else f"r{self._place(part.count)}"
            loop = f"for i in range({count}):"
            if isinstance(part.count, str):
                lines.append(f"if not 0 <= {count} <= {ITEMS}: too_many({count}, {ITEMS}, {path!r}, o)")
            lines.append(f"if {count} * {least} > n - o: truncated(n, o, (({count} * {least}, {path!r}),))")
        lines += ["try:", f"    {loop}", f"        x, o = {read}(b, o, n)", f"        {target}.append(x)"]
        if part.count == "rest":
            lines += ["        i += 1", f"        if i > {ITEMS}: too_many(i, {ITEMS}, '', o)"]
        lines.append(f"except MisfitError as m: raise m.inside(f'{path}[{{i}}]') from None")
        return lines

    # -- writing

    def writing(self) -> list[str]:
        lines = ["s = len(out)"]
        marks = {part.since for part in self._parts if isinstance(part, ChecksumPart) and part.since}
        # What a count or length says must be known where that stands, before what it counts.
        for index, part in enumerate(self._parts):
            if isinstance(part, TextPart | BytesPart) and part.length is not None:
                lines.append(f"e{index} = {self._raw(index, part)}")
        for step in self._steps():
            if isinstance(step, _Run):
                lines += self._write_run(step, marks)
            else:
                index, part = step
                if getattr(part, "name", None) in marks:
                    lines.append(f"m_{index} = len(out)")
                lines += self._write_part(index, part)
        return lines

    def _raw(self, index: int, part: TextPart | BytesPart) -> str:
        """Python for the part's bytes."""
        if self._hidden(part):
            return repr(b"" if part.width is None else self._blank(part))
        value = f"v.{attribute(part.name)}"
        return f"{self._codecs[index][1]}({value})" if index in self._codecs else value

    def _blank(self, part: Part) -> bytes:
        match part:
            case TextPart():
                return part.pad.encode(self._layout.charset_of(part)) * (part.width or 0)
            case ZonedPart():
                return b"".join(["0".encode(self._layout.charset_of(part))] * part.size)
            case _:
                return bytes(part.size or 0)

    def _write_run(self, run: _Run, marks: set[str]) -> list[str]:
        lines: list[str] = []
        arguments: list[str] = []
        at = 0
        for index, part in run.parts:
            if any(self._place(mark) == index for mark in marks):
                lines.append(f"m_{index} = len(out) + {at}")
            at += self._size(part) or 0
            argument = self._write_fixed(index, part, lines)
            arguments.append(argument)
        pack = self._constant(self._struct(run).pack, "pack")
        lines.append(f"out += {pack}({', '.join(arguments)})")
        return lines

    def _write_fixed(self, index: int, part: Part, lines: list[str]) -> str:
        """The argument of pack(), with the lines that it needs before."""
        match part:
            case FillerPart():
                byte = " ".encode(self._layout.charset) if part.byte is None else bytes((part.byte,))
                return repr(byte[:1] * part.width)
            case ConstPart():
                return repr(self._layout.const_of(part))
            case BitsPart():
                return self._write_bits(part, lines)
            case IntegerPart() if part.name in self._counts:
                return self._write_count(part, lines)
            case IntegerPart():
                if self._hidden(part):
                    return "0"
                if index in self._codecs:
                    return f"{self._codecs[index][1]}(v.{attribute(part.name)})"
                self._ranged(f"i{index}", part.name, part.range, lines)
                return f"i{index}"
            case FloatPart():
                value = f"v.{attribute(part.name)}"
                if self._hidden(part):
                    return "0.0"
                if part.type == "f32":
                    single = self._constant(_single, "single")
                    return f"{single}({value}, {part.name!r})"
                return value
            case BytesPart():
                value = f"v.{attribute(part.name)}"
                lines.append(
                    f"if len({value}) != {part.width}: outside(len({value}), {part.width}, {part.width}, {part.name!r})"
                )
                return value
            case _:
                if self._hidden(part):
                    return repr(self._blank(part))
                return f"{self._codecs[index][1]}(v.{attribute(part.name)})"  # type: ignore[union-attr]

    def _ranged(self, variable: str, name: str, limits: tuple[int, int], lines: list[str]) -> None:
        low, high = limits
        lines.append(f"{variable} = v.{attribute(name)}")
        lines.append(f"if not {low} <= {variable} <= {high}: outside({variable}, {low}, {high}, {name!r})")

    def _write_bits(self, part: BitsPart, lines: list[str]) -> str:
        terms = []
        shift = 8 * part.width
        for number, bit in enumerate(part.bits):
            shift -= bit.size
            if not bit.name:
                continue
            if bit.size > 1:
                variable = f"b{self._place(part)}_{number}"
                self._ranged(variable, bit.name, (0, 2**bit.size - 1), lines)
                terms.append(f"{variable} << {shift}")
            else:
                terms.append(f"v.{attribute(bit.name)} << {shift}")
        whole = f"({' | '.join(terms) or '0'})"
        return f"{whole}.to_bytes(3, {self._layout.endian_of(part)!r})" if part.width == 3 else whole

    def _write_count(self, part: IntegerPart, lines: list[str]) -> str:
        counted = self._counts[part.name]
        index = self._place(counted)
        _, high = part.range
        if isinstance(counted, GroupPart):
            value, high = f"len(v.{attribute(counted.name)})", min(high, ITEMS)
        else:
            value = f"len(e{index})"
        variable = f"n{self._place(part)}"
        lines.append(f"{variable} = {value}")
        lines.append(f"if {variable} > {high}: outside({variable}, 0, {high}, {counted.name!r})")  # type: ignore[union-attr]
        return variable

    def _write_part(self, index: int, part: Part) -> list[str]:
        match part:
            case ChecksumPart():
                start = "s" if part.since is None else f"m_{self._place(part.since)}"
                compute = self._constant(CHECKSUMS[part.type], "sum")
                order = self._layout.endian_of(part)
                return [f"out += {compute}(bytes(out[{start}:])).to_bytes({part.size}, {order!r})"]
            case GroupPart():
                return self._write_group(index, part)
            case TextPart() | BytesPart() if part.rest:
                return [f"out += {self._raw(index, part)}"]
            case TextPart() | BytesPart() if part.until is not None:
                until = part.until.encode("latin-1")
                return [f"out += contains({self._raw(index, part)}, {until!r}, {part.name!r})"]
            case TextPart() | BytesPart() if part.length in ("u8", "u16", "u32") and part.length not in self._counts:
                width = {"u8": 1, "u16": 2, "u32": 4}[part.length]
                high = 2 ** (8 * width) - 1
                return [
                    f"if len(e{index}) > {high}: outside(len(e{index}), 0, {high}, {part.name!r})",
                    f"out += len(e{index}).to_bytes({width}, {self._layout.endian!r})",
                    f"out += e{index}",
                ]
            case _:
                return [f"out += e{index}"]

    def _write_group(self, index: int, part: GroupPart) -> list[str]:
        _, write = self._inner[index]
        value, path = f"v.{attribute(part.name)}", part.name
        if part.count is None:
            return [
                f"try: {write}({value}, out)",
                f"except MisfitError as m: raise m.inside({path!r}) from None",
            ]
        lines = []
        if isinstance(part.count, int):
            lines.append(f"if len({value}) != {part.count}: too_few(len({value}), {part.count}, {path!r})")
        elif part.count == "rest":
            lines.append(f"if len({value}) > {ITEMS}: outside(len({value}), 0, {ITEMS}, {path!r})")
        return [
            *lines,
            "i = 0",
            "try:",
            f"    for i, x in enumerate({value}): {write}(x, out)",
            f"except MisfitError as m: raise m.inside(f'{path}[{{i}}]') from None",
        ]


def _label(part: Part) -> str:
    """How a part is called in a path."""
    return getattr(part, "name", None) or part.type


_LARGEST_SINGLE: Final = 3.4028235677973366e38  # the least double that rounds to infinity as a single


def _single(value: float, path: str) -> float:
    if value - value == 0 and not -_LARGEST_SINGLE < value < _LARGEST_SINGLE:
        raise MisfitError(f"{value!r} is out of the range of a single", path)
    return value


def numbers(layout: Layout, name: str) -> int:
    """How many numbers, from 0 on, the top-level field of this name can hold: 0 where it is no field for numbers."""
    for part in layout.fields:
        if getattr(part, "name", None) != name or name in counters(layout.fields):
            continue
        match part:
            case IntegerPart() if part.codes is None:
                return part.range[1] + 1
            case PackedPart() | BcdPart() | ZonedPart() if not part.places:
                return int(10**part.digits)
            case TextPart() if part.codes is None:
                digits: int = min(part.width or 9, 18)
                return int(10**digits)
            case _:
                return 0
    return 0
