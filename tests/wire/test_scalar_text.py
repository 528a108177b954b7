"""Scalars as text: every value comes back, against the standard library and protobuf."""

import base64
import datetime
import math
import struct
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from gateway.schema import text
from gateway.schema.types import INTEGER_RANGE, Kind

_FIRST = -62135596800 * text.SECOND
_LAST = 253402300800 * text.SECOND - 1
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.BOOL: st.booleans(),
    **{kind: st.integers(low, high) for kind, (low, high) in INTEGER_RANGE.items()},
    Kind.INTEGER: st.integers(-(10**100), 10**100),
    Kind.FLOAT32: st.floats(width=32, allow_nan=False),
    Kind.FLOAT64: st.floats(allow_nan=False),
    Kind.DECIMAL: st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**50), max_value=10**50),
    Kind.STRING: st.text(),
    Kind.BYTES: st.binary(),
    Kind.DATE: st.dates().map(str),
    Kind.TIME: st.times().map(str),
    Kind.TIMESTAMP: st.integers(_FIRST, _LAST),
    Kind.DURATION: st.integers(-(10**20), 10**20),
    Kind.ANY: st.text(),
}


@given(st.sampled_from(list(Kind)).flatmap(lambda kind: st.tuples(st.just(kind), VALUES[kind])))
def test_every_value_comes_back(pair: tuple[Kind, Any]) -> None:
    kind, value = pair
    again = text.PARSE[kind](text.FORMAT[kind](value))
    if kind is Kind.FLOAT32 and math.isfinite(value):
        again = struct.unpack("<f", struct.pack("<f", again))[0]
    assert again == value
    assert type(again) is type(value)


def test_both_tables_are_total() -> None:
    assert set(text.PARSE) == set(text.FORMAT) == set(Kind)


@given(st.text(max_size=12), st.sampled_from(list(Kind)))
def test_other_text_is_a_value_error(given_text: str, kind: Kind) -> None:
    try:
        value = text.PARSE[kind](given_text)
    except ValueError as error:
        assert str(error)  # noqa: PT017  both outcomes are right, anything else is not
    else:
        assert text.FORMAT[kind](value) is not None


@given(st.integers(_FIRST, _LAST))
def test_timestamps_are_what_protobuf_writes(nanoseconds: int) -> None:
    oracle = Timestamp()
    oracle.FromNanoseconds(nanoseconds)
    assert text.format_timestamp(nanoseconds) == oracle.ToJsonString()
    assert text.parse_timestamp(oracle.ToJsonString()) == nanoseconds


