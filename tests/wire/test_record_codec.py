"""Record codecs: declared layouts against bytes written by hand, round trips, and every way not to fit."""

import struct
import zlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.plain import plain, shown

from gateway.codecs.delimited import DelimitedFormat, DelimitedLayout
from gateway.codecs.format import Unknown
from gateway.codecs.layout import LayoutError, layout_format, numbers_of, read_layout
from gateway.codecs.record.format import RecordFormat
from gateway.codecs.record.layout import Layout
from gateway.schema.types import Kind, Scalar
from gateway.status import Failure


def record(*fields: dict[str, Any], **options: Any) -> RecordFormat:
    return RecordFormat(Layout.model_validate({**options, "fields": fields}))


def rows(*columns: dict[str, Any], **options: Any) -> DelimitedFormat:
    return DelimitedFormat(DelimitedLayout.model_validate({**options, "columns": columns}))


def write(format_: RecordFormat | DelimitedFormat, value: dict[str, Any]) -> bytes:
    data: bytes = format_.encoder(format_.type)(plain(format_.type, value))
    return data


def read(format_: RecordFormat | DelimitedFormat, data: bytes) -> Any:
    return shown(format_.type, format_.decoder(format_.type, Unknown.REJECT)(data))


def both(format_: RecordFormat | DelimitedFormat, value: dict[str, Any], data: bytes) -> None:
    assert write(format_, value) == data
    assert read(format_, data) == value


# -- bytes written by hand


@pytest.mark.parametrize(
    ("field", "value", "data"),
    [
        ({"type": "text", "width": 5}, "ab", b"ab   "),
        ({"type": "text", "width": 5, "align": "right", "pad": "0"}, "42", b"00042"),
        ({"type": "text", "width": 3, "charset": "cp037"}, "A1", b"\xc1\xf1\x40"),
        ({"type": "text", "width": 3, "charset": "cp500"}, "[x", b"\x4a\xa7\x40"),
        ({"type": "text", "width": 4, "charset": "utf-8"}, "é", b"\xc3\xa9  "),
        ({"type": "text", "width": 0 + 2, "codes": {"A": "ACTIVE", "CL": "CLOSED"}}, "ACTIVE", b"A "),
        ({"type": "text", "length": "u8"}, "tea", b"\x03tea"),
        ({"type": "text", "length": "u16", "charset": "utf-16-be"}, "é", b"\0\2\0\xe9"),
        ({"type": "text", "until": "\0"}, "tea", b"tea\0"),
        ({"type": "text", "rest": True}, "all of it", b"all of it"),
        ({"type": "bytes", "width": 3}, b"\0\1\2", b"\0\1\2"),
        ({"type": "bytes", "length": "u32"}, b"\0\1", b"\0\0\0\2\0\1"),
        ({"type": "bytes", "until": "\r\n"}, b"\r", b"\r\r\n"),
        ({"type": "u8"}, 255, b"\xff"),
        ({"type": "u16", "endian": "little"}, 1, b"\1\0"),
        ({"type": "u32"}, 2**32 - 1, b"\xff\xff\xff\xff"),
        ({"type": "u64"}, 2**64 - 1, b"\xff" * 8),
        ({"type": "i8"}, -1, b"\xff"),
        ({"type": "i16", "endian": "little"}, -2, b"\xfe\xff"),
        ({"type": "i32"}, -(2**31), b"\x80\0\0\0"),
        ({"type": "i64"}, 2**53 + 1, b"\0\x20\0\0\0\0\0\1"),
        ({"type": "u8", "codes": {"1": "RED", "0x10": "BLUE"}}, "BLUE", b"\x10"),
        ({"type": "f32"}, 0.5, b"\x3f\0\0\0"),
        ({"type": "f64", "endian": "little"}, 1.0, b"\0\0\0\0\0\0\xf0\x3f"),
        # COMP-3: PIC S9(5)V99, PIC 9(3), and plain BCD.
        ({"type": "packed", "digits": 7, "places": 2}, Decimal("-12345.67"), b"\x12\x34\x56\x7d"),
        ({"type": "packed", "digits": 7, "places": 2}, Decimal("0.01"), b"\0\0\0\x1c"),
        ({"type": "packed", "digits": 4}, -1234, b"\x01\x23\x4d"),
        ({"type": "packed", "digits": 3, "sign": "unsigned"}, 123, b"\x12\x3f"),
        ({"type": "packed", "digits": 4, "sign": "none"}, 1234, b"\x12\x34"),
        ({"type": "packed", "digits": 3, "sign": "none"}, 7, b"\x00\x07"),
        ({"type": "bcd", "digits": 4, "places": 1}, Decimal("12.3"), b"\0\1\2\3"),
        ({"type": "zoned", "digits": 5}, 42, b"00042"),
        ({"type": "zoned", "digits": 5, "places": 2, "sign": "overpunch"}, Decimal("-1.23"), b"0012L"),
        ({"type": "zoned", "digits": 3, "sign": "overpunch", "charset": "cp037"}, -123, b"\xf1\xf2\xd3"),
        ({"type": "zoned", "digits": 3, "sign": "overpunch", "charset": "cp037"}, 120, b"\xf1\xf2\xc0"),
        ({"type": "zoned", "digits": 3, "sign": "leading"}, -7, b"-007"),
        ({"type": "zoned", "digits": 3, "sign": "trailing"}, 7, b"007+"),
        ({"type": "zoned", "digits": 20}, 10**19, b"10000000000000000000"),
        ({"type": "date", "format": "%Y%m%d"}, "2026-01-31", b"20260131"),
        ({"type": "date", "format": "%d.%m.%y"}, "1999-12-31", b"31.12.99"),
        ({"type": "date", "format": "%y%j"}, "2024-12-31", b"24366"),
        ({"type": "time", "format": "%H%M%S"}, "23:59:58", b"235958"),
        ({"type": "timestamp", "format": "%Y%m%d%H%M%S%f"}, 1_500_000_000_000_001_000, b"20170714024000000001"),
    ],
)
def test_by_hand(field: dict[str, Any], value: Any, data: bytes) -> None:
    both(record({"name": "x", **field}), {"x": value}, data)


