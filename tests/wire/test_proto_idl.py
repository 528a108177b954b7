"""The .proto reader: files, descriptor sets, and what becomes of each declaration."""

import os
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from msgspec import UNSET

from gateway.pattern import Pattern
from gateway.schema.idl.proto.reader import ProtoError, ProtoSchema, compile_files, read_descriptor_set
from gateway.schema.types import ANY, DECIMAL, DURATION, INT32, INT64, STRING, TIMESTAMP, Enumeration, List, Map, Record

SCHEMAS = Path(__file__).parents[1] / "schemas"
EVERYTHING = "test.everything.v1.Everything"


@pytest.fixture(scope="module")
def everything() -> ProtoSchema:
    return ProtoSchema.load(compile_files([SCHEMAS / "everything.proto"], []))


@pytest.fixture(scope="module")
def legacy() -> ProtoSchema:
    return ProtoSchema.load(compile_files([SCHEMAS / "legacy.proto"], []))


def test_operations_have_their_patterns(everything: ProtoSchema) -> None:
    operations = everything.schema.operations
    assert {name.rpartition("/")[2]: operation.pattern for name, operation in operations.items()} == {
        "Unary": Pattern.REQUEST_REPLY,
        "Down": Pattern.SERVER_STREAM,
        "Up": Pattern.CLIENT_STREAM,
        "Both": Pattern.BIDI,
        "Nothing": Pattern.REQUEST_REPLY,
    }
    unary = operations["test.everything.v1.Echo/Unary"]
    assert unary.doc == "Says it back."
    assert unary.request is everything.record(EVERYTHING) is unary.reply
    nothing = operations["test.everything.v1.Echo/Nothing"]
    assert isinstance(nothing.request, Record) and nothing.request.fields == ()


@pytest.mark.parametrize(
    ("name", "type_", "default"),
    [
        ("an_int32", INT32, 0),
        ("a_sfixed64", INT64, 0),
        ("a_string", STRING, ""),
        ("a_bytes", None, b""),
        ("color", None, "COLOR_UNSPECIFIED"),
        ("nested", None, UNSET),
        ("maybe_int", INT32, UNSET),
        ("ints", List(INT32), []),
        ("wrapped", List(INT64), []),
        ("email", STRING, UNSET),
        ("at", TIMESTAMP, UNSET),
        ("took", DURATION, UNSET),
        ("wrapped_int32", INT32, UNSET),
        ("anything", ANY, UNSET),
        ("mask", STRING, UNSET),
        ("price", DECIMAL, UNSET),
        ("times", None, {}),
    ],
)
def test_fields_of_proto3(everything: ProtoSchema, name: str, type_: object, default: object) -> None:
    field = everything.record(EVERYTHING).field(name)
    assert field is not None
    assert type_ is None or field.type == type_
    assert field.default == default or (field.default is UNSET and default is UNSET)
    assert not field.required


def test_maps_choices_names_and_comments(everything: ProtoSchema) -> None:
    record = everything.record(EVERYTHING)
    fields = {field.name: field for field in record.fields}
    by_number = fields["by_number"].type
    assert isinstance(by_number, Map) and by_number.key == INT32
    assert by_number.value is everything.record(f"{EVERYTHING}.Nested")
    assert [choice.name for choice in record.choices] == ["contact"]
    assert [name for name, field in fields.items() if field.choice] == ["email", "phone", "address", "badge", "nothing"]
    assert fields["an_int32"].json_name == "anInt32"
    assert fields["an_int32"].doc == "A comment of a field."
    assert fields["anything"].nullable and not fields["at"].nullable
    assert record.doc == "Every field kind of proto3."
    assert fields["parent"].type is record
    color = fields["color"].type
    assert isinstance(color, Enumeration) and color.open and color.numbers["COLOR_NEGATIVE"] == -5


def test_proto2(legacy: ProtoSchema) -> None:
    fields = {field.name: field for field in legacy.record("test.legacy.v1.Legacy").fields}
    assert fields["id"].required and fields["id"].default is UNSET
    assert fields["count"].default == 7
    assert fields["shade"].default == "DARK"
    assert fields["blob"].default == b"\x01x"
    assert fields["note"].default is UNSET
    assert isinstance(fields["shade"].type, Enumeration) and not fields["shade"].type.open
    assert isinstance(fields["extra"].type, Record)
    assert fields["[test.legacy.v1.nickname]"].type == STRING


