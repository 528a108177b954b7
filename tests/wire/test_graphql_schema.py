"""GraphQL schemas and documents in the type IR, and the IR as SDL."""

from pathlib import Path
from typing import Any

import graphql
import pytest
from msgspec import UNSET

from gateway.pattern import Pattern
from gateway.schema.idl.graphql.document import FIELDS, GraphqlCall, call_of_document, call_of_field
from gateway.schema.idl.graphql.names import field_names, graphql_name, value_names
from gateway.schema.idl.graphql.reader import GraphqlError, GraphqlSchema
from gateway.schema.idl.graphql.writer import write
from gateway.schema.idl.proto.reader import ProtoSchema, compile_files
from gateway.schema.types import (
    ANY,
    BOOL,
    FLOAT64,
    INT32,
    INT64,
    STRING,
    TIMESTAMP,
    Choice,
    Enumeration,
    Field,
    Kind,
    List,
    Map,
    Operation,
    Record,
    Scalar,
    Type,
)

ROOT = Path(__file__).parents[2]
SHAPES = GraphqlSchema.load(ROOT / "tests" / "schemas" / "shapes.graphql")


def described(record: Type | None) -> dict[str, tuple[str, bool, bool, Any]]:
    assert isinstance(record, Record)
    return {field.name: (str(field.type), field.required, field.nullable, field.default) for field in record.fields}


# -- reading


def test_output_null_is_absence() -> None:
    order = SHAPES.operation("Query.order")
    assert order.pattern is Pattern.REQUEST_REPLY
    assert described(order.reply) == {
        "orderId": ("string", True, False, UNSET),
        "total": ("int64", True, False, UNSET),
        "price": ("decimal", False, True, None),
        "placedAt": ("timestamp", False, True, None),
        "status": ("Status", True, False, UNSET),
        "lines": ("list<Line>", True, False, UNSET),
        "note": ("string", False, True, None),
        "extra": ("any", False, True, None),
        "blob": ("bytes", False, True, None),
        "links": ("list<string>", False, True, None),
    }
    assert isinstance(order.reply, Record)
    links, lines = order.reply.field("links"), order.reply.field("lines")
    assert links is not None and links.type == List(STRING, nullable=True)
    assert lines is not None and isinstance(lines.type, List) and not lines.type.nullable
    status = order.reply.field("status")
    assert status is not None and isinstance(status.type, Enumeration)
    assert status.type.numbers == {"PLACED": 0, "PAID": 1}


def test_input_keeps_null_apart_from_absence() -> None:
    place = SHAPES.operation("Mutation.place")
    assert isinstance(place.request, Record)
    (field,) = place.request.fields
    assert described(field.type) == {
        "note": ("string", False, True, UNSET),
        "lines": ("list<LineInput>", False, True, UNSET),
        "payment": ("PaymentInput", False, True, UNSET),
        "tags": ("map<string, string>", False, True, UNSET),
        "status": ("Status", False, True, "PLACED"),
    }


def test_one_of_is_a_choice() -> None:
    place = SHAPES.operation("Mutation.place").request
    assert isinstance(place, Record) and isinstance(place.fields[0].type, Record)
    payment = place.fields[0].type.field("payment")
    assert payment is not None and isinstance(payment.type, Record)
    assert payment.type.choices == (Choice("oneOf", required=True),)
    assert {field.name: field.choice for field in payment.type.fields} == {"card": "oneOf", "cash": "oneOf"}


def test_what_is_no_object_is_a_member() -> None:
    assert described(SHAPES.operation("Query.count").reply) == {"count": ("int64", True, False, UNSET)}
    assert described(SHAPES.operation("Query.tags").reply) == {"tags": ("map<string, string>", True, False, UNSET)}
    assert SHAPES.operation("Query.count").wire.member == "count"
    assert SHAPES.operation("Query.order").wire.member == ""


def test_unions_and_interfaces_are_choices_of_their_types() -> None:
    shapes = SHAPES.operation("Query.shapes").reply
    assert isinstance(shapes, Record) and isinstance(shapes.fields[0].type, List)
    union, interface = shapes.fields[0].type.item, SHAPES.operation("Query.shape").reply
    for record in (union, interface):
        assert isinstance(record, Record)
        assert record.choices == (Choice("type", required=True),)
        assert [(field.name, str(field.type), field.choice) for field in record.fields] == [
            ("Circle", "Circle", "type"),
            ("Label", "Label", "type"),
        ]


