"""Media types in Content-Type and Accept."""

import pytest

from gateway.net.http.failure import UnsupportedMediaType
from gateway.net.http.media_type import JSON, accepted, check_media_type, parse_media_type

OTHER = "application/graphql-response+json"


def test_parameters() -> None:
    parsed = parse_media_type(' Text/XML ;Charset="UTF-8"; action="urn:a" ;odd')
    assert parsed == ("text/xml", {"charset": "UTF-8", "action": "urn:a"})


@pytest.mark.parametrize(
    "header", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf8"']
)
def test_read(header: str) -> None:
    assert check_media_type(header, (JSON,)) == JSON


@pytest.mark.parametrize("header", ["", "text/plain", "application/json; charset=latin-1", "application/problem+json"])
def test_not_read(header: str) -> None:
    with pytest.raises(UnsupportedMediaType) as refusal:
        check_media_type(header, (JSON,))
    assert refusal.value.status == 415
    assert JSON in refusal.value.message


def test_suffixes() -> None:
    assert check_media_type("application/vnd.shop+json; v=1", (JSON,), suffixes=True) == JSON


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        (f"{OTHER}, {JSON};q=0.9", OTHER),
        (f"{OTHER};q=0.5, application/*", JSON),
        (f"{JSON};q=0, {OTHER};q=0.1", OTHER),
        ("text/html", None),
        (f"{JSON};q=nonsense", None),
    ],
)
def test_accepted(header: str, chosen: str | None) -> None:
    assert accepted(header, (JSON, OTHER)) == chosen
