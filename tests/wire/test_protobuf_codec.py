"""The protobuf codec against upb messages that were built without it, and its words for what is wrong."""

import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from gateway.codecs.format import Unknown
from gateway.codecs.protobuf.format import ProtobufFormat
from gateway.schema.idl.proto.reader import ProtoSchema, compile_files
from gateway.schema.types import STRING, Field, Record
from gateway.schema.values import struct_of
from gateway.status import Code, Failure

SCHEMAS = Path(__file__).parents[1] / "schemas"
SCHEMA = ProtoSchema.load(compile_files([SCHEMAS / "everything.proto"], []))
LEGACY = ProtoSchema.load(compile_files([SCHEMAS / "legacy.proto"], []))
EVERYTHING = SCHEMA.record("test.everything.v1.Everything")
OLD = LEGACY.record("test.legacy.v1.Legacy")
Everything: Any = SCHEMA.message_class(EVERYTHING)
Legacy: Any = LEGACY.message_class(OLD)
decode = ProtobufFormat(SCHEMA).decoder(EVERYTHING, Unknown.REJECT)
encode = ProtobufFormat(SCHEMA).encoder(EVERYTHING)
decode_old = ProtobufFormat(LEGACY).decoder(OLD, Unknown.REJECT)
encode_old = ProtobufFormat(LEGACY).encoder(OLD)
SECOND = 10**9

_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
}
_TEXT = st.text(max_size=8)


