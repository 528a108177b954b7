"""Content properties against pika's own codec, and what no codec likes."""

import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pika
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import commands

from adapters.amqp.status import TO_WIRE
from adapters.amqp.wire import ContentProperties
from gateway.codecs.amqp_properties import (
    METADATA,
    NESTING,
    UNCERTAIN,
    Properties,
    dead_letter,
    header_text,
    read,
    write,
)
from gateway.message import Header
from gateway.status import Code, Failure

SHORT = st.text(max_size=60).filter(lambda text: len(text.encode()) <= 255)
NAMES = st.text(min_size=1, max_size=20)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.decimals(-1000, 1000, places=3)
    | st.text(max_size=50)
    | st.binary(max_size=50)
    | st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(
        lambda moment: moment.replace(microsecond=0)
    ),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(NAMES, values, max_size=3),
    max_leaves=8,
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "content_type": SHORT,
        "content_encoding": SHORT,
        "headers": st.dictionaries(NAMES, VALUES, max_size=4),
        "delivery_mode": st.integers(1, 2),
        "priority": st.integers(0, 255),
        "correlation_id": SHORT,
        "reply_to": SHORT,
        "expiration": SHORT,
        "message_id": SHORT,
        "timestamp": st.integers(0, 2**64 - 1),
        "type": SHORT,
        "user_id": SHORT,
        "app_id": SHORT,
        "cluster_id": SHORT,
    },
)


def by_pika(**properties: Any) -> bytes:
    return b"".join(pika.BasicProperties(**properties).encode())


def to_pika(raw: bytes) -> dict[str, Any]:
    """A property's naive timestamps are UTC."""
    return dict(pika.BasicProperties().decode(raw).__dict__)


def aware(value: Any) -> Any:
    match value:
        case datetime():
            return value.replace(tzinfo=UTC)
        case dict():
            return {name: aware(inner) for name, inner in value.items()}
        case list():
            return [aware(inner) for inner in value]
        case _:
            return value


@given(PROPERTIES)
@example({"headers": {"a": {"b": [{"c": [1, None]}]}}})
def test_reads_what_pika_writes(properties: dict[str, Any]) -> None:
    assert read(by_pika(**properties)) == Properties(**properties)


@given(
    st.lists(st.tuples(NAMES, st.text(max_size=50) | st.binary(max_size=50)), max_size=4, unique_by=lambda one: one[0]),
    st.dictionaries(st.sampled_from(["content_type", "message_id", "type"]), SHORT),
    st.integers(0, 255),
    st.integers(0, 2**64 - 1),
)
def test_pika_reads_what_is_written(
    headers: list[tuple[str, str | bytes]], texts: dict[str, str], priority: int, timestamp: int
) -> None:
    raw = write(headers, priority=priority, timestamp=timestamp, **texts)
    found = to_pika(raw)
    assert (found["headers"] or {}) == dict(headers)
    assert (found["priority"], found["timestamp"]) == (priority, timestamp)
    assert all((found[name] or "") == text for name, text in texts.items())
    assert read(raw) == Properties(headers=dict(headers), priority=priority, timestamp=timestamp, **texts)


@given(PROPERTIES)
def test_dead_letters_keep_all_else(properties: dict[str, Any]) -> None:
    found = to_pika(dead_letter(by_pika(**properties), [("dead-letter-reason", "why")], "fresh"))
    told = {
        f"dead-letter-{name.replace('_', '-')}": properties[name]
        for name in ("expiration", "user_id")
        if name in properties
    }
    renamed = {f"dead-letter-{name}" if name == "CC" else name: value for name, value in _headers(properties)}
    expected = {**properties, "headers": {**renamed, **told, "dead-letter-reason": "why"}, "delivery_mode": 2}
    expected["message_id"] = properties.get("message_id") or "fresh"
    for name in ("expiration", "user_id"):
        expected.pop(name, None)
    assert {name: aware(value) for name, value in found.items() if value is not None} == expected


def _headers(properties: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(properties.get("headers", {}).items())


@given(st.binary(max_size=80), PROPERTIES, st.data())
def test_anything_is_read_or_refused(noise: bytes, properties: dict[str, Any], data: st.DataObject) -> None:
    sound = by_pika(**properties)
    cut = sound[: data.draw(st.integers(0, len(sound)))]
    for raw in (noise, cut, cut + noise):
        carried = ContentProperties()
        carried.unmarshal(int.from_bytes(raw[:2], "big"), raw[2:])
        assert carried.message_id == read(dead_letter(raw, (), "m")).message_id or carried.message_id in (None, "")
        assert read(raw).trouble == "" or read(raw) == Properties(trouble=read(raw).trouble)


def table(name: bytes, value: bytes) -> bytes:
    """Properties with one header."""
    entry = bytes((len(name),)) + name + value
    return struct.pack(">HI", 0x2000, len(entry)) + entry


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"d" + struct.pack(">d", 0.1), 0.1),
        (b"f" + struct.pack(">f", 0.5), 0.5),
        (b"B\xff", 255),
        (b"b\xff", -1),
        (b"s\xff\xfe", -2),
        (b"u\xff\xfe", 65534),
        (b"i\xff\xff\xff\xff", 2**32 - 1),
        (b"D\x02\xff\xff\xff\x9c", Decimal("-1.00")),
        (b"T" + struct.pack(">Q", 2**64 - 1), 2**64 - 1),
        (b"S\x00\x00\x00\x01\xff", b"\xff"),
        (b"V", None),
    ],
)
def test_kinds_that_pika_does_not_write(value: bytes, expected: Any) -> None:
    raw = table(b"h", value)
    assert read(raw).headers == {"h": expected}
    assert dead_letter(raw, (), "m")[6:].startswith(raw[6:]), "a dead letter has the same bytes"


