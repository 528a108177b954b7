"""The JSON codec against protobuf's own json_format, and its words for what is wrong."""

import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from support.plain import plain, shown
from test_protobuf_codec import EVERYTHING, SCHEMA, Everything, everythings

from gateway.codecs.format import Unknown
from gateway.codecs.json.format import NESTING, JsonFormat, read
from gateway.codecs.protobuf.format import ProtobufFormat
from gateway.schema.idl.json.hint import JsonHint
from gateway.schema.types import (
    ANY,
    BOOL,
    BYTES,
    DATE,
    DECIMAL,
    DURATION,
    FLOAT32,
    FLOAT64,
    INT32,
    INT64,
    INTEGER,
    STRING,
    TIME,
    TIMESTAMP,
    UINT32,
    UINT64,
    Choice,
    Enumeration,
    Field,
    List,
    Map,
    Record,
    Type,
)
from gateway.status import Code, Failure

from_protobuf = ProtobufFormat(SCHEMA).decoder(EVERYTHING, Unknown.REJECT)
to_protobuf = ProtobufFormat(SCHEMA).encoder(EVERYTHING)
from_json = JsonFormat().decoder(EVERYTHING, Unknown.REJECT)
to_json = JsonFormat().encoder(EVERYTHING)

# A message of every kind takes minutes to shrink.
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)


def without_decimals(message: Any) -> None:
    """google.type.Decimal has a form of its own here, text; json_format knows it as any message."""
    message.ClearField("price")
    message.ClearField("prices")
    if message.HasField("parent"):
        without_decimals(message.parent)


@given(everythings())
@settings(max_examples=150, deadline=None, phases=NO_SHRINKING)
def test_json_format_reads_what_we_write_and_writes_what_we_read(message: Any) -> None:
    without_decimals(message)
    ours = to_json(from_protobuf(message.SerializeToString()))
    assume(b"3.4028235e38" not in ours)  # json_format writes the largest float so and does not read it
    assert json_format.Parse(ours, Everything(), descriptor_pool=SCHEMA.pool) == message
    theirs = json_format.MessageToJson(message, descriptor_pool=SCHEMA.pool)
    assert Everything.FromString(to_protobuf(from_json(theirs.encode()))) == message


@given(everythings())
@settings(max_examples=75, deadline=None, phases=NO_SHRINKING)
def test_both_write_the_same_members(message: Any) -> None:
    without_decimals(message)
    ours = json.loads(to_json(from_protobuf(message.SerializeToString())))
    theirs = json.loads(json_format.MessageToJson(message, descriptor_pool=SCHEMA.pool))
    assert ours == theirs


@given(everythings())
@settings(max_examples=75, deadline=None, phases=NO_SHRINKING)
def test_original_names_are_read_too(message: Any) -> None:
    without_decimals(message)
    theirs = json_format.MessageToJson(message, descriptor_pool=SCHEMA.pool, preserving_proto_field_name=True)
    assert Everything.FromString(to_protobuf(from_json(theirs.encode()))) == message


COLOR = Enumeration("Color", {"RED": 0, "GREEN": 5})
OPEN = Enumeration("Open", {"A": 0, "B": 1}, open=True)
TREE = Record("Tree")
TREE.fields = (Field("name", STRING), Field("children", List(TREE)))
PAYMENT = Record(
    "Payment",
    [Field("card", STRING, choice="how"), Field("iban", STRING, choice="how"), Field("cents", INT64)],
    choices=[Choice("how", required=True)],
)
ORDER = Record(
    "Order",
    [
        Field("id", STRING, required=True),
        Field("quantity", INT32),
        Field("total_cents", INT64, json_name="totalCents"),
        Field("price", DECIMAL),
        Field("note", STRING, nullable=True),
        Field("color", COLOR),
        Field("open", OPEN),
        Field("lines", List(Record("Line", [Field("sku", STRING, required=True), Field("n", UINT32)]))),
        Field("tags", Map(STRING, INT64)),
        Field("at", TIMESTAMP),
        Field("took", DURATION),
        Field("day", DATE),
        Field("hour", TIME),
        Field("data", BYTES),
        Field("ratio", FLOAT64),
        Field("weight", FLOAT32),
        Field("big", UINT64),
        Field("huge", INTEGER),
        Field("ok", BOOL),
        Field("extra", ANY),
        Field("limits", List(INT32, nullable=True)),
        Field("count", INT32, default=7),
        Field("class", STRING),
        Field("payment", PAYMENT),
        Field("tree", TREE),
        Field("flags", Map(BOOL, STRING)),
        Field("numbers", Map(INT32, STRING)),
    ],
)


