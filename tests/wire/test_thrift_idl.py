"""Thrift IDLs as the type IR: what Apache's grammar allows, and what is refused with its line."""

from pathlib import Path
from typing import Any

import pytest
from support.plain import shown
from support.thrift_apache import EVERYTHING, ORDERS

from gateway.codecs.format import Unknown
from gateway.codecs.thrift.format import Protocol, ThriftFormat
from gateway.pattern import Pattern
from gateway.schema.idl.thrift.document import ThriftError
from gateway.schema.idl.thrift.reader import ThriftSchema
from gateway.schema.types import Enumeration, List, Map, Record


def load(folder: Path, text: str, **others: str) -> ThriftSchema:
    for name, content in {"main": text, **others}.items():
        (folder / f"{name}.thrift").write_text(content)
    return ThriftSchema.load(folder / "main.thrift")


def types_of(record: Any) -> dict[str, str]:
    return {field.name: str(field.type) for field in record.fields}


def test_the_demo_contract_has_the_names_of_the_proto() -> None:
    schema = ThriftSchema.load(ORDERS)
    assert schema.services == ("Orders",)
    place = schema.operation("Orders", "PlaceOrder")
    assert place.pattern is Pattern.REQUEST_REPLY
    assert types_of(place.request) == {"customer_id": "string", "lines": "list<OrderLine>", "channel": "string"}
    assert list(place.failures) == ["OutOfStock"]
    event = schema.operation("Orders", "RegisterEvent")
    assert (event.pattern, event.reply) == (Pattern.ONE_WAY, None)
    assert event.doc == "What happened to an order; nobody waits for an answer."
    assert types_of(schema.operation("Orders", "GetOrder").request) == {"order_id": "string"}


def test_everything_against_thriftpy2() -> None:
    thriftpy2 = pytest.importorskip("thriftpy2")
    module = thriftpy2.load(str(EVERYTHING))
    schema = ThriftSchema.load(EVERYTHING)
    request = schema.operation("Everythings", "swap").request
    assert isinstance(request, Record)
    theirs = {number: spec[1] for number, spec in module.Everything.thrift_spec.items()}
    assert {field.wire.id: field.name for field in request.fields} == theirs
    assert set(schema.functions("Everythings")) >= set(module.Everythings.thrift_services)


def test_shapes() -> None:
    schema = ThriftSchema.load(EVERYTHING)
    assert schema.functions("Everythings")[:2] == ("ping", "echo"), "inherited"
    everything = types_of(schema.operation("Everythings", "swap").request)
    assert everything["amount"] == "common.Money"
    assert everything["matrix"] == "list<list<int64>>"
    assert everything["colors"] == "map<string, Payment>"
    assert everything["doubles"] == "list<entry>"
    times = types_of(schema.operation("Everythings", "times").request)
    assert times == {
        "at": "timestamp",
        "floor": "timestamp",
        "took": "duration",
        "aliased": "timestamp",
        "many": "list<timestamp>",
        "nanos": "timestamp",
    }
    payment = schema.operation("Everythings", "pay").request
    assert isinstance(payment, Record) and payment.choices[0].required
    assert schema.operation("Everythings", "nodes").request is not None
    assert types_of(schema.operation("Everythings", "add").reply) == {"success": "int32"}
    assert types_of(schema.operation("Everythings", "nothing").reply) == {}


def test_defaults_are_what_absence_means() -> None:
    request = ThriftSchema.load(EVERYTHING).operation("Everythings", "defaults").request
    assert isinstance(request, Record)
    for protocol, nothing in ((Protocol.BINARY, b"\0"), (Protocol.COMPACT, b"\0"), (Protocol.JSON, b"{}")):
        decode = ThriftFormat(protocol, None).decoder(request, Unknown.REJECT)
        value = decode(nothing)
        assert shown(request, value) == {
            "size": 7,
            "name": "none",
            "color": "GREEN",
            "empty": [],
            "filled": ["a", "b"],
            "money": {"currency": "EUR", "units": 5},
            "table": {"x": 1},
            "half": 0.5,
            "yes": True,
            "big": 16,
        }
        value.filled.append("mine")
        value.table["mine"] = 1
        assert decode(nothing).filled == ["a", "b"], "a default is not shared"


def test_types_are_shared_by_those_that_load_the_same(tmp_path: Path) -> None:
    text = "struct A { 1: i32 x } service S { A f(1: A a) }"
    first = load(tmp_path, text)
    assert load(tmp_path, text) is first
    (tmp_path / "main.thrift").write_text(text.replace("i32", "i64"))
    assert load(tmp_path, text.replace("i32", "i64")) is not first, "a changed file is read anew"


