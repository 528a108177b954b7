"""Thrift's three protocols: what is written is read again, Apache's bytes are ours, and hostile bytes are refused."""

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.plain import plain, shown
from support.thrift_apache import EVERYTHING, from_apache, generated, to_apache
from support.thrift_apache_peers import protocol_factory
from support.thrift_values import values

from gateway.codecs.format import Unknown
from gateway.codecs.thrift.format import Protocol, ThriftFormat
from gateway.schema.idl.thrift.reader import ThriftSchema, ThriftType
from gateway.status import Code, Failure

SCHEMA = ThriftSchema.load(EVERYTHING)
EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
PROTOCOLS = list(Protocol)


def type_of(function: str) -> ThriftType:
    """The struct that a function of everything.thrift takes and gives."""
    found: ThriftType = SCHEMA.operation("Everythings", function).wire.result.type
    return found


_made: dict[Any, Any] = {}


def codec(protocol: Protocol, type_: ThriftType, unknown: Unknown = Unknown.REJECT) -> tuple[Any, Any]:
    key = protocol, type_, unknown
    if key not in _made:
        format_ = ThriftFormat(protocol, None)
        _made[key] = format_.encoder(type_.type), format_.decoder(type_.type, unknown)
    encode, decode = _made[key]
    return encode, decode


def refusal(function: Any, value: Any) -> Failure:
    with pytest.raises(Failure) as refused:
        function(value)
    assert refused.value.code is Code.INVALID_ARGUMENT
    return refused.value


def bare(idl: str, tmp_path: Path) -> ThriftType:
    """The struct A of an IDL."""
    (tmp_path / "bare.thrift").write_text(idl + " service S { A f(1: A a) }")
    found: ThriftType = ThriftSchema.load(tmp_path / "bare.thrift").operation("S", "f").wire.result.type
    return found


@pytest.fixture(scope="module")
def apache() -> dict[str, Any]:
    types, common = generated(EVERYTHING, "everything.ttypes", "common.ttypes")
    return {"": types, "common": common}


# -- what is written is read again


@pytest.mark.parametrize(
    ("function", "protocol"),
    [
        (function, protocol)
        for function in ("swap", "keys", "times", "defaults", "pay")
        for protocol in PROTOCOLS
        if (function, protocol) != ("keys", Protocol.JSON)  # it has no such keys: refused when the route is compiled
    ],
)
def test_round_trip(protocol: Protocol, function: str) -> None:
    type_ = type_of(function)
    encode, decode = codec(protocol, type_)

    @EXAMPLES
    @given(values(type_))
    def check(value: Any) -> None:
        once = decode(encode(value))
        assert once == value or function == "defaults"  # where absence means the default
        assert decode(encode(once)) == once

    check()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_as_apache(protocol: Protocol, apache: dict[str, Any]) -> None:
    from thrift.TSerialization import deserialize, serialize

    type_ = type_of("swap")
    encode, decode = codec(protocol, type_)
    factory = protocol_factory(protocol.value)

    @EXAMPLES
    @given(values(type_))
    def check(value: Any) -> None:
        if protocol is Protocol.JSON and any(number in repr(value) for number in ("inf", "-0.0")):
            return  # Apache's Python writes inf bare, which is not JSON, and -0.0 as the integer -0
        data = encode(value)
        theirs = to_apache(type_, value, apache)
        written = serialize(theirs, factory)
        if protocol is not Protocol.JSON and not value.tags and not value.unique:
            assert written == data, "byte for byte, but for the order of sets"
        assert deserialize(type(theirs)(), data, factory) == theirs
        told = decode(written)
        for attr in ("tags", "unique"):
            if getattr(value, attr):
                assert sorted(getattr(told, attr)) == sorted(getattr(value, attr))
                setattr(told, attr, getattr(value, attr))
        assert told == value
        assert from_apache(type_, theirs).__class__ is value.__class__

    check()


