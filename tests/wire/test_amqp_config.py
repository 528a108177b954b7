"""What the AMQP sections of routes.yaml accept and refuse."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.amqp.config import DeadLetters, Endpoint, Source, Target
from adapters.amqp.inbound import AmqpInbound
from adapters.amqp.outbound import AmqpOutbound
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import ContractError

URL = "amqp://gateway:hush%2Fhush@rabbit.example:5673/shop%2Feu"


def test_an_endpoint_tells_its_place_and_no_secret() -> None:
    endpoint = Endpoint.model_validate({"url": URL})
    assert endpoint.place == "rabbit.example:5673/shop/eu"
    contract = AmqpInbound("rabbit", endpoint, Network(Path())).contract(Source(queue="orders"))
    for told in (repr(endpoint), str(endpoint.model_dump()), contract.describe, contract.claim):
        assert "hush" not in told
    assert Endpoint.model_validate({"url": "amqps://rabbit"}).place == "rabbit:5671/"
    assert Endpoint.model_validate({"url": "amqp://rabbit/%2F"}).place == "rabbit:5672/"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"url": "http://rabbit"}, "no URL such as"),
        ({"url": "amqp:///shop"}, "no URL such as"),
        ({"url": "amqps://rabbit?no_verify_ssl=1"}, "no URL such as"),
        ({"url": "amqp://rabbit:99999"}, "no URL such as"),
        ({"url": "amqp://rabbit", "tls": {}}, "amqps://"),
        ({"url": "amqps://rabbit", "tls": {"certificate": "c.pem"}}, "go together"),
        ({"url": "amqp://rabbit", "heartbeat": "100ms"}, "greater than or equal to 1"),
        ({"url": "amqp://rabbit", "no_such": 1}, "Extra inputs"),
    ],
)
def test_endpoints_that_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told) as refused:
        Endpoint.model_validate(settings)
    assert "rabbit?no_verify" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"queue": ""}, "at least 1"),
        ({"queue": "q" * 256}, "at most 255 bytes"),
        ({"queue": "q", "dead_letters": "q"}, "back into q"),
        ({"queue": "q", "dead_letters": {}}, "give an exchange"),
        ({"queue": "q" * 250}, "too long"),
        ({"queue": "q", "backoff": "2s", "max_backoff": "1s"}, "less than backoff"),
        ({"queue": "q", "declare": {"type": "quorum", "durable": False}}, "is durable"),
        ({"queue": "q", "prefetch": 0}, "greater than or equal to 1"),
    ],
)
def test_sources_that_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Source.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "give an exchange"),
        ({"routing_key": "q", "declare": {}}, "always there"),
        ({"routing_key": "k" * 256}, "at most 255 bytes"),
        ({"routing_key": "q", "mode": "reply", "correlation_id": "c"}, "of its own"),
        ({"routing_key": "q", "headers": {"CC": "other"}}, "the broker's own"),
        ({"routing_key": "q", "priority": 256}, "less than or equal to 255"),
    ],
)
def test_targets_that_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Target.model_validate(settings)


def test_where_dead_letters_go() -> None:
    assert Source(queue="q").letters == DeadLetters(routing_key="q.dead-letters")
    assert Source.model_validate({"queue": "q", "dead_letters": "bad"}).letters == DeadLetters(routing_key="bad")
    assert DeadLetters(routing_key="bad").place == "queue bad"
    assert DeadLetters(exchange="x").place == "exchange x, routing key as it came"
    assert DeadLetters(exchange="x", routing_key="k").place == "exchange x, routing key k"


def test_patterns_and_sources() -> None:
    endpoint = Endpoint.model_validate({"url": "amqp://rabbit"})
    inbound, outbound = AmqpInbound("r", endpoint, Network(Path())), AmqpOutbound("r", endpoint, Network(Path()))
    assert inbound.contract(Source(queue="q")).patterns == {Pattern.ONE_WAY}
    assert inbound.contract(Source(queue="q", replies="one")).patterns == {Pattern.REQUEST_REPLY}
    target = Target(exchange="x", routing_key="$.region", message_id="$params.id", type="placed", headers={"h": "$.a"})
    contract = outbound.contract(target)
    assert contract.patterns == {Pattern.ONE_WAY}
    assert contract.sources == {"routing_key": "$.region", "message_id": "$params.id", "header h": "$.a"}
    assert set(contract.receipt) == {"id", "exchange", "routing_key"}
    contract = outbound.contract(Target(routing_key="q", mode="reply"))
    assert (contract.patterns, contract.receipt) == ({Pattern.REQUEST_REPLY}, {})
    assert outbound.service(target, contract, Pattern.ONE_WAY) is outbound.service(
        Target.model_validate(target.model_dump()), contract, Pattern.ONE_WAY
    )


def test_identity_is_that_of_equal_addresses() -> None:
    one, same = (Target(routing_key="q", headers=headers) for headers in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}))
    assert one.identity == same.identity
    assert Target(routing_key="q").identity != Target(routing_key="r").identity


async def test_certificates_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    endpoint = Endpoint.model_validate({"url": "amqps://rabbit", "tls": {"ca": "ca.pem"}})
    with pytest.raises(ContractError, match="can't read authorities") as refused:
        await AmqpOutbound("r", endpoint, Network(tmp_path)).load()
    assert refused.value.field == ("tls", "ca")
