"""Values through GraphQL: any type and value of the IR, served by a derived schema and called by what that says."""

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.plain import plain, shown

from adapters.graphql.config import Endpoint, Source
from adapters.graphql.inbound import GraphqlInbound
from adapters.graphql.resolver import Caller
from gateway.codecs.format import Unknown
from gateway.codecs.graphql.engine import Engine
from gateway.codecs.graphql.format import GraphqlFormat, GraphqlJsonFormat
from gateway.codecs.graphql.request import parse_json, request_of, to_json
from gateway.codecs.graphql.response import Answer, read_response
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Binding
from gateway.schema.idl.graphql.document import GraphqlCall, call_of_field
from gateway.schema.idl.graphql.reader import GraphqlSchema
from gateway.schema.idl.graphql.writer import write
from gateway.schema.types import Choice, Enumeration, Field, Kind, List, Map, Operation, Record, Scalar, Type
from gateway.status import Code, Failure

FIELD: Final = "Mutation.echo"


class Echo:
    """Answers with what it was sent, or with `answer`."""

    def __init__(self, record: Record) -> None:
        self._decode = GraphqlFormat().decoder(record, Unknown.REJECT)
        self._encode = GraphqlFormat().encoder(record)
        self.value: Any = None
        self.answer: Any = None
        self._record = record

    async def call(self, request: Message, context: Context) -> Message:
        value = self._decode(request.body)
        self.value = shown(self._record, value)
        return Message(self._encode(value if self.answer is None else plain(self._record, self.answer)))

    def stream(self, *_: Any) -> Any:
        raise AssertionError


class Loop:
    """A derived schema between its own client and an echo."""

    def __init__(self, record: Record, **options: Any) -> None:
        endpoint = Endpoint(listen="127.0.0.1:0", max_cost=10_000, **options)
        inbound = GraphqlInbound("loop", endpoint, Network(Path()))
        source = Source(field=FIELD)
        contract = inbound.contract(source)
        self.echo = Echo(record)
        binding = Binding(
            "loop",
            source,
            contract,
            Pattern.REQUEST_REPLY,
            self.echo,
            frozenset(),
            request=record,
            reply=record,
        )
        self.engine: Engine = inbound._engine([binding])
        sdl = write({FIELD: Operation(FIELD, Pattern.REQUEST_REPLY, record, record, {})}).sdl
        operation = call_of_field(GraphqlSchema.parse(sdl), FIELD, 4)
        assert isinstance(operation.request, Record) and isinstance(operation.reply, Record)
        self.request, self.reply = operation.request, operation.reply
        self.wire: GraphqlCall = operation.wire
        self._encode = GraphqlJsonFormat().encoder(self.request)
        self._decode = GraphqlJsonFormat().decoder(self.reply, Unknown.DROP)
        self._answer = Answer(self.wire, partial=False)

    def call(self, value: Any) -> Any:
        """What the client makes of the reply. Raises Failure."""
        variables = parse_json(self._encode(plain(self.request, value)))
        asked = request_of({"query": self.wire.document, "variables": variables})
        operation = self.engine.prepare(asked)
        response = asyncio.run(self.engine.execute(operation, Caller({}, Context)))
        found = read_response(to_json(response))
        assert found is not None
        return shown(self.reply, self._decode(self._answer.value(found)))


_NAMES: Final = st.sampled_from([f"m{n}" for n in range(8)] + ["class", "input", "value", "key_x", "Abc"])
_INTEGERS: Final = {
    Kind.INT32: (-(2**31), 2**31 - 1),
    Kind.INT64: (-(2**63), 2**63 - 1),
    Kind.UINT32: (0, 2**32 - 1),
    Kind.UINT64: (0, 2**64 - 1),
    Kind.INTEGER: (-(2**80), 2**80),
}
_TEXT: Final = st.text(max_size=8)
_ANY: Final = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**70), 2**70), _TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=3)),
    max_leaves=4,
)
_SCALARS: Final[dict[Kind, st.SearchStrategy[Any]]] = {
    Kind.BOOL: st.booleans(),
    **{kind: st.integers(low, high) for kind, (low, high) in _INTEGERS.items()},
    Kind.FLOAT32: st.integers(-(2**15), 2**15).map(lambda eighths: eighths / 8),
    Kind.FLOAT64: st.floats(allow_nan=False, allow_infinity=False),
    Kind.DECIMAL: st.decimals(-(10**20), 10**20, places=6, allow_nan=False),
    Kind.STRING: _TEXT,
    Kind.BYTES: st.binary(max_size=8),
    Kind.DATE: st.dates().map(str),
    Kind.TIME: st.just("13:30:00"),
    Kind.TIMESTAMP: st.integers(-(10**18), 4 * 10**18),
    Kind.DURATION: st.integers(-(10**18), 10**18),
    Kind.ANY: _ANY,
}
_KEYS: Final = st.sampled_from([Kind.STRING, Kind.INT32, Kind.INT64, Kind.BOOL])


