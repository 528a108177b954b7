"""The field map of routes.yaml: how `map:` is written. Compiled by gateway.mapping."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Discriminator, Field, Tag

from gateway.section import Section

_PATH: Final = re.compile(
    r"\$(?P<scope>root|params|headers|key)?(?P<steps>(?:\.[A-Za-z0-9_@:-]+|\[[0-9]+\]|\[\"[^\"\]]+\"\])*)"
)
_STEP: Final = re.compile(r"\.([A-Za-z0-9_@:-]+)|\[([0-9]+)\]|\[\"([^\"\]]+)\"\]")


class Path:
    """A parsed source path: $.buyer.id, $root.lines[0].sku, $params.order_id, $headers.x-tenant, $key.

    scope: "" (the current value: the body, or the item inside `each`), root, params, headers, key.
    steps: names (str) and indices (int).
    """

    __slots__ = ("scope", "steps", "text")

    def __init__(self, text: str) -> None:
        match = _PATH.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r} is not a path such as $.buyer.id; a fixed value is written {{const: ...}}")
        self.text = text
        self.scope: str = match["scope"] or ""
        self.steps: tuple[str | int, ...] = tuple(
            int(step[2]) if step[2] else step[1] or step[3] for step in _STEP.finditer(match["steps"])
        )
        if self.scope in ("params", "headers") and (len(self.steps) != 1 or not isinstance(self.steps[0], str)):
            raise ValueError(f"{text!r}: write one name after ${self.scope}, as ${self.scope}.name")
        if self.scope == "key" and self.steps:
            raise ValueError(f"{text!r}: the key has no parts")

    def __str__(self) -> str:
        return self.text


def _checked_path(text: str) -> str:
    Path(text)
    return text


PathText = Annotated[str, AfterValidator(_checked_path), Field(json_schema_extra={"pattern": r"^\$"})]


_PLACEHOLDER: Final = re.compile(r"\{(\$[^{}]*)\}")


def placeholders(format_: str) -> list[str | Path]:
    """The literal parts and the paths of a `format`, in order. Raises ValueError."""
    parts: list[str | Path] = []
    at = 0
    for match in _PLACEHOLDER.finditer(format_):
        parts.append(format_[at : match.start()])
        parts.append(Path(match[1]))
        at = match.end()
    parts.append(format_[at:])
    return [part for part in parts if part != ""]


def _checked_format(text: str) -> str:
    placeholders(text)
    return text


class When(Section):
    """Fills the target only when the path's value equals, or is one of, the given."""

    path: PathText = Field(description="The value to look at.")
    equals: Any = Field(description="A value, or a list of values of which one must match.")


class _Rule(Section):
    when: When | None = Field(default=None, description="Leave the target absent unless this holds.")


class From(_Rule):
    """A source path with a default or a table of values."""

    source: PathText = Field(alias="from", description="The source path.")
    default: Any = Field(default=None, description="Taken when the source is absent or null.")
    enum: Mapping[str, Any] | None = Field(default=None, description="Source value -> target value, complete.")


class Const(_Rule):
    """A fixed value."""

    const: Any = Field(description="The value, as JSON would give it.")


class Format(_Rule):
    """Text composed of source values."""

    format: Annotated[str, AfterValidator(_checked_format)] = Field(
        description='Text with paths in braces: "{$.first} {$.last}".'
    )


class Each(_Rule):
    """One target item for each source item."""

    each: PathText = Field(description="The source list. Inside `map`, $ is the item and $root the whole body.")
    map: "Mapping[str, Rule] | None" = Field(default=None, description="The item's field map; by name without one.")


class Nested(_Rule):
    """A record filled from the same scope."""

    map: "Mapping[str, Rule]" = Field(description="The record's field map.")


def _kind(value: Any) -> str | None:
    if isinstance(value, str):
        return "path"
    keys = value if isinstance(value, Mapping) else getattr(value, "model_fields_set", ())
    for key in ("from", "source", "const", "format", "each", "map"):
        if key in keys:
            return "from" if key == "source" else key
    return None


Rule = Annotated[
    Annotated[PathText, Tag("path")]
    | Annotated[From, Tag("from")]
    | Annotated[Const, Tag("const")]
    | Annotated[Format, Tag("format")]
    | Annotated[Each, Tag("each")]
    | Annotated[Nested, Tag("map")],
    Discriminator(
        _kind,
        custom_error_type="rule",
        custom_error_message="a rule is a path ($.a.b) or one of {from: ...}, {const: ...}, {format: ...}, "
        "{each: ..., map: ...}, {map: ...}",
    ),
]
Each.model_rebuild()
Nested.model_rebuild()
