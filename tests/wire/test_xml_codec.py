"""The XML codec: what it writes it reads, and what it must not read it refuses with the path."""

import string
import struct
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from support.plain import plain, shown
from support.soap_service import ORDERS, SCHEMAS

from gateway.codecs.format import Unknown
from gateway.codecs.xml.format import SoapFormat
from gateway.codecs.xml.reader import Reader
from gateway.schema.idl.xml.document import XmlError, parse_xml
from gateway.schema.idl.xml.wsdl import Wsdl
from gateway.schema.types import Record
from gateway.status import Code, Failure

FORMAT = SoapFormat()


def message(wsdl: Any, operation: str, **port: str) -> Record:
    record = Wsdl(wsdl).port(**port).operation(operation).request
    assert isinstance(record, Record)
    return record


EVERYTHING = message(SCHEMAS / "everything.wsdl", "Echo")
PLACE = Wsdl(Path(ORDERS)).port().operation("PlaceOrder")
ENCODE = FORMAT.encoder(EVERYTHING)
DECODE = FORMAT.decoder(EVERYTHING, Unknown.REJECT)
SCHEMA = etree.XMLSchema(etree.parse(str(SCHEMAS / "everything.xsd")))

LEAST: dict[str, Any] = {
    "flag": True,
    "int32": -1,
    "int64": 2**62 + 1,
    "uint32": 2**32 - 1,
    "uint64": 2**64 - 1,
    "integer": 10**30,
    "float32": 1.5,
    "float64": 0.1,
    "decimal": Decimal("12345678901234567890.10"),
    "text": 'a <b> & "c"\n\td',
    "base64": b"\x00\xff",
    "hex": b"\xab",
    "at": 1_700_000_000_123_456_789,
    "took": 1_500_000_000,
    "colour": "dark & blue",
    "note": None,
    "price": {"value": Decimal("1.50"), "currency": "EUR"},
    "id": 'x"y',
}

# What XML 1.0 can carry; the Reader must get back exactly what was written.
TEXT = st.text(
    st.characters(
        exclude_categories=("Cs",),
        exclude_characters=[*map(chr, range(32)), "\x7f", "\ufffe", "\uffff"],
    )
    | st.sampled_from("\t\n\r"),
    max_size=12,
)
WORD = st.text(string.ascii_letters, min_size=1, max_size=6)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**12), max_value=10**12)
FLOAT32 = st.floats(width=32, allow_nan=False)
MONEY = st.fixed_dictionaries({"value": DECIMALS, "currency": TEXT})
TREE = st.recursive(
    st.fixed_dictionaries({"name": TEXT}),
    lambda inner: st.fixed_dictionaries({"name": TEXT, "children": st.lists(inner, max_size=3)}),
    max_leaves=6,
)
PETS = st.one_of(
    st.fixed_dictionaries(
        {"name": TEXT, "Dog": st.fixed_dictionaries({"barks": st.booleans()}, optional={"tag": st.integers(0, 99)})}
    ),
    st.fixed_dictionaries({"name": TEXT, "Cat": st.fixed_dictionaries({"lives": st.integers(0, 9)})}),
)
MARKS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    DECIMALS,
    TEXT,
    st.binary(max_size=9),
)
VALUES = st.builds(
    lambda one, arm: {**one, **arm},
    st.fixed_dictionaries(
        {
            "flag": st.booleans(),
            "int32": st.integers(-(2**31), 2**31 - 1),
            "int64": st.integers(-(2**63), 2**63 - 1),
            "uint32": st.integers(0, 2**32 - 1),
            "uint64": st.integers(0, 2**64 - 1),
            "integer": st.integers(),
            "float32": FLOAT32,
            "float64": st.floats(allow_nan=False),
            "decimal": DECIMALS,
            "text": TEXT,
            "base64": st.binary(max_size=20),
            "hex": st.binary(max_size=20),
            "at": st.integers(-62135596800 * 10**9, 253402300799 * 10**9),
            "took": st.integers(-(10**18), 10**18),
            "colour": st.sampled_from(["RED", "dark & blue"]),
            "note": TEXT | st.none(),
            "price": MONEY,
            "id": TEXT,
        },
        optional={
            "day": st.dates().map(str),
            "hour": st.just("13:30:00.5Z"),
            "codes": st.lists(st.integers(-99, 99), max_size=4),
            "percent": st.integers(0, 100),
            "post_code": st.just("12345"),
            "notes": st.lists(TEXT | st.none(), max_size=3),
            "labels": st.dictionaries(TEXT, st.integers(-9, 9), max_size=3),
            "tree": TREE,
            "part": st.fixed_dictionaries({"number": st.integers(0, 9)}, optional={"maker": TEXT}),
            "remark": TEXT,
            "pets": st.lists(PETS, max_size=3),
            "choice": st.lists(
                st.fixed_dictionaries({"step": st.integers(0, 9)}) | st.fixed_dictionaries({"turn": TEXT}), max_size=4
            ),
            "defaulted": WORD,
            "whatever": MARKS,
            "any": st.lists(TEXT.map(lambda text: f'<o:x xmlns:o="urn:o">{etree_text(text)}</o:x>'), max_size=2),
            "lang": TEXT,
            "priority": st.integers(0, 9),
        },
    ),
    st.sampled_from([{}, {"by_card": "1234"}, {"by_cash": {"value": Decimal(1), "currency": "EUR"}}]),
)