def test_bytes_of_each_protocol(tmp_path: Path) -> None:
    """As the specifications show them."""
    type_ = bare(
        "struct A { 1: i8 a, 2: bool b, 3: i16 c, 20: i64 d, 21: string e, 22: list<i32> f, 23: map<string, bool> g, "
        "24: uuid h, 25: double i, 26: set<i8> j, 27: map<i32, i32> k }",
        tmp_path,
    )
    value = plain(
        type_.type,
        {
            "a": -1,
            "b": True,
            "c": -2,
            "d": 300,
            "e": "ä",
            "f": [1, -1],
            "g": {"x": False},
            "h": "00112233-4455-6677-8899-aabbccddeeff",
            "i": 1.0,
            "j": [7],
            "k": {},
        },
    )
    uuid = bytes.fromhex("00112233445566778899aabbccddeeff")
    expected = {
        Protocol.BINARY: b"\x03\0\x01\xff"
        b"\x02\0\x02\x01"
        b"\x06\0\x03\xff\xfe"
        b"\x0a\0\x14\0\0\0\0\0\0\x01\x2c"
        b"\x0b\0\x15\0\0\0\x02\xc3\xa4"
        b"\x0f\0\x16\x08\0\0\0\x02\0\0\0\x01\xff\xff\xff\xff"
        b"\x0d\0\x17\x0b\x02\0\0\0\x01\0\0\0\x01x\0" + b"\x10\0\x18" + uuid + b"\x04\0\x19\x3f\xf0\0\0\0\0\0\0"
        b"\x0e\0\x1a\x03\0\0\0\x01\x07"
        b"\x0d\0\x1b\x08\x08\0\0\0\0\0",
        Protocol.COMPACT: b"\x13\xff\x11\x14\x03\x06\x28\xd8\x04\x18\x02\xc3\xa4\x19\x25\x02\x01\x1b\x01\x81\x01x\x02"
        b"\x1d" + uuid + b"\x17\0\0\0\0\0\0\xf0\x3f\x1a\x13\x07\x1b\0\0",
        Protocol.JSON: '{"1":{"i8":-1},"2":{"tf":1},"3":{"i16":-2},"20":{"i64":300},"21":{"str":"ä"},'
        '"22":{"lst":["i32",2,1,-1]},"23":{"map":["str","tf",1,{"x":0}]},'
        '"24":{"uid":"00112233-4455-6677-8899-aabbccddeeff"},"25":{"dbl":1.0},"26":{"set":["i8",1,7]},'
        '"27":{"map":["i32","i32",0,{}]}}'.encode(),
    }
    for protocol, data in expected.items():
        encode, decode = codec(protocol, type_)
        assert encode(value) == data, protocol
        assert decode(data) == value, protocol


def test_fields_in_any_order_and_repeated(tmp_path: Path) -> None:
    type_ = bare("struct A { 1: i8 a, 2: i8 b }", tmp_path)
    for protocol, data in {
        Protocol.BINARY: b"\x03\0\x02\x05\x03\0\x01\x04\x03\0\x02\x06\0",
        Protocol.COMPACT: b"\x23\x05\x03\x02\x04\x13\x06\0",
        Protocol.JSON: b' { "2" : {"i8":6}, "1":{"i8":4}}\n',
    }.items():
        assert shown(type_.type, codec(protocol, type_)[1](data)) == {"a": 4, "b": 6}, protocol


def test_json_of_other_writers(tmp_path: Path) -> None:
    type_ = bare("struct A { 1: binary a, 2: double b, 3: string c, 4: list<string> d, 5: string e (json) }", tmp_path)
    _, decode = codec(Protocol.JSON, type_)
    for text, told in (
        ('{"1":{"str":"AQ"}}', {"a": b"\1"}),  # base64 without padding, as C++ writes it
        ('{"2":{"dbl":"NaN"}}', {"b": "nan"}),
        ('{"2":{"dbl":"-Infinity"}}', {"b": float("-inf")}),
        ('{"2":{"dbl":5}}', {"b": 5.0}),
        ('{"3":{"str":"tab\there"}}', {"c": "tab\there"}),  # a control character, as Apache's Python leaves it
        ('{"4":{"lst":["rec",0]}}', {"d": []}),  # the type of no items says nothing
        ('{"5":{"str":"null"}}', {"e": None}),
        ('{"5":{"str":"{\\"x\\":[1]}"}}', {"e": {"x": [1]}}),
    ):
        value = shown(type_.type, decode(text.encode()))
        assert {name: str(one) if one != one else one for name, one in value.items()} == told


