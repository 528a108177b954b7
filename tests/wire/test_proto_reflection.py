"""Server reflection's questions and answers, without a stream between them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse
from hypothesis import given
from hypothesis import strategies as st

from gateway.schema.idl.proto.reader import ProtoError, ProtoSchema, compile_files
from gateway.schema.idl.proto.reflection import Reflection, asked_contract

PROTO = Path(__file__).parents[2] / "schemas" / "orders.proto"
ORDERS = "shop.orders.v1.Orders"
HEALTH = "grpc.health.v1.Health"
LEGACY = """syntax = "proto2";
package old;
message Order { extensions 100 to 199; message Line {} }
extend Order { optional string note = 150; optional int32 rank = 101; }
"""


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> ProtoSchema:
    legacy = tmp_path_factory.mktemp("proto") / "old.proto"
    legacy.write_text(LEGACY)
    return ProtoSchema.load(compile_files([PROTO, legacy], []))


@pytest.fixture
def reflection(schema: ProtoSchema) -> Reflection:
    made = Reflection(schema.pool, [health_pb2.DESCRIPTOR])
    made.services = (ORDERS, HEALTH)
    return made


def ask(reflection: Reflection, **question: Any) -> Any:
    request = ServerReflectionRequest(host="h", **question)
    answer: Any = ServerReflectionResponse.FromString(reflection.answer(request.SerializeToString()))
    assert (answer.original_request, answer.valid_host) == (request, "h")
    return answer


def files(answer: Any) -> set[str]:
    return {FileDescriptorProto.FromString(one).name for one in answer.file_descriptor_response.file_descriptor_proto}


def learn(answer: Callable[[bytes], bytes], leave_out: tuple[str, ...] = ()) -> FileDescriptorSet:
    asking = asked_contract(leave_out)
    question = next(asking)
    while True:
        try:
            question = asking.send(answer(question))
        except StopIteration as told:
            found: FileDescriptorSet = told.value
            return found


def test_what_is_served_is_what_is_learnt(schema: ProtoSchema, reflection: Reflection) -> None:
    learnt = ProtoSchema.load(learn(reflection.answer, (HEALTH,)))
    assert learnt.schema.operations.keys() == schema.schema.operations.keys()
    place = f"{ORDERS}/PlaceOrder"
    for one in (schema, learnt):
        fields = one.record("shop.orders.v1.Order").fields
        assert [field.name for field in fields][-1] == "placed_at"
    assert str(learnt.schema.operations[place].request) == str(schema.schema.operations[place].request)
    with_health = learn(reflection.answer)
    assert {file.name for file in with_health.file} - {file.name for file in learn(reflection.answer, (HEALTH,)).file}


def test_all_questions(reflection: Reflection) -> None:
    listed = ask(reflection, list_services="").list_services_response.service
    assert [service.name for service in listed] == [HEALTH, ORDERS]
    orders = {"orders.proto", "google/protobuf/timestamp.proto"}
    for symbol in (ORDERS, f"{ORDERS}.PlaceOrder", "shop.orders.v1.OrderStatus"):
        assert files(ask(reflection, file_containing_symbol=symbol)) == orders
    assert files(ask(reflection, file_by_filename="orders.proto")) == orders
    for symbol in (HEALTH, f"{HEALTH}.Check", "grpc.health.v1.HealthCheckResponse.ServingStatus"):
        assert files(ask(reflection, file_containing_symbol=symbol)) == {health_pb2.DESCRIPTOR.name}
    assert files(ask(reflection, file_by_filename=health_pb2.DESCRIPTOR.name)) == {health_pb2.DESCRIPTOR.name}
    numbers = ask(reflection, all_extension_numbers_of_type="old.Order").all_extension_numbers_response
    assert (numbers.base_type_name, list(numbers.extension_number)) == ("old.Order", [101, 150])
    extension = {"containing_type": "old.Order", "extension_number": 150}
    assert files(ask(reflection, file_containing_extension=extension)) == {"old.proto"}


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ({"file_by_filename": "none.proto"}, 5),
        ({"file_containing_symbol": "google.rpc.Status"}, 5),
        ({"file_containing_symbol": "grpc.health.v1.Healthy"}, 5),
        ({"file_containing_symbol": f"{ORDERS}.Nothing"}, 5),
        ({"all_extension_numbers_of_type": "none"}, 5),
        ({"file_containing_extension": {"containing_type": "old.Order", "extension_number": 199}}, 5),
        ({}, 3),
    ],
)
def test_what_is_not_there(reflection: Reflection, question: dict[str, Any], code: int) -> None:
    assert ask(reflection, **question).error_response.error_code == code


@given(st.binary(max_size=64))
def test_any_bytes_are_a_question_or_none(data: bytes) -> None:
    reflection = Reflection(ProtoSchema(FileDescriptorSet()).pool, [])
    try:
        ServerReflectionResponse.FromString(reflection.answer(data))
    except ProtoError as error:
        assert str(error) == "the bytes are not a ServerReflectionRequest"  # noqa: PT017


@given(st.binary(max_size=64))
def test_any_bytes_are_an_answer_or_none(data: bytes) -> None:
    try:
        assert isinstance(learn(lambda _: data), FileDescriptorSet)
    except ProtoError as error:
        assert "the target's reflection" in str(error)  # noqa: PT017


def test_a_peer_that_answers_with_other_files_is_left(reflection: Reflection) -> None:
    def answer(question: bytes) -> bytes:
        asked = ServerReflectionRequest.FromString(question)
        if asked.HasField("list_services"):
            return reflection.answer(question)
        kept: Any = ServerReflectionResponse()
        file = FileDescriptorSet().file.add(name="other.proto", dependency=["missing.proto"])
        kept.file_descriptor_response.file_descriptor_proto.append(file.SerializeToString())
        return bytes(kept.SerializeToString())

    with pytest.raises(ProtoError, match=r"answers for missing\.proto with another file"):
        learn(answer)