def test_forms_of_the_grammar(tmp_path: Path) -> None:
    schema = load(
        tmp_path,
        """
        /* a comment */ # another
        include "base.thrift";
        cpp_include "<vector>"
        namespace cpp.noexist a.b (x = "y")
        namespace * a
        typedef map<string, list<Later>> Table (deprecated)
        const map<string, list<i32>> M = {"a": [1, 2,], 'b': []}
        const double D = -1.5e3; const bool B = true
        enum E { A, B = 5, C = 0x10; D (x) }
        struct S { string implicit; 2: required Table t, 3: optional Later & self = {"n": 1} (a = "b", c) }
        struct Later { 1: i32 n = base.LIMIT; 2: E e = E.B, 3: E f = 16, 4: uuid u }
        service First extends base.Base { S f(1: S s, 2: set<E> es) throws (1: base.Oops o), oneway void g() }
        """,
        base="const i32 LIMIT = 9 exception Oops { 1: string why } service Base { void ping() }",
    )
    assert schema.functions("First") == ("ping", "f", "g")
    operation = schema.operation("First", "f")
    request = operation.request
    assert isinstance(request, Record)
    record = request.fields[0].type
    assert isinstance(record, Record)
    assert [(field.name, field.wire.id, field.required) for field in record.fields] == [
        ("implicit", -1, False),
        ("t", 2, True),
        ("self", 3, False),
    ]
    table = record.fields[1].type
    assert isinstance(table, Map) and isinstance(table.value, List)
    later = table.value.item
    assert isinstance(later, Record)
    assert [field.default for field in later.fields][:3] == [9, "B", "C"]
    enum = later.fields[1].type
    assert isinstance(enum, Enumeration) and enum.numbers == {"A": 0, "B": 5, "C": 16, "D": 17}
    assert list(operation.failures) == ["base.Oops"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("struct A {\n 1: i32 x\n 1: i32 y }", "main.thrift:3: the field id 1 is there twice"),
        ("struct A { 1: i32 x, 2: i32 x }", "the field x is there twice"),
        ("struct A { 40000: i32 x }", "the field id 40000 is out of the range of i16"),
        ("struct A {} struct A {}", "A is defined twice"),
        ("struct A { 1: i32 x", "} expected, not the end of the file"),
        ("\n\nstruct A ! {}", "main.thrift:3: unexpected '!'"),
        ("enum E { A = 1, A = 2 }", "E.A is there twice"),
        ("enum E { A = 3000000000 }", "out of the range of i32"),
        ("senum X { 'a' }", "a definition expected, not senum"),
        ("service S { oneway i32 f() }", "the oneway function f can't reply"),
        ("service S { void f(); void f() }", "S f is there twice"),
        ("service S { void f(1: Nope n) }", "Nope is not defined"),
        ("service S extends T { void f() }", "T is not defined"),
        ("service S extends S { void f() }", "service S extends itself"),
        ("const i32 C = 1 service S { void f(1: C n) }", "C is not a type"),
        ("service S { void f() throws (1: i32 n) }", "f throws i32, which is not an exception"),
        ("struct A { 1: i32 x = 'text' } service S { void f(1: A a) }", "'text' is no i32"),
        ("struct A { 1: i8 x = 300 } service S { void f(1: A a) }", "300 is no i8"),
        ("struct A { 1: i32 x = NOPE } service S { void f(1: A a) }", "NOPE is no i32"),
        ("struct A { 1: i32 x (timestamp = 'ms') } service S { void f(1: A a) }", "timestamp stands at an i64"),
        ("struct A { 1: i64 x (timestamp = 'h') } service S { void f(1: A a) }", "with the unit s, ms, us or ns"),
        ("struct A { 1: i64 x (timestamp = 's', round = 'up') } service S { void f(1: A a) }", '"up" is unknown'),
        ("struct A { 1: i64 x (json) } service S { void f(1: A a) }", "json stands at a string"),
        ("typedef T T service S { void f(1: T a) }", "the typedef T is of itself"),
        ("typedef list<U> T typedef list<T> U service S { void f(1: T a) }", "is of itself"),
        ('include "nope.thrift"', "the include 'nope.thrift' is not there"),
        ('include "main.thrift"', "the file includes itself"),
        ("service T { void f() }", "has no service 'S'; it has T"),
        ("service S { void g() }", "service S has no function 'f'; it has g"),
    ],
)
def test_refused_with_the_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ThriftError) as error:
        load(tmp_path, text).operation("S", "f")
    assert told in str(error.value)
    assert "main.thrift" in str(error.value) or "service S" in str(error.value)


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(ThriftError, match="No such file"):
        ThriftSchema.load(tmp_path / "none.thrift")
    (tmp_path / "latin.thrift").write_bytes(b"// caf\xe9")
    with pytest.raises(ThriftError, match="not UTF-8"):
        ThriftSchema.load(tmp_path / "latin.thrift")
