"""Conversion between types by convention: lossless or loud."""

import math
import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from support.plain import plain, shown

from gateway.conversion import Converter, Finding
from gateway.schema.text import FORMAT, PARSE
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
    INTEGER_RANGE,
    INTEGERS,
    STRING,
    TIMESTAMP,
    UINT32,
    UINT64,
    Choice,
    Enumeration,
    Field,
    Kind,
    List,
    Map,
    Record,
    Scalar,
    Type,
)
from gateway.status import Code, Failure


def findings(source: Type, target: Type) -> list[Finding]:
    converter = Converter()
    converter.expression(source, target, "s", "$")
    return converter.findings


def convert(source: Type, target: Type, value: Any) -> Any:
    converter = Converter()
    python = converter.expression(source, target, "s", "$")
    assert not any(finding.fatal for finding in converter.findings), converter.findings
    converter.function(f"def convert_it(s):\n    return {python}")
    made = converter.build("test")[0]["convert_it"](plain(source, value))
    return shown(target, made)


def one(source: Type, target: Type) -> tuple[str, str, bool]:
    (finding,) = findings(source, target)
    return finding.path, finding.message, finding.fatal


@pytest.mark.parametrize(
    ("source", "target", "value", "wanted"),
    [
        (INT32, INT64, 5, 5),
        (UINT32, INT64, 2**32 - 1, 2**32 - 1),
        (INT64, INTEGER, -5, -5),
        (INT32, FLOAT64, 5, 5.0),
        (INT64, DECIMAL, 2**63 - 1, Decimal(2**63 - 1)),
        (INT64, STRING, -5, "-5"),
        (BOOL, STRING, True, "true"),
        (FLOAT32, FLOAT64, 0.10000000149011612, 0.1),
        (FLOAT32, DECIMAL, 0.10000000149011612, Decimal("0.1")),
        (FLOAT64, DECIMAL, 0.1, Decimal("0.1")),
        (FLOAT64, STRING, math.inf, "INF"),
        (DECIMAL, STRING, Decimal("1E+2"), "100"),
        (BYTES, STRING, b"\x00\xff", "AP8="),
        (TIMESTAMP, STRING, 10**9, "1970-01-01T00:00:01Z"),
        (DURATION, STRING, 1_500_000_000, "PT1.5S"),
        (DATE, STRING, "2026-01-31", "2026-01-31"),
        (INT64, ANY, 5, "5"),
        (List(INT32), List(INT64), [1, 2], [1, 2]),
        (List(INT32), List(STRING), [1, 2], ["1", "2"]),
        (List(INT32, nullable=True), List(STRING, nullable=True), [1, None], ["1", None]),
        (Map(INT32, INT32), Map(STRING, FLOAT64), {1: 2}, {"1": 2.0}),
        (Map(STRING, INT32), Map(STRING, INT64), {"a": 2}, {"a": 2}),
        (ANY, INT32, Decimal("3.0"), 3),
        (ANY, List(STRING), ["a"], ["a"]),
    ],
)
def test_lossless(source: Type, target: Type, value: Any, wanted: Any) -> None:
    assert convert(source, target, value) == wanted
    assert not findings(source, target)