# -- hostile bytes


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_cut_is_refused(protocol: Protocol) -> None:
    """Also where what is cut off is skipped."""
    type_ = type_of("swap")
    value = plain(
        type_.type,
        {
            "text": "some text",
            "amount": {"currency": "EUR", "units": 2**60},
            "numbers": list(range(40)),
            "counts": {"a": 1, "b": 2},
            "payment": {"cash": {"currency": "x", "units": -1}},
            "deep": [{"k": [{"name": "n", "children": []}]}],
            "doubles": [{"key": 0.5, "value": "v"}],
            "ratio": 0.5,
            "far": 1,
        },
    )
    encode, strict = codec(protocol, type_)
    data = encode(value)
    _, lenient = codec(protocol, type_of("pay"), Unknown.DROP)
    for cut in range(len(data)):
        refusal(strict, data[:cut])
        refusal(lenient, data[:cut])
    if protocol is not Protocol.JSON:
        assert "bytes follow" in refusal(strict, data + b"\0").message


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_any_bytes_make_a_value_or_a_failure(protocol: Protocol) -> None:
    type_ = type_of("swap")
    encode, strict = codec(protocol, type_)
    _, lenient = codec(protocol, type_, Unknown.DROP)

    @EXAMPLES
    @given(st.binary(max_size=60) | values(type_).map(encode), st.data())
    def check(data: bytes, draw: st.DataObject) -> None:
        if data:
            at = draw.draw(st.integers(0, len(data) - 1))
            data = data[:at] + bytes([draw.draw(st.integers(0, 255))]) + data[at + 1 :]
        for decode in (strict, lenient):
            with suppress(Failure):
                decode(data)

    check()


BOMBS = {
    Protocol.BINARY: [
        b"\x0f\0\x0d\x08\x7f\xff\xff\xff\0",  # 2^31 numbers
        b"\x0f\0\x66\x0c\xff\xff\xff\xff\0",  # 2^32 structs
        b"\x0d\0\x28\x0b\x08\x7f\xff\xff\xff\0",
        b"\x0b\0\x08\x7f\xff\xff\xff",
        b"\x0b\0\x08\xff\xff\xff\xffx",
        b"\x0f\0\x63\x02\x7f\xff\xff\xff\0",  # in a field that the contract does not have
        b"\x0f\0\x63\x0f\x7f\xff\xff\xff" + b"\x0f\0\0\0\0" * 50,
        b"\x0d\0\x63\x03\x03\x7f\xff\xff\xff",
    ],
    Protocol.COMPACT: [
        b"\x09\x1a\xf5\xff\xff\xff\xff\x07\0",
        b"\x09\xcc\x01\xfc\xff\xff\xff\xff\x0f\0",
        b"\x0b\x50\xff\xff\xff\xff\x07\x85",
        b"\x88\xff\xff\xff\xff\x0fx",
        b"\x86\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\0",  # more than 64 bits
        b"\x85\xff\xff\xff\xff\x7f\0",
        b"\x09\xc6\x01\xf1\xff\xff\xff\xff\x07\0",
    ],
    Protocol.JSON: [
        b'{"13":{"lst":["i32",2147483647]}}',
        b'{"13":{"lst":["i32",2,1]}}',
        b'{"40":{"map":["str","i32",5,{}]}}',
        b'{"13":{"lst":[' * 3,
        b"[" * 100_000,
        b'{"6":{"i64":9223372036854775808}}',
        b'{"6":{"i64":1e400}}',
        b'{"6":{"i64":1.5}}',
        b'{"6":{"i64":true}}',
        b'{"6":{"i32":1}}',
        b'{"6":5}',
        b'{"6":{}}',
        b'{"8":{"str":5}}',
        b'{"9":{"str":"???"}}',
        b'{"40":{"map":["str","i32",1,{"a":1,"a":2}]}}'.replace(b"1,{", b"2,{"),
        b'{"41":{"map":["i32","str",1,{"x":"y"}]}}',
    ],
}