def etree_text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def normal(value: dict[str, Any]) -> dict[str, Any]:
    """What is absent and has a meaning."""
    return {"notes": [], "pets": [], "choice": [], "any": [], "version": "1", "priority": 5, **value}


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_what_is_written_is_valid_and_reads_back_the_same(value: dict[str, Any]) -> None:
    text = ENCODE(plain(EVERYTHING, value))
    element = parse_xml(text.encode())
    assert SCHEMA.validate(element), SCHEMA.error_log
    read = shown(EVERYTHING, DECODE(element))
    read["any"] = [etree.canonicalize(text) for text in read["any"]]
    expected = normal(value)
    expected["any"] = [etree.canonicalize(text) for text in expected["any"]]
    for tree in _trees(expected.get("tree")):
        tree.setdefault("children", [])
    # Single precision is written with the digits that it has.
    assert struct.pack("<f", read.pop("float32")) == struct.pack("<f", expected.pop("float32"))
    assert read == expected


def _trees(tree: Any) -> Any:
    if tree is not None:
        yield tree
        for child in tree.get("children", ()):
            yield from _trees(child)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_the_generated_reader_and_the_walking_one_agree(value: dict[str, Any]) -> None:
    element = parse_xml(ENCODE(plain(EVERYTHING, value)).encode())
    assert DECODE(element) == Reader(Unknown.REJECT).record(EVERYTHING, element, "$")


def place(inside: str, attributes: str = "") -> Any:
    assert PLACE.request is not None
    text = (
        f'<p:PlaceOrder xmlns:p="urn:shop:orders:v1" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"{attributes}>'
    )
    return FORMAT.decoder(PLACE.request, Unknown.REJECT)(parse_xml(f"{text}{inside}</p:PlaceOrder>".encode()))


BUYER = "<p:buyer><p:id>b</p:id></p:buyer>"
ITEM = "<p:items><p:code>A</p:code><p:qty>3</p:qty></p:items>"


def test_a_single_item_is_a_list_and_none_is_an_empty_one() -> None:
    assert PLACE.request is not None
    assert shown(PLACE.request, place(BUYER + ITEM))["items"] == [{"code": "A", "qty": 3}]
    assert shown(PLACE.request, place(BUYER))["items"] == []


@pytest.mark.parametrize(
    "text",
    [
        ITEM + BUYER,
        f"<!-- c -->\n {BUYER}<?pi x?>\n{ITEM}\n",
        BUYER.replace("<p:id>b", "<p:id xsi:type='whatever'>b") + ITEM,
        f"<p:buyer><p:id>b</p:id></p:buyer>{ITEM.replace('3', ' +03 ')}",
        BUYER + ITEM.replace("A", "<![CDATA[A]]>"),
    ],
)
def test_other_forms_of_the_same_message_read_the_same(text: str) -> None:
    assert place(text) == place(BUYER + ITEM)


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        (BUYER + ITEM + ITEM.replace("3", "x"), "$.items[1].qty", "not a whole number"),
        (BUYER + ITEM.replace("3", "2147483648"), "$.items[0].qty", "out of the range"),
        (BUYER + ITEM.replace("3", ""), "$.items[0].qty", "not a whole number"),
        (BUYER + ITEM.replace("<p:qty>3</p:qty>", ""), "$.items[0].qty", "missing"),
        (ITEM, "$.buyer", "missing"),
        (BUYER + BUYER, "$.buyer", "only once"),
        (BUYER + "<p:more/>", "$.more", "no member more"),
        (BUYER + "<items/>", "$.items", "no namespace"),
        (BUYER.replace("<p:id>", "<p:id x='1'>"), "$.buyer.id.x", "no attribute x"),
        (BUYER.replace("b<", "<p:b/><"), "$.buyer.id", "child elements"),
        (BUYER.replace("b<", "b<!---->c<") + "stray", "$", "text where only elements belong"),
        (BUYER.replace("<p:id>b</p:id>", "<p:id xsi:nil='true'/>"), "$.buyer.id", "may not be nil"),
    ],
)
def test_refusals_name_the_path(text: str, path: str, words: str) -> None:
    with pytest.raises(Failure) as caught:
        place(text)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert (caught.value.path, words in caught.value.message) == (path, True), caught.value