def _numbers(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return st.floats(allow_nan=False)
        case FieldDescriptor.CPPTYPE_FLOAT:
            return st.floats(allow_nan=False, width=32)
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_ENUM:
            return st.sampled_from([0, 1, 2, -5, 77])
        case FieldDescriptor.CPPTYPE_STRING:
            return st.binary(max_size=8) if field.type == FieldDescriptor.TYPE_BYTES else _TEXT
        case cpp_type:
            return _INTEGERS[cpp_type]


def _fill(draw: Callable[[st.SearchStrategy[Any]], Any], message: Any, depth: int) -> None:
    """Sets random fields of a upb message by reflection alone."""
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        message.seconds = draw(st.integers(-62135596800, 253402300799))
        message.nanos = draw(st.integers(0, SECOND - 1))
    elif name == "google.protobuf.Duration":
        message.seconds = draw(st.integers(-315_576_000_000, 315_576_000_000))
        limit = 0 if abs(message.seconds) == 315_576_000_000 else SECOND - 1
        message.nanos = draw(st.integers(0, limit)) * (-1 if message.seconds < 0 else 1)
    elif name == "google.protobuf.FieldMask":
        message.paths.extend(draw(st.lists(st.sampled_from(["a", "foo_bar", "a.b_c"]), max_size=3)))
    elif name == "google.protobuf.Any":
        nested = SCHEMA.message_class(SCHEMA.record("test.everything.v1.Everything.Nested"))()
        _fill(draw, nested, 0)
        message.Pack(nested)
    elif name == "google.type.Decimal":
        message.value = str(draw(st.decimals(allow_nan=False, allow_infinity=False)))
    elif name == "google.protobuf.Value":
        kind = draw(st.sampled_from(["null_value", "number_value", "string_value", "bool_value", "list_value"]))
        if kind == "list_value":
            message.list_value.SetInParent()
        else:
            field = message.DESCRIPTOR.fields_by_name[kind]
            finite = st.floats(allow_nan=False, allow_infinity=False)  # struct.proto forbids others
            values = finite if kind == "number_value" else _numbers(field)
            setattr(message, kind, 0 if kind == "null_value" else draw(values))
    else:
        for field in message.DESCRIPTOR.fields:
            if draw(st.integers(0, 3)) == 0:
                _fill_field(draw, message, field, depth)


def _fill_field(
    draw: Callable[[st.SearchStrategy[Any]], Any], message: Any, field: FieldDescriptor, depth: int
) -> None:
    value = getattr(message, field.name)
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        item = kind.fields_by_name["value"]
        for key in draw(st.lists(_numbers(kind.fields_by_name["key"]), max_size=2)):
            if item.message_type is not None:
                _fill(draw, value[key], depth + 1)
            else:
                value[key] = draw(_numbers(item))
    elif kind is not None and depth < 2:
        for _ in range(draw(st.integers(0, 2)) if field.is_repeated else 1):
            nested = value.add() if field.is_repeated else value
            nested.SetInParent()
            _fill(draw, nested, depth + 1)
    elif kind is None and field.is_repeated:
        value.extend(draw(st.lists(_numbers(field), max_size=3)))
    elif kind is None:
        setattr(message, field.name, draw(_numbers(field)))


@st.composite
def everythings(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Any:
    message = Everything()
    _fill(draw, message, 0)
    return message


@given(everythings())
@settings(max_examples=150, deadline=None)
def test_any_message_survives(message: Any) -> None:
    plain = decode(message.SerializeToString())
    again = Everything.FromString(encode(plain))
    assert again == message
    assert decode(encode(plain)) == plain


def plain(**fields: Any) -> Any:
    return struct_of(EVERYTHING)(**fields)


def nested(**fields: Any) -> Any:
    return struct_of(SCHEMA.record("test.everything.v1.Everything.Nested"))(**fields)


def test_plain_values_are_what_the_table_says() -> None:
    message = Everything(a_float=0.1, color=1, maybe_int=0, ints=[1], by_flag={True: 2}, badge=77, **{"from": 3})
    message.at.FromNanoseconds(5 * SECOND + 7)
    message.took.seconds, message.took.nanos = -1, -500_000_000
    message.wrapped_int64.value = 0
    message.attributes.update({"a": [1, None, "x", 1.5]})
    message.anything.null_value = 0
    message.detail.Pack(
        message_factory.GetMessageClass(SCHEMA.pool.FindMessageTypeByName("google.protobuf.Duration"))()
    )
    message.mask.paths.append("foo_bar.baz")
    message.price.value = "12.50"
    message.empty.SetInParent()
    value = decode(message.SerializeToString())
    assert value.a_float == 0.10000000149011612
    assert (value.color, value.badge, value.by_flag) == ("COLOR_RED", 77, {True: "COLOR_GREEN"})
    assert (value.maybe_int, value.maybe_string, value.ints, value.strings) == (0, UNSET, [1], [])
    assert (value.at, value.took, value.wrapped_int64, value.wrapped_int32) == (
        5 * SECOND + 7,
        -1_500_000_000,
        0,
        UNSET,
    )
    assert value.attributes == {"a": [1, None, "x", 1.5]}
    assert value.anything is None and value.some is UNSET
    assert value.detail == {"@type": "type.googleapis.com/google.protobuf.Duration", "value": "0s"}
    assert value.mask == "fooBar.baz"
    assert value.price == Decimal("12.50") and str(value.price) == "12.50"
    assert value.empty is not UNSET and value.nothing is UNSET
    assert value.f_from == 3


def test_absent_fields_take_their_defaults() -> None:
    assert decode(b"") == plain()
    assert encode(plain()) == b""
    old = decode_old(Legacy(id="x").SerializeToString())
    assert (old.count, old.shade, old.blob, old.note) == (7, "DARK", b"\x01x", UNSET)


def test_proto2_keeps_groups_extensions_aliases_and_unpacked_numbers() -> None:
    message = Legacy(id="x", unpacked=[1, 2], shades=[1, 2])
    message.extra.text = "group"
    message.inner.id = "y"
    extension = LEGACY.pool.FindExtensionByName("test.legacy.v1.nickname")
    friends = LEGACY.pool.FindExtensionByName("test.legacy.v1.friends")
    message.Extensions[extension] = "nick"
    message.Extensions[friends].add(id="z")
    value = decode_old(message.SerializeToString())
    assert value.shades == ["LIGHT", "DARK"]
    again = Legacy.FromString(encode_old(value))
    assert (again.extra, again.Extensions[extension], again.Extensions[friends][0].id) == (message.extra, "nick", "z")
    assert (again.unpacked, again.shades, again.inner.id) == (message.unpacked, message.shades, "y")
    assert decode_old(encode_old(value)) == value


def test_minus_zero_and_not_a_number_survive() -> None:
    value = decode(encode(plain(a_double=-0.0, a_float=math.nan, floats=[math.inf])))
    assert math.copysign(1, value.a_double) == -1
    assert math.isnan(value.a_float) and value.floats == [math.inf]


def test_an_any_of_an_unknown_type_keeps_its_bytes() -> None:
    message = Everything()
    message.detail.type_url, message.detail.value = "example.com/not.in.Contract", b"\x08\x01"
    value = decode(message.SerializeToString())
    assert value.detail == {"@type": "example.com/not.in.Contract", "value": b"\x08\x01"}
    assert Everything.FromString(encode(value)) == message


def failure_of(function: Callable[[Any], Any], argument: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        function(argument)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"an_int32": 2**31}, "$.an_int32", "out of range"),
        ({"a_uint64": -1}, "$.a_uint64", "range"),
        ({"maybe_int": "7"}, "$.maybe_int", "int32 expected"),
        ({"maybe_int": None}, "$.maybe_int", "int32 expected"),
        ({"ints": [1, 2, 2**40]}, "$.ints[2]", "out of range"),
        ({"color": "MAUVE"}, "$.color", "MAUVE"),
        ({"colors": ["COLOR_RED", "MAUVE"]}, "$.colors[1]", "MAUVE"),
        ({"a_string": "\ud800"}, "$.a_string", "Unicode"),
        ({"labels": {"a": "b", "c": "\ud800"}}, "$.labels['c']", "Unicode"),
        ({"labels": {"\ud800": "c"}}, r"$.labels['\ud800']", "Unicode"),
        ({"a_float": 1e40}, "$.a_float", "float32"),
        ({"floats": [0.0, -1e39]}, "$.floats[1]", "float32"),
        ({"wrapped_float": 1e39}, "$.wrapped_float", "float32"),
        ({"email": "a", "phone": 1}, "$.phone", "contact"),
        ({"at": 2**70}, "$.at", "years 1 to 9999"),
        ({"instants": [0, 2**70]}, "$.instants[1]", "years 1 to 9999"),
        ({"times": {7: -(2**70)}}, "$.times[7]", "years 1 to 9999"),
        ({"took": 2**70}, "$.took", "10000 years"),
        ({"mask": "foo_bar"}, "$.mask", "foo_bar"),
        ({"anything": 2**53 + 1}, "$.anything", "double"),
        ({"anything": {"a": [10**400]}}, "$.anything", ""),
        ({"attributes": [1]}, "$.attributes", "any expected"),
        ({"detail": {"@type": "x/no.such.Type", "a": 1}}, "$.detail", "no.such.Type"),
        ({"detail": {"a": 1}}, "$.detail", ""),
        ({"nested": 5}, "$.nested", "Nested expected"),
        ({"ints": 5}, "$.ints", "list<int32> expected"),
        ({"nested": nested(children=[nested(), nested(size=2**31)])}, "$.nested.children[1].size", "out of range"),
        ({"by_number": {3: nested(size=2**31)}}, "$.by_number[3].size", "out of range"),
        ({"by_number": {2**31: nested()}}, f"$.by_number[{2**31}]", "out of range"),
        ({"parent": plain(parent=plain(an_int64=2**63))}, "$.parent.parent.an_int64", "range"),
    ],
)
def test_what_can_not_be_written_is_named(fields: dict[str, Any], path: str, words: str) -> None:
    failure = failure_of(encode, plain(**fields))
    assert failure.path == path
    assert words in failure.message


