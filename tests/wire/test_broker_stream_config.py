"""What an address with mode subscribe may have."""

from typing import Any

import pytest
from pydantic import ValidationError

from adapters.amqp.config import Target as Exchange
from adapters.kafka.config import Target as Topic


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"key": "$.id"}, "key is for publishing"),
        ({"partition": 0}, "partition is for publishing"),
        ({"reply_topic": "answers"}, "reply_topic is for publishing"),
    ],
)
def test_topic(more: dict[str, Any], told: str) -> None:
    address = {"topic": "orders", "mode": "subscribe"}
    Topic.model_validate(address)
    with pytest.raises(ValidationError, match=told):
        Topic.model_validate(address | more)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"exchange": "", "routing_key": "q"}, "mode subscribe needs exchange"),
        ({"declare": {}}, "declare is for publishing"),
        ({"priority": 1}, "priority is for publishing"),
        ({"routing_key": "$params.region"}, "can't come from the request"),
    ],
)
def test_exchange(more: dict[str, Any], told: str) -> None:
    address = {"exchange": "orders", "mode": "subscribe"}
    Exchange.model_validate(address)
    Exchange.model_validate(address | {"routing_key": "order.#"})
    with pytest.raises(ValidationError, match=told):
        Exchange.model_validate(address | more)