def test_bits() -> None:
    bits = [{"name": "urgent"}, {"name": "level", "size": 3}, {"size": 2}, {"name": "kind", "size": 2}]
    both(record({"type": "bits", "bits": bits}), {"urgent": True, "level": 5, "kind": 2}, b"\xd2")
    assert read(record({"type": "bits", "bits": bits}), b"\xde")["kind"] == 2, "reserved bits are not looked at"
    wide = [{"name": "a", "size": 20}, {"name": "b", "size": 4}]
    both(record({"type": "bits", "width": 3, "bits": wide}), {"a": 0x12345, "b": 6}, b"\x12\x34\x56")
    both(
        record({"type": "bits", "width": 3, "endian": "little", "bits": wide}), {"a": 0x12345, "b": 6}, b"\x56\x34\x12"
    )


def test_constants_and_fillers() -> None:
    format_ = record(
        {"type": "const", "value": "PAY"},
        {"type": "filler", "width": 2},
        {"type": "const", "hex": "0d0a"},
        {"type": "u8", "name": "n"},
        {"type": "filler", "width": 2, "byte": 0},
        charset="cp037",
    )
    both(format_, {"n": 7}, b"\xd7\xc1\xe8\x40\x40\x0d\x0a\x07\0\0")
    assert read(format_, b"\xd7\xc1\xe8??\x0d\x0a\x07??") == {"n": 7}
    with pytest.raises(Failure, match=r"0x0d0a is expected, not 0x0d0d \(byte 5\) at \$.const"):
        read(format_, b"\xd7\xc1\xe8??\x0d\x0d\x07??")