def test_recursive_types_close_over_themselves() -> None:
    tree = SHAPES.operation("Query.tree").reply
    assert isinstance(tree, Record)
    children = tree.field("children")
    assert children is not None and children.type == List(tree)


def test_subscriptions_stream() -> None:
    ticks = SHAPES.operation("Subscription.ticks")
    assert ticks.pattern is Pattern.SERVER_STREAM
    assert described(ticks.request)["count"] == ("int32", False, False, 0)


@pytest.mark.parametrize(
    ("declaration", "kind"),
    [
        ("scalar Long", Kind.INT64),
        ("scalar BigInt", Kind.INT64),
        ("scalar Int64", Kind.INT64),
        ("scalar Date_Time", Kind.TIMESTAMP),
        ("scalar Base64", Kind.BYTES),
        ("scalar Duration", Kind.DURATION),
        ("scalar Money", Kind.ANY),
        ("scalar Ssn", Kind.DECIMAL),
        ('scalar Moment @specifiedBy(url: "https://scalars.graphql.org/andimarek/date-time")', Kind.TIMESTAMP),
    ],
)
def test_custom_scalars(declaration: str, kind: Kind) -> None:
    name = declaration.split()[1]
    schema = GraphqlSchema.parse(f"{declaration} type Query {{ it: {name}! }}", {"Ssn": Kind.DECIMAL})
    assert described(schema.operation("Query.it").reply)["it"][0] == kind.value


def test_introspection_reads_as_the_sdl_does() -> None:
    query = graphql.get_introspection_query(specified_by_url=True, one_of=True, input_value_deprecation=True)
    result = graphql.graphql_sync(SHAPES.schema, query)
    read = GraphqlSchema.introspected(result.data)
    assert sorted(read.names) == sorted(SHAPES.names)
    for name in SHAPES.names:
        ours, theirs = SHAPES.operation(name), read.operation(name)
        assert described(theirs.request) == described(ours.request)
        assert described(theirs.reply) == described(ours.reply)


@pytest.mark.parametrize(
    ("sdl", "message"),
    [
        ("type Query {", "Syntax Error: Expected Name, found <EOF>. at 1:13"),
        ("type Query { a: Nope }", "Unknown type 'Nope'"),
        ("type Mutation { a: Int }", "Query root type must be provided"),
        (
            "interface A { a: Int } type B implements A { b: Int } type Query { b: B }",
            "expected but B does not provide",
        ),
    ],
)
def test_schemas_that_are_none(sdl: str, message: str) -> None:
    with pytest.raises(GraphqlError) as error:
        GraphqlSchema.parse(sdl)
    assert message in str(error.value)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(GraphqlError, match=r"no field Query\.oder") as error:
        SHAPES.operation("Query.oder")
    assert error.value.hint == "did you mean Query.order?"


@pytest.mark.parametrize("data", [None, {}, {"__schema": 1}, {"__schema": {"types": []}}])
def test_introspection_results_that_are_none(data: Any) -> None:
    with pytest.raises(GraphqlError):
        GraphqlSchema.introspected(data)


# -- documents


def call(operation: Operation) -> GraphqlCall:
    assert isinstance(operation.wire, GraphqlCall)
    problems = graphql.validate(SHAPES.schema, graphql.parse(operation.wire.document))
    assert problems == []
    return operation.wire


def test_all_of_a_field_is_selected() -> None:
    operation = call_of_field(SHAPES, "Mutation.place")
    document = " ".join(call(operation).document.split())
    assert document == (
        "mutation Place($input: PlaceInput!) { place(input: $input) { orderId total price placedAt status "
        "lines { sku quantity } note extra blob links } }"
    )
    assert described(operation.reply) == described(SHAPES.operation("Mutation.place").reply)


def test_members_of_one_name_and_different_types_get_aliases() -> None:
    operation = call_of_field(SHAPES, "Query.shape")
    document = call(operation).document
    assert "size__Circle: size" in document and "size__Label: size" in document
    assert isinstance(operation.reply, Record)
    circle = operation.reply.fields[0].type
    assert described(circle)["size"] == ("int32", True, False, UNSET)


def test_recursion_must_be_said() -> None:
    with pytest.raises(GraphqlError, match=r"tree\.children leads from Node back to Node") as error:
        call_of_field(SHAPES, "Query.tree")
    assert "recursion" in error.value.hint
    operation = call_of_field(SHAPES, "Query.tree", 2)
    assert " ".join(call(operation).document.split()).endswith("{ name children { name } } }")
    assert call(operation).cut == ("tree.children.children",)