def test_bombs() -> None:
    value = b"V"
    for _ in range(NESTING):
        value = b"A" + struct.pack(">I", len(value)) + value
    for bad, told in ((value, "nested deeper than 64"), (b"S\xff\xff\xff\xff", "cut off"), (b"?", "unknown kind")):
        raw = table(b"h", bad)
        assert told in read(raw).trouble
        assert read(dead_letter(raw, [("dead-letter-reason", "why")], "m")) == Properties(
            headers={"dead-letter-reason": "why"}, delivery_mode=2, message_id="m"
        ), "what can't be read is left out"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (True, "true"),
        (-7, "-7"),
        (0.1, "0.1"),
        (Decimal("1.50"), "1.50"),
        (datetime(2026, 1, 31, 13, 30, tzinfo=UTC), "2026-01-31T13:30:00Z"),
        ({"a": [1, datetime(2026, 1, 31, tzinfo=UTC)]}, '{"a":[1,"2026-01-31T00:00:00Z"]}'),
        ("ü", "ü"),
        (b"\xff", b"\xff"),
    ],
)
def test_header_values_as_text(value: Any, text: str | bytes | None) -> None:
    assert header_text(value) == text


def test_a_content_type_among_headers_is_the_property_and_the_other_way_round() -> None:
    found = read(write([("content-type", "image/png")], content_type="application/octet-stream"))
    assert (found.content_type, found.headers) == ("image/png", {})
    assert found.metadata(frozenset({"content-type"}))[0] == [("content-type", "image/png")]
    assert found.metadata(frozenset())[0] == []


def test_ids_among_headers_become_properties_and_none_is_lost() -> None:
    headers: list[Header] = [("message-id", b"m-1"), ("correlation-id", "c-1"), ("traceparent", "old"), ("h", "v")]
    found = read(write(headers, "new"))
    assert (found.message_id, found.correlation_id) == ("m-1", "c-1")
    assert found.headers == {"traceparent": "new", "h": "v"}
    found = read(write(headers, message_id="m-1", correlation_id="other"))
    assert (found.message_id, found.correlation_id) == ("m-1", "other")
    assert found.headers == {"correlation-id": "c-1", "traceparent": "old", "h": "v"}


@pytest.mark.parametrize(
    ("headers", "properties", "told"),
    [
        ([("h" * 256, "v")], {}, "a header's name is longer than 255 bytes"),
        ([("message-id", "ü" * 128)], {}, "message_id is longer than 255 bytes"),
        ([], {"type": "t" * 256}, "type is longer than 255 bytes"),
    ],
)
def test_what_has_no_room(headers: list[Header], properties: dict[str, str], told: str) -> None:
    with pytest.raises(Failure, match=told) as refused:
        write(headers, **properties)
    assert (refused.value.code, refused.value.sent) == (Code.INVALID_ARGUMENT, False)


@pytest.mark.parametrize(("seconds", "text"), [(0, "1"), (1.5, "1500"), (1e12, "2592000000"), (None, "")])
def test_patience_is_an_expiration_that_brokers_take(seconds: float | None, text: str) -> None:
    found = read(write((), "", seconds, priority=None))
    assert (found.expiration, found.priority) == (text, 0)
    assert found.patience == (int(text) / 1000 if text else float("inf"))


def test_params_of_properties() -> None:
    found = Properties(message_id="m-1", priority=3, timestamp=1_700_000_000).params
    assert found.keys() == METADATA.keys()
    assert (found["message_id"], found["type"], found["priority"]) == ("m-1", "", 3)
    assert found["timestamp"] == 1_700_000_000_000_000_000
    assert Properties(timestamp=2**63).params.keys() == METADATA.keys() - UNCERTAIN


def test_error_replies_tell_every_code() -> None:
    assert set(TO_WIRE) == set(Code)


def test_properties_of_another_user_of_pamqp_in_this_process() -> None:
    made = commands.Basic.Properties(message_id="m-1", headers={"a": "b"}, delivery_mode=2)
    assert isinstance(made, ContentProperties)
    found = read(made.marshal())
    assert (found.message_id, found.headers, found.delivery_mode) == ("m-1", {"a": "b"}, 2)
    carried = commands.Basic.Properties()
    carried.unmarshal(int.from_bytes(made.marshal()[:2], "big"), made.marshal()[2:])
    assert (carried.message_id, carried.headers, carried.delivery_mode) == ("m-1", {"a": "b"}, 2)
    assert carried.content_type is None