@st.composite
def types(draw: st.DrawFn, depth: int = 2) -> Type:
    kind = draw(st.sampled_from(["scalar"] * 4 + ["enum", "list"] + (["map", "record", "union"] if depth else [])))
    match kind:
        case "scalar":
            return Scalar(draw(st.sampled_from(list(Kind))))
        case "enum":
            return Enumeration(draw(st.sampled_from(["Hue", "a.b.Size"])), {"RED": 0, "true": 1, "dark-blue": 2})
        case "list":
            return List(draw(types(depth=depth - 1)) if depth else Scalar(Kind.INT64), draw(st.booleans()))
        case "map":
            value = draw(types(depth=depth - 1))
            return Map(Scalar(draw(_KEYS)), Scalar(Kind.INT32) if isinstance(value, Map | List) else value)
        case "union":
            return union()
        case _:
            return draw(records(depth=depth - 1))


def union() -> Record:
    arms = [
        Record("Circle", [Field("radius", Scalar(Kind.FLOAT64), required=True), Field("id", Scalar(Kind.INT32))]),
        Record("Label", [Field("text", Scalar(Kind.STRING), required=True), Field("id", Scalar(Kind.STRING))]),
    ]
    return Record(
        "Shape", [Field(arm.name, arm, choice="type") for arm in arms], choices=[Choice("type", required=True)]
    )


@st.composite
def records(draw: st.DrawFn, depth: int = 2) -> Record:
    names = draw(st.lists(_NAMES, min_size=1, max_size=5, unique=True))
    fields = []
    for name in names:
        type_ = draw(types(depth=depth))
        required = draw(st.booleans())
        fields.append(Field(name, type_, required=required, nullable=not required and draw(st.booleans())))
    return Record(draw(st.sampled_from(["Thing", "x.y.Thing", "Other"])), fields)


def values(type_: Type) -> st.SearchStrategy[Any]:
    match type_:
        case Scalar(kind):
            return _SCALARS[kind]
        case Enumeration():
            return st.sampled_from(list(type_.numbers))
        case List(item, nullable):
            return st.lists(st.one_of(st.none(), values(item)) if nullable else values(item), max_size=3)
        case Map(key, item):
            return st.dictionaries(values(key), values(item), max_size=3)
        case Record():
            if type_.choices:
                return st.one_of([values(arm.type).map(lambda v, n=arm.name: {n: v}) for arm in type_.fields])
            required = {field.name: values(field.type) for field in type_.fields if field.required}
            optional = {
                field.name: st.one_of(st.none(), values(field.type)) if field.nullable else values(field.type)
                for field in type_.fields
                if not field.required
            }
            return st.fixed_dictionaries(required, optional=optional)


def replied(type_: Type, value: Any) -> Any:
    """As a reply tells it: what is absent is null."""
    match type_:
        case List(item):
            return [None if one is None else replied(item, one) for one in value]
        case Map(_, item):
            return {key: replied(item, one) for key, one in value.items()}
        case Record() if not type_.choices:
            return {
                field.name: None if value.get(field.name) is None else replied(field.type, value[field.name])
                for field in type_.fields
            }
        case Record():
            ((arm, inner),) = value.items()
            return {arm: replied(next(f.type for f in type_.fields if f.name == arm), inner)}
        case Enumeration():
            return {"true": "true_", "dark-blue": "dark_blue"}.get(value, value)
        case _:
            return value