def everything(**changes: Any) -> str:
    return ENCODE(plain(EVERYTHING, {**LEAST, **changes}))


@pytest.mark.parametrize(
    ("old", "new", "path", "words"),
    [
        ("dark &amp; blue", "GREEN", "$.colour", "none of RED"),
        ('currency="EUR"', "", "$.price.currency", "missing"),
        ('currency="EUR"', 'currency="EUR" rate="1"', "$.price.rate", "no attribute rate"),
        ("1.50", "1,50", "$.price.value", "not a decimal"),
        ("</n1:price>", "</n1:price><n1:percent>101</n1:percent>", "$.percent", "at most 100"),
        ("</n1:price>", "</n1:price><n1:post_code>123</n1:post_code>", "$.post_code", "form"),
        (
            "</n1:price>",
            "</n1:price><n1:by_card>1</n1:by_card><n1:by_cash currency='E'>1</n1:by_cash>",
            "$",
            "only one of by_card, by_cash",
        ),
        ("</n1:price>", "</n1:price><n1:pets><n1:name>x</n1:name></n1:pets>", "$.pets[0]", "xsi:type must say"),
        (
            "</n1:price>",
            "</n1:price><n1:pets xsi:type='n1:Everything'><n1:name>x</n1:name></n1:pets>",
            "$.pets[0]",
            "is not accepted here",
        ),
        (
            "</n1:price>",
            "</n1:price><n1:labels>"
            + "<n1:entry><n1:key>k</n1:key><n1:value>1</n1:value></n1:entry>" * 2
            + "</n1:labels>",
            "$.labels[1]",
            "stands twice",
        ),
        ("</n1:price>", "</n1:price><n1:whatever><n1:a/></n1:whatever>", "$.whatever", "child elements"),
        ('version="1"', 'version="2"', "$.version", "must be '1'"),
        ("AP8=", "=x", "$.base64", "not base64"),
        ("AB<", "ABC<", "$.hex", "not hexadecimal"),
        ("PT1.5S", "P1M", "$.took", "no fixed length"),
        ("true", "yes", "$.flag", "not true or false"),
    ],
)
def test_refusals_of_everything(old: str, new: str, path: str, words: str) -> None:
    text = everything()
    assert old in text
    with pytest.raises(Failure) as caught:
        DECODE(parse_xml(text.replace(old, new, 1).encode()))
    assert (caught.value.path, words in caught.value.message) == (path, True), caught.value


def test_an_empty_element_reads_as_its_default() -> None:
    text = everything(defaulted="other").replace(">other<", "><")
    assert shown(EVERYTHING, DECODE(parse_xml(text.encode())))["defaulted"] == "as usual"


def test_the_order_within_a_repeated_choice_is_kept() -> None:
    steps = [{"turn": "left"}, {"step": 1}, {"step": 2}, {"turn": "right"}]
    assert shown(EVERYTHING, DECODE(parse_xml(everything(choice=steps).encode())))["choice"] == steps


def test_a_wildcards_text_keeps_the_namespaces_that_it_uses_and_no_others() -> None:
    inside = '<o:x xmlns:o="urn:o" xsi:type="n1:T">n2:a</o:x>'
    text = everything().replace("</n1:everything>", f"{inside}</n1:everything>")
    (kept,) = shown(EVERYTHING, DECODE(parse_xml(text.encode())))["any"]
    assert set(parse_xml(kept.encode()).nsmap) == {"o", "n1", "n2", "xsi"}
    assert set(parse_xml(everything(any=[kept]).encode())[-1].nsmap) >= {"o", "n1", "n2", "xsi"}