def test_editions(tmp_path: Path) -> None:
    file = tmp_path / "e.proto"
    file.write_text(
        'edition = "2023"; package e; message M { string a = 1; string b = 2 [features.field_presence = IMPLICIT];'
        " string c = 3 [features.field_presence = LEGACY_REQUIRED];"
        " repeated M d = 4 [features.message_encoding = DELIMITED]; }"
    )
    a, b, c, _ = ProtoSchema.load(compile_files([file], [])).record("e.M").fields
    assert a.default is UNSET and b.default == "" and c.required


def test_equal_contracts_are_one_object() -> None:
    first = ProtoSchema.load(compile_files([SCHEMAS / "legacy.proto"], []))
    again = ProtoSchema.load(compile_files([SCHEMAS / "legacy.proto"], []))
    assert first is again


def test_an_error_names_file_and_line_and_leaves_stderr_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.proto"
    file.write_text('syntax = "proto3";\nmessage X { string a = 1 }\n')
    with pytest.raises(ProtoError, match=r"bad\.proto:2:\d+: "):
        compile_files([file], [])
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"


def test_a_missing_import_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.proto"
    file.write_text('syntax = "proto3"; import "nowhere/b.proto";')
    with pytest.raises(ProtoError, match=r"nowhere/b\.proto"):
        compile_files([file], [])
    with pytest.raises(ProtoError, match=r"gone\.proto: there is no such file"):
        compile_files([tmp_path / "gone.proto"], [])
    with pytest.raises(ProtoError, match="no such folder"):
        compile_files([file], [tmp_path / "folder"])


def test_include_folders_name_the_files(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "a.proto").write_text(
        'syntax = "proto3"; package shop; import "shop/b.proto"; import "google/rpc/status.proto";'
        'import "google/api/annotations.proto"; message A { B b = 1; google.rpc.Status status = 2; }'
    )
    (tmp_path / "shop" / "b.proto").write_text('syntax = "proto3"; package shop; message B {}')
    descriptors = compile_files([tmp_path / "shop" / "a.proto"], [tmp_path])
    assert {"shop/a.proto", "shop/b.proto", "google/rpc/status.proto"} <= {file.name for file in descriptors.file}
    assert ProtoSchema.load(descriptors).record("shop.A").field("status") is not None


def test_descriptor_sets_in_any_order_and_without_the_well_known_types() -> None:
    descriptors = compile_files([SCHEMAS / "everything.proto"], [])
    shuffled = descriptor_pb2.FileDescriptorSet(
        file=[file for file in reversed(descriptors.file) if not file.name.startswith("google/protobuf/")]
    )
    schema = ProtoSchema(read_descriptor_set(shuffled.SerializeToString()))
    assert schema.record(EVERYTHING).field("at") is not None


def test_a_descriptor_set_without_its_imports_says_so(tmp_path: Path) -> None:
    (tmp_path / "b.proto").write_text('syntax = "proto3"; message B {}')
    (tmp_path / "a.proto").write_text('syntax = "proto3"; import "b.proto"; message A { B b = 1; }')
    descriptors = compile_files([tmp_path / "a.proto"], [])
    del descriptors.file[0]
    with pytest.raises(ProtoError, match=r"a\.proto imports b\.proto.*--include_imports"):
        ProtoSchema(descriptors)


@pytest.mark.parametrize("data", [b"", b"\xff\xff\xff"])
def test_what_is_no_descriptor_set_is_refused(data: bytes) -> None:
    with pytest.raises(ProtoError):
        read_descriptor_set(data)


def test_a_set_that_contradicts_itself_is_refused() -> None:
    file = descriptor_pb2.FileDescriptorProto(name="x.proto", syntax="proto3")
    message = file.message_type.add(name="X")
    message.field.add(name="a", number=1, type=11, label=1, type_name=".Nowhere")
    with pytest.raises(ProtoError, match="Nowhere"):
        ProtoSchema(descriptor_pb2.FileDescriptorSet(file=[file]))


def test_failures_match_by_convention(everything: ProtoSchema) -> None:
    out_of_stock = everything.record("test.everything.v1.OutOfStock")
    assert everything.failure("test.everything.v1.OutOfStock") is out_of_stock
    assert everything.failure("OutOfStockFault") is out_of_stock
    assert everything.failure("NoSuchThing") is None
