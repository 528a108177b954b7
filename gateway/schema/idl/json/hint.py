"""How a field is written where JSON Schema, or OpenAPI, says so."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class XmlObject:
    """OpenAPI's `xml` object: of a Field in its JsonHint, of a Record as its wire.

    name: empty for the member's own. item: name of a list's items, empty for `name` or the member's own.
    wrapped: an element of `name` encloses the items.
    """

    name: str = ""
    namespace: str = ""
    attribute: bool = False
    wrapped: bool = False
    item: str = ""


@dataclass(frozen=True, slots=True)
class JsonHint:
    """The wire hint of a Field that came from JSON Schema, for the scalars at or below it.

    int64, decimal: of integers of 64 bits and more, and of decimals. duration: seconds as proto3 JSON has it (1.5s),
    or ISO 8601 (PT1.5S).
    """

    int64: Literal["string", "number"] = "string"
    decimal: Literal["string", "number"] = "string"
    duration: Literal["seconds", "iso8601"] = "seconds"
    xml: XmlObject | None = None
