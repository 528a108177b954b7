"""MessagePack against msgpack of PyPI."""

import datetime
import json
from decimal import Decimal
from typing import Any

import msgpack
import pytest
from hypothesis import Phase, given, settings
from support.plain import shown
from test_protobuf_codec import EVERYTHING, SCHEMA, Everything, everythings

from gateway.codecs.format import Unknown
from gateway.codecs.json.format import JsonFormat
from gateway.codecs.msgpack import MsgpackFormat
from gateway.codecs.protobuf.format import ProtobufFormat
from gateway.schema.types import ANY, BOOL, BYTES, DECIMAL, FLOAT64, INT64, STRING, TIMESTAMP, Field, List, Map, Record
from gateway.status import Failure

NODE = Record("Node")
NODE.fields = (Field("name", STRING), Field("next", NODE))
ORDER = Record(
    "Order",
    [
        Field("id", INT64, required=True),
        Field("data", BYTES),
        Field("price", DECIMAL),
        Field("ratio", FLOAT64),
        Field("at", TIMESTAMP),
        Field("counts", Map(INT64, STRING)),
        Field("flags", Map(BOOL, STRING)),
        Field("lines", List(Record("Line", [Field("sku", STRING, required=True)]))),
    ],
)
FORMAT = MsgpackFormat(JsonFormat())
NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)


def decode(value: Any, type_: Any = ORDER, unknown: Unknown = Unknown.REJECT) -> Any:
    return shown(type_, FORMAT.decoder(type_, unknown)(msgpack.packb(value)))


@given(everythings())
@settings(max_examples=100, deadline=None, phases=NO_SHRINKING)
def test_every_proto_message_is_there_again(message: Any) -> None:
    protobuf = ProtobufFormat(SCHEMA)
    body = FORMAT.encoder(EVERYTHING)(protobuf.decoder(EVERYTHING, Unknown.REJECT)(message.SerializeToString()))
    assert isinstance(msgpack.unpackb(body, strict_map_key=False), dict)
    again = protobuf.encoder(EVERYTHING)(FORMAT.decoder(EVERYTHING, Unknown.REJECT)(body))
    assert Everything.FromString(again) == message


@given(everythings())
@settings(max_examples=50, deadline=None, phases=NO_SHRINKING)
def test_what_json_says_is_read_as_json_reads_it(message: Any) -> None:
    value = ProtobufFormat(SCHEMA).decoder(EVERYTHING, Unknown.REJECT)(message.SerializeToString())
    text = JsonFormat().encoder(EVERYTHING)(value)
    read = FORMAT.decoder(EVERYTHING, Unknown.REJECT)(msgpack.packb(json.loads(text)))
    assert json.loads(JsonFormat().encoder(EVERYTHING)(read)) == json.loads(text)


@pytest.mark.parametrize(
    ("sent", "wanted"),
    [
        ({"id": 2**63 - 1}, {"id": 2**63 - 1}),
        ({"id": "5"}, {"id": 5}),
        ({"id": 1, "data": b"\xff"}, {"id": 1, "data": b"\xff"}),
        ({"id": 1, "data": "_w"}, {"id": 1, "data": b"\xff"}),
        ({"id": 1, "price": "1.10"}, {"id": 1, "price": Decimal("1.10")}),
        ({"id": 1, "price": 1.1}, {"id": 1, "price": Decimal("1.1")}),
        ({"id": 1.0}, {"id": 1}),
        ({"id": 1, "ratio": float("inf")}, {"id": 1, "ratio": float("inf")}),
        ({"id": 1, "at": "1970-01-01T00:00:01Z"}, {"id": 1, "at": 10**9}),
        ({"id": 1, "counts": {7: "a", "8": "b"}}, {"id": 1, "counts": {7: "a", 8: "b"}}),
        ({"id": 1, "flags": {True: "a"}}, {"id": 1, "flags": {True: "a"}}),
    ],
)
def test_reads(sent: Any, wanted: Any) -> None:
    assert decode(sent) == wanted


@pytest.mark.parametrize(
    ("sent", "message", "path"),
    [
        ({}, "missing required field", "$.id"),
        ({"id": "x"}, "'x' is not a whole number", "$.id"),
        ({"id": 2**63}, "range", "$.id"),
        ({"id": 1, "nope": 1}, "unknown field", "$.nope"),
        ({"id": 1, "lines": [{"sku": "a"}, {"sku": 5}]}, "a string is expected, not 5", r"$.lines[1].sku"),
        ({"id": 1, "lines": [{"sku": b"a"}]}, "a string is expected, not bytes", r"$.lines[0].sku"),
        ({"id": 1, "at": msgpack.Timestamp(1)}, "extensions, timestamps too", "$.at"),
        ({"id": 1, "data": msgpack.ExtType(5, b"x")}, "extensions", "$.data"),
        ({"id": 1, "counts": {b"x": "a"}}, "a member's name must be", "$.counts"),
        ([1], "an object is expected, not an array", "$"),
    ],
)
def test_refuses_with_the_path(sent: Any, message: str, path: str) -> None:
    with pytest.raises(Failure, match=message) as refused:
        decode(sent)
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is empty"),
        (b"\x81", "truncated"),
        (b"\x80\x80", "trailing"),
        (b"\xdd\xff\xff\xff\xff", "truncated"),
        (b"\xc6\xff\xff\xff\xff", "truncated"),
        (b"\xc1", "malformed MessagePack"),
        (b"\x81\xa2id\xa1\xff", "not valid UTF-8"),
    ],
)
@pytest.mark.parametrize("type_", [ORDER, ANY, NODE])
def test_what_is_no_messagepack_is_refused(body: bytes, message: str, type_: Any) -> None:
    with pytest.raises(Failure, match=message):
        FORMAT.decoder(type_, Unknown.REJECT)(body)


@pytest.mark.parametrize("depth", [65, 5000, 200_000])
def test_nesting_has_a_limit(depth: int) -> None:
    with pytest.raises(Failure, match="deeper than 64"):
        FORMAT.decoder(ANY, Unknown.REJECT)(b"\x91" * depth + b"\x90")
    with pytest.raises(Failure, match="deeper than 64"):
        FORMAT.decoder(NODE, Unknown.REJECT)(b"\x81\xa4next" * depth + b"\x80")
    assert FORMAT.decoder(ANY, Unknown.REJECT)(b"\x91" * 63 + b"\x90")


def test_bytes_have_a_form_of_their_own_and_all_else_is_as_in_json() -> None:
    value = FORMAT.decoder(ORDER, Unknown.REJECT)(msgpack.packb({"id": 5, "data": b"\0", "price": "1.10", "at": T}))
    assert msgpack.unpackb(FORMAT.encoder(ORDER)(value)) == {"id": "5", "data": b"\0", "price": "1.10", "at": T}
    numbers = MsgpackFormat(JsonFormat(int64="number"))
    value = FORMAT.decoder(ORDER, Unknown.REJECT)(msgpack.packb({"id": 5}))
    assert msgpack.unpackb(numbers.encoder(ORDER)(value)) == {"id": 5}


T = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC).isoformat().replace("+00:00", "Z")
