"""Media types of HTTP (RFC 9110, 8.3.1), in Content-Type and Accept."""

from collections.abc import Mapping, Sequence
from typing import Final

from gateway.net.http_failure import UnsupportedMediaType

JSON: Final = "application/json"

_UTF_8: Final = ("", "utf-8", "utf8", "us-ascii")


def parse_media_type(header: str) -> tuple[str, Mapping[str, str]]:
    """(type, parameters), without their quotation marks; names in lower case."""
    media_type, *parameters = header.split(";")
    parsed = (parameter.partition("=") for parameter in parameters)
    return media_type.strip().lower(), {
        name.strip().lower(): value.strip().strip('"') for name, equals, value in parsed if equals
    }


def check_media_type(header: str, expected: Sequence[str], *, suffixes: bool = False) -> str:
    """Which of the expected types a body in UTF-8 has. Raises UnsupportedMediaType.

    suffixes: a type that ends in +json is JSON too.
    """
    media_type, parameters = parse_media_type(header)
    if suffixes and media_type.endswith("+json"):
        media_type = JSON
    if media_type not in expected or parameters.get("charset", "").lower() not in _UTF_8:
        raise UnsupportedMediaType(header, expected)
    return media_type