def _bad_any(message: Any) -> None:
    message.detail.type_url, message.detail.value = "x/test.everything.v1.OutOfStock", b"\xff"


def _two_signs(message: Any) -> None:
    message.took.seconds, message.took.nanos = 1, -1


@pytest.mark.parametrize(
    ("fill", "path", "words"),
    [
        (lambda m: setattr(m.at, "nanos", -1), "$.at", "nanoseconds"),
        (lambda m: setattr(m.parent.instants.add(), "seconds", 2**60), "$.parent.instants[0]", "years 1 to 9999"),
        (lambda m: setattr(m.times[9], "nanos", SECOND), "$.times[9]", "nanoseconds"),
        (lambda m: setattr(m.price, "value", "a lot"), "$.price", "decimal"),
        (lambda m: m.nesteds.add().children.add().MergeFromString(b"\xa0\x06\x01"), "$.nesteds[0].children[0]", "100"),
        (lambda m: m.by_number[4].MergeFromString(b"\xa0\x06\x01"), "$.by_number[0].value", "no field number 100"),
        (lambda m: m.MergeFromString(b"\x98\x3f\x01"), "$", "no field number 1011"),
        (_two_signs, "$.took", "sign"),
        (_bad_any, "$.detail", "OutOfStock"),
    ],
)
def test_what_can_not_be_read_is_named(fill: Callable[[Any], None], path: str, words: str) -> None:
    message = Everything()
    fill(message)
    failure = failure_of(decode, message.SerializeToString())
    assert failure.path == path
    assert words in failure.message