@pytest.mark.parametrize(
    ("source", "target", "message", "fits", "wanted", "unfit", "refusal"),
    [
        (INT64, INT32, "int64 narrows to int32", 5, 5, 2**31, "out of the range of int32"),
        (INT64, UINT64, "int64 narrows to uint64", 5, 5, -1, "out of the range of uint64"),
        (INTEGER, INT64, "integer narrows to int64", -5, -5, 2**63, "out of the range of int64"),
        (INT64, FLOAT64, "int64 becomes float64", 2**53, 2.0**53, 2**53 + 1, "can't be held exactly by a float64"),
        (INTEGER, FLOAT64, "integer becomes float64", 1, 1.0, 10**400, "can't be held exactly by a float64"),
        (INT32, FLOAT32, "int32 becomes float32", 2**24, 2.0**24, 2**24 + 1, "can't be held exactly by a float32"),
        (FLOAT64, INT32, "float64 becomes int32", 3.0, 3, 3.5, "is not a whole number"),
        (FLOAT64, INT32, "float64 becomes int32", 3.0, 3, math.inf, "is not a finite number"),
        (DECIMAL, INT64, "decimal becomes int64", Decimal("3.00"), 3, Decimal("3.5"), "is not a whole number"),
        (DECIMAL, INT32, "decimal becomes int32", Decimal(3), 3, Decimal("1E+20"), "out of the range of int32"),
        (DECIMAL, FLOAT64, "decimal becomes float64", Decimal("0.1"), 0.1, Decimal("1E+400"), "range of float64"),
        (FLOAT64, FLOAT32, "float64 becomes float32", 0.5, 0.5, 1e39, "out of the range of float32"),
        (STRING, INT32, "text that is not a valid int32 is refused", "5", 5, "x", "is not a whole number"),
        (STRING, BOOL, "text that is not a valid bool is refused", "true", True, "yes", "is not true or false"),
        (STRING, BYTES, "text that is not a valid bytes is refused", "AP8=", b"\x00\xff", "?", "not base64"),
        (STRING, TIMESTAMP, "text that is not a valid timestamp", "1970-01-01T00:00:00Z", 0, "x", "not a timestamp"),
        (List(INT64), List(INT32), "int64 narrows to int32", [1], [1], [2**31], "out of the range of int32"),
        (
            Map(STRING, STRING),
            Map(INT32, STRING),
            "not a valid int32",
            {"1": "a"},
            {1: "a"},
            {"1": "", "01": ""},
            "two",
        ),
        (List(INT32, nullable=True), List(INT32), "a null item is refused", [1], [1], [None], "must not be null"),
    ],
)
def test_narrowing_is_reported_and_kept_at_run_time(
    source: Type, target: Type, message: str, fits: Any, wanted: Any, unfit: Any, refusal: str
) -> None:
    _, told, fatal = one(source, target)
    assert message in told and not fatal
    assert convert(source, target, fits) == wanted
    with pytest.raises(Failure, match=refusal) as refused:
        convert(source, target, unfit)
    assert refused.value.code is Code.INVALID_ARGUMENT and refused.value.path.startswith("$")


def test_infinities_stay_infinities() -> None:
    assert convert(FLOAT64, FLOAT32, -math.inf) == -math.inf
    assert math.isnan(convert(FLOAT64, FLOAT32, math.nan))


@pytest.mark.parametrize(
    ("source", "target", "message", "hint"),
    [
        (BOOL, INT32, "bool can't become int32", ""),
        (TIMESTAMP, INT64, "timestamp can't become int64", "declare the unit"),
        (DURATION, INT64, "duration can't become int64", ""),
        (DATE, TIMESTAMP, "date can't become timestamp", "declare the unit"),
        (List(STRING), STRING, "a list can't fill the single string", "take one item, as $.items[0]"),
        (STRING, List(STRING), "a single string can't fill a list", "each"),
        (Record("R"), STRING, "R can't become string", ""),
        (STRING, Record("R"), "string can't become R", ""),
        (Map(STRING, STRING), Record("R"), "map<string, string> can't become R", ""),
        (Enumeration("A", {"X": 0}), Enumeration("B", {"Y": 0}), "A and B have no name in common", "give a table"),
        (FLOAT64, Enumeration("A", {"X": 0}), "float64 can't become A", ""),
    ],
)
def test_what_can_not_be_is_refused(source: Type, target: Type, message: str, hint: str) -> None:
    (finding,) = findings(source, target)
    assert (finding.path, finding.message, finding.fatal) == ("$", message, True)
    assert hint in finding.hint