def test_groups() -> None:
    line = [{"type": "text", "name": "sku", "width": 3}, {"type": "u16", "name": "count"}]
    fixed = record({"type": "group", "name": "lines", "count": 2, "fields": line})
    two = [{"sku": "tea", "count": 1}, {"sku": "ham", "count": 2}]
    both(fixed, {"lines": two}, b"tea\0\1ham\0\2")
    counted = record({"type": "u8", "name": "n"}, {"type": "group", "name": "lines", "count": "n", "fields": line})
    both(counted, {"lines": two}, b"\2tea\0\1ham\0\2")
    both(counted, {"lines": []}, b"\0")
    both(record({"type": "group", "name": "lines", "count": "rest", "fields": line}), {"lines": two}, b"tea\0\1ham\0\2")
    both(record({"type": "group", "name": "line", "fields": line}), {"line": two[0]}, b"tea\0\1")
    with pytest.raises(Failure, match="1 items are given, 2 is their number"):
        write(fixed, {"lines": two[:1]})
    far = record({"type": "u8", "name": "z"}, {"type": "text", "name": "t", "length": "z"}, {"type": "u8", "name": "y"})
    both(far, {"t": "abc", "y": 1}, b"\3abc\1")


def test_a_length_may_stand_far_before_its_text() -> None:
    format_ = record(
        {"type": "u16", "name": "size", "endian": "little"},
        {"type": "u8", "name": "kind"},
        {"type": "bytes", "name": "payload", "length": "size"},
        {"type": "sum8"},
    )
    both(format_, {"kind": 9, "payload": b"\1\2"}, b"\2\0\x09\1\2\x0e")


@pytest.mark.parametrize(
    ("kind", "value"),
    [("crc32", zlib.crc32(b"\1abc").to_bytes(4, "big")), ("sum8", b"\x27"), ("xor", b"\x61"), ("lrc", b"\xd9")],
)
def test_checksums(kind: str, value: bytes) -> None:
    format_ = record({"type": "u8", "name": "n"}, {"type": "text", "name": "t", "width": 3}, {"type": kind})
    both(format_, {"n": 1, "t": "abc"}, b"\1abc" + value)
    wrong = b"\1abc" + bytes((value[0] ^ 1,)) + value[1:]
    with pytest.raises(Failure, match=rf"the {kind} is 0x[0-9a-f]+, expected is {int.from_bytes(value, 'big'):#x}"):
        read(format_, wrong)


def test_a_checksum_since_a_field() -> None:
    format_ = record(
        {"type": "u8", "name": "start"},
        {"type": "u8", "name": "a"},
        {"type": "text", "name": "t", "length": "u8"},
        {"type": "xor", "since": "a"},
    )
    both(format_, {"start": 0x55, "a": 1, "t": "AB"}, b"\x55\1\2AB\x00")
    in_text = record(
        {"type": "u8", "name": "x"}, {"type": "text", "name": "t", "until": ";"}, {"type": "xor", "since": "t"}
    )
    both(in_text, {"x": 7, "t": "A"}, b"\7A;\x7a")


def test_absent() -> None:
    format_ = record(
        {"type": "text", "name": "t", "width": 3, "optional": True},
        {"type": "zoned", "name": "z", "digits": 3, "optional": True},
        {"type": "date", "name": "d", "format": "%Y%m%d", "optional": True},
    )
    both(format_, {}, b" " * 14)
    both(format_, {"t": "a", "z": 0, "d": "2026-01-01"}, b"a  00020260101")
    assert read(format_, b"   " + b"   " + b"00000000") == {}