@pytest.mark.parametrize(
    ("data", "path", "words"),
    [
        (b"\x72\xff", "$.a_string", "truncated"),
        (b"\x72\x05abc", "$.a_string", "truncated"),
        (b"\x72\x01\xff", "$.a_string", "UTF-8"),
        (b"\x8a\x01\x03\x0a\x01\xff", "$.nested.name", "UTF-8"),
        (b"\x08\x01", "$.a_double", "wire type 0"),
        (b"\x07", "$", "not a protobuf message"),
        (b"\x00\x00", "$", "not a protobuf message"),
        (b"\x18" + b"\xff" * 10 + b"\x01", "$.an_int32", "64 bits"),
        (b"\x18", "$.an_int32", "truncated"),
        (b"\xff\xff\xff\xff\xff\xff", "$", "truncated"),
        (b"\xfa\x05\x02\x7a\x00" * 3 + b"\xfa\x05", "$.parent", "truncated"),
    ],
)
def test_malformed_bytes_are_refused(data: bytes, path: str, words: str) -> None:
    failure = failure_of(decode, data)
    assert (failure.path, words in failure.message) == (path, True), failure


def test_nesting_is_bounded() -> None:
    data = b""
    for _ in range(120):
        length = len(data)
        size = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
        data = b"\xfa\x05" + size + data
    assert "nested deeper" in failure_of(decode, data).message
    deep = plain()
    for _ in range(2000):
        deep = plain(parent=deep)
    assert "nested" in failure_of(encode, deep).message


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_arbitrary_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = decode(data)
    except Failure:
        return
    # As text, in which one NaN is like another.
    assert str(Everything.FromString(encode(value))) == str(Everything.FromString(data))


def test_unknown_fields_are_dropped_where_the_endpoint_says_so() -> None:
    drop = ProtobufFormat(SCHEMA).decoder(EVERYTHING, Unknown.DROP)
    assert drop(b"\x98\x3f\x01\x18\x05") == plain(an_int32=5)


def test_unknown_fields_are_found_where_map_entries_grow_when_rewritten() -> None:
    # The entry of labels is two bytes long here and six when upb writes it, the unknown field has four.
    failure = failure_of(decode, b"\xc2\x02\x00" + b"\x98\x3f\x80\x01")
    assert "1011" in failure.message


def test_a_closed_enumeration_refuses_unknown_numbers() -> None:
    failure = failure_of(decode_old, b"\x0a\x01x\x30\x01\x30\x09")
    assert (failure.path, failure.message) == ("$.shades[1]", "test.legacy.v1.Legacy.Shade has no value 9")
    failure = failure_of(encode_old, struct_of(OLD)(id="x", shade=9))
    assert failure.path == "$.shade"


def test_a_missing_required_field_is_named() -> None:
    assert failure_of(decode_old, b"").path == "$.id"
    assert failure_of(decode_old, b"\x0a\x01x\x42\x00").path == "$.inner.id"


def test_proto2_text_must_be_unicode_too() -> None:
    assert failure_of(decode_old, b"\x0a\x01\xff").path == "$.id"


def test_a_type_of_another_contract_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no message of a \.proto contract"):
        ProtobufFormat(SCHEMA).encoder(Record("Alien", [Field("a", STRING)]))


def test_formats_of_one_contract_are_equal() -> None:
    assert ProtobufFormat(SCHEMA) == ProtobufFormat(SCHEMA)
    assert ProtobufFormat(SCHEMA) != ProtobufFormat(LEGACY)
    assert len({ProtobufFormat(SCHEMA), ProtobufFormat(SCHEMA)}) == 1


def test_the_numbers_of_a_value() -> None:
    message = Everything()
    for number in (4.0, 1.5, 0.0, -0.0, 2.0**53):
        message.values.add().number_value = number
    assert list(map(repr, decode(message.SerializeToString()).values)) == ["4", "1.5", "0", "-0.0", str(2**53)]


def test_a_value_that_is_no_json_number_is_refused() -> None:
    message = Everything()
    message.values.add().number_value = 1
    message.values.add().number_value = math.inf
    with pytest.raises(Failure, match="holds no inf") as refused:
        decode(message.SerializeToString())
    assert refused.value.path == "$.values[1]"
