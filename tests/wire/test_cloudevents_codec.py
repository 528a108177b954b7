"""CloudEvents in JSON and in HTTP's headers: what is written is read back, by the SDK too; what is wrong is refused."""

import json
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent as SdkEvent
from hypothesis import given
from hypothesis import strategies as st

from gateway.codecs.cloudevents import (
    CloudEvent,
    from_headers,
    from_properties,
    is_json,
    read,
    read_batch,
    to_headers,
    to_properties,
    write,
)
from gateway.status import Code, Failure

TEXT = st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Cn"), exclude_characters="\ufdd0\ufffe\uffff"),
    min_size=1,
    max_size=20,
)
NAMES = st.from_regex(r"x[a-z0-9]{1,10}", fullmatch=True)
JSON_DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
EVENTS = st.builds(
    CloudEvent,
    id=TEXT,
    source=TEXT,
    type=TEXT,
    subject=st.none() | TEXT,
    time=st.none() | st.just("2026-01-02T03:04:05.678901234Z"),
    datacontenttype=st.sampled_from([None, "application/json", "application/vnd.shop+json; v=2"]),
    dataschema=st.none() | st.just("https://shop.example/order"),
    extensions=st.dictionaries(NAMES, TEXT | st.booleans() | st.integers(-(2**31), 2**31 - 1), max_size=3),
    data=st.none() | JSON_DATA.filter(lambda value: value is not None).map(lambda value: json.dumps(value).encode()),
)
OPAQUE = st.builds(
    CloudEvent, id=TEXT, source=TEXT, type=TEXT, datacontenttype=st.just("image/png"), data=st.binary(max_size=40)
)


@given(EVENTS | OPAQUE)
def test_structured_there_and_back(event: CloudEvent) -> None:
    assert read(write(event)) == event


@given(st.lists(EVENTS | OPAQUE, max_size=4))
def test_batch_there_and_back(events: list[CloudEvent]) -> None:
    assert read_batch(b"[" + b",".join(map(write, events)) + b"]", 4) == events


@given(EVENTS | OPAQUE.filter(lambda event: event.data))
def test_binary_there_and_back(event: CloudEvent) -> None:
    """In headers all attributes are text, and data's content type is there only where there is data."""
    found = from_headers(to_headers(event), event.data or b"")
    text = {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in event.extensions.items()
    }
    assert found.extensions == text
    for name in ("id", "source", "type", "subject", "time", "dataschema", "data"):
        assert getattr(found, name) == getattr(event, name)
    if event.data is not None:
        assert found.datacontenttype == (event.datacontenttype or "application/json")
    assert all(value.isascii() and value.isprintable() for _, value in to_headers(event))


@given(EVENTS)
def test_the_sdk_reads_what_is_written(event: CloudEvent) -> None:
    for headers, body in (
        ({"content-type": "application/cloudevents+json"}, write(event)),
        (dict(to_headers(event)), event.data or b""),
    ):
        found = from_http_event(HTTPMessage(headers, body))
        assert (found.get_id(), found.get_source(), found.get_type()) == (event.id, event.source, event.type)
        assert found.get_subject() == event.subject
        data = found.get_data()
        assert data == (None if event.data is None else json.loads(event.data))


SDK_EVENTS = st.builds(
    lambda attributes, subject, data: SdkEvent(
        {**attributes, "specversion": "1.0", **({"subject": subject} if subject else {})}, data
    ),
    st.fixed_dictionaries({"id": TEXT, "source": TEXT, "type": TEXT}),
    st.none() | TEXT,
    st.dictionaries(st.text(max_size=5), JSON_DATA, min_size=1, max_size=3),
)


@given(SDK_EVENTS)
def test_what_the_sdk_writes_is_read(event: Any) -> None:
    structured = to_structured_event(event)
    binary = to_binary_event(event)
    for found in (read(structured.body), from_headers(binary.headers.items(), binary.body)):
        assert (found.id, found.source, found.type) == (event.get_id(), event.get_source(), event.get_type())
        assert found.subject == event.get_subject()
        assert found.data is not None
        assert json.loads(found.data) == event.get_data()


