"""Plain XML of records that came from no XSD, against lxml."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from lxml import etree
from support.plain import plain, shown
from support.soap_service import SCHEMAS
from test_protobuf_codec import EVERYTHING, SCHEMA, Everything, everythings
from test_xml_codec import LEAST

from gateway.binding import relaxed
from gateway.codecs.format import NoFormError, Unknown
from gateway.codecs.protobuf.format import ProtobufFormat
from gateway.codecs.xml.format import SoapFormat
from gateway.codecs.xml.plain import XmlFormat
from gateway.schema.idl.json.hint import JsonHint, XmlObject
from gateway.schema.idl.xml.document import parse_xml
from gateway.schema.idl.xml.wsdl import Wsdl
from gateway.schema.types import (
    ANY,
    BOOL,
    BYTES,
    DECIMAL,
    DURATION,
    INT32,
    INT64,
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
from gateway.status import Failure

LINE = Record("shop.v1.Line", [Field("sku", STRING, required=True), Field("count", INT32, default=1)])
ORDER = Record(
    "shop.v1.Order",
    [
        Field("order_id", INT64, json_name="orderId", required=True),
        Field("lines", List(LINE), default=[]),
        Field("tags", List(STRING)),
        Field("price", DECIMAL),
        Field("data", BYTES),
        Field("paid", BOOL),
        Field("at", TIMESTAMP),
        Field("took", DURATION),
        Field("hue", Enumeration("Hue", {"RED": 0, "BLUE": 1})),
        Field("note", STRING, nullable=True),
        Field("labels", Map(STRING, INT32), default={}),
        Field("card", STRING, choice="by"),
        Field("cash", LINE, choice="by"),
    ],
    choices=[Choice("by")],
)


def xml(name: str, **more: Any) -> JsonHint:
    return JsonHint(xml=XmlObject(name=name, **more))


PET = Record(
    "Pet",
    [
        Field("id", INT64, required=True, wire=xml("", attribute=True)),
        Field("name", STRING, wire=xml("petName", namespace="urn:p")),
        Field("photos", List(STRING), wire=xml("photoUrls", wrapped=True, item="photo")),
        Field("plain", List(STRING), required=True, wire=xml("ignored", item="one")),
        Field("kept", List(STRING), wire=xml("keep", wrapped=True)),
    ],
    wire=XmlObject(name="animal", namespace="urn:a"),
)
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)


def decode(text: str | bytes, type_: Type = ORDER, unknown: Unknown = Unknown.REJECT) -> Any:
    body = text if isinstance(text, bytes) else text.encode()
    return shown(type_, XmlFormat().decoder(type_, unknown)(parse_xml(body)))


def encode(value: Any, type_: Type = ORDER) -> etree._Element:
    return etree.fromstring(XmlFormat().encoder(type_)(plain(type_, value)))


FULL = {
    "order_id": 2**62,
    "lines": [{"sku": "a&b", "count": 1}, {"sku": "<", "count": 2}],
    "tags": ["x"],
    "price": Decimal("1.10"),
    "data": b"\xff",
    "paid": True,
    "at": 10**9,
    "took": 15 * 10**8,
    "hue": "BLUE",
    "note": None,
    "labels": {"a": 1, "b": 2},
    "cash": {"sku": "c", "count": 1},
}


def test_an_element_for_each_field_and_each_item() -> None:
    element = encode(FULL)
    assert element.tag == "Order"
    assert [child.tag for child in element] == [
        *("orderId", "lines", "lines", "tags", "price", "data", "paid", "at", "took", "hue", "note", "labels", "cash"),
    ]
    assert [line.findtext("sku") for line in element.findall("lines")] == ["a&b", "<"]
    assert [entry.findtext("key") for entry in element.findall("labels/entry")] == ["a", "b"]
    assert (element.findtext("at"), element.findtext("took")) == ("1970-01-01T00:00:01Z", "PT1.5S")
    assert decode(etree.tostring(element)) == FULL


@given(everythings())
@settings(max_examples=100, deadline=None, phases=NO_SHRINKING)
def test_every_proto_message_is_there_again_or_refused(message: Any) -> None:
    protobuf = ProtobufFormat(SCHEMA)
    value = protobuf.decoder(EVERYTHING, Unknown.REJECT)(message.SerializeToString())
    refused = ""
    try:
        body = XmlFormat().encoder(EVERYTHING)(value)
    except Failure as failure:
        refused = failure.path  # of a control character, an open enumeration's number, a Struct
    if refused:
        assert refused.startswith("$.")
        return
    read = XmlFormat().decoder(EVERYTHING, Unknown.REJECT)(parse_xml(body))
    assert Everything.FromString(protobuf.encoder(EVERYTHING)(read)) == message


@given(
    st.dictionaries(st.text("abc<&\"' \t\n", max_size=8), st.integers(-(2**31), 2**31 - 1)),
    st.lists(st.text("a<&]>\n")),
)
def test_text_of_any_kind_crosses(labels: dict[str, int], tags: list[str]) -> None:
    value = {"order_id": 1, "lines": [], "labels": labels} | ({"tags": tags} if tags else {})
    assert decode(etree.tostring(encode(value))) == value


def test_what_a_hand_writes_is_read() -> None:
    text = """<?xml version="1.0" encoding="ISO-8859-1"?><!-- hi -->
      <anything><note>K\xe4se</note>
        <lines><count> 3 </count><sku>a</sku></lines> <orderId>5</orderId> <lines><sku>b</sku></lines></anything>"""
    assert decode(text.encode("latin-1")) == {
        "order_id": 5,
        "lines": [{"sku": "a", "count": 3}, {"sku": "b", "count": 1}],
        "note": "Käse",
        "labels": {},
    }
    assert decode("<o><orderId>5</orderId></o>") == {"order_id": 5, "lines": [], "labels": {}}
    assert decode("<o><orderId>5</orderId><new/></o>", unknown=Unknown.DROP)["order_id"] == 5


@pytest.mark.parametrize(
    ("text", "message", "path"),
    [
        ("<o/>", "order_id is missing", "$.order_id"),
        ("<o><orderId>x</orderId></o>", "whole number", "$.order_id"),
        ("<o><orderId>1</orderId><orderId>2</orderId></o>", "only once", "$.order_id"),
        ("<o><orderId>1</orderId><nope/></o>", "has no member nope", "$.nope"),
        ("<o a='1'><orderId>1</orderId></o>", "has no attribute a", "$.a"),
        ("<o><orderId>1</orderId>text</o>", "text", "$"),
        ("<o><orderId>1</orderId><lines><sku/></lines><lines/></o>", "sku is missing", "$.lines[1].sku"),
        ("<o><orderId>1</orderId><hue>GREEN</hue></o>", "GREEN", "$.hue"),
        ("<o><orderId>1</orderId><card/><cash><sku/></cash></o>", "only one of", "$"),
        ("<o xmlns='urn:x'><orderId>1</orderId></o>", "namespace", "$.orderId"),
    ],
)
def test_refuses_with_the_path(text: str, message: str, path: str) -> None:
    with pytest.raises(Failure, match=message) as refused:
        decode(text)
    assert refused.value.path == path


def test_the_xml_object_of_openapi() -> None:
    value = {"id": 1, "name": "n", "photos": ["p", "q"], "plain": ["x"], "kept": []}
    element = encode(value, PET)
    assert (element.tag, element.get("id"), element.findtext("{urn:p}petName")) == ("{urn:a}animal", "1", "n")
    assert [photo.text for photo in element.findall("photoUrls/photo")] == ["p", "q"]
    assert [one.text for one in element.findall("one")] == ["x"]
    assert decode(etree.tostring(element), PET) == value
    assert decode('<a id="1"/>', PET) == {"id": 1, "plain": []}, "an absent list is absent, unless it must be there"
    assert decode('<a id="1"><keep><keep>k</keep></keep></a>', PET)["kept"] == ["k"]


@pytest.mark.parametrize(
    ("inner", "message", "path"),
    [
        ("<photoUrls/><photoUrls/>", "only once", "$.photos"),
        ("<photoUrls><p/></photoUrls>", "only photo elements belong here", "$.photos"),
        ("<photoUrls a='1'/>", "has no attribute a", "$.photos.a"),
        ("<photoUrls>x</photoUrls>", "text", "$.photos"),
        ("<photo/>", "has no member photo", "$.photo"),
    ],
)
def test_wrapped_lists_are_strict(inner: str, message: str, path: str) -> None:
    with pytest.raises(Failure, match=message) as refused:
        decode(f'<a id="1">{inner}</a>', PET)
    assert refused.value.path == path


@pytest.mark.parametrize(
    "type_",
    [
        STRING,
        ANY,
        List(ORDER),
        Record("R", [Field("rows", List(List(STRING)))]),
        Record("R", [Field("maps", Map(STRING, List(STRING)))]),
        Record("R", [Field("not a name", STRING)]),
        Record("R", [Field("tags", List(STRING), wire=xml("t", attribute=True))]),
    ],
)
def test_what_has_no_form_says_so_when_it_is_compiled(type_: Type) -> None:
    with pytest.raises(NoFormError):
        XmlFormat().decoder(type_, Unknown.REJECT)
    with pytest.raises(NoFormError):
        XmlFormat().encoder(type_)


def test_recursive_records_work() -> None:
    node = Record("Node")
    node.fields = (Field("name", STRING), Field("next", node))
    value = {"name": "a", "next": {"name": "b", "next": {}}}
    assert decode(etree.tostring(encode(value, node)), node) == value


def test_a_record_from_xsd_keeps_its_own_names_and_namespaces() -> None:
    request = Wsdl(SCHEMAS / "everything.wsdl").port().operation("Echo").request
    assert isinstance(request, Record)
    value = plain(request, LEAST)
    soap = SoapFormat().encoder(request)(value)
    body = XmlFormat().encoder(request)(value)
    assert etree.canonicalize(body.decode()) == etree.canonicalize(soap)
    read = XmlFormat().decoder(request, Unknown.REJECT)(parse_xml(body))
    assert shown(request, read) == shown(request, value)
    # The path of an address may bring a field, which is then not required in the body.
    loose = relaxed(request, ["id"])
    assert XmlFormat().encoder(loose)(plain(loose, LEAST)) == body