def decode(text: str | bytes, type_: Type = ORDER, unknown: Unknown = Unknown.REJECT) -> Any:
    body = text if isinstance(text, bytes) else text.encode()
    return JsonFormat().decoder(type_, unknown)(body)


def encode(value: Any, type_: Type = ORDER, format_: JsonFormat = JsonFormat()) -> Any:  # noqa: B008  it is frozen
    return json.loads(format_.encoder(type_)(plain(type_, value)))


@pytest.mark.parametrize(
    ("member", "wanted"),
    [
        ('"quantity": 3', 3),
        ('"quantity": "3"', 3),
        ('"quantity": 3.0', 3),
        ('"quantity": 3e0', 3),
        ('"totalCents": 9007199254740993', 9007199254740993),
        ('"totalCents": "9007199254740993"', 9007199254740993),
        ('"total_cents": "-9223372036854775808"', -(2**63)),
        ('"price": 1.10', Decimal("1.10")),
        ('"price": "1.10"', Decimal("1.10")),
        ('"price": 123456789012345678901234567890.123456789', Decimal("123456789012345678901234567890.123456789")),
        ('"note": null', None),
        ('"color": "GREEN"', "GREEN"),
        ('"color": 5', "GREEN"),
        ('"open": 77', 77),
        ('"open": 1', "B"),
        ('"at": "2026-01-31T13:30:00.123456789Z"', 1769866200123456789),
        ('"at": "2026-01-31T14:30:00.5+01:00"', 1769866200500000000),
        ('"took": "1.5s"', 1_500_000_000),
        ('"took": "PT1.5S"', 1_500_000_000),
        ('"data": "AP8="', b"\x00\xff"),
        ('"data": "AP8"', b"\x00\xff"),
        ('"data": "-_8="', b"\xfb\xff"),
        ('"ratio": 1', 1.0),
        ('"ratio": "Infinity"', math.inf),
        ('"ratio": "-Infinity"', -math.inf),
        ('"weight": 0.1', 0.1),
        ('"big": "18446744073709551615"', 2**64 - 1),
        ('"huge": 123456789012345678901234567890', 123456789012345678901234567890),
        ('"ok": false', False),
        ('"extra": {"a": [1, 1.50, null]}', {"a": [1, Decimal("1.50"), None]}),
        ('"extra": null', None),
        ('"limits": [1, null]', [1, None]),
        ('"tags": {"a": "9223372036854775807"}', {"a": 2**63 - 1}),
        ('"class": "x"', "x"),
        ('"payment": {"iban": "x"}', {"iban": "x"}),
        ('"tree": {"name": "a", "children": [{"name": "b"}]}', {"name": "a", "children": [{"name": "b"}]}),
        ('"flags": {"true": "x"}', {True: "x"}),
        ('"numbers": {"-5": "x"}', {-5: "x"}),
        ('"quantity": null', UNSET),
    ],
)
def test_every_legal_form_is_read(member: str, wanted: Any) -> None:
    name = json.loads("{" + member + "}").popitem()[0]
    value = decode('{"id": "o", ' + member + "}")
    field = next(field for field in ORDER.fields if name in (field.name, field.json))
    assert shown(field.type, getattr(value, field.attr)) == wanted
    assert type(getattr(value, field.attr)) is not bool or wanted in (True, False)


