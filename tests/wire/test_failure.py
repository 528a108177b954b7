"""What callers are told of errors that no adapter knows."""

import logging

import pytest

from gateway.net.http.status import code_of_carrier
from gateway.pattern import Pattern
from gateway.schema.types import Operation, Record
from gateway.status import Code, Failure, as_failure

log = logging.getLogger("test")


def test_a_failure_is_told_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    failure = Failure(Code.NOT_FOUND, "no such order")
    assert as_failure(failure, "in a test", log) is failure
    assert not caplog.records


def test_of_a_bug_callers_learn_nothing_and_the_log_all(caplog: pytest.LogCaptureFixture) -> None:
    told = as_failure(RuntimeError("password=hunter2"), "in a test", log)
    assert (told.code, str(told)) == (Code.INTERNAL, "INTERNAL: internal error")
    assert "bug in a test" in caplog.text and "hunter2" in caplog.text


def test_a_declared_failure_is_found_by_its_name_or_the_only_one_by_convention() -> None:
    stock, closed, other = (Record(name, ()) for name in ("OutOfStock", "Closed", "ClosedFault"))
    declared = {record.name: record for record in (stock, closed, other)}
    operation = Operation("Place", Pattern.REQUEST_REPLY, None, None, declared)
    assert operation.failure("OutOfStock") is stock
    assert operation.failure("shop.v1.OutOfStockException") is stock
    assert operation.failure("ClosedFault") is other
    assert operation.failure("ClosedError") is None, "two are alike"
    assert operation.failure("Elsewhere") is None


def test_what_a_status_means_where_http_only_carries_another_protocol() -> None:
    told = {
        302: Code.UNKNOWN,
        400: Code.INVALID_ARGUMENT,
        401: Code.UNAUTHENTICATED,
        404: Code.UNIMPLEMENTED,
        418: Code.INVALID_ARGUMENT,
        429: Code.RESOURCE_EXHAUSTED,
        500: Code.INTERNAL,
        503: Code.UNAVAILABLE,
        504: Code.DEADLINE_EXCEEDED,
        599: Code.INTERNAL,
    }
    assert {status: code_of_carrier(status) for status in told} == told