def asked(type_: Type, value: Any) -> Any:
    """As the derived schema calls it."""
    match type_:
        case List(item):
            return [None if one is None else asked(item, one) for one in value]
        case Map(_, item):
            return {key: asked(item, one) for key, one in value.items()}
        case Record():
            found = {field.name: field.type for field in type_.fields}
            return {name: None if one is None else asked(found[name], one) for name, one in value.items()}
        case Enumeration():
            return {"true": "true_", "dark-blue": "dark_blue"}.get(value, value)
        case _:
            return value


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_values_survive_a_derived_schema(data: st.DataObject) -> None:
    record = data.draw(records())
    loop = Loop(record, int64=data.draw(st.sampled_from(["string", "number"])))
    for _ in range(3):
        value = data.draw(values(record))
        reply = loop.call(asked(record, value))
        assert loop.echo.value == value
        assert reply == replied(record, value)


def test_null_and_absence_are_two_things_in_input() -> None:
    record = Record("R", [Field("a", Scalar(Kind.INT32), nullable=True), Field("b", Scalar(Kind.INT32))])
    loop = Loop(record)
    for value in ({"a": None}, {}, {"a": 1, "b": 2}):
        loop.call(value)
        assert loop.echo.value == value


def test_infinite_numbers_are_told_loudly() -> None:
    loop = Loop(Record("R", [Field("a", Scalar(Kind.FLOAT64), required=True)]))
    loop.echo.answer = {"a": float("inf")}
    with pytest.raises(Failure, match="Float cannot represent non numeric value: inf") as failure:
        loop.call({"a": 1.0})
    assert failure.value.code is Code.INTERNAL


def test_unknown_enum_numbers_are_told_loudly() -> None:
    hue = Enumeration("Hue", {"RED": 0}, open=True)
    loop = Loop(Record("R", [Field("a", hue, required=True)]))
    loop.echo.answer = {"a": 7}
    with pytest.raises(Failure, match="Enum 'Hue' cannot represent value: 7"):
        loop.call({"a": "RED"})


def test_a_key_that_stands_twice_is_refused() -> None:
    record = Record("R", [Field("tags", Map(Scalar(Kind.STRING), Scalar(Kind.INT32)), required=True)])
    decode = GraphqlFormat().decoder(record, Unknown.REJECT)
    with pytest.raises(Failure, match="stands twice"):
        decode({"tags": [{"key": "a", "value": 1}, {"key": "a", "value": 2}]})
    read = GraphqlJsonFormat().decoder(record, Unknown.DROP)
    with pytest.raises(Failure, match="stands twice"):
        read(b'{"tags": [{"key": "a", "value": 1}, {"key": "a", "value": 2}]}')


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"shape": {"__typename": "Square"}}', r"Square is not a known type of Shape at \$.shape"),
        (b'{"shape": {"radius": 1}}', "None is not a known type"),
        (b'{"shape": {"__typename": "Circle"}}', r"radius"),
        (b'{"shape": 1}', "an object is expected"),
        (b"{", "malformed JSON"),
    ],
)
def test_replies_that_are_no_union(body: bytes, message: str) -> None:
    decode = GraphqlJsonFormat().decoder(Record("R", [Field("shape", union(), required=True)]), Unknown.DROP)
    with pytest.raises(Failure, match=message):
        decode(body)


def test_choices_among_fields_are_checked() -> None:
    record = Record(
        "Pay",
        [Field("card", Scalar(Kind.STRING), choice="by"), Field("cash", Scalar(Kind.INT32), choice="by")],
        choices=[Choice("by", required=True)],
    )
    decode = GraphqlFormat().decoder(record, Unknown.REJECT)
    assert shown(record, decode({"cash": 1})) == {"cash": 1}
    with pytest.raises(Failure, match="only one of card and cash"):
        decode({"card": "x", "cash": 1})
    with pytest.raises(Failure, match="one of card and cash must be given"):
        decode({})


def test_decimals_never_go_through_floats() -> None:
    record = Record("R", [Field("a", Scalar(Kind.DECIMAL), required=True), Field("b", Scalar(Kind.ANY))])
    loop = Loop(record, decimal="number")
    value = {"a": Decimal("1234567890123456789.12345678901234567890"), "b": [1]}
    assert loop.call(value)["a"] == value["a"]
    assert loop.echo.value == value