def test_what_takes_arguments_is_left_out() -> None:
    schema = GraphqlSchema.parse("type Query { a: A } type A { b(n: Int!): Int c(n: Int): Int d(n: Int! = 1): Int }")
    operation = call_of_field(schema, "Query.a")
    assert list(described(operation.reply)) == ["c", "d"]
    assert operation.wire.cut == ("a.b",)


def test_a_schema_that_leads_everywhere_is_refused() -> None:
    types = "".join(f"type T{n} {{ {' '.join(f'f{m}: T{m}' for m in range(n + 1, 8))} x: Int }} " for n in range(8))
    schema = GraphqlSchema.parse(f"{types} type Query {{ a: T0 {' '.join(f'b{n}: T0' for n in range(3))} }}")
    call_of_field(schema, "Query.a")
    wide = "".join(f"type T{n} {{ {' '.join(f'f{m}: T{m}' for m in range(n + 1, 14))} x: Int }} " for n in range(14))
    with pytest.raises(GraphqlError, match=f"more than {FIELDS} fields"):
        call_of_field(GraphqlSchema.parse(f"{wide} type Query {{ a: T0 }}"), "Query.a")


def test_a_document_says_what_is_sent_and_read() -> None:
    operation = call_of_document(
        SHAPES,
        """
        query Q($id: ID!, $n: [Float!] = [1.5], $deep: Int = 3, $maybe: Boolean!) {
          first: order(orderId: $id) { ...Some number: total }
          count(weights: $n)
          tree(depth: $deep) { name @include(if: $maybe) }
          tags { key value }
        }
        fragment Some on Order { orderId lines { sku } lines { quantity } }
        """,
    )
    assert described(operation.request) == {
        "id": ("string", True, False, UNSET),
        "n": ("list<float64>", False, True, UNSET),
        "deep": ("int32", False, True, 3),
        "maybe": ("bool", True, False, UNSET),
    }
    assert described(operation.reply) == {
        "first": ("Order", False, True, None),
        "count": ("int64", True, False, UNSET),
        "tree": ("Node", True, False, UNSET),
        "tags": ("map<string, string>", True, False, UNSET),
    }
    assert isinstance(operation.reply, Record)
    first, tree = operation.reply.fields[0].type, operation.reply.fields[2].type
    assert list(described(first)) == ["orderId", "lines", "number"]
    assert described(tree) == {"name": ("string", False, True, None)}


def test_a_document_of_one_field_is_read_as_that_field() -> None:
    operation = call_of_document(SHAPES, "{ tree { name children { name } } }")
    assert list(described(operation.reply)) == ["name", "children"]
    operation = call_of_document(SHAPES, "{ n: count }")
    assert described(operation.reply) == {"n": ("int64", True, False, UNSET)}


def test_a_document_asks_for_the_type_of_unions() -> None:
    operation = call_of_document(SHAPES, "{ shapes { ... on Circle { radius } ... on Sized { id } } }")
    assert "__typename" in call(operation).document
    assert isinstance(operation.reply, Record) and isinstance(operation.reply.fields[0].type, List)
    union = operation.reply.fields[0].type.item
    assert isinstance(union, Record)
    assert [list(described(field.type)) for field in union.fields] == [["radius", "id"], ["id"]]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{ order", "Syntax Error"),
        ("{ nope }", "Cannot query field 'nope'"),
        ("query A { count } query B { count }", "several operations"),
    ],
)
def test_documents_that_are_none(document: str, message: str) -> None:
    with pytest.raises(GraphqlError, match=message):
        call_of_document(SHAPES, document)


def test_one_of_several_operations() -> None:
    document = "query A { count } query B { tree { name } }"
    assert list(described(call_of_document(SHAPES, document, "B").reply)) == ["name"]
    with pytest.raises(GraphqlError, match="no operation C"):
        call_of_document(SHAPES, document, "C")


# -- writing


def written(request: Type | None, reply: Type | None, name: str = "Query.it") -> GraphqlSchema:
    operation = Operation(name, Pattern.REQUEST_REPLY, request, reply, {})
    return GraphqlSchema.parse(write({name: operation}).sdl)


