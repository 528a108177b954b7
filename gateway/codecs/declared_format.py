"""What an endpoint's messages are, where routes.yaml declares it: JSON, text, bytes or records."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from gateway.codecs.correlation import FieldCorrelation, RecordCorrelation
from gateway.codecs.delimited import DelimitedFormat, DelimitedLayout
from gateway.codecs.format import Format
from gateway.codecs.json.correlated import JsonCorrelation
from gateway.codecs.json.format import JsonFormat
from gateway.codecs.json.settings import JsonOptions
from gateway.codecs.layout import AnyLayout, LayoutError, layout_format, numbers_of, read_layout
from gateway.codecs.raw import DATA, RawFormat
from gateway.codecs.record.format import RecordFormat
from gateway.codecs.record.layout import Charset, Layout
from gateway.codecs.text import TEXT, TextFormat
from gateway.schema.types import Record
from gateway.status import ContractError


@dataclass(frozen=True, slots=True)
class Formats:
    """Of requests and of replies.

    request_type, reply_type: None where messages have no type of their own (JSON).
    correlation: how a request and its reply are known by a field; None where their order says it.
    """

    request: Format
    reply: Format
    request_type: Record | None = None
    reply_type: Record | None = None
    correlation: FieldCorrelation | None = None

    @property
    def json(self) -> bool:
        """Whether messages are JSON: then any failure has a form among them."""
        return isinstance(self.request, JsonFormat)

    @property
    def received_request(self) -> Format:
        """How requests that come in are read."""
        return self.request if self.correlation is None else self.correlation.received(self.request)

    @property
    def received_reply(self) -> Format:
        """How replies that come in are read."""
        return self.reply if self.correlation is None else self.correlation.received(self.reply)

    def correlated(self, field: str, in_flight: int = 0) -> "Formats":
        """The same, with a field that belongs to the connection and not to the message; none where it is empty.

        in_flight: most requests that bear a number of ours at a time. Raises ContractError.
        """
        if not field:
            return self
        if self.json:
            return replace(self, correlation=JsonCorrelation(field))
        request, reply = self.request, self.reply
        if not isinstance(request, RecordFormat | DelimitedFormat) or not isinstance(
            reply, RecordFormat | DelimitedFormat
        ):
            raise ContractError(f"format {request.name} has no fields to correlate by", field=("correlation",))
        count = 2**63
        for layout in (request.layout, reply.layout):
            found = numbers_of(layout, field)
            if not found:
                raise ContractError(
                    f"correlation: {layout.name} has no field {field} for whole numbers or text",
                    field=("correlation",),
                )
            count = min(count, found)
        if count <= in_flight:
            raise ContractError(
                f"{field} holds the numbers up to {count - 1}, too few for max_in_flight {in_flight}",
                field=("max_in_flight",),
            )
        asked, answered = layout_format(request.layout, field), layout_format(reply.layout, field)
        correlation = RecordCorrelation(field, request, reply, count)
        return Formats(asked, answered, asked.type, answered.type, correlation)


class DeclaredFormat(JsonOptions):
    """Options of an endpoint whose messages have no form of the protocol's own."""

    format: Literal["json", "text", "raw", "record"] = Field(
        default="json",
        description="What a message is. text: all of it is the field `text`. raw: all of it is the field `data`. "
        "record: as `record` declares.",
    )
    charset: Charset = Field(default="utf-8", description="Of format text.")
    record: AnyLayout | None = Field(
        default=None, description="The messages' layout, or the YAML file that has it, for format record."
    )
    reply_record: AnyLayout | None = Field(
        default=None, description="The replies' layout, where it differs from `record`."
    )

    @model_validator(mode="after")
    def _layouts(self) -> Self:
        if (self.format == "record") != (self.record is not None):
            raise ValueError("format: record and record: ... go together")
        if self.reply_record is not None and self.record is None:
            raise ValueError("reply_record needs record")
        return self

    def load(self, path: Callable[[str], Path]) -> Formats:
        """path: where a file named in routes.yaml is. Raises ContractError."""
        match self.format:
            case "json":
                return Formats(self.json_format, self.json_format)
            case "text":
                text = TextFormat(self.charset)
                return Formats(text, text, TEXT, TEXT)
            case "raw":
                return Formats(RawFormat(), RawFormat(), DATA, DATA)
            case "record":
                asked = _layout_format("record", self.record, path)
                answered = _layout_format("reply_record", self.reply_record or self.record, path)
                return Formats(asked, answered, asked.type, answered.type)


def _layout_format(
    option: str, layout: Layout | DelimitedLayout | str | None, path: Callable[[str], Path]
) -> RecordFormat | DelimitedFormat:
    try:
        found = read_layout(path(layout)) if isinstance(layout, str) else layout
    except LayoutError as error:
        raise ContractError(str(error), field=(option,)) from None
    assert found is not None  # noqa: S101  the model demands it
    return layout_format(found)