@pytest.mark.parametrize(
    ("text", "message", "path"),
    [
        ("", "the body is empty, JSON is expected", ""),
        ("{", "malformed JSON", ""),
        ('{"id": "o"} x', "malformed JSON", ""),
        ('{"id": "o",}', "malformed JSON", ""),
        ("{'id': 'o'}", "malformed JSON", ""),
        ('{"id": "o", "ratio": NaN}', "malformed JSON", ""),
        ('{"id": "o", "ratio": Infinity}', "malformed JSON", ""),
        (b'{"id": "\xff"}', "valid UTF-8", ""),
        ('{"id": "\\ud800"}', "malformed JSON", ""),
        ("[]", "an object is expected, not an array", "$"),
        ("null", "an object is expected, not null", "$"),
        ("{}", "missing required field", "$.id"),
        ('{"id": null}', "must not be null", "$.id"),
        ('{"id": 5}', "a string is expected, not 5", "$.id"),
        ('{"id": "o", "idd": 1}', "unknown field", "$.idd"),
        ('{"id": "o", "quantity": 2147483648}', "out of the range of int32", "$.quantity"),
        ('{"id": "o", "quantity": 1.5}', "is not a whole number", "$.quantity"),
        ('{"id": "o", "quantity": true}', "a whole number is expected, not true", "$.quantity"),
        ('{"id": "o", "quantity": "x"}', "'x' is not a whole number", "$.quantity"),
        ('{"id": "o", "quantity": 1e400}', "is not a whole number", "$.quantity"),
        ('{"id": "o", "totalCents": 9223372036854775808}', "out of the range of int64", "$.totalCents"),
        ('{"id": "o", "totalCents": 1, "total_cents": 2}', "given twice, under both of its names", "$.total_cents"),
        ('{"id": "o", "big": -1}', "out of the range of uint64", "$.big"),
        ('{"id": "o", "big": 18446744073709551616}', "out of the range of uint64", "$.big"),
        ('{"id": "o", "lines": {}}', "an array is expected, not an object", "$.lines"),
        ('{"id": "o", "lines": [{"sku": "a"}, {}]}', "missing required field", "$.lines[1].sku"),
        ('{"id": "o", "lines": [{"sku": "a", "n": -1}]}', "out of the range of uint32", "$.lines[0].n"),
        ('{"id": "o", "lines": [null]}', "an object is expected, not null", "$.lines[0]"),
        ('{"id": "o", "tags": {"a": "x"}}', "is not a whole number", "$.tags.a"),
        ('{"id": "o", "tags": {"a": null}}', "a whole number is expected, not null", "$.tags.a"),
        ('{"id": "o", "color": "BLUE"}', "'BLUE' is not one of RED, GREEN", "$.color"),
        ('{"id": "o", "color": 1}', "1 is not one of RED, GREEN", "$.color"),
        ('{"id": "o", "open": 2147483648}', "is not one of A, B", "$.open"),
        ('{"id": "o", "at": "yesterday"}', "is not a timestamp", "$.at"),
        ('{"id": "o", "at": "2026-02-30T00:00:00Z"}', "not a date of the calendar", "$.at"),
        ('{"id": "o", "at": 5}', "a timestamp string is expected, not 5", "$.at"),
        ('{"id": "o", "took": "1 h"}', "is not a duration", "$.took"),
        ('{"id": "o", "day": "2026-1-1"}', "is not a date", "$.day"),
        ('{"id": "o", "hour": "25:00:00"}', "is not a time", "$.hour"),
        ('{"id": "o", "data": "?"}', "not base64", "$.data"),
        ('{"id": "o", "ratio": "x"}', "is not a number", "$.ratio"),
        ('{"id": "o", "weight": 1e39}', "out of the range of float32", "$.weight"),
        ('{"id": "o", "price": "NaN"}', "is not a decimal number", "$.price"),
        ('{"id": "o", "price": true}', "a decimal number is expected, not true", "$.price"),
        ('{"id": "o", "ok": "true"}', "true or false is expected", "$.ok"),
        ('{"id": "o", "ok": 1}', "true or false is expected, not 1", "$.ok"),
        ('{"id": "o", "payment": {}}', "one of card, iban must be set", "$.payment"),
        ('{"id": "o", "payment": {"card": "a", "iban": "b"}}', "card is set too", "$.payment.iban"),
        ('{"id": "o", "flags": {"yes": "x"}}', "member name: 'yes' is not true or false", "$.flags"),
        ('{"id": "o", "numbers": {"x": "x"}}', "member name: 'x' is not a whole number", "$.numbers"),
        ('{"id": "o", "huge": ' + "9" * 5000 + "}", "Integer value out of range", ""),
        ('{"id": "o", "huge": "' + "9" * 5000 + '"}', "is not a whole number", "$.huge"),
    ],
)
def test_refusals_name_the_place(text: str | bytes, message: str, path: str) -> None:
    with pytest.raises(Failure) as refused:
        decode(text)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert message in refused.value.message
    assert refused.value.path == path
    assert not refused.value.sent


