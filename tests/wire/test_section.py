"""Section: what all parts of routes.yaml have in common."""

import pytest
from pydantic import ValidationError

from gateway.port import Address, Endpoint
from gateway.section import Section


class Login(Section):
    user: str = ""


class Peer(Endpoint):
    login: Login = Login()


@pytest.mark.parametrize(
    "given", [{"login": {"password": "hush"}}, {"login": {"user": ["hush"]}}, {"login": "hush"}, {"secret": "hush"}]
)
def test_what_is_refused_is_not_shown(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as refused:
        Peer.model_validate(given)
    assert "hush" not in str(refused.value)


def test_a_section_does_not_change() -> None:
    for section in (Login(), Peer(), Address()):
        with pytest.raises(ValidationError, match="frozen"):
            section.user = "other"  # type: ignore[union-attr]
