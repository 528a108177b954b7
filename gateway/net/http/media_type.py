"""Media types of HTTP (RFC 9110, 8.3.1), in Content-Type and Accept."""

from collections.abc import Mapping, Sequence
from typing import Final

from gateway.net.http.failure import UnsupportedMediaType

JSON: Final = "application/json"

_UTF_8: Final = ("", "utf-8", "utf8", "us-ascii")


def parse_media_type(header: str) -> tuple[str, Mapping[str, str]]:
    """(type, parameters), without their quotation marks; names in lower case."""
    media_type, *parameters = header.split(";")
    parsed = (parameter.partition("=") for parameter in parameters)
    return media_type.strip().lower(), {
        name.strip().lower(): value.strip().strip('"') for name, equals, value in parsed if equals
    }


def in_utf_8(parameters: Mapping[str, str]) -> bool:
    """Whether a body with these parameters is, as far as they say."""
    return parameters.get("charset", "").lower() in _UTF_8


def check_media_type(header: str, expected: Sequence[str], *, suffixes: bool = False) -> str:
    """Which of the expected types a body in UTF-8 has. Raises UnsupportedMediaType.

    suffixes: a type that ends in +json is JSON too.
    """
    media_type, parameters = parse_media_type(header)
    if suffixes and media_type.endswith("+json"):
        media_type = JSON
    if media_type not in expected or not in_utf_8(parameters):
        raise UnsupportedMediaType(header, expected)
    return media_type


def accepted(header: str, offered: Sequence[str]) -> str | None:
    """The type to answer with, of those offered; None where none of them will do. RFC 9110, 12.5.1.

    Of equal ones the more specific counts, then the earlier. The first one offered is for callers that say nothing, or
    that anything will do.
    """
    if not header.strip():
        return offered[0]
    ranges: dict[str, tuple[float, int]] = {}
    for place, entry in enumerate(header.split(",")):
        name, parameters = parse_media_type(entry)
        ranges.setdefault(
            JSON if name.endswith("+json") and name not in offered else name, (_quality(parameters), -place)
        )
    best, chosen = (0.0, 0, 0), None
    for media_type in offered:
        for specific, name in ((2, media_type), (1, media_type.partition("/")[0] + "/*"), (0, "*/*")):
            found = ranges.get(name)
            if found is not None:
                rank = (found[0], specific, found[1])
                if found[0] and rank > best:
                    best, chosen = rank, media_type
                break  # the most specific range decides
    return chosen


def _quality(parameters: Mapping[str, str]) -> float:
    try:
        quality = float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