def test_unknown_members_are_dropped_where_the_endpoint_says_so() -> None:
    value = decode('{"id": "o", "new": {"a": 1}, "lines": [{"sku": "s", "b": 2}]}', unknown=Unknown.DROP)
    assert shown(ORDER, value) == {"id": "o", "lines": [{"sku": "s"}], "count": 7}


def test_of_a_repeated_member_the_last_counts() -> None:
    assert decode('{"id": "a", "id": "b"}').id == "b"


@pytest.mark.parametrize("opening", ['{"children":[', '{"name":"a","children":[{"name":"b"},'])
def test_nesting_bombs_are_refused(opening: str) -> None:
    deep = NESTING
    bomb = '{"id":"o","tree":' + opening * deep + "]}" * deep + "}"
    with pytest.raises(Failure, match="nested deeper than 64 levels"):
        decode(bomb)
    with pytest.raises(Failure, match="nested deeper than 64 levels"):
        decode("[" * 100_000, ANY)
    with pytest.raises(Failure, match="nested deeper than 64 levels"):
        decode("[" * 100_000)


def test_brackets_in_text_are_no_nesting() -> None:
    assert decode(json.dumps({"id": "[" * 200, "extra": "{[" * 100 + '\\"[['})).id == "[" * 200


def test_written_forms_follow_the_options() -> None:
    value = {"id": "o", "total_cents": 5, "price": Decimal("1E+3"), "big": 6, "huge": 7, "tags": {"a": 8}}
    assert encode(value) == {
        "id": "o", "totalCents": "5", "price": "1000", "big": "6", "huge": "7", "tags": {"a": "8"}
    }  # fmt: skip
    numbers = JsonFormat(int64="number", decimal="number")
    assert encode(value, format_=numbers) == {
        "id": "o", "totalCents": 5, "price": 1000, "big": 6, "huge": 7, "tags": {"a": 8}
    }  # fmt: skip


def test_values_of_the_table_are_written() -> None:
    value = {
        "id": "o",
        "note": None,
        "color": "GREEN",
        "open": 77,
        "at": 1_500_000_000,
        "took": -1_500_000_000,
        "data": b"\x00\xff",
        "ratio": -math.inf,
        "weight": 0.10000000149011612,
        "extra": {"a": [None, Decimal("1.50")]},
        "limits": [1, None],
        "count": 7,
        "flags": {True: "x"},
        "numbers": {-5: "y"},
        "class": "c",
    }
    assert encode(value) == {
        "id": "o",
        "note": None,
        "color": "GREEN",
        "open": 77,
        "at": "1970-01-01T00:00:01.500Z",
        "took": "-1.500s",
        "data": "AP8=",
        "ratio": "-Infinity",
        "weight": 0.1,
        "extra": {"a": [None, 1.5]},
        "limits": [1, None],
        "flags": {"true": "x"},
        "numbers": {"-5": "y"},
        "class": "c",
    }


def test_zero_values_of_their_contract_are_left_out_and_others_not() -> None:
    record = Record(
        "R", [Field("a", INT64, default=0), Field("b", FLOAT64, default=0.0), Field("c", INT64), Field("d", INT32)]
    )
    assert encode({"a": 0, "b": 0.0, "c": 0, "d": 0}, record) == {"c": "0", "d": 0}
    assert encode({"a": 1, "b": -0.0}, record) == {"a": "1", "b": -0.0}


def test_a_contract_that_says_how_it_is_written_wins_where_it_is_asked() -> None:
    number = JsonHint(int64="number", decimal="number", duration="iso8601")
    record = Record(
        "R",
        [
            Field("a", INT64, wire=number),
            Field("b", List(DECIMAL), wire=number),
            Field("c", DURATION, wire=number),
            Field("d", Map(STRING, UINT64), wire=JsonHint()),
            Field("e", INT64),
        ],
    )
    value = {"a": 1, "b": [Decimal("1.50")], "c": 1_500_000_000, "d": {"x": 2}, "e": 3}
    assert encode(value, record) == {"a": "1", "b": ["1.50"], "c": "1.500s", "d": {"x": "2"}, "e": "3"}
    declared = JsonFormat(int64="number", declared=True)
    assert encode(value, record, declared) == {"a": 1, "b": [1.5], "c": "PT1.5S", "d": {"x": "2"}, "e": 3}