def test_a_proto_contract_as_sdl() -> None:
    contract = ProtoSchema.load(compile_files([ROOT / "schemas" / "orders.proto"], []))
    operations = contract.schema.operations
    written = write(
        {
            "Query.getOrder": operations["shop.orders.v1.Orders/GetOrder"],
            "Subscription.watchOrder": operations["shop.orders.v1.Orders/WatchOrder"],
        }
    )
    schema = GraphqlSchema.parse(written.sdl)
    assert described(schema.operation("Query.getOrder").request) == {"orderId": ("string", False, False, "")}
    assert described(schema.operation("Query.getOrder").reply) == {
        "orderId": ("string", True, False, UNSET),
        "customerId": ("string", True, False, UNSET),
        "lines": ("list<OrderLine>", True, False, UNSET),
        "status": ("OrderStatus", True, False, UNSET),
        "totalCents": ("int64", True, False, UNSET),
        "placedAt": ("timestamp", False, True, None),
    }
    watch = schema.operation("Subscription.watchOrder")
    assert watch.doc == "The order's history, oldest first, then what happens to it from now on."


def test_unions_survive_and_other_choices_are_fields() -> None:
    card, cash = Record("Card", [Field("number", STRING, required=True)]), Record("Cash", [Field("units", INT64)])
    union = Record(
        "Payment",
        [Field("Card", card, choice="type"), Field("Cash", cash, choice="type")],
        choices=[Choice("type", required=True)],
    )
    read = written(None, Record("Bill", [Field("payment", union, required=True)])).operation("Query.it").reply
    assert isinstance(read, Record) and isinstance(read.fields[0].type, Record)
    assert read.fields[0].type.choices == (Choice("type", required=True),)
    schema = written(Record("Pay", [Field("by", union, required=True)]), None)
    assert isinstance(schema.schema.type_map["PaymentInput"], graphql.GraphQLInputObjectType)
    assert schema.schema.type_map["PaymentInput"].is_one_of
    loose = Record(
        "Loose", [Field("a", INT32, choice="c"), Field("b", STRING, choice="c")], choices=[Choice("c", required=True)]
    )
    assert described(written(None, loose).operation("Query.it").reply) == {
        "a": ("int32", False, True, None),
        "b": ("string", False, True, None),
    }


def test_names_that_graphql_does_not_have() -> None:
    assert graphql_name("a-b.c d") == "a_b_c_d"
    assert graphql_name("__x") == "_x"
    assert graphql_name("9") == "_9"
    assert graphql_name("ä") == "_"
    assert field_names(Record("R", [Field("a-b", INT32), Field("a.b", INT32)])) == {"a-b": "a_b", "a.b": "a_b_2"}
    assert value_names(Enumeration("E", {"true": 0, "a b": 1})) == {"true": "true_", "a b": "a_b"}


def test_types_of_one_name_are_kept_apart() -> None:
    one, two = Record("a.Thing", [Field("x", INT32)]), Record("b.Thing", [Field("y", INT32)])
    schema = written(None, Record("R", [Field("one", one), Field("two", two), Field("query", Record("Query"))]))
    assert {"Thing", "Thing2", "Query", "Query2"} <= set(schema.schema.type_map)


def test_what_has_no_fields_or_no_record() -> None:
    schema = written(Record("Empty"), Record("Nothing"))
    assert described(schema.operation("Query.it").reply) == {"_": ("bool", False, True, None)}
    schema = written(ANY, ANY, "Mutation.it")
    assert described(schema.operation("Mutation.it").request) == {"input": ("any", True, False, UNSET)}


def test_defaults_are_written() -> None:
    hue = Enumeration("Hue", {"RED": 0, "BLUE": 1})
    record = Record(
        "R",
        [
            Field("i", INT32, default=0),
            Field("s", STRING, default='a"\n'),
            Field("b", BOOL, default=False),
            Field("f", FLOAT64, default=1.5),
            Field("t", TIMESTAMP, default=1_000_000_000),
            Field("h", hue, default="BLUE"),
            Field("l", List(STRING), default=[]),
            Field("m", Map(STRING, INT64), default={}),
            Field("n", INT32, nullable=True, default=None),
        ],
    )
    read = described(written(record, None).operation("Query.it").request)
    assert {name: default for name, (_, _, _, default) in read.items()} == {
        "i": 0,
        "s": 'a"\n',
        "b": False,
        "f": 1.5,
        "t": 1_000_000_000,
        "h": "BLUE",
        "l": [],
        "m": {},
        "n": None,
    }


def test_every_scalar_has_a_name_that_is_read_back() -> None:
    record = Record("R", [Field(kind.value, Scalar(kind), required=True) for kind in Kind])
    read = described(written(None, record).operation("Query.it").reply)
    lost = {Kind.FLOAT32: "float64"}
    assert {name: found[0] for name, found in read.items()} == {kind.value: lost.get(kind, kind.value) for kind in Kind}