@pytest.mark.parametrize(("protocol", "data"), [(one, data) for one in PROTOCOLS for data in BOMBS[one]])
def test_bombs(protocol: Protocol, data: bytes) -> None:
    for unknown in Unknown:
        refusal(codec(protocol, type_of("swap"), unknown)[1], data)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nesting_is_limited(protocol: Protocol, tmp_path: Path) -> None:
    node = bare("struct A { 1: string name, 2: A next }", tmp_path)
    empty = bare("struct B {} struct A { 9: B nothing }", tmp_path)

    def nested(levels: int) -> bytes:
        if protocol is Protocol.JSON:
            return b'{"2":{"rec":' * (levels - 1) + b"{}" + b"}}" * (levels - 1)
        head = b"\x0c\0\x02" if protocol is Protocol.BINARY else b"\x2c"
        return head * (levels - 1) + b"\0" * levels

    _, decode = codec(protocol, node)
    depth, value = 1, decode(nested(64))
    while isinstance(value.next, type(value)):
        depth, value = depth + 1, value.next
    assert depth == 64
    assert "deeper than 64" in refusal(decode, nested(65)).message
    for levels in (65, 5000):
        refusal(decode, nested(levels))
        if protocol is not Protocol.JSON:  # of which unknown parts are not looked into
            assert "deeper" in refusal(codec(protocol, empty, Unknown.DROP)[1], nested(levels)).message
    encode, _ = codec(protocol, node)
    deep = decode(nested(1))
    for _ in range(100_000):
        deep = type(deep)(next=deep)
    assert "too deep" in refusal(encode, deep).message
    while deep is not None:  # one by one, for the interpreter frees it as deep as it is
        deep, following = None, deep.next
        deep = following if isinstance(following, type(value)) else None


# -- paths and reasons


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_unknown_fields(protocol: Protocol, tmp_path: Path) -> None:
    newer = bare(
        "struct N { 1: i32 x } struct A { 1: i32 a, 2: N n, 3: list<N> o, 4: map<string, set<double>> p, 5: bool q, "
        "6: string r, 7: i64 s, 8: uuid t, 9: map<i8, i8> u, 10: list<bool> v, 11: i16 w, 12: i8 z }",
        tmp_path,
    )
    value = plain(
        newer.type,
        {
            "a": 1,
            "n": {"x": 2},
            "o": [{"x": 3}, {}],
            "p": {"k": [0.5], "": []},
            "q": False,
            "r": "r" * 200,
            "s": -(2**63),
            "t": "00112233-4455-6677-8899-aabbccddeeff",
            "u": {1: 2},
            "v": [True, False],
            "w": 300,
            "z": 5,
        },
    )
    older = bare("struct A { 1: i32 a, 12: i8 z }", tmp_path)
    data = codec(protocol, newer)[0](value)
    assert shown(older.type, codec(protocol, older, Unknown.DROP)[1](data)) == {"a": 1, "z": 5}
    failure = refusal(codec(protocol, older)[1], data)
    assert (failure.message, failure.path) == ("the contract has no field 2", "$")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_field_of_another_type_is_never_skipped(protocol: Protocol, tmp_path: Path) -> None:
    theirs = bare("struct N { 1: string x } struct A { 2: list<N> n }", tmp_path)
    ours = bare("struct N { 1: i64 x } struct A { 2: list<N> n }", tmp_path)
    data = codec(protocol, theirs)[0](plain(theirs.type, {"n": [{}, {"x": "5"}]}))
    for unknown in Unknown:
        failure = refusal(codec(protocol, ours, unknown)[1], data)
        assert (failure.message, failure.path) == ("it is string instead of i64", "$.n[1].x")
    items = bare("struct A { 2: list<i64> n }", tmp_path)
    failure = refusal(codec(protocol, items, Unknown.DROP)[1], data)
    assert (failure.message, failure.path) == ("it is struct instead of i64", "$.n")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_paths(protocol: Protocol, tmp_path: Path) -> None:
    """The same struct, in which a member is optional, is written and then read as one that needs it."""
    text = "struct N {{ 1: {} string x }} struct A {{ 1: map<string, list<N>> n, 2: map<i32, N> m }}"
    lax, strict = bare(text.format("optional"), tmp_path), bare(text.format("required"), tmp_path)
    good, bad = {"x": "y"}, {"n": {"a": [{"x": "y"}, {}]}}
    encode, decode = codec(protocol, lax)[0], codec(protocol, strict)[1]
    failure = refusal(decode, encode(plain(lax.type, bad)))
    assert (failure.message, failure.path) == ("missing required field", "$.n['a'][1].x")
    failure = refusal(decode, encode(plain(lax.type, {"m": {5: good, 6: {}}})))
    assert failure.path in ("$.m[6].x", "$.m['6'].x")
    value = decode(encode(plain(lax.type, {"n": {"a": [good, good]}})))
    value.n["a"][1].x = 5
    failure = refusal(codec(protocol, strict)[0], value)
    assert (failure.message, failure.path) == ("5 is no string, or out of its range", "$.n['a'][1].x")


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("value", "message", "path"),
    [
        ({"tiny": 128}, "128 is no i8, or out of its range", "$.tiny"),
        ({"small": -32769}, "-32769 is no i16, or out of its range", "$.small"),
        ({"medium": 2**31}, "2147483648 is no i32, or out of its range", "$.medium"),
        ({"big": 2**63}, "9223372036854775808 is no i64, or out of its range", "$.big"),
        ({"big": 1.0}, "1.0 is no i64, or out of its range", "$.big"),
        ({"numbers": [1, 2**31]}, "2147483648 is no i32, or out of its range", "$.numbers[1]"),
        ({"text": "\ud800"}, "the text is not valid Unicode", "$.text"),
        ({"color": "PINK"}, "'PINK' is no common.Color, or out of its range", "$.color"),
        ({"colors": {"PINK": {"free": True}}}, "'PINK' is no common.Color, or out of its range", "$.colors['PINK']"),
        ({"tags": ["a", "b", "a"]}, "the item is in the set twice", "$.tags[2]"),
        ({"payment": {}}, "exactly one field of the union Payment must be set", "$.payment"),
        ({"payment": {"card": "x", "free": True}}, "exactly one field of the union Payment must be set", "$.payment"),
    ],
)
def test_values_that_do_not_fit(protocol: Protocol, value: dict[str, Any], message: str, path: str) -> None:
    type_ = type_of("swap")
    failure = refusal(codec(protocol, type_)[0], plain(type_.type, value))
    assert (failure.message, failure.path) == (message, path)