ORDER_STATE = Enumeration("shop.OrderState", {"ORDER_STATE_UNSPECIFIED": 0, "ORDER_STATE_PAID": 1}, open=True)
STATE = Enumeration("State", {"Paid": 5})


def test_enumerations_match_by_convention() -> None:
    (path, message, fatal) = one(ORDER_STATE, STATE)
    assert (path, fatal) == ("$", False) and "ORDER_STATE_UNSPECIFIED of shop.OrderState has no counterpart" in message
    assert convert(ORDER_STATE, STATE, "ORDER_STATE_PAID") == "Paid"
    for value in ("ORDER_STATE_UNSPECIFIED", 77):
        with pytest.raises(Failure, match="has no counterpart in State"):
            convert(ORDER_STATE, STATE, value)
    assert convert(STATE, ORDER_STATE, "Paid") == "ORDER_STATE_PAID"
    assert not findings(STATE, ORDER_STATE)
    other = Enumeration("OrderState", {"UNSPECIFIED": 0, "PAID": 9}, open=True)
    assert convert(ORDER_STATE, other, 77) == 77, "an unknown number stays one where both are open"


def test_enumerations_as_text_and_numbers() -> None:
    assert convert(ORDER_STATE, STRING, "ORDER_STATE_PAID") == "ORDER_STATE_PAID"
    assert convert(ORDER_STATE, INT32, "ORDER_STATE_PAID") == 1
    assert convert(ORDER_STATE, INT32, 77) == 77
    assert convert(INT32, ORDER_STATE, 1) == "ORDER_STATE_PAID"
    assert convert(STRING, ORDER_STATE, "paid") == "ORDER_STATE_PAID"
    assert one(STRING, ORDER_STATE)[1] == "text that is no name of shop.OrderState is refused"
    with pytest.raises(Failure, match="'gone' has no counterpart"):
        convert(STRING, ORDER_STATE, "gone")
    with pytest.raises(Failure, match="7 is not one of Paid"):
        convert(INT32, STATE, 7)


def record(*fields: Field, name: str = "Target", choices: Any = ()) -> Record:
    return Record(name, fields, choices=choices)


def test_records_match_by_convention_of_names() -> None:
    line = record(Field("SKU", STRING), Field("qty", INT32), name="Line")
    source = record(Field("customerId", STRING), Field("Order-Lines", List(line)), name="Source")
    target = record(
        Field("customer_id", STRING),
        Field("order_lines", List(record(Field("sku", STRING), Field("Qty", INT64), name="OrderLine"))),
    )
    assert convert(source, target, {"customerId": "c", "Order-Lines": [{"SKU": "s", "qty": 1}]}) == {
        "customer_id": "c", "order_lines": [{"sku": "s", "Qty": 1}]
    }  # fmt: skip
    assert not findings(source, target)


def test_recursive_records() -> None:
    def tree(name: str, number: Scalar) -> Record:
        made = Record(name)
        made.fields = (Field("n", number), Field("children", List(made)), Field("parent", made))
        return made

    value = {"n": 1, "children": [{"n": 2, "children": []}], "parent": {"n": 3}}
    assert convert(tree("A", INT32), tree("B", INT64), value) == value


@pytest.mark.parametrize(
    ("source", "target", "path", "message", "fatal"),
    [
        (
            [Field("a", STRING), Field("b", STRING)],
            [Field("a", STRING)],
            "$.b",
            "dropped: Target has no field for it",
            False,
        ),
        ([], [Field("a", STRING, required=True)], "$.a", "a of Target is required and nothing fills it", True),
        (
            [Field("a", STRING)],
            [Field("a", STRING, required=True)],
            "$.a",
            "required by the target as a, optional here: refused when absent",
            False,
        ),
        ([Field("a", STRING, required=True, nullable=True)], [Field("a", STRING)], "$.a", "null becomes absent", False),
        (
            [Field("order_id", STRING), Field("orderId", STRING)],
            [Field("order_id", STRING)],
            "$",
            "order_id and orderId of Source are one name by convention",
            True,
        ),
        (
            [Field("a", List(record(Field("b", INT64), name="S")))],
            [Field("a", List(record(Field("b", INT32), name="T")))],
            "$.a[].b",
            "int64 narrows to int32: what is out of its range is refused",
            False,
        ),
    ],
)
def test_what_records_lose(source: list[Field], target: list[Field], path: str, message: str, fatal: bool) -> None:
    assert one(record(*source, name="Source"), record(*target)) == (path, message, fatal)