# -- what does not fit


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ({"type": "text", "width": 2}, "abc", r"3 bytes are more than the 2 of the field at \$\.x"),
        ({"type": "text", "width": 4}, "a ", "can't be told from padding"),
        ({"type": "text", "width": 4, "align": "right", "pad": "0"}, "01", "can't be told from padding"),
        ({"type": "text", "width": 4}, "é", "ascii can't write 'é'"),
        ({"type": "text", "width": 2, "codes": {"A": "ACTIVE"}}, "GONE", "has no code"),
        ({"type": "text", "width": 2, "optional": True}, "", "absent one"),
        ({"type": "text", "length": "u8"}, "x" * 256, "256 is not within 0 and 255"),
        ({"type": "text", "until": ";"}, "a;b", "contains 0x3b, which ends it"),
        ({"type": "text", "until": "ab"}, "xaab", "contains"),
        ({"type": "bytes", "width": 2}, b"abc", "3 is not within 2 and 2"),
        ({"type": "u8"}, 256, "256 is not within 0 and 255"),
        ({"type": "i8"}, -129, "within -128 and 127"),
        ({"type": "f32"}, 1e39, "range of a single"),
        ({"type": "packed", "digits": 3, "places": 2}, Decimal("12.34"), "more than 1 digits before the point"),
        ({"type": "packed", "digits": 5, "places": 2}, Decimal("1.234"), "more than 2 decimal places"),
        ({"type": "packed", "digits": 3, "sign": "unsigned"}, -1, "has no sign"),
        ({"type": "bcd", "digits": 3}, -1, "has no sign"),
        ({"type": "zoned", "digits": 3}, 1000, "more than 3 digits"),
        ({"type": "zoned", "digits": 3}, -1, "has no sign"),
        ({"type": "date", "format": "%y%m%d"}, "1950-01-01", "two digits"),
        ({"type": "date", "format": "%Y%m%d"}, "2026-01-01Z", "can't be written"),
        ({"type": "time", "format": "%H%M"}, "12:30:01", "does not fit"),
        ({"type": "time", "format": "%H%M%S"}, "12:30:01.5", "does not fit"),
        ({"type": "timestamp", "format": "%Y%m%d%H%M%S%f"}, 1, "no room for nanoseconds"),
        ({"type": "timestamp", "format": "%Y%m%d"}, 1_000_000_000, "does not fit"),
    ],
)
def test_values_that_do_not_fit(field: dict[str, Any], value: Any, why: str) -> None:
    with pytest.raises(Failure, match=why):
        write(record({"name": "x", **field}), {"x": value})


@pytest.mark.parametrize(
    ("field", "data", "why"),
    [
        ({"type": "text", "width": 2, "charset": "utf-8"}, b"\xff\xfe", r"no utf-8 text \(byte 0\) at \$\.x"),
        ({"type": "text", "width": 2, "codes": {"A": "ACTIVE"}}, b"ZZ", "'ZZ' is none of the codes A"),
        ({"type": "u8", "codes": {"1": "ONE"}}, b"\2", "2 is none of the codes 1"),
        ({"type": "text", "until": ";"}, b"abc", "ends without 0x3b"),
        ({"type": "packed", "digits": 3}, b"\x12\x34", "ends in no sign"),
        ({"type": "packed", "digits": 3}, b"\x1a\x3c", "something else than digits"),
        ({"type": "packed", "digits": 2}, b"\x12\x3c", "more than 2 digits"),
        ({"type": "packed", "digits": 3, "sign": "unsigned"}, b"\x12\x3d", "unsigned number is negative"),
        ({"type": "bcd", "digits": 2}, b"\x01\x0a", "no BCD"),
        ({"type": "zoned", "digits": 3}, b"1 3", "something else than digits"),
        ({"type": "zoned", "digits": 3, "sign": "leading"}, b"*123", "no sign"),
        ({"type": "zoned", "digits": 2}, "²³".encode("latin-1"), "no ascii"),
        ({"type": "zoned", "digits": 2, "charset": "latin-1"}, "²³".encode("latin-1"), "something else than digits"),
        ({"type": "date", "format": "%Y%m%d"}, b"20260231", "no date of the form %Y%m%d"),
        ({"type": "date", "format": "%Y%j"}, b"2025366", "no date"),
        ({"type": "date", "format": "%Y-%m-%d"}, b"2026/01/01", "no date"),
        ({"type": "time", "format": "%H%M"}, b"2400", "no time"),
        ({"type": "u8"}, b"\1\2", "ends at byte 1, 1 more follow"),
    ],
)
def test_records_that_do_not_fit(field: dict[str, Any], data: bytes, why: str) -> None:
    with pytest.raises(Failure, match=why):
        read(record({"name": "x", **field}), data)


