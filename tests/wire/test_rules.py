"""How a field map is written, and what is said of one that is written wrongly."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.rules import Const, Each, Format, From, Nested, Path, Rule, placeholders

RULE: TypeAdapter[Any] = TypeAdapter(Rule)


@pytest.mark.parametrize(
    ("text", "scope", "steps"),
    [
        ("$", "", ()),
        ("$.buyer.id", "", ("buyer", "id")),
        ("$.lines[0].sku", "", ("lines", 0, "sku")),
        ('$["odd name"].x', "", ("odd name", "x")),
        ("$.X-Tenant", "", ("X-Tenant",)),
        ("$.@id", "", ("@id",)),
        ("$root.lines[12]", "root", ("lines", 12)),
        ("$params.order_id", "params", ("order_id",)),
        ("$headers.x-tenant", "headers", ("x-tenant",)),
        ('$headers["x-tenant"]', "headers", ("x-tenant",)),
        ("$key", "key", ()),
    ],
)
def test_paths(text: str, scope: str, steps: tuple[str | int, ...]) -> None:
    path = Path(text)
    assert (path.scope, path.steps, str(path)) == (scope, steps, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("buyer.id", "is not a path such as"),
        ("", "is not a path such as"),
        ("$.", "is not a path such as"),
        ("$.a..b", "is not a path such as"),
        ("$.a[x]", "is not a path such as"),
        ("$.a[-1]", "is not a path such as"),
        ("$.a b", "is not a path such as"),
        ("$.a\n", "is not a path such as"),
        ("$other.a", "is not a path such as"),
        ("$params", "write one name after"),
        ("$params.a.b", "write one name after"),
        ("$headers[0]", "write one name after"),
        ("$key.a", "the key has no parts"),
    ],
)
def test_what_is_no_path(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Path(text)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ("$.a", str),
        ({"from": "$.a", "default": 1}, From),
        ({"from": "$.a", "enum": {"x": "y"}, "when": {"path": "$.b", "equals": 1}}, From),
        ({"const": None}, Const),
        ({"const": {"a": [1]}}, Const),
        ({"format": "{$.a}-{$.b}"}, Format),
        ({"each": "$.a", "map": {"x": "$.y"}}, Each),
        ({"each": "$.a"}, Each),
        ({"map": {"x": {"map": {"y": "$.z"}}}}, Nested),
    ],
)
def test_every_kind_of_rule(given: Any, kind: type) -> None:
    assert isinstance(RULE.validate_python(given), kind)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a", "is not a path such as"),
        (5, "a rule is a path"),
        ({}, "a rule is a path"),
        ({"fro": "$.a"}, "a rule is a path"),
        ({"from": "$.a", "defalt": 1}, "Extra inputs"),
        ({"from": "a"}, "is not a path such as"),
        ({"const": 1, "map": {}}, "Extra inputs"),
        ({"format": "{$.a b}"}, "is not a path such as"),
        ({"map": {"x": {"map": {"y": "z"}}}}, "is not a path such as"),
        ({"each": "$.a", "map": {"x": 5}}, "a rule is a path"),
        ({"from": "$.a", "when": {"path": "$.b"}}, "equals"),
        ({"from": "$.a", "when": {"path": "b", "equals": 1}}, "is not a path such as"),
    ],
)
def test_what_is_no_rule(given: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RULE.validate_python(given)


def test_placeholders() -> None:
    found = placeholders("a {$.x} {b} {$params.y}{$key}")
    assert [str(part) for part in found] == ["a ", "$.x", " {b} ", "$params.y", "$key"]
    assert placeholders("") == []
    with pytest.raises(ValueError, match="is not a path"):
        placeholders("{$.}")