@pytest.mark.parametrize(
    ("source", "target", "value", "wanted"),
    [
        (Field("a", INT32), Field("a", INT32), {}, {}),
        (Field("a", INT32, default=0), Field("a", INT64), {"a": 0}, {"a": 0}),
        (Field("a", INT32), Field("a", INT64, default=7), {}, {"a": 7}),
        (Field("a", INT32), Field("a", STRING), {}, {}),
        (Field("a", List(INT32)), Field("a", List(INT64), default=[]), {}, {"a": []}),
        (Field("a", INT32, nullable=True), Field("a", INT64, nullable=True), {"a": None}, {"a": None}),
        (Field("a", INT32, nullable=True), Field("a", STRING, nullable=True), {}, {}),
        (Field("a", INT32, nullable=True), Field("a", STRING, nullable=True), {"a": 1}, {"a": "1"}),
        (Field("a", INT32, nullable=True), Field("a", INT32), {"a": None}, {}),
        (Field("a", INT32, nullable=True), Field("a", INT32, default=7), {"a": None}, {"a": 7}),
        (
            Field("a", ORDER_STATE, default="ORDER_STATE_UNSPECIFIED"),
            Field("a", STATE),
            {"a": "ORDER_STATE_UNSPECIFIED"},
            {},
        ),
    ],
)
def test_absent_null_and_default_are_three_things(source: Field, target: Field, value: Any, wanted: Any) -> None:
    assert convert(record(source, name="Source"), record(target), value) == wanted


@pytest.mark.parametrize("value", [{}, {"a": None}])
def test_what_is_required_is_missed_at_its_place(value: Any) -> None:
    source = record(record_field := Field("b", record(Field("a", STRING, nullable=True), name="In"), required=True))
    target = record(Field("b", record(Field("a", STRING, required=True), name="Out"), required=True))
    with pytest.raises(Failure, match="missing required field") as refused:
        convert(source, target, {record_field.name: value})
    assert refused.value.path == "$.b.a"


A, B, C = (Field(name, STRING, choice="how") for name in "abc")
ONE = [Choice("how", required=True)]
AT_MOST = [Choice("how")]


def test_choices_stay_choices() -> None:
    source, target = record(A, B, name="Source", choices=ONE), record(A, B, choices=ONE)
    assert convert(source, target, {"b": "x"}) == {"b": "x"}
    assert not findings(source, target)


def test_a_choice_that_nothing_can_fill_is_refused() -> None:
    path, message, fatal = one(record(name="Source"), record(A, B, choices=ONE))
    assert (path, message, fatal) == ("$", "one of a, b of Target is required and nothing fills it", True)


@pytest.mark.parametrize(
    ("source", "target", "value", "message"),
    [
        (record(Field("a", STRING), Field("b", STRING)), AT_MOST, {"a": "x", "b": "y"}, "a and b are both set"),
        (record(Field("a", STRING), Field("b", STRING)), ONE, {}, "one of a, b must be set"),
        (record(A, B, choices=AT_MOST), ONE, {}, "one of a, b must be set"),
        (record(A, B, C, choices=ONE), ONE, {"c": "x"}, "one of a, b must be set"),
    ],
)
def test_a_choice_is_kept_where_the_source_knows_none(source: Record, target: Any, value: Any, message: str) -> None:
    with pytest.raises(Failure, match=message):
        convert(source, record(A, B, choices=target), value)


