"""Byte headers: what requests and replies bear on a log, and what is read of them."""

import pytest

from gateway.message import Context, Message
from gateway.net.broker.byte_headers import (
    OWN,
    correlation_of,
    last_header,
    read_headers,
    reply_headers,
    request_headers,
    told,
)
from gateway.net.broker.reply import error_reply, reply_of
from gateway.status import Code, Failure

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_request_bears_an_id_the_trace_and_what_asks_and_nothing_that_the_caller_puts_in_their_place() -> None:
    given = [("tenant", "a"), ("bin", b"\xff"), ("message-id", "own"), ("reply-to", "elsewhere"), ("traceparent", "x")]
    asking = [("reply-to", b"answers")]
    identity, headers = request_headers(
        Message(b"", given), Context(trace=TRACE), "text/plain", asking, OWN | {"reply-to"}
    )  # type: ignore[arg-type]
    assert identity == "own"
    assert headers == [
        ("tenant", b"a"),
        ("bin", b"\xff"),
        ("content-type", b"text/plain"),
        ("reply-to", b"answers"),
        ("message-id", b"own"),
        ("traceparent", TRACE.encode()),
    ]
    made, headers = request_headers(Message(b"", [("reply-to", "mine")]), Context(), "text/plain")
    assert headers == [("reply-to", b"mine"), ("content-type", b"text/plain"), ("message-id", made.encode())]
    assert made


def test_the_content_type_that_a_caller_gives_counts_and_a_tombstone_has_none() -> None:
    given = Message(b"", [("content-type", "image/png"), ("message-id", "m")])
    assert request_headers(given, Context(), "text/plain")[1] == [("content-type", b"image/png"), ("message-id", b"m")]
    tombstone = Message(None, [("message-id", "m")])
    assert request_headers(tombstone, Context(), "text/plain")[1] == [("message-id", b"m")]
    reply = reply_of(given, "text/plain")
    assert reply_headers(reply, b"c")[0] == ("content-type", b"image/png")


def test_a_reply_comes_back_as_it_was_told() -> None:
    headers = reply_headers(reply_of(Message(b"re", [("tenant", "a"), ("message-id", "m")]), "text/plain"), b"c\xff")
    assert headers == [
        ("tenant", b"a"),
        ("content-type", b"text/plain"),
        ("message-id", b"m"),
        ("correlation-id", b"c\xff"),
    ]
    assert correlation_of(headers) == "c\N{REPLACEMENT CHARACTER}"
    reply = told(b"re", headers, frozenset({"tenant"}), 2)
    assert (reply.body, reply.headers) == (b"re", [("tenant", "a")])
    assert told(None, [], frozenset(), 2).body == b""
    with pytest.raises(Failure, match="larger than 1 bytes"):
        told(b"re", headers, frozenset(), 1)


def test_a_failure_comes_back_as_it_was_told() -> None:
    reply = error_reply(Failure(Code.NOT_FOUND, "no such order", path="$.id"))
    headers = reply_headers(reply, b"c")
    assert ("content-type", b"application/problem+json") in headers
    with pytest.raises(Failure, match="no such order") as failure:
        told(reply.body, headers, frozenset(), 1000)
    assert (failure.value.code, failure.value.path) == (Code.NOT_FOUND, "$.id")
    with pytest.raises(Failure) as failure:
        told(b"", [("gateway-status", b"\xff")], frozenset(), 1000)
    assert failure.value.code is Code.UNKNOWN


def test_headers_are_read_by_name_and_the_last_one_holds() -> None:
    given = [("A", b"1"), ("a", None), ("Traceparent", TRACE.encode()), ("b", b"\xff"), ("c", b"3")]
    assert read_headers(given, frozenset({"a", "b"})) == ([("a", "1"), ("b", b"\xff")], TRACE)
    assert last_header(given, "a") is None
    assert last_header(given, "c") == b"3"
    assert correlation_of(given) == ""
