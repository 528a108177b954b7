"""Other contracts as .proto: what is read back means the same."""

from pathlib import Path

import pytest

from gateway.pattern import Pattern
from gateway.schema import types
from gateway.schema.idl.proto.reader import ProtoSchema, compile_files
from gateway.schema.idl.proto.writer import field_numbers, write
from gateway.schema.names import convention, enum_convention
from gateway.schema.types import Choice, Enumeration, Field, List, Map, Operation, Record, Scalar, Type

SCHEMAS = Path(__file__).parents[1] / "schemas"


def numbers(enumeration: Enumeration) -> dict[str, int]:
    names = enum_convention(enumeration.name, enumeration.numbers)
    return {key: enumeration.numbers[name] for key, name in names.items()}


def same(one: Type, other: Type, seen: set[int]) -> None:
    """The same meaning under names that match by convention."""
    match one, other:
        case Record(), Record():
            if id(one) in seen:
                return
            seen.add(id(one))
            assert [convention(f.name) for f in one.fields] == [convention(f.name) for f in other.fields]
            assert [convention(c.name) for c in one.choices] == [convention(c.name) for c in other.choices]
            for field, written in zip(one.fields, other.fields, strict=True):
                assert convention(field.choice) == convention(written.choice), field.name
                if not isinstance(field.type, Enumeration):
                    assert field.default == written.default or field.default is written.default, field.name
                same(field.type, written.type, seen)
        case Enumeration(), Enumeration():
            known = {key: one.numbers[name] for key, name in enum_convention(one.name, one.numbers).items()}
            written_numbers = {
                key: other.numbers[name] for key, name in enum_convention(other.name, other.numbers).items()
            }
            assert known.items() <= written_numbers.items()
        case List(item), List(written_item):
            same(item, written_item, seen)
        case Map(key, value), Map(written_key, written_value):
            assert key == written_key
            same(value, written_value, seen)
        case _:
            assert one == other


def read(descriptors: object) -> ProtoSchema:
    return ProtoSchema.load(descriptors)  # type: ignore[arg-type]


def test_a_proto_contract_survives() -> None:
    original = ProtoSchema.load(compile_files([SCHEMAS / "everything.proto"], [])).schema
    written = read(write("derived.v1", "Echo", original.operations.values())).schema
    for name, operation in original.operations.items():
        again = written.operations[f"derived.v1.Echo/{name.rpartition('/')[2]}"]
        assert again.pattern == operation.pattern
        assert operation.request is not None and again.request is not None
        same(operation.request, again.request, set())


def order() -> Operation:
    status = Enumeration("{urn:shop}orderStatus", {"PLACED": 1, "PAID": 2})
    line = Record("{urn:shop}LineType", [Field("sku", types.STRING, required=True), Field("qty", types.INTEGER)])
    request = Record(
        "{urn:shop}PlaceOrder",
        [
            Field("customerId", types.STRING, required=True),
            Field("Lines", List(line), default=[]),
            Field("status", status),
            Field("unit-price", types.DECIMAL),
            Field("dueDate", types.DATE),
            Field("3rdParty", types.BOOL),
            Field("card", types.STRING, choice="payment"),
            Field("transfer", line, choice="payment"),
            Field("labels", Map(types.STRING, types.FLOAT64), default={}),
        ],
        choices=[Choice("payment")],
    )
    failure = Record("{urn:shop}OutOfStockFault", [Field("sku", types.STRING)])
    return Operation("PlaceOrder", Pattern.ONE_WAY, request, None, {"OutOfStock": failure})


def test_another_contract_as_proto() -> None:
    schema = read(write("shop.v1", "Orders", [order()]))
    operation = schema.schema.operations["shop.v1.Orders/PlaceOrder"]
    assert operation.pattern is Pattern.REQUEST_REPLY
    assert str(operation.reply) == "google.protobuf.Empty"
    record = schema.record("shop.v1.PlaceOrder")
    assert operation.request is record
    assert [(field.name, str(field.type)) for field in record.fields] == [
        ("customer_id", "string"),
        ("lines", "list<shop.v1.LineType>"),
        ("status", "shop.v1.OrderStatus"),
        ("unit_price", "decimal"),
        ("due_date", "string"),
        ("f_3rd_party", "bool"),
        ("card", "string"),
        ("transfer", "shop.v1.LineType"),
        ("labels", "map<string, float64>"),
    ]
    status = schema.schema.types["shop.v1.OrderStatus"]
    assert isinstance(status, Enumeration)
    assert status.numbers == {"ORDER_STATUS_UNSPECIFIED": 0, "ORDER_STATUS_PLACED": 1, "ORDER_STATUS_PAID": 2}
    assert types.is_unset(record.fields[0].default), "presence is kept"
    assert schema.failure("OutOfStock") is schema.record("shop.v1.OutOfStockFault")


def test_numbers_stay_when_fields_come_and_go() -> None:
    operation = order()
    assert isinstance(operation.request, Record)
    pins = field_numbers(write("shop.v1", "Orders", [operation]))
    fields = operation.request.fields
    operation.request.fields = (Field("note", types.STRING), *fields[2:])
    again = field_numbers(write("shop.v1", "Orders", [operation], pins))["PlaceOrder"]
    assert again["note"] == 10
    assert {name: again[name] for name in again if name != "note"} == {
        name: number for name, number in pins["PlaceOrder"].items() if name not in ("customer_id", "lines")
    }


def test_types_of_one_name_stay_apart() -> None:
    inner = Record("{urn:b}Thing", [Field("a", types.STRING)])
    outer = Record("{urn:a}Thing", [Field("inner", inner), Field("self", List(inner), default=[])])
    schema = read(write("x", "S", [Operation("Do", Pattern.REQUEST_REPLY, outer, inner, {})]))
    assert [field.name for field in schema.record("x.Thing").fields] == ["inner", "self"]
    assert [field.name for field in schema.record("x.Thing2").fields] == ["a"]


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (Field("a", List(List(types.STRING))), "M.a: protobuf has no list or map of list<string>"),
        (Field("a", List(types.STRING, nullable=True)), "of nulls"),
        (Field("a", Map(types.FLOAT64, types.STRING)), "no map keyed by float64"),
        (Field("a", Map(types.STRING, List(types.STRING))), "list or map of"),
        (Field("a", List(types.STRING), choice="c"), "in a oneof"),
    ],
)
def test_what_protobuf_can_not_say_is_named(field: Field, words: str) -> None:
    record = Record("M", [field], choices=[Choice("c")] if field.choice else [])
    with pytest.raises(ValueError, match=words):
        write("x", "S", [Operation("Do", Pattern.REQUEST_REPLY, record, None, {})])


def test_names_that_become_one_are_refused() -> None:
    record = Record("M", [Field("fooBar", types.STRING), Field("foo_bar", types.STRING)])
    with pytest.raises(ValueError, match="foo_bar"):
        write("x", "S", [Operation("Do", Pattern.REQUEST_REPLY, record, None, {})])


def test_a_scalar_is_no_message() -> None:
    with pytest.raises(ValueError, match="no message"):
        write("x", "S", [Operation("Do", Pattern.REQUEST_REPLY, Scalar(types.Kind.STRING), None, {})])
