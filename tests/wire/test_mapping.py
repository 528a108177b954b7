"""Field maps: typed against both contracts, compiled, and told what is wrong with them."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter
from support.plain import plain, shown

from gateway.conversion import Finding
from gateway.mapping import Translation, compile_mapping, compile_sources
from gateway.rules import Rule
from gateway.schema.types import (
    ANY,
    BOOL,
    DECIMAL,
    INT32,
    INT64,
    INTEGER,
    STRING,
    TIMESTAMP,
    Choice,
    Enumeration,
    Field,
    List,
    Map,
    Record,
    Type,
)
from gateway.status import Code, Failure

RULE: TypeAdapter[Any] = TypeAdapter(Rule)
KIND = Enumeration("Kind", {"SMALL": 0, "LARGE": 1})
LINE = Record("Line", [Field("code", STRING, required=True), Field("qty", INT32), Field("note", STRING)])
BUYER = Record("Buyer", [Field("id", STRING, required=True), Field("name", STRING), Field("vip", BOOL)])
SOURCE = Record(
    "Source",
    [
        Field("number", STRING, required=True),
        Field("buyer", BUYER, required=True),
        Field("agent", BUYER),
        Field("lines", List(LINE)),
        Field("total", INT64),
        Field("kind", KIND),
        Field("labels", Map(STRING, STRING)),
        Field("remark", STRING, nullable=True),
        Field("at", TIMESTAMP),
        Field("extra", ANY),
        Field("tags", List(STRING, nullable=True)),
    ],
)
VALUE = {
    "number": "n1",
    "buyer": {"id": "b1", "name": "Bo", "vip": True},
    "lines": [{"code": "a", "qty": 2}, {"code": "b"}],
    "total": 500,
    "kind": "LARGE",
    "labels": {"x": "1", "odd name": "2"},
    "remark": None,
    "at": 0,
    "extra": {"deep": [{"n": Decimal("1.5")}], "flag": True},
    "tags": ["t", "u"],
}
PARAMS: dict[str, Type] = {"id": STRING, "page": INT32}


def rules(given: dict[str, Any]) -> dict[str, Any]:
    return {name: RULE.validate_python(rule) for name, rule in given.items()}


def target(*fields: Field, choices: Any = ()) -> Record:
    return Record("Target", fields, choices=choices)


def translate(given: dict[str, Any], to: Type | None, source: Type | None = SOURCE, **options: Any) -> Translation:
    return compile_mapping(rules(given), source, to, PARAMS, "test", **options)


def run(
    given: dict[str, Any],
    to: Type | None,
    value: Any = VALUE,
    source: Type | None = SOURCE,
    params: Any = None,
    headers: Any = (),
    key: bytes | None = None,
) -> Any:
    translation = translate(given, to, source)
    assert translation.apply is not None, translation.findings
    made = translation.apply(plain(translation.source, value), params or {}, headers, key)
    return shown(translation.target, made)


def fatal(given: dict[str, Any], to: Type | None, source: Type | None = SOURCE) -> Finding:
    translation = translate(given, to, source)
    assert translation.apply is None
    (finding,) = [finding for finding in translation.findings if finding.fatal]
    return finding


@pytest.mark.parametrize(
    ("rule", "type_", "wanted"),
    [
        ("$.number", STRING, "n1"),
        ("$.buyer.id", STRING, "b1"),
        ("$.buyer.vip", BOOL, True),
        ("$.lines[1].code", STRING, "b"),
        ("$.labels.x", STRING, "1"),
        ('$.labels["odd name"]', STRING, "2"),
        ("$.total", STRING, "500"),
        ("$.kind", STRING, "LARGE"),
        ("$.at", STRING, "1970-01-01T00:00:00Z"),
        ("$.extra.deep[0].n", DECIMAL, Decimal("1.5")),
        ("$.extra", ANY, {"deep": [{"n": Decimal("1.5")}], "flag": True}),
        ("$root.number", STRING, "n1"),
        ("$params.id", STRING, "p1"),
        ("$params.page", INT32, 3),
        ("$headers.X-Tenant", STRING, "t1"),
        ("$headers.x-bin", STRING, "raw"),
        ("$key", STRING, "k1"),
        ({"from": "$.agent.name", "default": "nobody"}, STRING, "nobody"),
        ({"from": "$.buyer.name", "default": "nobody"}, STRING, "Bo"),
        ({"from": "$.remark", "default": "none"}, STRING, "none"),
        ({"from": "$.agent.vip", "default": False}, BOOL, False),
        ({"from": "$.kind", "enum": {"SMALL": 1, "LARGE": 10}}, INT32, 10),
        ({"from": "$.total", "enum": {"500": "much"}}, STRING, "much"),
        ({"from": "$.buyer.vip", "enum": {"true": "gold", "false": "none"}}, STRING, "gold"),
        ({"from": "$.agent.id", "enum": {"x": "y"}, "default": "z"}, STRING, "z"),
        ({"const": "fixed"}, STRING, "fixed"),
        ({"const": 5}, INT64, 5),
        ({"const": 1.10}, DECIMAL, Decimal("1.1")),
        ({"const": "2026-01-01T00:00:00Z"}, TIMESTAMP, 1767225600 * 10**9),
        ({"const": ["a", "b"]}, List(STRING), ["a", "b"]),
        ({"const": {"id": "c"}}, BUYER, {"id": "c"}),
        ({"format": "{$.number}/{$.total}/{$.kind}/{$params.id}"}, STRING, "n1/500/LARGE/p1"),
        ({"format": "{$.extra.flag}{$.extra.deep[0].n}"}, STRING, "true1.5"),
        ({"format": ""}, STRING, ""),
        ({"format": "7"}, INT32, 7),
        ({"from": "$.number", "when": {"path": "$.kind", "equals": "LARGE"}}, STRING, "n1"),
        ({"from": "$.number", "when": {"path": "$.kind", "equals": ["LARGE", "SMALL"]}}, STRING, "n1"),
        ({"const": 1, "when": {"path": "$.remark", "equals": None}}, INT32, 1),
        ({"const": 1, "when": {"path": "$.extra.flag", "equals": True}}, INT32, 1),
        ({"each": "$.lines"}, List(Record("L", [Field("code", STRING)])), [{"code": "a"}, {"code": "b"}]),
        ({"each": "$.extra.deep"}, List(ANY), [{"n": Decimal("1.5")}]),
        ({"each": "$.tags"}, List(STRING), ["t", "u"]),
    ],
)
def test_rules(rule: Any, type_: Type, wanted: Any) -> None:
    made = run(
        {"x": rule},
        target(Field("x", type_)),
        params={"id": "p1", "page": 3},
        headers=[("x-tenant", "t1"), ("x-bin", b"raw")],
        key=b"k1",
    )
    assert made == {"x": wanted}


@pytest.mark.parametrize(
    "rule",
    [
        "$.agent",
        "$.agent.id",
        "$.lines[9].code",
        "$.labels.none",
        "$.extra.none.deeper",
        "$.extra.flag.no[0]",
        "$.remark",
        "$params.id",
        "$headers.none",
        "$key",
        {"from": "$.number", "when": {"path": "$.kind", "equals": "SMALL"}},
        {"from": "$.number", "when": {"path": "$.agent.id", "equals": "x"}},
        {"each": "$.extra.none"},
    ],
)
def test_what_is_absent_stays_absent_or_takes_the_default(rule: Any) -> None:
    type_: Type = STRING
    if rule == "$.agent":
        type_ = BUYER
    if isinstance(rule, dict) and "each" in rule:
        type_ = List(STRING)
    assert run({"x": rule}, target(Field("x", type_))) == {}
    if type_ == STRING:
        assert run({"x": rule}, target(Field("x", STRING, default="d"))) == {"x": "d"}


@pytest.mark.parametrize(
    ("rule", "type_", "message", "path"),
    [
        ("$.agent.id", STRING, "missing required field", "$.agent.id"),
        ("$.lines[9].code", STRING, "missing required field", "$.lines[9].code"),
        ("$params.page", STRING, "missing required field", "$params.page"),
        ("$.extra.deep", STRING, "a string is expected, not an array", "$.extra.deep"),
        ("$.extra.deep[0].n", INT32, "1.5 is not a whole number", "$.extra.deep[0].n"),
        ("$.total", Enumeration("E", {"A": 0}), "500 is not one of A", "$.total"),
        ({"from": "$.kind", "enum": {"SMALL": 1}}, INT32, "'LARGE' is not in the table of SMALL", "$.kind"),
        ({"format": "{$.agent.id}"}, STRING, "missing required field", "$.agent.id"),
        ({"format": "{$.extra.deep}"}, STRING, "text or a number is expected", "$.extra.deep"),
        ({"format": "{$.extra.none}"}, STRING, "missing required field", "$.extra.none"),
        ({"format": "{$.number}"}, INT32, "'n1' is not a whole number", "$.x"),
        ({"each": "$.extra.flag"}, List(STRING), "an array is expected", "$.extra.flag"),
        ({"const": 1, "when": {"path": "$.kind", "equals": "SMALL"}}, INT32, "missing required field", "$.x"),
        ("$key", STRING, "not UTF-8 text", "$key"),
    ],
)
def test_what_does_not_fit_is_refused_at_its_place(rule: Any, type_: Type, message: str, path: str) -> None:
    with pytest.raises(Failure, match=message) as refused:
        run({"x": rule}, target(Field("x", type_, required=True)), key=b"\xff")
    assert (refused.value.code, refused.value.path) == (Code.INVALID_ARGUMENT, path)


def test_narrowing_inside_a_map_is_kept_at_run_time() -> None:
    translation = translate({"x": "$.total"}, target(Field("x", INT32)))
    losses = [finding for finding in translation.findings if finding.path == "$.total"]
    assert [finding.message for finding in losses] == ["int64 narrows to int32: what is out of its range is refused"]
    with pytest.raises(Failure, match="out of the range of int32") as refused:
        run({"x": "$.total"}, target(Field("x", INT32)), {**VALUE, "total": 2**31})
    assert refused.value.path == "$.total"


def test_null_items_are_refused_where_there_may_be_none() -> None:
    item = Record("Item", [Field("number", STRING)])
    with pytest.raises(Failure, match="must not be null") as refused:
        run(
            {"x": {"each": "$.tags", "map": {"number": "$root.number"}}},
            target(Field("x", List(item))),
            {**VALUE, "tags": ["t", None]},
        )
    assert refused.value.path == "$.tags[1]"


def test_nested_records_each_and_root() -> None:
    to = target(
        Field("customer", Record("Customer", [Field("id", STRING), Field("tenant", STRING)])),
        Field(
            "items",
            List(Record("Item", [Field("sku", STRING, required=True), Field("qty", INT64), Field("order", STRING)])),
        ),
    )
    given = {
        "customer": {"map": {"id": "$.buyer.id", "tenant": "$headers.x-tenant"}},
        "items": {"each": "$.lines", "map": {"sku": "$.code", "order": "$root.number"}},
    }
    assert run(given, to, headers=[("x-tenant", "t")]) == {
        "customer": {"id": "b1", "tenant": "t"},
        "items": [{"sku": "a", "qty": 2, "order": "n1"}, {"sku": "b", "order": "n1"}],
    }


def test_each_within_each() -> None:
    inner = Record("Inner", [Field("values", List(INT32))])
    source = Record("Outer", [Field("name", STRING), Field("groups", List(inner))])
    to = target(
        Field("out", List(Record("O", [Field("all", List(Record("V", [Field("n", INT32), Field("of", STRING)])))])))
    )
    given = {
        "out": {
            "each": "$.groups",
            "map": {"all": {"each": "$.values", "map": {"n": "$", "of": "$root.name"}}},
        }
    }
    value = {"name": "x", "groups": [{"values": [1, 2]}, {"values": []}]}
    assert run(given, to, value, source) == {"out": [{"all": [{"n": 1, "of": "x"}, {"n": 2, "of": "x"}]}, {"all": []}]}


def test_what_no_rule_fills_comes_by_name() -> None:
    to = target(Field("Number", STRING), Field("total", INT64), Field("x", STRING))
    assert run({"x": "$.buyer.id"}, to) == {"Number": "n1", "total": 500, "x": "b1"}


def test_a_field_whose_parts_were_taken_does_not_come_by_name_too() -> None:
    to = target(Field("buyer", BUYER), Field("x", STRING))
    assert run({"x": "$.buyer.id"}, to) == {"x": "b1"}


def test_constants_and_defaults_are_fresh_for_each_call() -> None:
    translation = translate(
        {"x": {"const": ["a"]}, "y": {"from": "$.extra.none", "default": ["b"]}},
        target(Field("x", List(STRING)), Field("y", List(STRING))),
    )
    assert translation.apply is not None
    first, second = (translation.apply(plain(SOURCE, VALUE), {}, (), None) for _ in range(2))
    first.x.append("changed")
    first.y.append("changed")
    assert (second.x, second.y) == (["a"], ["b"])
    assert translation.apply(plain(SOURCE, VALUE), {}, (), None).y == ["b"]


def test_null_is_a_constant_where_it_may_be() -> None:
    assert run({"x": {"const": None}}, target(Field("x", STRING, nullable=True))) == {"x": None}


@pytest.mark.parametrize(
    ("given", "to", "path", "message", "hint"),
    [
        ({"y": "$.number"}, target(Field("x", STRING)), "$.y", "Target has no field y", "it has x"),
        (
            {"custmer": "$.number"},
            target(Field("customer", STRING)),
            "$.custmer",
            "has no field",
            "did you mean customer?",
        ),
        (
            {"customer_id": "$.number", "customerId": "$.number"},
            target(Field("customer_id", STRING)),
            "$.customerId",
            "customer_id is mapped twice",
            "",
        ),
        ({"x": "$.nummber"}, target(Field("x", STRING)), "$.nummber", "Source has no nummber", "did you mean number?"),
        ({"x": "$.buyer.zzz"}, target(Field("x", STRING)), "$.buyer.zzz", "Buyer has no zzz", "it has id, name, vip"),
        ({"x": "$.lines.code"}, target(Field("x", STRING)), "$.lines.code", "list<Line> has no code", "take an item"),
        ({"x": "$.number[0]"}, target(Field("x", STRING)), "$.number[0]", "string has no 0", ""),
        (
            {"x": "$params.nope"},
            target(Field("x", STRING)),
            "$params.nope",
            "there is no parameter nope",
            "there is: id, page",
        ),
        (
            {"x": "$.lines"},
            target(Field("x", STRING)),
            "$.lines",
            "a list can't fill the single string",
            "take one item",
        ),
        ({"x": "$.buyer"}, target(Field("x", STRING)), "$.buyer", "Buyer can't become string", ""),
        ({"x": {"const": "a"}}, target(Field("x", INT32)), "$.x", "the constant does not fit int32", ""),
        ({"x": {"const": {"idd": 1}}}, target(Field("x", BUYER)), "$.x", "unknown field at $.idd", ""),
        ({"x": {"const": None}}, target(Field("x", INT32)), "$.x", "null does not fit x", ""),
        ({"x": {"from": "$.number", "default": []}}, target(Field("x", STRING)), "$.number", "does not fit string", ""),
        (
            {"x": {"from": "$.kind", "enum": {"LARGE": "a"}}},
            target(Field("x", INT32)),
            "$.kind",
            "does not fit int32",
            "",
        ),
        ({"x": {"map": {"y": "$.number"}}}, target(Field("x", STRING)), "$.x", "string has no fields to map", ""),
        ({"x": {"each": "$.lines"}}, target(Field("x", STRING)), "$.x", "string is no list, `each` fills lists", ""),
        ({"x": {"each": "$.number"}}, target(Field("x", List(STRING))), "$.x", "`each` takes a list", ""),
        (
            {"x": "$.number", "when": {"const": 1, "when": {"path": "$.kind", "equals": "HUGE"}}},
            target(Field("x", STRING), Field("when", INT32)),
            "$.kind",
            "does not fit Kind",
            "",
        ),
        (
            {"x": {"map": {"id": "$.number"}}},
            target(Field("x", Record("R", [Field("id", STRING), Field("z", STRING, required=True)]))),
            "$.x.z",
            "z of R is required and nothing fills it",
            "map z",
        ),
        (
            {"x": {"each": "$.lines", "map": {"y": "$.cod"}}},
            target(Field("x", List(Record("R", [Field("y", STRING)])))),
            "$.cod",
            "Line has no cod",
            "did you mean code?",
        ),
        (
            {"x": "$.number"},
            target(Field("x", STRING), Field("a", STRING, choice="c"), choices=[Choice("c", required=True)]),
            "$",
            "one of a of Target is required and nothing fills it",
            "map one",
        ),
    ],
)
def test_what_a_map_gets_wrong(given: dict[str, Any], to: Record, path: str, message: str, hint: str) -> None:
    finding = fatal(given, to)
    assert finding.path == path
    assert message in finding.message and hint in finding.hint


def test_a_map_needs_a_record_to_fill() -> None:
    assert "has no fields to map" in fatal({"x": "$.number"}, List(STRING)).message


def test_what_the_map_leaves_out_is_reported() -> None:
    translation = translate(
        {"x": "$.buyer.id", "y": {"each": "$.lines", "map": {"sku": "$.code"}}},
        target(Field("x", STRING), Field("y", List(Record("L", [Field("sku", STRING)])))),
    )
    dropped = {finding.path for finding in translation.findings if finding.message.startswith("dropped")}
    assert {"$.buyer.name", "$.buyer.vip", "$.lines[].qty", "$.lines[].note", "$.number", "$.extra"} <= dropped
    assert "$.buyer" not in dropped and "$.buyer.id" not in dropped and "$.lines[].code" not in dropped


def test_choices_are_kept_at_run_time() -> None:
    to = target(Field("a", STRING, choice="c"), Field("b", STRING, choice="c"), choices=[Choice("c", required=True)])
    given = {"a": "$.buyer.name", "b": "$.agent.name"}
    assert run(given, to) == {"a": "Bo"}
    with pytest.raises(Failure, match="a and b are both set"):
        run(given, to, {**VALUE, "agent": {"id": "x", "name": "y"}})
    with pytest.raises(Failure, match="one of a, b must be set"):
        run(given, to, {**VALUE, "buyer": {"id": "x"}})


def test_the_metadata_that_is_read_is_known() -> None:
    translation = translate(
        {"x": "$headers.X-Tenant", "y": {"format": "{$params.id}{$headers.x-other}"}},
        target(Field("x", STRING), Field("y", STRING)),
    )
    assert translation.headers == {"x-tenant", "x-other"}
    assert translation.params == {"id"}


def test_certain_parameters_are_no_loss() -> None:
    to = target(Field("x", STRING, required=True))

    def losses(**options: Any) -> list[str]:
        source = Record("S", [])
        return [f.message for f in translate({"x": "$params.id"}, to, source, **options).findings]

    assert losses(certain=("id",)) == []
    assert len(losses()) == 1 and "refused when absent" in losses()[0]


# -- without rules, and with an untyped side


def test_without_rules_the_other_side_gives_the_type() -> None:
    for source, to in ((None, SOURCE), (SOURCE, None), (SOURCE, SOURCE)):
        translation = compile_mapping(None, source, to, {}, "t")
        assert (translation.source, translation.target, translation.apply) == (SOURCE, SOURCE, None)
    nothing = compile_mapping(None, None, None, {}, "t")
    assert (nothing.source, nothing.target, nothing.apply) == (ANY, ANY, None)
    assert compile_mapping(None, List(STRING), List(STRING), {}, "t").apply is None


def test_an_untyped_target_has_what_the_rules_say() -> None:
    translation = translate(
        {
            "id": "$.number",
            "name": "$.agent.name",
            "note": "$.remark",
            "vip": {"from": "$.agent.vip", "default": False},
            "sometimes": {"from": "$.number", "when": {"path": "$.kind", "equals": "LARGE"}},
            "level": {"from": "$.kind", "enum": {"SMALL": 1, "LARGE": 2}},
            "big": {"const": 2**40},
            "flag": {"const": True},
            "odd": {"const": 1.5},
            "text": {"format": "{$.number}"},
            "sub": {"map": {"page": "$params.page"}},
            "lines": {"each": "$.lines", "map": {"sku": "$.code"}},
            "same": {"each": "$.tags"},
        },
        None,
    )
    assert isinstance(translation.target, Record)
    found = {field.name: (field.type, field.required, field.nullable) for field in translation.target.fields}
    sub, lines = found.pop("sub"), found.pop("lines")
    assert found == {
        "id": (STRING, True, False),
        "name": (STRING, False, False),
        "note": (STRING, False, True),
        "vip": (BOOL, True, False),
        "sometimes": (STRING, False, False),
        "level": (INT32, False, False),
        "big": (INTEGER, True, False),
        "flag": (BOOL, True, False),
        "odd": (ANY, True, False),
        "text": (STRING, True, False),
        "same": (List(STRING), False, False),
    }
    assert isinstance(sub[0], Record) and sub[0].fields[0].type == INT32
    assert isinstance(lines[0], List) and isinstance(lines[0].item, Record) and lines[0].item.fields[0].required


def test_an_untyped_source_has_what_the_target_needs() -> None:
    to = target(
        Field("order_id", STRING, required=True),
        Field("customer", STRING, required=True),
        Field("lines", List(Record("L", [Field("sku", STRING, required=True), Field("qty", INT32)])), required=True),
        Field("level", KIND),
        Field("total", INT64),
    )
    translation = translate(
        {
            "customer": "$.buyer.id",
            "lines": {"each": "$.items", "map": {"sku": "$.code"}},
            "level": {"from": "$.size", "enum": {"s": "SMALL"}},
        },
        to,
        None,
    )
    source = translation.source
    assert isinstance(source, Record)
    found = {field.name: (field.type, field.required) for field in source.fields}
    buyer, items = found.pop("buyer"), found.pop("items")
    assert found == {"size": (STRING, False), "order_id": (STRING, True), "total": (INT64, False)}
    assert isinstance(buyer[0], Record) and buyer[1]
    assert [(f.name, f.type, f.required) for f in buyer[0].fields] == [("id", STRING, True)]
    assert isinstance(items[0], List) and items[1] and isinstance(items[0].item, Record)
    assert [(f.name, f.type, f.required) for f in items[0].item.fields] == [
        ("code", STRING, True),
        ("qty", INT32, False),
    ]
    made = run(
        {
            "customer": "$.buyer.id",
            "lines": {"each": "$.items", "map": {"sku": "$.code"}},
            "level": {"from": "$.size", "enum": {"s": "SMALL"}},
        },
        to,
        {"order_id": "o", "buyer": {"id": "b"}, "items": [{"code": "c", "qty": 1}], "size": "s"},
        None,
    )
    assert made == {"order_id": "o", "customer": "b", "lines": [{"sku": "c", "qty": 1}], "level": "SMALL"}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"a": "$.x", "b": "$.x"}, {"x": ANY}),
        ({"a": "$.x", "c": "$.x.y"}, {"x": ANY}),
        ({"a": "$.x[0]", "c": "$.x.y"}, {"x": ANY}),
        ({"a": "$.x[0].y", "b": "$.x[1].z"}, None),
        ({"a": {"format": "{$.x}-{$.y}"}}, {"x": ANY, "y": ANY}),
        ({"a": {"const": "x", "when": {"path": "$.kind", "equals": 1}}}, {"kind": ANY}),
        ({"a": "$root.x"}, {"x": STRING}),
        ({"a": "$params.id"}, {}),
    ],
)
def test_the_shape_of_an_untyped_source(given: dict[str, Any], wanted: dict[str, Type] | None) -> None:
    to = target(Field("a", STRING), Field("b", INT32), Field("c", STRING))
    source = translate(given, to, None).source
    assert isinstance(source, Record)
    found = {field.name: field.type for field in source.fields if field.name not in "abc"}
    if wanted is None:
        (items,) = found.values()
        assert isinstance(items, List) and isinstance(items.item, Record)
        assert {field.name: field.type for field in items.item.fields} == {"y": STRING, "z": INT32}
    else:
        assert found == wanted


def test_two_untyped_sides_are_mapped_all_the_same() -> None:
    made = run({"x": "$.a.b", "y": {"const": 1}}, None, {"a": {"b": "c"}}, None)
    assert made == {"x": "c", "y": 1}


# -- metadata computed from the request


def test_sources_are_text_or_nothing() -> None:
    sources = {
        "id": "$.buyer.id", "total": "$.total", "deep": "$.extra.deep[0].n", "none": "$.agent.id",
        "param": "$params.page", "key": "$key",
    }  # fmt: skip
    translation = compile_sources(sources, SOURCE, PARAMS, ())
    assert not translation.findings and translation.apply is not None
    found = translation.apply(plain(SOURCE, VALUE), {"page": 3}, (), b"k")
    assert {name: value for name, value in found.items() if isinstance(value, str)} == {
        "id": "b1", "total": "500", "deep": "1.5", "param": "3", "key": "k"
    }  # fmt: skip
    assert translation.params == {"page"}


def test_sources_that_are_wrong_are_told() -> None:
    translation = compile_sources({"id": "$.nope", "list": "$.lines"}, SOURCE, PARAMS, ())
    assert translation.apply is None
    assert [(finding.path, finding.fatal) for finding in translation.findings] == [("$.nope", True), ("$.lines", True)]
    translation = compile_sources({"x": "$.extra.deep"}, SOURCE, PARAMS, ())
    assert translation.apply is not None
    with pytest.raises(Failure, match="text or a number is expected"):
        translation.apply(plain(SOURCE, VALUE), {}, (), None)
