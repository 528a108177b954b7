"""JSON Schema into types and back; jsonschema, which nobody here wrote, is the judge of what the writer says."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from msgspec import UNSET
from test_json_codec import NO_SHRINKING, ORDER, without_decimals
from test_protobuf_codec import EVERYTHING, SCHEMA, everythings

from gateway.codecs.format import Unknown
from gateway.codecs.json.format import JsonFormat
from gateway.codecs.protobuf.format import ProtobufFormat
from gateway.schema.idl.json import document as json_document
from gateway.schema.idl.json.document import JsonDocumentError
from gateway.schema.idl.json.hint import JsonHint
from gateway.schema.idl.json.schema import JsonSchemaError, JsonSchemaReader
from gateway.schema.idl.json.schema_writer import JsonSchemaWriter, Member
from gateway.schema.types import (
    ANY,
    BOOL,
    BYTES,
    DATE,
    DECIMAL,
    DURATION,
    FLOAT32,
    FLOAT64,
    INT32,
    INT64,
    INTEGER,
    STRING,
    TIME,
    TIMESTAMP,
    UINT32,
    UINT64,
    Enumeration,
    Field,
    List,
    Map,
    Record,
    Scalar,
    Type,
)

NESTED = ("properties", "a", "properties", "b")
NUMBER = JsonHint(int64="number", decimal="number")


def read(schema: Any, **definitions: Any) -> Any:
    """The reading of the schema, in a document with these definitions."""
    document = {"$defs": {"root": schema, **definitions}}
    return JsonSchemaReader(document).read(("$defs", "root"), "root")


def fields(schema: Any, **definitions: Any) -> dict[str, Field]:
    record = read(schema, **definitions).type
    assert isinstance(record, Record)
    return {field.name: field for field in record.fields}


@pytest.mark.parametrize(
    ("schema", "wanted", "hint"),
    [
        ({"type": "boolean"}, BOOL, None),
        ({"type": "string"}, STRING, None),
        ({"type": "string", "format": "uuid", "minLength": 3, "pattern": "x"}, STRING, None),
        ({"type": "string", "format": "date"}, DATE, None),
        ({"type": "string", "format": "time"}, TIME, None),
        ({"type": "string", "format": "date-time"}, TIMESTAMP, None),
        ({"type": "string", "format": "duration"}, DURATION, JsonHint(duration="iso8601")),
        ({"type": "string", "format": "google-duration"}, DURATION, JsonHint()),
        ({"type": "string", "format": "byte"}, BYTES, None),
        ({"type": "string", "format": "binary"}, BYTES, None),
        ({"type": "string", "contentEncoding": "base64"}, BYTES, None),
        ({"type": "string", "format": "int64"}, INT64, JsonHint()),
        ({"type": "string", "format": "uint64"}, UINT64, JsonHint()),
        ({"type": "string", "format": "decimal"}, DECIMAL, JsonHint()),
        ({"type": "string", "format": "int32"}, STRING, None),
        ({"type": "integer"}, INTEGER, JsonHint(int64="number")),
        ({"type": "integer", "format": "int32"}, INT32, None),
        ({"type": "integer", "format": "int64"}, INT64, JsonHint(int64="number")),
        ({"type": "integer", "format": "uint32"}, UINT32, None),
        ({"type": "integer", "format": "uint64"}, UINT64, JsonHint(int64="number")),
        ({"type": "integer", "minimum": 0, "maximum": 100}, INT32, None),
        ({"type": "integer", "minimum": 0, "maximum": 2**32 - 1}, UINT32, None),
        ({"type": "integer", "minimum": -1, "maximum": 2**40}, INT64, JsonHint(int64="number")),
        ({"type": "integer", "minimum": 0}, INTEGER, JsonHint(int64="number")),
        ({"type": "number"}, FLOAT64, None),
        ({"type": "number", "format": "float"}, FLOAT32, None),
        ({"type": "number", "format": "double"}, FLOAT64, None),
        ({"type": "number", "format": "decimal"}, DECIMAL, NUMBER),
        ({"type": "number", "format": "int64"}, INT64, NUMBER),
        ({"type": ["string", "integer"], "format": "int64"}, INT64, JsonHint()),
        ({"type": ["string", "integer"]}, ANY, None),
        ({"type": ["integer", "number"]}, FLOAT64, None),
        ({"type": "array", "items": {"type": "string"}}, List(STRING), None),
        ({"type": "array", "items": {"type": "integer", "format": "int64"}}, List(INT64), JsonHint(int64="number")),
        ({"type": "array", "items": {"type": ["string", "null"]}}, List(STRING, nullable=True), None),
        ({"type": "array"}, List(ANY, nullable=True), None),
        ({"items": {"type": "string"}}, List(STRING), None),
        ({"type": "object"}, Map(STRING, ANY), None),
        ({"type": "object", "additionalProperties": True}, Map(STRING, ANY), None),
        ({"type": "object", "additionalProperties": {"type": "string"}}, Map(STRING, STRING), None),
        ({"type": "object", "additionalProperties": {"type": ["string", "null"]}}, Map(STRING, ANY), None),
        (
            {"type": "object", "additionalProperties": {"type": "boolean"}, "propertyNames": {"format": "int32"}},
            Map(INT32, BOOL),
            None,
        ),
        ({"enum": [1, 2]}, INTEGER, JsonHint(int64="number")),
        ({"enum": [1, "a"]}, ANY, None),
        ({"const": True}, BOOL, None),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, ANY, None),
        ({"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}]}, STRING, None),
        ({"oneOf": [{"enum": ["a"]}, {"type": "string"}]}, STRING, None),
        ({"allOf": [{"type": "number"}, {"type": "integer", "format": "int32"}]}, INT32, None),
        ({"allOf": [{"type": "string"}, {"format": "date"}]}, DATE, None),
    ],
)
def test_types(schema: Any, wanted: Type, hint: JsonHint | None) -> None:
    reading = read(schema)
    assert (reading.type, reading.hint) == (wanted, hint)
    assert not reading.nullable


@pytest.mark.parametrize(
    "schema",
    [
        {"type": ["string", "null"]},
        {"type": "string", "nullable": True},
        {"oneOf": [{"type": "string"}, {"type": "null"}]},
        {"anyOf": [{"$ref": "#/$defs/text"}, {"const": None}]},
        {"$ref": "#/$defs/text", "nullable": True},
        {"allOf": [{"$ref": "#/$defs/text"}], "nullable": True, "description": "x"},
        {"$ref": "#/$defs/maybe"},
    ],
)
def test_null_is_a_value_of_its_own(schema: Any) -> None:
    reading = read(schema, text={"type": "string"}, maybe={"anyOf": [{"type": "null"}, {"$ref": "#/$defs/text"}]})
    assert (reading.type, reading.nullable) == (STRING, True)


@pytest.mark.parametrize("schema", [True, {}, {"description": "whatever"}, {"x-any": 1}])
def test_a_schema_that_says_nothing_is_any(schema: Any) -> None:
    reading = read(schema)
    assert (reading.type, reading.nullable) == (ANY, True)


def test_enumerations_are_closed_and_numbered_by_position() -> None:
    found = read({"type": "string", "enum": ["b", "a", "b"]}).type
    assert isinstance(found, Enumeration)
    assert (found.numbers, found.open) == ({"b": 0, "a": 1}, False)
    nullable = read({"type": "string", "enum": ["a", None], "nullable": True})
    assert nullable.type.numbers == {"a": 0} and nullable.nullable
    titled = read({"oneOf": [{"const": "a", "title": "A"}, {"const": "b"}]}).type
    assert titled.numbers == {"a": 0, "b": 1}
    opened = read({"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "integer"}]}).type
    assert opened.open and opened.numbers == {"a": 0}
    narrowed = read({"allOf": [{"enum": ["a", "b", "c"]}, {"enum": ["c", "a"]}]}).type
    assert list(narrowed.numbers) == ["a", "c"]


def test_objects_are_records_with_all_that_a_field_has() -> None:
    found = fields(
        {
            "properties": {
                "id": {"type": "string", "description": "The key."},
                "count": {"type": "integer", "format": "int64", "default": 5},
                "ratio": {"type": "number", "default": 1},
                "price": {"type": "number", "format": "decimal", "default": 1.5},
                "at": {"type": "string", "format": "date-time", "default": "1970-01-01T00:00:01Z"},
                "on": {"type": "boolean", "default": True},
                "kind": {"enum": ["a", "b"], "default": "b"},
                "tags": {"type": "array", "items": {"type": "string"}, "default": []},
                "more": {"type": "array", "items": {"type": "string"}, "default": ["x"]},
                "note": {"type": ["string", "null"], "default": None},
                "odd": {"type": "integer", "default": "x"},
            },
            "required": ["id", "on"],
        }
    )
    assert (found["id"].required, found["id"].doc) == (True, "The key.")
    assert (found["count"].default, found["count"].wire) == (5, NUMBER.__class__(int64="number"))
    assert (found["ratio"].default, found["at"].default, found["kind"].default) == (1.0, 10**9, "b")
    assert str(found["price"].default) == "1.5"
    assert (found["on"].default, found["on"].required) == (UNSET, True), "what is required has no default"
    assert found["tags"].default == []
    assert (found["more"].default, found["odd"].default, found["note"].default) == (UNSET, UNSET, UNSET)
    assert found["note"].nullable


def test_recursion_and_sharing() -> None:
    node = {
        "type": "object",
        "properties": {"next": {"$ref": "#/$defs/node"}, "all": {"items": {"$ref": "#/$defs/node"}}},
    }
    found = fields({"properties": {"a": {"$ref": "#/$defs/node"}, "b": {"$ref": "#/$defs/node"}}}, node=node)
    record = found["a"].type
    assert isinstance(record, Record) and record is found["b"].type and record.name == "node"
    assert record.field("next").type is record  # type: ignore[union-attr]
    assert record.field("all").type == List(record)  # type: ignore[union-attr]


def test_all_of_is_one_record() -> None:
    found = fields(
        {
            "description": "Both.",
            "allOf": [
                {"$ref": "#/$defs/named"},
                {"properties": {"age": {"type": "integer", "format": "int32"}, "kind": {"enum": ["dog"]}}},
            ],
            "properties": {"owner": {"$ref": "#/$defs/named"}},
            "required": ["age"],
        },
        named={
            "properties": {"name": {"type": "string"}, "kind": {"type": "string", "enum": ["cat", "dog"]}},
            "required": ["name"],
        },
    )
    assert {name: field.required for name, field in found.items()} == {
        "owner": False, "name": True, "kind": False, "age": True
    }  # fmt: skip
    assert list(found["kind"].type.numbers) == ["dog"]  # type: ignore[union-attr]
    assert found["owner"].type.name == "named"  # type: ignore[union-attr]


@pytest.mark.parametrize("keyword", ["oneOf", "anyOf"])
def test_alternatives_with_one_key_each_are_a_choice(keyword: str) -> None:
    card = {"type": "object", "properties": {"card": {"type": "string"}}, "required": ["card"]}
    iban = {"type": "object", "properties": {"iban": {"type": "string"}}, "required": ["iban"]}
    pure = read({keyword: [{"$ref": "#/$defs/card"}, iban]}, card=card).type
    assert [(f.name, f.choice, f.required) for f in pure.fields] == [
        ("card", "choice", False),
        ("iban", "choice", False),
    ]
    assert pure.choices[0].required
    mixed = read(
        {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"], keyword: [card, iban]}
    ).type
    assert [(f.name, f.choice, f.required) for f in mixed.fields] == [
        ("id", "", True), ("card", "choice", False), ("iban", "choice", False)
    ]  # fmt: skip
    nullable = read({keyword: [card, iban, {"type": "null"}]})
    assert nullable.nullable and len(nullable.type.fields) == 2


def test_one_of_what_is_required_is_a_choice() -> None:
    properties = {name: {"type": "string"} for name in "abcd"}
    arms: list[Any] = [{"required": ["a"]}, {"required": ["b"]}]
    one = read({"properties": properties, "oneOf": arms}).type
    assert [(f.name, f.choice) for f in one.fields] == [("a", "choice"), ("b", "choice"), ("c", ""), ("d", "")]
    assert one.choices[0].required
    optional = read({"properties": properties, "oneOf": [*arms, {"not": {"anyOf": arms}}]}).type
    assert not optional.choices[0].required
    two = read(
        {"properties": properties, "allOf": [{"oneOf": arms}, {"oneOf": [{"required": ["c"]}, {"required": ["d"]}]}]}
    ).type
    assert [choice.name for choice in two.choices] == ["choice", "choice2"]
    at_least = read({"properties": properties, "anyOf": arms}).type
    assert not at_least.choices, "anyOf of what is required only narrows"


@pytest.mark.parametrize(
    ("schema", "message", "pointer"),
    [
        (False, "no value fits", ()),
        ([], "a schema is expected", ()),
        ({"type": "text"}, "'text' is no type", ("type",)),
        ({"not": {"type": "string"}}, "not has no counterpart", ("not",)),
        ({"if": {}, "then": {}}, "if has no counterpart", ("if",)),
        ({"patternProperties": {"^x": {}}}, "patternProperties has no counterpart", ("patternProperties",)),
        ({"type": "array", "prefixItems": [{}]}, "prefixItems has no counterpart", ("prefixItems",)),
        ({"type": "array", "items": [{}]}, "a tuple has no counterpart", ("items",)),
        ({"$dynamicRef": "#x"}, "dynamicRef has no counterpart", ("$dynamicRef",)),
        ({"type": ["object", "string"]}, "an object or something else", ()),
        (
            {"properties": {"a": {}}, "additionalProperties": {"type": "string"}},
            "either properties or additionalProperties",
            ("additionalProperties",),
        ),
        (
            {"oneOf": [{"properties": {"a": {}, "b": {}}}, {"properties": {"a": {}}}]},
            "told apart by its content",
            ("oneOf",),
        ),
        (
            {
                "oneOf": [{"properties": {"a": {}}, "required": ["a"]}, {"properties": {"a": {}}, "required": ["a"]}],
                "discriminator": {"propertyName": "a"},
            },
            "told apart by its discriminator",
            ("oneOf",),
        ),
        ({"oneOf": [{"properties": {"a": {}}}, {"type": "string"}]}, "told apart by its content", ("oneOf",)),
        ({"properties": {"a": {}}, "oneOf": [{"required": ["b"]}]}, "b is no property", ("oneOf",)),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "contradicts the type", ("allOf", "1", "type")),
        ({"allOf": [{"enum": ["a"]}, {"enum": ["b"]}]}, "leaves no value", ("allOf", "1", "enum")),
        ({"enum": []}, "a list of values is expected", ("enum",)),
        ({"properties": []}, "an object is expected", ("properties",)),
        ({"oneOf": []}, "a list of schemas is expected", ("oneOf",)),
        ({"$ref": "#/$defs/root"}, "refers to itself", ()),
        ({"type": "array", "items": {"$ref": "#/$defs/root"}}, "without an object between", ()),
        ({"allOf": [{"$ref": "#/$defs/root"}, {"type": "object"}]}, "contains itself", ()),
        ({"properties": {"a": {"properties": {"b": {"not": {}, "if": {}}}}}}, "if has no", (*NESTED, "if")),
    ],
)  # fmt: skip
def test_what_has_no_type_is_refused_with_its_place(schema: Any, message: str, pointer: tuple[str, ...]) -> None:
    with pytest.raises(JsonSchemaError, match=message) as refused:
        read(schema)
    assert refused.value.pointer == ("$defs", "root", *pointer)
    assert str(refused.value).startswith("#/$defs/root")


def test_a_dangling_reference_is_refused_with_its_place() -> None:
    with pytest.raises(JsonDocumentError, match="there is nothing here") as refused:
        read({"properties": {"a": {"$ref": "#/$defs/none"}}})
    assert refused.value.pointer == ("$defs", "none")


def test_a_refusal_leaves_no_half_read_types_behind() -> None:
    document = {
        "$defs": {
            "bad": {"properties": {"good": {"$ref": "#/$defs/good"}, "x": {"not": {"type": "string"}}}},
            "good": {"properties": {"bad": {"$ref": "#/$defs/bad"}}},
            "fine": {"properties": {"a": {"type": "string"}}},
        }
    }
    reader = JsonSchemaReader(document)
    for name in ("bad", "good", "bad"):
        with pytest.raises(JsonSchemaError, match="not has no counterpart"):
            reader.read(("$defs", name), name)
    assert isinstance(reader.read(("$defs", "fine"), "fine").type, Record)


def test_read_only_members_need_not_be_sent() -> None:
    document = {
        "$defs": {
            "root": {
                "properties": {
                    "id": {"type": "string", "readOnly": True},
                    "secret": {"$ref": "#/$defs/secret"},
                    "name": {"type": "string"},
                },
                "required": ["id", "secret", "name"],
            },
            "secret": {"type": "string", "writeOnly": True},
        }
    }

    def required(sent: Any) -> set[str]:
        record = JsonSchemaReader(document, sent).read(("$defs", "root"), "root").type
        assert isinstance(record, Record)
        return {field.name for field in record.fields if field.required}

    assert required("request") == {"secret", "name"}
    assert required("reply") == {"id", "name"}


# -- documents


def test_files_below_the_folder_are_taken_in(tmp_path: Path) -> None:
    (tmp_path / "types").mkdir()
    (tmp_path / "main.yaml").write_text(
        "$defs:\n  root:\n    properties:\n      a: {$ref: 'types/a.json#/A'}\n      b: {$ref: './types/b.yaml'}\n"
        "      example: {$ref: 'types/a.json#/A'}\n    example: {$ref: 'http://nowhere.example'}\n"
        "  own: {type: string}\n"
    )
    (tmp_path / "types" / "a.json").write_text('{"A": {"properties": {"b": {"$ref": "b.yaml"}}}}')
    (tmp_path / "types" / "b.yaml").write_text("{properties: {on: {$ref: '../main.yaml#/$defs/own'}}}")
    document = json_document.load(tmp_path / "main.yaml")
    record = JsonSchemaReader(document).read(("$defs", "root"), "root").type
    assert isinstance(record, Record)
    found = {field.name: field.type for field in record.fields}
    assert isinstance(found["a"], Record) and found["a"].name == "A" and found["example"] is found["a"]
    assert found["a"].fields[0].type is found["b"]
    assert isinstance(found["b"], Record) and [f.name for f in found["b"].fields] == ["on"], "YAML 1.2: on is a name"
    assert found["b"].fields[0].type == STRING


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("https://example.com/x.json", "is remote, which is never fetched"),
        ("//example.com/x.json", "is remote"),
        ("file:///etc/passwd", "is remote"),
        ("../secret.json", "leads out of the document's folder"),
        ("/etc/passwd", "leads out of the document's folder"),
        ("link.json", "leads out of the document's folder"),
        ("none.json", "none.json can't be read"),
        ("#anchor", "is not a JSON pointer"),
    ],
)
def test_nothing_else_is_read(tmp_path: Path, reference: str, message: str) -> None:
    folder = tmp_path / "contract"
    folder.mkdir()
    (tmp_path / "secret.json").write_text("{}")
    (folder / "link.json").symlink_to(tmp_path / "secret.json")
    (folder / "main.json").write_text(json.dumps({"properties": {"a": {"$ref": reference}}}))
    with pytest.raises(JsonDocumentError, match=message):
        json_document.load(folder / "main.json")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "can't be parsed"),
        ("a.json", "[]", "an object is expected"),
        ("a.json", "[" * 1000 + "]" * 1000, "too deep|can't be parsed"),
        ("a.yaml", "a: [", "a.yaml:2:1 is not YAML"),
        ("a.yaml", "a: !!python/object:os.system {}", "is not YAML"),
        ("a.yaml", "a: !!timestamp 2020-01-01", "has no form in JSON"),
        ("a.yaml", "b: &b [x,x,x,x,x,x,x,x]\n" + "".join(
            f"{chr(99 + i)}: &{chr(99 + i)} [{','.join(['*' + chr(98 + i)] * 8)}]\n" for i in range(8)
        ), "too large or too deep"),
    ],
)  # fmt: skip
def test_broken_and_hostile_files_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(JsonDocumentError, match=message):
        json_document.load(tmp_path / name)


# -- writer


def assert_same(left: Type, right: Type, path: str = "$", seen: set[int] | None = None) -> None:
    """The second is what the first becomes on its way through JSON Schema."""
    seen = set() if seen is None else seen
    match left, right:
        case Record(), Record():
            if id(left) in seen:
                return
            seen.add(id(left))
            for one, other in zip(left.fields, right.fields, strict=True):
                where = f"{path}.{one.name}"
                facts = (
                    one.json,
                    one.required,
                    one.nullable or one.type == ANY,
                    one.default,
                    bool(one.choice),
                    one.doc,
                )
                others = (
                    other.name,
                    other.required,
                    other.nullable,
                    other.default,
                    bool(other.choice),
                    one.doc and other.doc,
                )
                assert facts == others, where
                assert_same(one.type, other.type, where, seen)
            assert [c.required for c in left.choices] == [c.required for c in right.choices], path
        case Enumeration(), Enumeration():
            assert (list(left.numbers), left.open) == (list(right.numbers), right.open), path
        case List(), List():
            assert left.nullable == right.nullable or left.item == ANY, path
            assert_same(left.item, right.item, f"{path}[]", seen)
        case Map(), Map():
            assert left.key == right.key, path
            assert_same(left.value, right.value, f"{path}.*", seen)
        case Scalar(), Scalar():
            assert left == right, path
        case _:
            pytest.fail(f"{path}: {left} became {right}")


def json_schema(type_: Record, forms: JsonHint) -> dict[str, Any]:
    """A whole document for one type."""
    writer = JsonSchemaWriter(forms, member=Member.DEFS)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **writer.schema(type_),
        "$defs": writer.components,
    }


@pytest.mark.parametrize("forms", [JsonHint(), JsonHint("number", "number"), JsonHint(duration="iso8601")])
@pytest.mark.parametrize("record", [EVERYTHING, ORDER], ids=str)
def test_types_come_back_through_json_schema(record: Record, forms: JsonHint) -> None:
    document = json_schema(record, forms)
    jsonschema.Draft202012Validator.check_schema(document)
    assert_same(record, JsonSchemaReader(document).read((), "root").type)


@given(everythings())
@settings(max_examples=50, deadline=None, phases=NO_SHRINKING)
def test_what_the_codec_writes_is_valid(message: Any) -> None:
    without_decimals(message)
    value = ProtobufFormat(SCHEMA).decoder(EVERYTHING, Unknown.REJECT)(message.SerializeToString())
    written = json.loads(JsonFormat().encoder(EVERYTHING)(value))
    errors = [error for error in VALIDATOR.iter_errors(written) if error.instance not in SPECIAL]
    assert not errors


VALIDATOR = jsonschema.Draft202012Validator(json_schema(EVERYTHING, JsonHint()))
SPECIAL = ("NaN", "Infinity", "-Infinity")  # proto3 JSON's texts for what is no JSON number
