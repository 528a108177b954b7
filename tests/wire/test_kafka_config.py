"""Kafka in routes.yaml: what is refused, and what the defaults come to."""

from pathlib import Path
from typing import Any

import pytest
from aiokafka import errors
from pydantic import ValidationError

from adapters.kafka.config import Endpoint, Source, Target
from adapters.kafka.inbound import KafkaInbound
from adapters.kafka.outbound import KafkaOutbound
from adapters.kafka.status import TO_WIRE, failure
from gateway.codecs.format import Unknown
from gateway.codecs.json.format import JsonFormat
from gateway.net.broker.redelivery import backoff
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.status import Code, Disposition

SERVERS = {"bootstrap_servers": "one:9092"}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({}, "bootstrap_servers"),
        ({"bootstrap_servers": []}, "at least 1"),
        ({"bootstrap_servers": "nowhere"}, "not host:port"),
        ({"bootstrap_servers": "one:9092, :9092"}, "needs a host"),
        ({**SERVERS, "compression": "brotli"}, "gzip"),
        ({**SERVERS, "acks": 1}, "Extra inputs"),
        ({**SERVERS, "max_message_bytes": 0}, "greater than or equal to 1"),
        ({**SERVERS, "tls": {"certificate": "c.pem"}}, "go together"),
        ({**SERVERS, "sasl": {"username": "u"}}, "password"),
        ({**SERVERS, "sasl": {"mechanism": "GSSAPI", "username": "u", "password": "p"}}, "SCRAM-SHA-512"),
    ],
)
def test_endpoints_that_are_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Endpoint.model_validate(given)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({}, "topic"),
        ({"topic": []}, "at least 1"),
        ({"topic": "a topic"}, "match pattern"),
        ({"topic": "t" * 250}, "match pattern"),
        ({"topic": "t", "start": "yesterday"}, "earliest"),
        ({"topic": "t", "dead_letters": "t"}, "back into t"),
        ({"topic": ["t", "t.dead-letters"]}, "back into t"),
        ({"topic": "t", "backoff": "2s", "max_backoff": "1s"}, "less than backoff"),
        ({"topic": "t", "max_in_flight": 0}, "greater than or equal to 1"),
        ({"topic": "t", "instance": "pod 1"}, "match pattern"),
        ({"topic": "t" * 200, "instance": "i" * 60}, "249 characters together"),
    ],
)
def test_sources_that_are_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Source.model_validate(given)


def test_routes_of_one_instance_are_different_members() -> None:
    one, two = (Source.model_validate({"topic": topic, "group": "g", "instance": "pod-1"}) for topic in "ab")
    assert (one.member, two.member) == ("pod-1.a", "pod-1.b")
    assert Source.model_validate({"topic": "a"}).member == ""


def test_servers_may_be_a_list_or_a_line() -> None:
    line = Endpoint.model_validate({"bootstrap_servers": "one:9092, two:9092"})
    assert line == Endpoint.model_validate({"bootstrap_servers": ["one:9092", "two:9092"]})


def test_contracts() -> None:
    endpoint = Endpoint.model_validate({**SERVERS, "forward_headers": ["Tenant"], "unknown_fields": "drop"})
    inbound = KafkaInbound("events", endpoint, Network(Path()))
    took = inbound.contract(Source.model_validate({"topic": ["a", "b"], "dead_letters": "letters"}))
    assert took.claim == "consumer group events.a.b of topic a, b"
    assert "dead letters go to letters" in took.describe
    assert took.patterns == {Pattern.ONE_WAY}
    assert (took.request, took.reply, took.unknown) == (None, None, Unknown.DROP)
    assert took.format == JsonFormat()
    assert took.headers == {"tenant"}
    outbound = KafkaOutbound("events", endpoint, Network(Path()))
    gives = outbound.contract(Target.model_validate({"topic": "a", "key": "$params.order_id"}))
    assert gives.sources == {"key": "$params.order_id"}
    assert list(gives.receipt) == ["topic", "partition", "offset", "timestamp", "id"]
    assert outbound.contract(Target.model_validate({"topic": "a"})).sources == {}


def test_every_error_has_a_code_and_names_no_host() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.KafkaError)]
    assert len(kinds) > 50
    for kind in kinds:
        found = failure(kind("Connection at secret-host:9092 closed"))
        assert found.code is not Code.OK
        assert "secret-host" not in found.text
    assert failure(errors.MessageSizeTooLargeError()).code is Code.INVALID_ARGUMENT
    assert failure(errors.NodeNotReadyError()).code is Code.UNAVAILABLE


def test_what_becomes_of_a_record_is_told_for_every_code() -> None:
    assert set(TO_WIRE) == set(Code)
    assert TO_WIRE[Code.UNAVAILABLE] is Disposition.REDELIVER


def test_backoff_doubles_up_to_its_cap() -> None:
    for attempt, longest in ((1, 0.1), (2, 0.2), (3, 0.4), (9, 3.0), (10_000, 3.0)):
        waits = [backoff(attempt, 0.1, 3.0) for _ in range(200)]
        assert longest / 2 <= min(waits)
        assert max(waits) <= longest
        assert len(set(waits)) > 1