def test_a_count_that_no_record_can_hold() -> None:
    inner = [{"type": "u8", "name": "a"}]
    format_ = record({"type": "u32", "name": "n"}, {"type": "group", "name": "g", "count": "n", "fields": inner})
    with pytest.raises(Failure, match="4294967295 items are not within 0 and 65536"):
        read(format_, b"\xff\xff\xff\xff")
    with pytest.raises(Failure, match=r"ends after 5 bytes.*at \$\.g"):
        read(format_, b"\0\0\xff\xff\1")
    many = record({"type": "group", "name": "g", "count": "rest", "fields": inner})
    with pytest.raises(Failure, match="not within"):
        read(many, bytes(65_537))


WHOLE = {
    "name": "Payment",
    "charset": "cp037",
    "fields": [
        {"type": "const", "value": "PAY"},
        {"type": "text", "name": "id", "width": 6},
        {"type": "packed", "name": "amount", "digits": 9, "places": 2},
        {"type": "u16", "name": "count", "endian": "little"},
        {"type": "u16", "name": "n"},
        {
            "type": "group",
            "name": "lines",
            "count": "n",
            "fields": [
                {"type": "text", "name": "sku", "length": "u8"},
                {"type": "i32", "name": "quantity", "endian": "little"},
                {"type": "group", "name": "at", "fields": [{"type": "date", "name": "day", "format": "%Y%m%d"}]},
            ],
        },
        {"type": "bits", "bits": [{"name": "urgent"}, {"name": "level", "size": 7}]},
        {"type": "f64", "name": "ratio"},
        {"type": "filler", "width": 3},
        {"type": "crc32", "endian": "little"},
    ],
}
TEXT = st.text(alphabet="ABCabc 019", max_size=6).filter(lambda text: not text.endswith(" "))
VALUES = st.fixed_dictionaries(
    {
        "id": TEXT,
        "amount": st.integers(-(10**9) + 1, 10**9 - 1).map(lambda number: Decimal(number) / 100),
        "count": st.integers(0, 65535),
        "lines": st.lists(
            st.fixed_dictionaries(
                {
                    "sku": st.text(alphabet="ABC ", max_size=8),
                    "quantity": st.integers(-(2**31), 2**31 - 1),
                    "at": st.fixed_dictionaries({"day": st.dates().map(lambda day: day.isoformat())}),
                }
            ),
            max_size=4,
        ),
        "urgent": st.booleans(),
        "level": st.integers(0, 127),
        "ratio": st.floats(allow_nan=False),
    }
)


@settings(deadline=None)
@given(VALUES)
def test_round_trip(value: dict[str, Any]) -> None:
    format_ = record(*WHOLE["fields"], charset="cp037")  # type: ignore[arg-type]
    data = write(format_, value)
    assert read(format_, data) == value
    for end in range(len(data)):
        with pytest.raises(Failure) as told:
            read(format_, data[:end])
        assert "byte" in told.value.message and told.value.path.startswith("$"), told.value


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_noise_is_refused_clearly(noise: bytes) -> None:
    format_ = record(*WHOLE["fields"], charset="cp037")  # type: ignore[arg-type]
    try:
        value = read(format_, noise)
    except Failure as failure:
        assert failure.path  # noqa: PT017  noise may be a record
    else:
        assert read(format_, write(format_, value)) == value


def test_a_path_leads_to_the_offence() -> None:
    format_ = record(*WHOLE["fields"], charset="cp037")  # type: ignore[arg-type]
    line = {"sku": "A", "quantity": 1, "at": {"day": "2026-01-01"}}
    value = {
        "id": "a",
        "amount": Decimal(1),
        "count": 1,
        "lines": [line, line],
        "urgent": False,
        "level": 0,
        "ratio": 0.0,
    }
    data = write(format_, value)
    second = data.rindex("20260101".encode("cp037"))
    with pytest.raises(Failure) as told:
        read(format_, data[: second + 4] + b"\x40\x40" + data[second + 6 :])
    assert told.value.path == "$.lines[1].at.day"
    assert f"byte {second}" in told.value.message
    with pytest.raises(Failure) as told:
        write(format_, {**value, "lines": [line, {**line, "quantity": 2**31}]})
    assert told.value.path == "$.lines[1].quantity"