@given(st.datetimes(timezones=st.timezones(no_cache=True) | st.just(datetime.UTC)))
def test_timestamps_with_zones_are_what_datetime_reads(moment: datetime.datetime) -> None:
    offset = moment.utcoffset()
    if offset is None or offset.total_seconds() % 60:
        return  # RFC 3339 has no seconds in its offsets
    delta = moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    wanted = (delta // datetime.timedelta(microseconds=1)) * 1000
    if _FIRST <= wanted <= _LAST:
        assert text.parse_timestamp(moment.isoformat()) == wanted


@given(st.integers(-(315_576_000_000 * 10**9), 315_576_000_000 * 10**9))
def test_durations_are_what_protobuf_writes(nanoseconds: int) -> None:
    oracle = Duration()
    oracle.FromNanoseconds(nanoseconds)
    assert text.format_seconds(nanoseconds) == oracle.ToJsonString()
    assert text.parse_duration(text.format_seconds(nanoseconds)) == nanoseconds


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_the_shortest_single_is_the_same_single(value: float) -> None:
    short = text.shortest_float32(value)
    assert struct.pack("<f", short) == struct.pack("<f", value)
    assert len(repr(short)) <= len(repr(value))


@given(st.binary())
def test_base64_of_both_alphabets_padded_or_not(value: bytes) -> None:
    for encoded in (base64.b64encode(value), base64.urlsafe_b64encode(value)):
        assert text.parse_bytes(encoded.decode()) == value
        assert text.parse_bytes(encoded.decode().rstrip("=")) == value


@pytest.mark.parametrize(
    ("kind", "given_text", "wanted"),
    [
        (Kind.BOOL, "1", True),
        (Kind.BOOL, "0", False),
        (Kind.INT32, "+5", 5),
        (Kind.FLOAT64, "-INF", -math.inf),
        (Kind.FLOAT64, "Infinity", math.inf),
        (Kind.FLOAT64, "1e3", 1000.0),
        (Kind.DECIMAL, "1E+3", Decimal(1000)),
        (Kind.DECIMAL, "-0.10", Decimal("-0.10")),
        (Kind.DATE, "2026-01-31+01:00", "2026-01-31+01:00"),
        (Kind.TIME, "24:00:00", "24:00:00"),
        (Kind.TIME, "13:30:00.5Z", "13:30:00.5Z"),
        (Kind.TIMESTAMP, "1970-01-01T00:00:00", 0),
        (Kind.TIMESTAMP, "1970-01-01 00:00:01z", 10**9),
        (Kind.TIMESTAMP, "1970-01-01T24:00:00Z", 86_400 * 10**9),
        (Kind.TIMESTAMP, "2016-12-31T23:59:60Z", 1483228800 * 10**9),
        (Kind.TIMESTAMP, "1970-01-01T00:00:00.0000000010Z", 1),
        (Kind.DURATION, "P1DT2H3M4.5S", (86_400 + 7200 + 180 + 4) * 10**9 + 500_000_000),
        (Kind.DURATION, "-P1W", -604_800 * 10**9),
        (Kind.DURATION, "P0Y1D", 86_400 * 10**9),
        (Kind.DURATION, "0.000000001s", 1),
    ],
)
def test_other_spellings(kind: Kind, given_text: str, wanted: Any) -> None:
    assert text.PARSE[kind](given_text) == wanted


@pytest.mark.parametrize(
    ("kind", "given_text", "message"),
    [
        (Kind.BOOL, "yes", "is not true or false"),
        (Kind.BOOL, "TRUE", "is not true or false"),
        (Kind.INT32, "2147483648", "out of the range of int32"),
        (Kind.INT64, "", "is not a whole number"),
        (Kind.INT64, "1_000", "is not a whole number"),
        (Kind.INT64, " 1", "is not a whole number"),
        (Kind.INT64, "٣", "is not a whole number"),
        (Kind.INT64, "1.0", "is not a whole number"),
        (Kind.UINT64, "-1", "out of the range of uint64"),
        (Kind.INTEGER, "9" * 5000, "is not a whole number"),
        (Kind.FLOAT64, "1e999", "out of the range of a float"),
        (Kind.FLOAT64, "1_0.0", "is not a number"),
        (Kind.FLOAT64, " 1.0", "is not a number"),
        (Kind.FLOAT64, "nan", "out of the range of a float"),
        (Kind.DECIMAL, "NaN", "is not a decimal number"),
        (Kind.DECIMAL, "Infinity", "is not a decimal number"),
        (Kind.DECIMAL, "1_0", "is not a decimal number"),
        (Kind.DECIMAL, "9" * 5000, "is not a decimal number"),
        (Kind.BYTES, "a", "not base64"),
        (Kind.BYTES, "=", "not base64"),
        (Kind.BYTES, "ab=c", "not base64"),
        (Kind.BYTES, "ä", "not base64"),
        (Kind.DATE, "2026-13-01", "is not a date"),
        (Kind.DATE, "31.01.2026", "is not a date"),
        (Kind.TIME, "24:00:01", "is not a time"),
        (Kind.TIMESTAMP, "2026-02-29T00:00:00Z", "not a date of the calendar"),
        (Kind.TIMESTAMP, "2026-01-01T25:00:00Z", "not a time of day"),
        (Kind.TIMESTAMP, "2026-01-01T24:00:01Z", "not a time of day"),
        (Kind.TIMESTAMP, "2026-01-01T00:00:00.0000000001Z", "more digits than nanoseconds"),
        (Kind.TIMESTAMP, "0001-01-01T00:00:00+01:00", "outside the years 1 to 9999"),
        (Kind.TIMESTAMP, "0000-01-01T00:00:00Z", "not a date of the calendar"),
        (Kind.TIMESTAMP, "2026-01-01", "is not a timestamp"),
        (Kind.TIMESTAMP, "2026-01-01T00:00:00+99:99", "is not a timestamp"),
        (Kind.DURATION, "P1M", "years and months have no fixed length"),
        (Kind.DURATION, "P", "is not a duration"),
        (Kind.DURATION, "PT", "is not a duration"),
        (Kind.DURATION, "1.0000000001s", "is not a duration"),
        (Kind.DURATION, "PT1.0000000001S", "more digits than nanoseconds"),
        (Kind.DURATION, "5", "is not a duration"),
    ],
)
def test_refusals_say_why(kind: Kind, given_text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        text.PARSE[kind](given_text)
    assert len(str(refused.value)) < 150, "what came from a stranger is not repeated at length"


def test_what_is_out_of_range_is_not_written() -> None:
    with pytest.raises(ValueError, match="outside the years"):
        text.format_timestamp(_LAST + 1)
    with pytest.raises(ValueError, match="outside the years"):
        text.format_timestamp(_FIRST - 1)
    assert text.format_float(math.nan) == "NaN"
    assert text.format_float(-math.inf, infinity="Infinity") == "-Infinity"
    assert text.format_duration(-1_500_000_000) == "-PT1.5S"