_VALUES = {
    "id": st.text(max_size=5),
    "quantity": st.integers(-(2**31), 2**31 - 1),
    "total_cents": st.integers(-(2**63), 2**63 - 1),
    "price": st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20),
    "note": st.none() | st.text(max_size=5),
    "color": st.sampled_from(["RED", "GREEN"]),
    "open": st.sampled_from(["A", "B", 9, -1]),
    "tags": st.dictionaries(st.text(max_size=3), st.integers(-(2**63), 2**63 - 1), max_size=3),
    "at": st.integers(-62135596800 * 10**9, 253402300799 * 10**9),
    "took": st.integers(-(10**20), 10**20),
    "data": st.binary(max_size=8),
    "ratio": st.floats(allow_nan=False),
    "weight": st.floats(allow_nan=False, width=32),
    "big": st.integers(0, 2**64 - 1),
    "huge": st.integers(-(10**30), 10**30),
    "ok": st.booleans(),
    "limits": st.lists(st.none() | st.integers(-5, 5), max_size=3),
    "flags": st.dictionaries(st.booleans(), st.text(max_size=3)),
    "numbers": st.dictionaries(st.integers(-5, 5), st.text(max_size=3), max_size=3),
    "lines": st.lists(st.fixed_dictionaries({"sku": st.text(max_size=3)}), max_size=2),
}


@given(
    st.fixed_dictionaries({"id": _VALUES["id"]}, optional={k: v for k, v in _VALUES.items() if k != "id"}),
    st.sampled_from([JsonFormat(), JsonFormat("number", "number"), JsonFormat(declared=True)]),
)
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_again(value: dict[str, Any], format_: JsonFormat) -> None:
    body = format_.encoder(ORDER)(plain(ORDER, value))
    again = shown(ORDER, format_.decoder(ORDER, Unknown.REJECT)(body))
    again.pop("count")
    if "weight" in value and math.isfinite(value["weight"]):
        # A double with few digits stands for the single; both are the same single.
        assert math.isclose(again.pop("weight"), value.pop("weight"), rel_tol=1e-7, abs_tol=1e-45)
    assert again == value


def outcome(body: bytes, make: Callable[[bytes], Any]) -> Any:
    """What it made, or its Failure; nothing else may come out."""
    try:
        return make(body)
    except Failure as failure:
        return failure


@given(st.binary(max_size=64))
@settings(max_examples=200, deadline=None)
def test_garbage_is_refused_as_such(body: bytes) -> None:
    refused = outcome(body, decode)
    assert isinstance(refused, Failure) and refused.code is Code.INVALID_ARGUMENT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
@settings(max_examples=150, deadline=None)
def test_any_keeps_every_json_value(value: Any) -> None:
    body = json.dumps(value).encode()
    assert json.loads(JsonFormat().encoder(ANY)(decode(body, ANY))) == value


@given(st.fixed_dictionaries({}, optional={field.name: JSON for field in ORDER.fields}))
@settings(max_examples=200, deadline=None)
def test_the_strict_pass_and_the_lenient_one_agree(value: dict[str, Any]) -> None:
    """What the fast path accepts, `read` reads the same; what `read` refuses, the decoder does, at the same place."""
    body = json.dumps(value).encode()
    fast = outcome(body, decode)
    slow = outcome(body, lambda text: read(ORDER, json.loads(text, parse_float=Decimal)))
    if isinstance(slow, Failure):
        assert isinstance(fast, Failure) and fast.path == slow.path
    else:
        assert shown(ORDER, fast) == shown(ORDER, slow)


def test_where_unknown_members_are_dropped_the_original_names_are_known_ones() -> None:
    inner = Record("Inner", [Field("line_count", INT32, json_name="lineCount")])
    outer = Record("Outer", [Field("order_id", STRING, json_name="orderId"), Field("inner", inner)])
    for body in (b'{"order_id": "o", "new": 1}', b'{"orderId": "o", "new": 1}'):
        assert shown(outer, JsonFormat().decoder(outer, Unknown.DROP)(body)) == {"order_id": "o"}
    nested = b'{"orderId": "o", "inner": {"line_count": 3, "new": 1}}'
    assert shown(outer, JsonFormat().decoder(outer, Unknown.DROP)(nested))["inner"] == {"line_count": 3}