def test_a_union_has_one_field_on_the_wire() -> None:
    for protocol, none, two in (
        (Protocol.BINARY, b"\0", b"\x0b\0\x01\0\0\0\0\x02\0\x03\x01\0"),
        (Protocol.COMPACT, b"\0", b"\x18\0\x21\0"),
        (Protocol.JSON, b"{}", b'{"1":{"str":""},"3":{"tf":1}}'),
    ):
        for data in (none, two):
            assert "exactly one field" in refusal(codec(protocol, type_of("pay"))[1], data).message


def test_times() -> None:
    type_ = type_of("times")
    for protocol in PROTOCOLS:
        encode, decode = codec(protocol, type_)
        sent = {"at": 1_000_000, "floor": 1_999_999_999, "took": 5_000, "nanos": 1}
        assert shown(type_.type, decode(encode(plain(type_.type, sent)))) == {**sent, "floor": 1_000_000_000}
        failure = refusal(encode, plain(type_.type, {"at": 1}))
        assert failure.path == "$.at" and "finer than the contract's unit" in failure.message
    year_300000 = b"\x0a\0\x01" + struct.pack(">q", 2**53) + b"\0"
    failure = refusal(codec(Protocol.BINARY, type_)[1], year_300000)
    assert failure.path == "$.at" and "outside the years 1 to 9999" in failure.message


def test_keys_that_json_can_not_carry() -> None:
    operation = SCHEMA.operation("Everythings", "keys")
    assert "JSON has no such keys" in ThriftFormat(Protocol.JSON, None).refusal(operation.request)
    assert ThriftFormat(Protocol.BINARY, None).refusal(operation.request) == ""
    assert ThriftFormat(Protocol.JSON, None).refusal(SCHEMA.operation("Everythings", "swap").request) == ""


def test_formats_are_equal_where_the_bytes_are() -> None:
    swap, pay = (SCHEMA.operation("Everythings", name).wire for name in ("swap", "pay"))
    assert ThriftFormat(Protocol.BINARY, swap.argument) == ThriftFormat(Protocol.BINARY, swap.argument)
    assert ThriftFormat(Protocol.BINARY, swap.argument) != ThriftFormat(Protocol.COMPACT, swap.argument)
    assert ThriftFormat(Protocol.BINARY, swap.argument) != ThriftFormat(Protocol.BINARY, swap.result)
    assert ThriftFormat(Protocol.BINARY, swap.argument) != ThriftFormat(Protocol.BINARY, pay.argument)
    assert ThriftFormat(Protocol.BINARY, None) != ThriftFormat(Protocol.BINARY, pay.argument)
