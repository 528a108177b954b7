"""GraphQL in routes.yaml: what is refused, and with which words."""

from typing import Any

import pytest
from pydantic import ValidationError

from adapters.graphql.config import Endpoint, Source, Target
from adapters.graphql.status import FROM_WIRE
from gateway.status import Code


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ({}, "give listen"),
        ({"listen": "0.0.0.0:1", "target": "http://x/graphql"}, "give listen"),
        ({"listen": "nowhere"}, "is not host:port"),
        ({"listen": "0.0.0.0:1", "path": "/{name}"}, "without variables"),
        ({"target": "http://x/graphql"}, "the schema is missing"),
        ({"target": "http://x/graphql", "sdl": "a.graphql", "introspection": True}, "not both"),
        ({"target": "ftp://x", "sdl": "a.graphql"}, "is not a URL"),
        ({"target": "http://user:secret@x/graphql", "sdl": "a.graphql"}, "is not a URL"),
        ({"listen": "0.0.0.0:1", "scalars": {"Money": "gold"}}, "scalars.Money"),
        ({"listen": "0.0.0.0:1", "max_depth": 0}, "max_depth"),
    ],
)
def test_endpoints(endpoint: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Endpoint(**endpoint)


@pytest.mark.parametrize("field", ["order", "Query", "Query.", "Query.a.b", "Query.__type", "Order.id", "Query.1"])
def test_fields(field: str) -> None:
    with pytest.raises(ValidationError):
        Source(field=field)
    with pytest.raises(ValidationError):
        Target(field=field)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({}, "give field or document"),
        ({"field": "Query.a", "document": "{ a }"}, "give field or document"),
        ({"document": "{ a }", "recursion": 2}, "recursion goes with field"),
        ({"field": "Query.a", "operation": "A"}, "operation goes with document"),
        ({"field": "Query.a", "recursion": 0}, "recursion"),
    ],
)
def test_targets(target: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Target(**target)


def test_status_names_come_back_as_the_same_code() -> None:
    assert {FROM_WIRE[code.name] for code in Code if code is not Code.OK} == set(Code) - {Code.OK}
