"""Query strings and form bodies, typed."""

from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.plain import plain, shown

from gateway.codecs.form import FIELDS, FormFormat, parse_form
from gateway.codecs.format import NoFormError, Unknown
from gateway.schema.types import (
    ANY,
    BOOL,
    BYTES,
    DECIMAL,
    FLOAT64,
    INT32,
    INT64,
    STRING,
    TIMESTAMP,
    Enumeration,
    Field,
    List,
    Map,
    Record,
)
from gateway.status import Failure

RANGE = Record("Range", [Field("low", INT32), Field("high", INT32)])
FILTER = Record("Filter", [Field("name", STRING), Field("price_range", RANGE)])
SEARCH = Record(
    "Search",
    [
        Field("text", STRING, required=True),
        Field("page_size", INT32, json_name="pageSize"),
        Field("after", INT64),
        Field("exact", BOOL),
        Field("tags", List(STRING)),
        Field("ids", List(INT64)),
        Field("flags", List(BOOL)),
        Field("kind", Enumeration("Kind", {"A": 0, "B": 1})),
        Field("at", TIMESTAMP),
        Field("price", DECIMAL),
        Field("ratio", FLOAT64),
        Field("data", BYTES),
        Field("filter", FILTER),
        Field("labels", Map(STRING, STRING)),
        Field("note", STRING, nullable=True),
    ],
)
encode = FormFormat().encoder(SEARCH)


def decode(text: str, unknown: Unknown = Unknown.REJECT) -> Any:
    return shown(SEARCH, FormFormat().decoder(SEARCH, unknown)(text.encode()))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("text=a+b%26c", {"text": "a b&c"}),
        ("text=", {"text": ""}),
        ("text=%C3%A4", {"text": "ä"}),
        ("text=a&pageSize=3", {"text": "a", "page_size": 3}),
        ("text=a&page_size=3", {"text": "a", "page_size": 3}),
        ("text=a&page-size=3", {"text": "a", "page_size": 3}),
        ("text=a&after=9223372036854775807", {"text": "a", "after": 2**63 - 1}),
        ("text=a&exact=true", {"text": "a", "exact": True}),
        ("text=a&tags=x", {"text": "a", "tags": ["x"]}),
        ("text=a&tags=x&tags=y", {"text": "a", "tags": ["x", "y"]}),
        ("text=a&ids=1&ids=2", {"text": "a", "ids": [1, 2]}),
        ("text=a&flags=true&flags=false", {"text": "a", "flags": [True, False]}),
        ("text=a&kind=B", {"text": "a", "kind": "B"}),
        ("text=a&at=1970-01-01T00:00:01Z", {"text": "a", "at": 10**9}),
        ("text=a&price=1.10", {"text": "a", "price": Decimal("1.10")}),
        ("text=a&ratio=1e3", {"text": "a", "ratio": 1000.0}),
        ("text=a&data=_-8", {"text": "a", "data": b"\xff\xef"}),
        ("text=a&filter.name=n", {"text": "a", "filter": {"name": "n"}}),
        (
            "text=a&filter.price_range.low=1&filter.priceRange.high=2",
            {"text": "a", "filter": {"price_range": {"low": 1, "high": 2}}},
        ),
    ],
)
def test_reads(text: str, wanted: dict[str, Any]) -> None:
    assert decode(text) == wanted


