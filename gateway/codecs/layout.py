"""Layouts of either kind, as endpoints declare them: fields one after the other, or columns with a separator."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, Union

import yaml
from pydantic import Discriminator, Tag, TypeAdapter, ValidationError

from gateway.codecs.delimited import DelimitedFormat, DelimitedLayout
from gateway.codecs.record.format import RecordFormat, numbers
from gateway.codecs.record.layout import Layout
from gateway.schema.types import INTEGERS, STRING, Kind, Scalar

SIZE: Final = 1024 * 1024


class LayoutError(ValueError):
    """The file is no layout; the message has everything that is wrong with it."""


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return "file"
    columns = "columns" in value if isinstance(value, Mapping) else isinstance(value, DelimitedLayout)
    return "columns" if columns else "fields"


AnyLayout: TypeAlias = Annotated[
    Union[Annotated[Layout, Tag("fields")], Annotated[DelimitedLayout, Tag("columns")], Annotated[str, Tag("file")]],
    Discriminator(_kind),
]
"""A layout, or the name of a YAML file with one."""

_ADAPTER: Final[TypeAdapter[Layout | DelimitedLayout | str]] = TypeAdapter(AnyLayout)


def read_layout(path: Path) -> Layout | DelimitedLayout:
    """Raises LayoutError."""
    try:
        with path.open("rb") as file:
            content = file.read(SIZE + 1)
        if len(content) > SIZE:
            raise LayoutError(f"{path.name} is larger than {SIZE} bytes")
        data = yaml.safe_load(content)
    except OSError as error:
        raise LayoutError(f"{path.name} can't be read: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise LayoutError(f"{path.name} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise LayoutError(f"{path.name}: a mapping with fields or columns is expected")
    try:
        layout = _ADAPTER.validate_python(data)
    except ValidationError as error:
        problems = [f"{_place(entry['loc'])}{entry['msg']}" for entry in error.errors(include_url=False)]
        raise LayoutError(f"{path.name}: {'; '.join(problems)}") from None
    assert not isinstance(layout, str)  # noqa: S101  data is a mapping
    return layout


def _place(location: tuple[int | str, ...]) -> str:
    # pydantic names the members of unions on the way: layouts' keys are lower case, those names are not.
    steps = [step for step in location[1:] if isinstance(step, int) or step.islower()]
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
    return f"{text}: " if text else ""


def layout_format(layout: Layout | DelimitedLayout, without: str = "") -> RecordFormat | DelimitedFormat:
    """A format of this layout. without: the field that belongs to the connection and not to the message."""
    return RecordFormat(layout, without) if isinstance(layout, Layout) else DelimitedFormat(layout, without)


def numbers_of(layout: Layout | DelimitedLayout, name: str) -> int:
    """How many numbers, from 0 on, the field of this name can hold; 0 where it is none for numbers."""
    if isinstance(layout, Layout):
        return numbers(layout, name)
    for column in layout.columns:
        type_ = column.type_of()
        if column.name == name and (type_ == STRING or (isinstance(type_, Scalar) and type_.kind in INTEGERS)):
            return 2**31 if type_ == Scalar(Kind.INT32) else 2**63
    return 0
