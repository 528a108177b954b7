"""The members that correlate, errors in messages, and the options of routes.yaml."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from adapters.websocket.config import WebSocketEndpoint, WebSocketSource, WebSocketTarget
from adapters.websocket.inbound import WebSocketInbound
from adapters.websocket.outbound import WebSocketOutbound
from gateway.codecs.format import Unknown
from gateway.codecs.json.correlated import CorrelatedJson, JsonCorrelation
from gateway.codecs.json.format import JsonFormat
from gateway.net.json_error import error_message, told_failure
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import ContractError
from gateway.schema.types import ANY, INT32, STRING, Field, Record
from gateway.status import Code, Detail, Failure

IDS = st.one_of(st.text(max_size=20), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
FIELDS = st.text(st.characters(exclude_characters='"\\', exclude_categories=("Cc", "Cs")), min_size=1, max_size=64)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(field=FIELDS, id_=IDS, members=st.dictionaries(st.text(), JSON, max_size=4), indent=st.booleans())
def test_id_is_put_in_and_taken_out(field: str, id_: Any, members: dict[str, Any], indent: bool) -> None:
    members.pop(field, None)
    correlation = JsonCorrelation(field)
    raw = json.dumps(id_).encode()
    body = json.dumps(members, indent=2 if indent else None, ensure_ascii=indent).encode()
    written = correlation.put_reply(body, raw)
    assert json.loads(written) == {field: id_, **members}
    assert correlation.key(written) == raw
    assert correlation.read(body) == (None, body)
    assert correlation.read(correlation.write(body, 17))[0] == 17
    decode = CorrelatedJson(JsonFormat(), field).decoder(ANY, Unknown.REJECT)
    assert decode(written) == JsonFormat().decoder(ANY, Unknown.REJECT)(body)


@given(body=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_is_read_or_refused(body: bytes) -> None:
    correlation = JsonCorrelation("id")
    with suppress(Failure):
        assert isinstance(json.loads(correlation.key(body)), str | int | float)
    assert isinstance(correlation.read(body)[0], int | None)
    told_failure(body)


@pytest.mark.parametrize("body", [b'{"id":"b"}', b'{"id":1,"x":2}', b"[]", b"1", b""])
def test_id_does_not_replace_another(body: bytes) -> None:
    with pytest.raises(Failure) as failure:
        JsonCorrelation("id").put_reply(body, b'"a"')
    assert failure.value.code is Code.INTERNAL
    with pytest.raises(Failure) as failure:
        JsonCorrelation("id").write(body, 7)
    assert (failure.value.code, failure.value.sent) == (Code.INVALID_ARGUMENT, False)


@pytest.mark.parametrize("id_", [b"{}", b"[1]", b"null", b"true", b'"' + b"x" * 300 + b'"'])
def test_ids_are_short_scalars(id_: bytes) -> None:
    with pytest.raises(Failure) as failure:
        JsonCorrelation("id").key(b'{"id":%b}' % id_)
    assert failure.value.path == "$.id"


def test_member_of_the_type_stays_where_it_has_the_id_s_name() -> None:
    apart = Record("apart", [Field("n", INT32)])
    own = Record("own", [Field("n", INT32), Field("id", STRING)])
    format_ = CorrelatedJson(JsonFormat(), "id")
    body = b'{"id":"a","n":1}'
    assert format_.decoder(apart, Unknown.REJECT)(body).n == 1
    assert format_.decoder(own, Unknown.REJECT)(body).id == "a"
    with pytest.raises(Failure, match=r"\$\.x"):
        format_.decoder(apart, Unknown.REJECT)(b'{"id":"a","x":1}')
    with pytest.raises(Failure, match="malformed"):
        format_.decoder(apart, Unknown.REJECT)(b'{"id":"a"')
    assert format_.encoder(apart)(format_.decoder(apart, Unknown.REJECT)(body)) == b'{"n":1}'
    assert format_ == CorrelatedJson(JsonFormat(), "id") != CorrelatedJson(JsonFormat(), "other")


def test_failure_there_and_back() -> None:
    failure = Failure(
        Code.RESOURCE_EXHAUSTED, "slow down", path="$.n", details=[Detail("Quota", {"left": 0})], retry_after=1.5
    )
    told = told_failure(JsonCorrelation("id").put_reply(error_message(failure), b"1"), "id")
    assert told is not None
    assert (told.code, told.message, told.path, told.details, told.retry_after) == (
        Code.RESOURCE_EXHAUSTED,
        "slow down",
        "$.n",
        (Detail("Quota", {"left": 0}),),
        1.5,
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"error":"text"}',
        b'{"error":null}',
        b'{"error":{"code":"ABORTED"},"other":1}',
        b'[{"error":{}}]',
        b'"error"',
        b"{",
    ],
)
def test_messages_that_are_no_errors(body: bytes) -> None:
    assert told_failure(body) is None


# -- options


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "give listen"),
        ({"listen": ":1", "target": "ws://x"}, "give listen"),
        ({"listen": "x"}, "host:port"),
        ({"target": "http://x"}, "base URL"),
        ({"target": "ws://user:secret@x"}, "base URL"),
        ({"target": "ws://x?y=1"}, "base URL"),
        ({"listen": ":1", "origins": ["shop.example"]}, "not an origin"),
        ({"listen": ":1", "origins": ["https://shop.example/path"]}, "not an origin"),
        ({"listen": ":1", "subprotocols": ["a b"]}, "pattern"),
        ({"listen": ":1", "heartbeat": "1ms"}, "greater than"),
        ({"listen": ":1", "max_message_bytes": 0}, "greater than"),
    ],
)
def test_endpoints_that_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        WebSocketEndpoint.model_validate(options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"path": "ws"}, "starts with /"),
        ({"mode": "one-way", "correlation": "order"}, "correlation is for"),
        ({"mode": "stream", "correlation": {"field": "id"}}, "correlation is for"),
        ({"requests": "many"}, "requests is for"),
        ({"mode": "stream", "max_in_flight": 2}, "a stream is one call"),
        ({"mode": "stream", "requests": "none", "replies": "one"}, "replies: one goes"),
        ({"mode": "stream", "requests": "one", "replies": "one"}, "replies: one goes"),
        ({"correlation": {"field": ""}}, "should match pattern"),
        ({"correlation": {"field": 'a"b'}}, "should match pattern"),
    ],
)
def test_sources_that_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        WebSocketSource.model_validate({"path": "/ws", **options})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"mode": "stream", "requests": "query", "replies": "one"}, "replies: one goes"),
        ({"mode": "stream", "end": "none"}, "end goes with"),
        ({"max_in_flight": 2}, "max_in_flight goes with"),
        ({"mode": "one-way", "replies": "one"}, "replies is for"),
    ],
)
def test_targets_that_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        WebSocketTarget.model_validate({"path": "/ws", **options})


@pytest.mark.parametrize(
    ("options", "patterns"),
    [
        ({}, {Pattern.REQUEST_REPLY}),
        ({"mode": "one-way"}, {Pattern.ONE_WAY}),
        ({"mode": "stream"}, {Pattern.SERVER_STREAM, Pattern.CLIENT_STREAM, Pattern.BIDI}),
        ({"mode": "stream", "requests": "many"}, {Pattern.CLIENT_STREAM, Pattern.BIDI}),
        ({"mode": "stream", "replies": "many"}, {Pattern.SERVER_STREAM, Pattern.BIDI}),
        ({"mode": "stream", "requests": "query"}, {Pattern.SERVER_STREAM}),
        ({"mode": "stream", "requests": "none"}, {Pattern.SUBSCRIBE}),
    ],
)
async def test_patterns_of_sources(options: dict[str, Any], patterns: set[Pattern], tmp_path: Any) -> None:
    inbound = WebSocketInbound("in", WebSocketEndpoint(listen=":1"), Network(tmp_path))
    await inbound.load()
    contract = inbound.contract(WebSocketSource.model_validate({"path": "/a/{b}", **options}))
    assert contract.patterns == patterns
    assert contract.params == ("b",)
    assert contract.claim == "GET /a/([^/]+) on :1", "as any other route of the same server would claim it"


def test_sides_that_an_endpoint_does_not_have(tmp_path: Any) -> None:
    with pytest.raises(ContractError, match="listen"):
        WebSocketInbound("in", WebSocketEndpoint(target="ws://x"), Network(tmp_path))
    with pytest.raises(ContractError, match="target"):
        WebSocketOutbound("out", WebSocketEndpoint(listen=":1"), Network(tmp_path))