def test_against_struct() -> None:
    format_ = record(
        {"type": "u16", "name": "a"}, {"type": "i64", "name": "b"}, {"type": "f32", "name": "c"}, endian="little"
    )
    assert write(format_, {"a": 1, "b": -2, "c": 0.25}) == struct.pack("<Hqf", 1, -2, 0.25)


# -- layouts


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ([{"type": "u8", "name": "a"}, {"type": "u8", "name": "a"}], "a is there twice"),
        ([{"type": "text", "name": "a"}], "give one of width, length, until, rest"),
        ([{"type": "text", "name": "a", "width": 1, "rest": True}], "give one of"),
        ([{"type": "text", "name": "a", "rest": True}, {"type": "u8", "name": "b"}], "only the last field"),
        ([{"type": "text", "name": "a", "width": 3, "charset": "klingon"}], "no charset klingon"),
        ([{"type": "text", "name": "a", "width": 3, "charset": "base64"}], "is no charset"),
        ([{"type": "text", "name": "a", "width": 4, "charset": "utf-16"}], "no fixed width"),
        ([{"type": "text", "name": "a", "length": "n"}], "no integer field n before it"),
        ([{"type": "group", "name": "g", "count": "n", "fields": [{"type": "u8", "name": "a"}]}], "no integer field n"),
        ([{"type": "group", "name": "g", "count": 0, "fields": [{"type": "u8", "name": "a"}]}], "count is 1 to"),
        (
            [{"type": "group", "name": "g", "count": "rest", "fields": [{"type": "text", "name": "a", "rest": True}]}],
            "no bytes at all",
        ),
        ([{"type": "bits", "bits": [{"name": "a", "size": 7}]}], "bits are 7 together, 1 bytes have 8"),
        ([{"type": "packed", "name": "a", "digits": 2, "places": 3}], "more places than digits"),
        ([{"type": "date", "name": "a", "format": "%Y%m"}], "has a year with %m and %d"),
        ([{"type": "date", "name": "a", "format": "%Y%m%d%q"}], "%q is none of"),
        ([{"type": "date", "name": "a", "format": "%Y%m%d%H"}], "no time of day"),
        ([{"type": "u8", "name": "a", "codes": {"256": "X"}}], "out of range"),
        ([{"type": "u8", "name": "a", "codes": {"1": "X", "2": "X"}}], "two codes have one name"),
        ([{"type": "const"}], "give value or hex"),
        ([{"type": "const", "value": "é"}], "ascii can't write"),
        ([{"type": "xor", "since": "a"}], "no field a before it"),
        ([{"type": "u9", "name": "a"}], "type: is missing or none of text, bytes"),
        ([{"name": "a"}], "type: is missing"),
        ([{"type": "u8", "name": "a b"}], "should match pattern"),
        ([], "fields: there are none"),
        ([{"type": "group", "name": "g", "fields": []}], "g.fields: there are none"),
    ],
)
def test_layouts_that_mean_nothing(fields: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Layout.model_validate({"fields": fields})


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(ValidationError) as told:
        Layout.model_validate(
            {
                "fields": [
                    {"type": "u8", "name": "a"},
                    {"type": "u8", "name": "a"},
                    {"type": "text", "name": "b", "length": "m"},
                    {"type": "xor", "since": "z"},
                ]
            }
        )
    text = str(told.value)
    assert "a is there twice" in text and "no integer field m" in text and "no field z" in text


def test_layout_file(tmp_path: Path) -> None:
    file = tmp_path / "payment.yaml"
    file.write_text("charset: cp037\nfields:\n  - {name: id, type: text, width: 4, codes: {1: ONE, '2': TWO}}\n")
    both(layout_format(read_layout(file)), {"id": "ONE"}, b"\xf1\x40\x40\x40")
    file.write_text("separator: ';'\ncolumns:\n  - {name: id}\n  - {name: n, type: int32}\n")
    both(layout_format(read_layout(file)), {"id": "a", "n": 1}, b"a;1")
    file.write_text("fields:\n  - {name: id, type: text}\n  - {name: b, type: u8, widht: 3}\n")
    with pytest.raises(LayoutError) as told:
        read_layout(file)
    assert "fields[0]: " in str(told.value) and "fields[1].widht" in str(told.value), str(told.value)
    file.write_text("fields: [")
    with pytest.raises(LayoutError, match="no YAML"):
        read_layout(file)
    with pytest.raises(LayoutError, match="can't be read"):
        read_layout(tmp_path / "none.yaml")


def test_types() -> None:
    type_ = record(*WHOLE["fields"], charset="cp037").type  # type: ignore[arg-type]
    assert [field.name for field in type_.fields] == ["id", "amount", "count", "lines", "urgent", "level", "ratio"]
    amount = type_.field("amount")
    assert amount is not None and amount.type == Scalar(Kind.DECIMAL) and amount.required


def test_a_field_of_the_connection() -> None:
    layout = Layout.model_validate(
        {"fields": [{"type": "u16", "name": "id"}, {"type": "text", "name": "tag", "width": 3}, {"type": "xor"}]}
    )
    without = RecordFormat(layout, "id")
    both(without, {"tag": "abc"}, b"\0\0abc\x60")
    assert read(without, b"\xff\xffabc\x60") == {"tag": "abc"}
    assert read(RecordFormat(layout, "tag"), b"\1\2abc\x63") == {"id": 258}
    assert write(RecordFormat(layout, "tag"), {"id": 258}) == b"\1\2   \x23"
    assert numbers_of(layout, "id") == 65536 and numbers_of(layout, "tag") == 1000 and numbers_of(layout, "none") == 0


# -- delimited


ROW = [
    {"name": "id", "type": "int64"},
    {"name": "who"},
    {"name": "price", "type": "decimal", "optional": True},
    {"name": "note", "optional": True},
    {"name": "state", "codes": {"A": "ACTIVE", "C": "CLOSED"}},
]


def test_rows() -> None:
    format_ = rows(*ROW)
    both(format_, {"id": 1, "who": "Ann", "price": Decimal("1.50"), "note": "x", "state": "ACTIVE"}, b"1,Ann,1.50,x,A")
    both(format_, {"id": 1, "who": "", "state": "CLOSED"}, b"1,,,,C")
    both(format_, {"id": 1, "who": 'a "b", c', "note": "", "state": "CLOSED"}, b'1,"a ""b"", c",,"",C')
    both(rows({"name": "a"}, {"name": "b"}, separator="|", quote=""), {"a": '"', "b": "x"}, b'"|x')


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "id": st.integers(-(2**63), 2**63 - 1),
            "who": st.text(max_size=12),
            "state": st.sampled_from(("ACTIVE", "CLOSED")),
        },
        optional={"note": st.text(max_size=8), "price": st.decimals(allow_nan=False, allow_infinity=False, places=3)},
    )
)
def test_row_round_trip(value: dict[str, Any]) -> None:
    format_ = rows(*ROW)
    try:
        data = write(format_, value)
    except Failure as failure:
        assert "can't write" in failure.message  # noqa: PT017  half a surrogate pair
        return
    assert read(format_, data) == value


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"1,Ann", r"2 columns, 5 are expected at \$\.price"),
        (b"1,Ann,,,A,", "6 columns"),
        (b"x,Ann,,,A", r"not a whole number at \$\.id"),
        (b"1,Ann,,,B", "'B' is none of the codes A, C"),
        (b'1,"Ann,,,A', "a quote is open"),
        (b'1,A"nn,,,A', "a quote is open or stands amid text"),
        (b'1,"A"nn,,,A', "a quote is open or stands amid text"),
        (b"1,\xff,,,A", "no utf-8 text"),
    ],
)
def test_rows_that_do_not_fit(data: bytes, why: str) -> None:
    with pytest.raises(Failure, match=why):
        read(rows(*ROW), data)


def test_rows_without_quotes() -> None:
    format_ = rows({"name": "a"}, {"name": "b", "optional": True}, quote="")
    for value in ({"a": "x,y", "b": "z"}, {"a": "x\ny"}, {"a": "x", "b": ""}):
        with pytest.raises(Failure):
            write(format_, value)