def test_wildcards_and_unknown_members_by_policy() -> None:
    text = everything().replace("</n1:everything>", '<o:x xmlns:o="urn:o"><o:y a="1"/></o:x></n1:everything>')
    (kept,) = shown(EVERYTHING, DECODE(parse_xml(text.encode())))["any"]
    assert etree.canonicalize(kept) == '<o:x xmlns:o="urn:o"><o:y a="1"></o:y></o:x>'
    assert PLACE.reply is not None
    reply = (
        '<r xmlns="urn:shop:orders:v1" a="1"><order_id>o</order_id><new><deep/></new><status>PAID</status>'
        "<total_cents>1</total_cents></r>"
    )
    read = FORMAT.decoder(PLACE.reply, Unknown.DROP)(parse_xml(reply.encode()))
    assert shown(PLACE.reply, read) == {"order_id": "o", "status": "PAID", "total_cents": 1}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"text": "a\x00b"}, "$.text"),
        ({"notes": ["fine", "\ud800"]}, "$.notes[1]"),
        ({"tree": {"name": "a", "children": [{"name": "\uffff"}]}}, "$.tree.children[0].name"),
        ({"labels": {"\x1f": 1}}, "$.labels['\\x1f']"),
        ({"any": ["<a></b>"]}, "$.any[0]"),
        ({"any": ["<!DOCTYPE a><a/>"]}, "$.any[0]"),
        ({"whatever": {"a": 1}}, "$.whatever"),
        ({"colour": "GREEN"}, "$.colour"),
        ({"colour": 7}, "$.colour"),
        ({"text": None}, "$.text"),
        ({"by_card": "1", "by_cash": {"value": Decimal(1), "currency": "E"}}, "$"),
        ({"pets": [{"name": "nobody"}]}, "$.pets[0]"),
        ({"defaulted": ""}, "$.defaulted"),
    ],
)
def test_what_xml_can_not_carry_is_refused_with_the_path(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(Failure) as caught:
        everything(**changes)
    assert (caught.value.code, caught.value.path) == (Code.INVALID_ARGUMENT, path)


@pytest.mark.parametrize(
    "bad",
    [
        b'<!DOCTYPE a [<!ENTITY x "x"><!ENTITY y "&x;&x;&x;&x;&x;&x;">]><a>&y;</a>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><a/>',
        b'<?xml version="1.0"?><!-- c --><?p i?>\n<!DOCTYPE a><a/>',
        b"\xef\xbb\xbf<!DOCTYPE a><a/>",
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><a/>'.encode("utf-16"),
    ],
)
def test_a_doctype_is_refused_whatever_is_in_it(bad: bytes) -> None:
    with pytest.raises(XmlError, match="DOCTYPE"):
        parse_xml(bad)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"<a>" * 65 + b"</a>" * 65, "deeper than 64"),
        (b"<a>" * 100_000, "not well-formed"),
        (b"<a>" * 64 + b"<b/>" + b"</a>" * 64, "deeper than 64"),
        (b"<a " + b" ".join(b'a%d=""' % n for n in range(65)) + b"/>", "more than 64 attributes"),
        (b"<a>\xff</a>", "not well-formed"),
        (b"<a>\xc0\xaf</a>", "not well-formed"),
        (b"<a>\xed\xa0\x80</a>", "not well-formed"),
        (b"<a>\x00</a>", "not well-formed"),
        (b"<a>&undefined;</a>", "not well-formed"),
        (b"", "not well-formed"),
        (b'<?xml version="1.0" encoding="utf-7"?><a/>', "encoding"),
        (b'<?xml version="1.0" encoding="utf-16"?><a/>', "utf-16"),
    ],
)
def test_hostile_xml_is_refused(bad: bytes, words: str) -> None:
    with pytest.raises(XmlError, match=words):
        parse_xml(bad)


def test_xinclude_is_not_processed() -> None:
    root = parse_xml(b'<a xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="/etc/passwd" parse="text"/></a>')
    assert root[0].tag == "{http://www.w3.org/2001/XInclude}include"
    assert not "".join(map(str, root.itertext()))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "windows-1252"])
def test_encodings(encoding: str) -> None:
    assert parse_xml(f'<?xml version="1.0" encoding="{encoding}"?><a>é</a>'.encode(encoding)).text == "é"
    assert parse_xml("<a>é</a>".encode(encoding), encoding).text == "é"


def test_a_doctype_within_text_is_text() -> None:
    assert parse_xml(b"<a><![CDATA[<!DOCTYPE html>]]></a>").text == "<!DOCTYPE html>"