@pytest.mark.parametrize(
    ("text", "message", "path"),
    [
        ("", "missing required field", "$.text"),
        ("text=a&text=b", "given more than once", "$.text"),
        ("text=a&pageSize=1&page_size=2", "given twice, under two of its names", "$.page_size"),
        ("text=a&pageSize=x", "'x' is not a whole number", "$.page_size"),
        ("text=a&exact=1", "true or false is expected", "$.exact"),
        ("text=a&ids=1&ids=x", "'x' is not a whole number", "$.ids[1]"),
        ("text=a&kind=C", "'C' is not one of A, B", "$.kind"),
        ("text=a&filter=x", "Filter can't come as text", "$.filter"),
        ("text=a&text.b=x", "text has no members", "$.text.b"),
        ("text=a&filter.nam=x", "unknown field", "$.filter.nam"),
        ("text=a&nope=x", "unknown field", "$.nope"),
        ("text=a&nope.x.y=x", "unknown field", "$.nope.x.y"),
        ("text=a&labels=x", "an object is expected", "$.labels"),
        ("text=a&filter.price_range.low=x", "'x' is not a whole number", "$.filter.price_range.low"),
        ("text=%ff", "not valid UTF-8", ""),
        ("text=\xe4", "not valid UTF-8", ""),
        ("&".join(f"a{i}=1" for i in range(FIELDS + 1)), f"more than {FIELDS} parameters", ""),
    ],
)
def test_refuses(text: str, message: str, path: str) -> None:
    with pytest.raises(Failure, match=message) as refused:
        FormFormat().decoder(SEARCH, Unknown.REJECT)(text.encode("latin-1"))
    assert refused.value.path == path


def test_drops_unknown_names_where_the_endpoint_says_so() -> None:
    assert decode("text=a&utm_source=x&filter.nam=y", Unknown.DROP) == {"text": "a", "filter": {}}


def test_what_has_no_fields_is_refused() -> None:
    with pytest.raises(NoFormError, match="list<string> can't come as a query or form"):
        FormFormat().decoder(List(STRING), Unknown.REJECT)(b"a=1")


def test_untyped_values_stay_text() -> None:
    assert FormFormat().decoder(ANY, Unknown.REJECT)(b"a=1&b=x&b=y") == {"a": "1", "b": ["x", "y"]}


def test_writes() -> None:
    value = {
        "text": "a b&c",
        "page_size": 3,
        "after": 2**63 - 1,
        "exact": False,
        "tags": ["x", "y"],
        "filter": {"price_range": {"low": 1}},
        "price": Decimal("1.10"),
        "note": None,
    }
    assert parse_qsl(encode(plain(SEARCH, value)).decode()) == [
        ("text", "a b&c"),
        ("pageSize", "3"),
        ("after", "9223372036854775807"),
        ("exact", "false"),
        ("tags", "x"),
        ("tags", "y"),
        ("price", "1.10"),
        ("filter.price_range.low", "1"),
    ]


def test_a_list_of_what_is_no_text_is_not_written() -> None:
    record = Record("R", [Field("a", List(RANGE)), Field("b", List(STRING, nullable=True))])
    with pytest.raises(Failure, match="no form in a query") as refused:
        FormFormat().encoder(record)(plain(record, {"a": [{"low": 1}]}))
    assert refused.value.path == "$.a"
    with pytest.raises(Failure, match="no form in a query"):
        FormFormat().encoder(record)(plain(record, {"b": ["x", None]}))


@given(
    st.fixed_dictionaries(
        {"text": st.text(st.characters(exclude_categories=["Cs"]))},
        optional={
            "page_size": st.integers(-(2**31), 2**31 - 1),
            "after": st.integers(-(2**63), 2**63 - 1),
            "exact": st.booleans(),
            "tags": st.lists(st.text(max_size=5), min_size=1, max_size=5),
            "kind": st.sampled_from(["A", "B"]),
            "ratio": st.floats(allow_nan=False),
            "data": st.binary(max_size=8),
            "price": st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9),
            "filter": st.fixed_dictionaries({"name": st.text(max_size=5)}),
        },
    )
)
def test_what_is_written_is_read_again(value: dict[str, Any]) -> None:
    written = encode(plain(SEARCH, value))
    assert decode(written.decode()) == value
    assert urlencode(parse_qsl(written.decode(), keep_blank_values=True)).encode() == written


@given(st.binary(max_size=40))
def test_garbage_is_parsed_or_refused(body: bytes) -> None:
    try:
        assert all(isinstance(value, str | list) for value in parse_form(body).values())
    except Failure as failure:
        assert failure.message  # noqa: PT017  both outcomes are right