GOOD: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"specversion": "0.3"}, "$.specversion"),
        ({"specversion": None}, "$.specversion"),
        ({"id": ""}, "$.id"),
        ({"id": None}, "$.id"),
        ({"id": 7}, "$.id"),
        ({"source": {}}, "$.source"),
        ({"type": "a\nb"}, "$.type"),
        ({"subject": "\x7f"}, "$.subject"),
        ({"time": "yesterday"}, "$.time"),
        ({"Tenant": "x"}, "$.Tenant"),
        ({"my-ext": "x"}, "$.my-ext"),
        ({"count": 2**31}, "$.count"),
        ({"count": 1.5}, "$.count"),
        ({"nested": {"a": 1}}, "$.nested"),
        ({"data": 1, "data_base64": "MQ=="}, "$.data_base64"),
        ({"data_base64": "!"}, "$.data_base64"),
        ({"data_base64": 5}, "$.data_base64"),
        ({"data_base64": "e30x"}, "$.data_base64"),
    ],
)
def test_refused(change: dict[str, Any], path: str) -> None:
    with pytest.raises(Failure) as told:
        read(json.dumps({**GOOD, **change}).encode())
    assert told.value.code is Code.INVALID_ARGUMENT
    assert told.value.path == path


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id": ', b"\xff", b"[" * 5000, b'{"a":' * 5000 + b"1" + b"}" * 5000])
def test_malformed(body: bytes) -> None:
    """How deep is too deep depends on Python."""
    with pytest.raises(Failure, match=r"malformed|not None at \$\.specversion"):
        read(body)
    with pytest.raises(Failure, match=r"malformed|specversion|CloudEvents"):
        read_batch(b"[" + body + b"]" if body else b"{}", 10)


def test_a_batch_has_a_limit() -> None:
    with pytest.raises(Failure, match="at most 1 events"):
        read_batch(json.dumps([GOOD, GOOD]).encode(), 1)


def test_null_is_not_set() -> None:
    event = read(json.dumps({**GOOD, "subject": None, "data": None, "tenant": None}).encode())
    assert (event.subject, event.data, event.extensions) == (None, None, {})


def test_data_is_kept_as_it_came() -> None:
    assert read(b'{"specversion":"1.0","id":"1","source":"s","type":"t","data": {"a" : 1.10}}').data == b'{"a" : 1.10}'


def test_text_data_of_another_type() -> None:
    event = read(json.dumps({**GOOD, "datacontenttype": "text/xml", "data": "<a/>"}).encode())
    assert event.data == b"<a/>"
    assert not event.json


@pytest.mark.parametrize(
    ("value", "read_as"),
    [("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"), ('"a \\"b\\" %25"', 'a "b" %'), ("plain", "plain")],
)
def test_header_values(value: str, read_as: str) -> None:
    """The examples of http-protocol-binding.md, 3.1.3.2."""
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t", "CE-Subject": value}
    assert from_headers(headers.items(), b"").subject == read_as


@pytest.mark.parametrize("value", ["%ff", "%00", "\udcff"])
def test_bad_header_values(value: str) -> None:
    headers = {"ce-specversion": "1.0", "ce-id": value, "ce-source": "/s", "ce-type": "t"}
    with pytest.raises(Failure):
        from_headers(headers.items(), b"")


def test_json_media_types() -> None:
    assert all(map(is_json, [None, "application/json", "text/json; charset=utf-8", "application/a+JSON"]))
    assert not any(map(is_json, ["text/plain", "application/jsonl", ""]))


@given(EVENTS, st.sampled_from(["ce_", "cloudEvents:"]))
def test_message_brokers(event: CloudEvent, prefix: str) -> None:
    """Binary mode has all attributes as text; the content type is the message's."""
    headers = [(name.lower(), value) for name, value in to_properties(event, prefix)]
    assert all(isinstance(value, str) for _, value in headers)
    found = from_properties(headers, (prefix.lower(),), event.datacontenttype or "", event.data)
    told = {name: str(value).lower() for name, value in found.extensions.items()}
    assert told == {name: str(value).lower() for name, value in event.extensions.items()}
    for name in ("id", "source", "type", "subject", "time", "datacontenttype", "dataschema"):
        assert getattr(found, name) == getattr(event, name)
    assert found.data == (event.data or None)
    assert from_properties([], (), "application/cloudevents+json; charset=utf-8", write(event)) == read(write(event))


@pytest.mark.parametrize(
    ("headers", "content_type", "body", "words"),
    [
        ([], "application/json", b"{}", "CloudEvents 1.0 is read here"),
        ([("ce_specversion", "1.0"), ("ce_id", b"\xff")], "", None, "text is expected"),
        ([("ce_specversion", "1.0"), ("ce_id", "1"), ("ce_source", "s")], "", None, "required"),
        ([("ce_specversion", "1.0")], "application/json", b"{", "malformed JSON"),
        ([], "application/cloudevents+json", None, "malformed CloudEvent"),
    ],
)
def test_no_events_of_message_brokers(headers: Any, content_type: str, body: bytes | None, words: str) -> None:
    with pytest.raises(Failure, match=words):
        from_properties(headers, ("ce_",), content_type, body)
