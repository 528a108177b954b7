"""Failures as google.rpc.Status and back."""

from pathlib import Path

import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.protobuf.format import ProtobufFormat
from gateway.codecs.protobuf.google_status import GoogleStatus
from gateway.schema.idl.proto.reader import ProtoSchema, compile_files
from gateway.schema.values import struct_of
from gateway.status import Code, Detail, Failure

ORDERS = Path(__file__).parents[2] / "schemas" / "orders.proto"
SCHEMA = ProtoSchema.load(compile_files([ORDERS], []))
STATUS = GoogleStatus(SCHEMA, ProtobufFormat(SCHEMA), max_message=1000, max_details=2700)
OUT_OF_STOCK = SCHEMA.record("shop.orders.v1.OutOfStock")
NAMES = [OUT_OF_STOCK.name, "google.rpc.BadRequest", "google.rpc.RetryInfo", "x"]


def back(failure: Failure) -> Failure:
    data = STATUS.encode(failure)
    assert data is not None
    return STATUS.decode(data, failure.code, STATUS.message(failure))


def test_there_and_back() -> None:
    declared = Detail(OUT_OF_STOCK.name, struct_of(OUT_OF_STOCK)(sku="tea", available=2))
    help_ = Detail("google.rpc.Help", {"links": [{"description": "d", "url": "u"}]})
    failure = Failure(
        Code.FAILED_PRECONDITION, "none left", path="$.lines[3].sku", retry_after=0.25, details=[declared, help_]
    )
    found = back(failure)
    assert (found.code, found.message, found.path) == (failure.code, failure.message, failure.path)
    assert (found.retry_after, found.details) == (0.25, (declared, help_))


def test_what_is_loose_becomes_error_info() -> None:
    (found,) = back(Failure(Code.ABORTED, "no", details=[Detail("Blame", {"who": "us", "times": 3})])).details
    assert found == Detail("google.rpc.ErrorInfo", {"reason": "Blame", "metadata": {"who": "us", "times": "3"}})


def test_several_violations_are_kept() -> None:
    bad = error_details_pb2.BadRequest(field_violations=[{"field": "a"}, {"field": "b[0]"}])
    status = status_pb2.Status(code=3, message="no")
    status.details.add().Pack(bad)
    found = STATUS.decode(status.SerializeToString(), Code.INVALID_ARGUMENT, "no")
    assert found.path == "$.a"
    assert found.details == (Detail("google.rpc.BadRequest", {"fieldViolations": [{"field": "a"}, {"field": "b[0]"}]}),)


def test_a_plain_failure_needs_no_status() -> None:
    assert STATUS.encode(Failure(Code.NOT_FOUND, "none")) is None


@pytest.mark.parametrize("value", [b"\xff", b"\x1a\x02\x0a\x01"])
def test_bytes_that_are_no_status(value: bytes) -> None:
    found = STATUS.decode(value, Code.ABORTED, "no")
    assert (found.code, found.message, found.details) == (Code.ABORTED, "no", ())


@given(st.binary(max_size=64), st.sampled_from(NAMES))
def test_any_bytes_of_a_detail(data: bytes, name: str) -> None:
    status = status_pb2.Status()
    status.details.add(type_url=f"type.googleapis.com/{name}", value=data)
    found = STATUS.decode(status.SerializeToString(), Code.ABORTED, "no")
    assert found.code is Code.ABORTED
    assert found.details or found.path or found.retry_after is not None