@pytest.mark.parametrize(
    "name", ["str", "float", "len", "class", "None", "lambda", "convert_0", "s", "U", "Décor", "1"]
)
def test_records_of_any_name(name: str) -> None:
    inner, other = record(Field("n", INT32), name=name), record(Field("n", INT64), name=name)
    source = record(Field("r", inner), Field("e", ORDER_STATE), Field("i", INT64), name=name)
    target = record(Field("r", other), Field("e", STRING), Field("i", FLOAT64), name=name)
    assert convert(source, target, {"r": {"n": 1}, "e": "ORDER_STATE_PAID", "i": 5}) == {
        "r": {"n": 1}, "e": "ORDER_STATE_PAID", "i": 5.0
    }  # fmt: skip


def test_records_and_any() -> None:
    source = record(Field("a", INT32), Field("at", TIMESTAMP), name="Source")
    assert convert(source, ANY, {"a": 1, "at": 0}) == {"a": 1, "at": "1970-01-01T00:00:00Z"}
    assert convert(ANY, source, {"a": "1"}) == {"a": 1}
    with pytest.raises(Failure, match="unknown field") as refused:
        convert(ANY, source, {"b": 1})
    assert refused.value.path == "$.b"


def test_a_source_is_not_changed() -> None:
    """Two rules may read the same value, and an encoder changes what it gets."""
    converter = Converter()
    inner = record(Field("at", TIMESTAMP), name="In")
    python = converter.expression(inner, ANY, "s", "$")
    converter.function(f"def run(s):\n    return {python}")
    value = plain(inner, {"at": 0})
    run = converter.build("test")[0]["run"]
    assert run(value) == run(value) == {"at": "1970-01-01T00:00:00Z"}
    assert value.at == 0


_INTEGER_KINDS = sorted(INTEGERS, key=lambda kind: kind.value)


@given(st.sampled_from(_INTEGER_KINDS), st.sampled_from(_INTEGER_KINDS), st.data())
def test_integers_arrive_as_they_are_or_not_at_all(low: Kind, high: Kind, data: st.DataObject) -> None:
    least, most = INTEGER_RANGE.get(low, (-(2**70), 2**70))
    value = data.draw(st.integers(least, most))
    least, most = INTEGER_RANGE.get(high, (-(2**70), 2**70))
    if least <= value <= most:
        assert convert(Scalar(low), Scalar(high), value) == value
    else:
        with pytest.raises(Failure, match="out of the range"):
            convert(Scalar(low), Scalar(high), value)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_singles_come_back_from_doubles_and_decimals(value: float) -> None:
    for between in (FLOAT64, DECIMAL, STRING):
        there = convert(FLOAT32, between, value)
        back = convert(between, FLOAT32, there)
        assert struct.pack("<f", back) == struct.pack("<f", value) or (value == 0 and back == 0)


@given(st.sampled_from([kind for kind in Kind if kind is not Kind.ANY]))
def test_each_scalar_becomes_text_and_comes_back(kind: Kind) -> None:
    text = {
        Kind.BOOL: "true", Kind.FLOAT32: "0.5", Kind.FLOAT64: "0.5", Kind.DECIMAL: "1.50", Kind.STRING: "x",
        Kind.BYTES: "AP8=", Kind.DATE: "2026-01-31", Kind.TIME: "12:00:00", Kind.TIMESTAMP: "1970-01-01T00:00:00Z",
        Kind.DURATION: "PT1.5S",
    }.get(kind, "5")  # fmt: skip
    value = PARSE[kind](text)
    assert convert(Scalar(kind), STRING, value) == FORMAT[kind](value) == text
    assert convert(STRING, Scalar(kind), text) == value


def test_unset_is_never_a_value() -> None:
    source = record(Field("a", ANY), name="Source")
    made = convert(source, record(Field("a", STRING)), {})
    assert made == {} and UNSET not in made.values()
