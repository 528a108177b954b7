"""Thrift's messages: heads of each protocol, and where an unframed message ends however it is cut."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.thrift_apache import EVERYTHING
from support.thrift_values import values

from adapters.thrift.status import TO_WIRE, ApplicationError, failure_of, read_failure, told, write_failure
from gateway.codecs.thrift.boundary import BufferedReader
from gateway.codecs.thrift.format import Protocol, ThriftFormat
from gateway.codecs.thrift.message import Envelope, MessageType, framed, read_message, write_message
from gateway.net.tcp.framing import FramingError
from gateway.schema.idl.thrift.reader import ThriftSchema
from gateway.status import Code, Failure

PROTOCOLS = list(Protocol)
EXAMPLES = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
TYPE = ThriftSchema.load(EVERYTHING).operation("Everythings", "swap").wire.result.type
ENCODERS = {protocol: ThriftFormat(protocol, None).encoder(TYPE.type) for protocol in PROTOCOLS}
LIMIT = 100_000


def envelopes(protocol: Protocol) -> st.SearchStrategy[Envelope]:
    return st.builds(
        Envelope,
        name=st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), max_size=20),
        type=st.sampled_from([int(one) for one in MessageType]),
        seqid=st.integers(-(2**31), 2**31 - 1),
        body=values(TYPE, 2).map(ENCODERS[protocol]),
        strict=st.booleans() if protocol is Protocol.BINARY else st.just(True),
    )


def message(protocol: Protocol, **changed: Any) -> bytes:
    body = {Protocol.JSON: b"{}"}.get(protocol, b"\0")
    return write_message(protocol, Envelope(**{"name": "f", "type": 1, "seqid": 7, "body": body, **changed}))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_messages_are_read_as_they_are_written(protocol: Protocol) -> None:
    @EXAMPLES
    @given(envelopes(protocol))
    def check(envelope: Envelope) -> None:
        assert read_message(protocol, write_message(protocol, envelope)) == envelope

    check()


def test_heads_as_the_specifications_show_them() -> None:
    assert message(Protocol.BINARY) == b"\x80\x01\0\x01\0\0\0\x01f\0\0\0\x07\0"
    assert message(Protocol.BINARY, strict=False) == b"\0\0\0\x01f\x01\0\0\0\x07\0"
    assert message(Protocol.COMPACT) == b"\x82\x21\x07\x01f\0"
    assert message(Protocol.COMPACT, seqid=-1) == b"\x82\x21\xff\xff\xff\xff\x0f\x01f\0"
    assert message(Protocol.JSON) == b'[1,"f",1,7,{}]'
    assert framed(b"ab") == b"\0\0\0\x02ab"


@pytest.mark.parametrize(
    ("protocol", "data"),
    [
        (Protocol.BINARY, b""),
        (Protocol.BINARY, b"\x80\x02\0\x01\0\0\0\x01f\0\0\0\x07\0"),
        (Protocol.BINARY, b"\x80\x01\0\x01\x7f\xff\xff\xfff\0\0\0\x07\0"),
        (Protocol.BINARY, b"\x7f\xff\xff\xff"),
        (Protocol.BINARY, b"\x80\x01\0\x01\0\0\0\x01\xff\0\0\0\x07\0"),
        (Protocol.BINARY, b"GET / HTTP/1.1\r\n\r\n"),
        (Protocol.COMPACT, b"\x82"),
        (Protocol.COMPACT, b"\x81\x21\x07\x01f\0"),
        (Protocol.COMPACT, b"\x82\x22\x07\x01f\0"),
        (Protocol.COMPACT, b"\x82\x21\x07\xff\xff\xff\xff\x07f\0"),
        (Protocol.JSON, b""),
        (Protocol.JSON, b'[2,"f",1,7,{}]'),
        (Protocol.JSON, b'[1,"f",1,99999999999,{}]'),
        (Protocol.JSON, b'[1,"f",1,7,{}'),
        (Protocol.JSON, b"{}"),
    ],
)
def test_what_is_no_message(protocol: Protocol, data: bytes) -> None:
    with pytest.raises(Failure, match="no message of Thrift's") as refused:
        read_message(protocol, data)
    assert refused.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_unframed_messages_are_told_apart_however_they_are_cut(protocol: Protocol) -> None:
    @EXAMPLES
    @given(st.lists(envelopes(protocol), min_size=1, max_size=3), st.data())
    def check(sent: list[Envelope], draw: st.DataObject) -> None:
        messages = [write_message(protocol, envelope) for envelope in sent]
        stream = (b"\n" if protocol is Protocol.JSON else b"").join(messages)
        reader = BufferedReader(protocol, LIMIT)
        got = []
        while stream:
            size = draw.draw(st.integers(1, len(stream)))
            reader.feed(stream[:size])
            stream = stream[size:]
            while (one := reader.next()) is not None:
                got.append(one)
        assert got == messages
        assert not reader.partial
        assert reader.end() is None

    check()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_byte_by_byte(protocol: Protocol) -> None:
    whole = message(protocol)
    reader = BufferedReader(protocol, LIMIT)
    for byte in whole[:-1]:
        reader.feed(bytes([byte]))
        assert reader.next() is None
    assert reader.partial
    with pytest.raises(FramingError, match="inside a message"):
        reader.end()
    reader.feed(whole[-1:])
    assert reader.next() == whole


HEAD = {
    Protocol.BINARY: b"\x80\x01\0\x01\0\0\0\x01f\0\0\0\x07",
    Protocol.COMPACT: b"\x82\x21\x07\x01f",
    Protocol.JSON: b'[1,"f",1,7,',
}


@pytest.mark.parametrize(
    ("protocol", "body", "reason"),
    [
        (Protocol.BINARY, b"\x0b\0\x01\x7f\xff\xff\xff", "larger than the limit"),
        (Protocol.BINARY, b"\x0b\0\x01\xff\xff\xff\xff", "larger than the limit"),
        (Protocol.BINARY, b"\x0f\0\x01\x0a\x7f\xff\xff\xff", "more than the limit"),
        (Protocol.BINARY, b"\x0f\0\x01\x0b\x7f\xff\xff\xff", "more than the limit"),
        (Protocol.BINARY, b"\x0d\0\x01\x0b\x0b\xff\xff\xff\xff", "more than the limit"),
        (Protocol.BINARY, b"\x0f\0\x01\x01\0\0\0\x01", "items of the unknown type 1"),
        (Protocol.BINARY, b"\x09\0\x01", "the unknown type 9"),
        (Protocol.BINARY, b"\x0c\0\x01" * 200, "nested deeper"),
        (Protocol.COMPACT, b"\x18\xff\xff\xff\xff\x07", "larger than the limit"),
        (Protocol.COMPACT, b"\x19\xf6\xff\xff\xff\xff\x07", "more than the limit"),
        (Protocol.COMPACT, b"\x19\xf7\xff\xff\xff\xff\x07", "more than the limit"),
        (Protocol.COMPACT, b"\x1b\xff\xff\xff\xff\x07\x88", "more than the limit"),
        (Protocol.COMPACT, b"\x16" + b"\xff" * 11, "more than 64 bits"),
        (Protocol.COMPACT, b"\x1e", "the unknown type 14"),
        (Protocol.COMPACT, b"\x1c" * 200, "nested deeper"),
        (Protocol.JSON, b'"' + b"x" * LIMIT, "larger than the limit"),
        (Protocol.JSON, b"[" * 1000, "nested deeper"),
    ],
)
def test_unframed_bombs_are_refused_before_they_are_there(protocol: Protocol, body: bytes, reason: str) -> None:
    reader = BufferedReader(protocol, LIMIT)
    reader.feed(HEAD[protocol] + body)
    with pytest.raises(FramingError, match=reason):
        reader.next()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_another_protocol_is_refused(protocol: Protocol) -> None:
    for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", *(message(one) for one in PROTOCOLS if one is not protocol)):
        reader = BufferedReader(protocol, LIMIT)
        reader.feed(data)
        with pytest.raises(FramingError):
            reader.next()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
def test_failures_survive_from_gateway_to_gateway(protocol: Protocol, code: Code) -> None:
    sent = Failure(code, 'it is "so"', path="$.lines[0].sku")
    call = Envelope("f", MessageType.CALL, 9, b"")
    reply = read_message(protocol, write_failure(protocol, call, sent))
    assert (reply.name, reply.type, reply.seqid) == ("f", MessageType.EXCEPTION, 9)
    got = read_failure(protocol, reply.body)
    assert (got.code, got.message, got.path) == (code, sent.message, sent.path)


def test_application_exceptions() -> None:
    assert TO_WIRE[Code.UNIMPLEMENTED] is ApplicationError.UNKNOWN_METHOD
    assert told(Failure(Code.NOT_FOUND, "x" * 5000)).startswith("NOT_FOUND: xxx")
    assert len(told(Failure(Code.NOT_FOUND, "x" * 5000))) == 1000
    for type_, text, code, message_ in (
        (1, "Unknown function f", Code.UNIMPLEMENTED, "Unknown function f"),
        (6, "Internal error", Code.INTERNAL, "Internal error"),
        (7, "", Code.INVALID_ARGUMENT, "the upstream answered PROTOCOL_ERROR"),
        (99, "odd", Code.UNKNOWN, "odd"),
        (6, "NO_SUCH_CODE: text", Code.INTERNAL, "NO_SUCH_CODE: text"),
        (6, "OK: fine", Code.INTERNAL, "OK: fine"),
    ):
        failure = failure_of(type_, text)
        assert (failure.code, failure.message) == (code, message_)
    assert read_failure(Protocol.BINARY, b"\x0b\0").code is Code.INTERNAL
