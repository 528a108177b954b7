"""Delimited text: one row of columns per message, as CSV has it (RFC 4180 where separator and quote are its own)."""

import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Final, Literal, Self

from msgspec import UNSET
from pydantic import Field, model_validator

from gateway.codecs.format import Decode, Encode, Unknown
from gateway.codecs.record.layout import Charset, Codes, Name
from gateway.schema import types
from gateway.schema.source import build
from gateway.schema.text import FORMAT, PARSE
from gateway.schema.types import Enumeration, Kind, Record, Scalar, Type
from gateway.schema.values import struct_of
from gateway.section import Section
from gateway.status import invalid

COLUMNS: Final = 1024


class Column(Section):
    """One value of the row."""

    name: Name
    type: Literal[
        "string", "bool", "int32", "int64", "integer", "float64", "decimal", "bytes", "date", "time", "timestamp"
    ] = Field(default="string", description="What the text is; forms as in JSON strings, bytes in base64.")
    optional: bool = Field(default=False, description="Nothing between two separators means that it is absent.")
    codes: Codes

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.codes is not None and self.type != "string":
            raise ValueError(f"{self.name}: codes are for columns of type string")
        if self.codes is not None and len(set(self.codes.values())) < len(self.codes):
            raise ValueError(f"{self.name}: two codes have one name")
        return self

    def type_of(self) -> Type:
        if self.codes is not None:
            return Enumeration(self.name, {name: index for index, name in enumerate(self.codes.values())})
        return Scalar(Kind(self.type))


class DelimitedLayout(Section):
    """A row of columns with a separator between them."""

    name: str = Field(default="Row", min_length=1, description="The record's name in messages and contracts.")
    charset: Charset = Field(default="utf-8", description="Of the whole row.")
    separator: str = Field(default=",", min_length=1, max_length=1, description="What stands between two columns.")
    quote: str = Field(
        default='"',
        max_length=1,
        description="Stands around a text that has the separator, a line's end or itself in it, doubled; empty: such "
        "a text is refused.",
    )
    columns: tuple[Column, ...] = Field(description="The columns, in order.")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        if self.separator == self.quote or self.separator in "\r\n":
            yield "separator is the quote, or ends a line"
        if not 1 <= len(self.columns) <= COLUMNS:
            yield f"columns are 1 to {COLUMNS}"
        seen: set[str] = set()
        for column in self.columns:
            if column.name in seen:
                yield f"{column.name} is there twice"
            seen.add(column.name)

    def record(self, without: str = "") -> Record:
        """A new type of this layout. without: the column that belongs to the connection and not to the message."""
        return Record(
            self.name,
            [
                types.Field(column.name, column.type_of(), required=not column.optional)
                for column in self.columns
                if column.name != without
            ],
        )


class DelimitedFormat:
    """Rows of one layout. Every instance equals only itself: its type is its own.

    without: the column that belongs to the connection and not to the message: not read, and written empty.
    """

    encoded: ClassVar[type] = bytes

    def __init__(self, layout: DelimitedLayout, without: str = "") -> None:
        self.layout = layout
        self.type = layout.record(without)
        self._without = without
        self._split = _splitter(layout)
        self._join = _joiner(layout)
        self._read, self._write = self._build()

    @property
    def name(self) -> str:
        return "delimited"

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        self._check(type_)
        charset, split, read = self.layout.charset, self._split, self._read
        wanted = len(self.layout.columns)

        def decode(body: bytes) -> Any:
            try:
                text = body.decode(charset)
            except UnicodeDecodeError as error:
                raise invalid(f"the row is no {charset} text (byte {error.start})", "$") from None
            cells = split(text)
            if len(cells) != wanted:
                names = [column.name for column in self.layout.columns]
                path = f"$.{names[len(cells)]}" if len(cells) < wanted else "$"
                raise invalid(f"the row has {len(cells)} columns, {wanted} are expected", path)
            return read(cells)

        return decode

    def encoder(self, type_: Type) -> Encode:
        self._check(type_)
        charset, join, write = self.layout.charset, self._join, self._write

        def encode(value: Any) -> bytes:
            text: str = join(write(value))
            try:
                return text.encode(charset)
            except UnicodeEncodeError as error:
                raise invalid(f"{charset} can't write {text[error.start]!r}", "$") from None

        return encode

    def _check(self, type_: Type) -> None:
        if type_ is not self.type:
            raise TypeError(f"{type_} is not the row of this layout")

    def _build(self) -> tuple[Callable[[list[str | None]], Any], Callable[[Any], list[str | None]]]:
        names: dict[str, Any] = {"struct": struct_of(self.type), "U": UNSET}
        reads, writes = [], []
        for index, column in enumerate(self.layout.columns):
            if column.name == self._without:
                writes.append("''")
                continue
            names[f"read_{index}"], names[f"write_{index}"] = _reader(column), _writer(column)
            attr = types.attribute(column.name)
            reads.append(f"{attr}=read_{index}(c[{index}])")
            writes.append(f"write_{index}(v.{attr})")
        source = (
            f"def read(c):\n    return struct({', '.join(reads)})\n\ndef write(v):\n    return [{', '.join(writes)}]\n"
        )
        scope = build(f"rows of {self.layout.name}", source, names)
        return scope["read"], scope["write"]


def _splitter(layout: DelimitedLayout) -> Callable[[str], list[str | None]]:
    """The cells of a row; None for one with nothing in it, not even quotes."""
    separator, quote = layout.separator, layout.quote
    if not quote:
        return lambda text: [cell or None for cell in text.split(separator)]
    s, q = re.escape(separator), re.escape(quote)
    cell = re.compile(f"{q}((?:[^{q}]|{q}{q})*){q}(?={s}|$)|([^{q}{s}]*)(?={s}|$)", re.DOTALL)

    def split(text: str) -> list[str | None]:
        if quote not in text:
            return [cell or None for cell in text.split(separator)]
        cells: list[str | None] = []
        at = 0
        while True:
            match = cell.match(text, at)
            if match is None:
                raise invalid(f"a quote is open or stands amid text (character {at})", f"$[{len(cells)}]")
            cells.append((match[2] or None) if match[1] is None else match[1].replace(quote * 2, quote))
            at = match.end()
            if at == len(text):
                return cells
            at += 1

    return split


def _joiner(layout: DelimitedLayout) -> Callable[[list[str | None]], str]:
    separator, quote = layout.separator, layout.quote
    special = re.compile(f"[{re.escape(separator + quote)}\r\n]")

    def cell(text: str | None) -> str:
        if text is None:
            return ""
        if text and special.search(text) is None:
            return text
        if not quote:
            if not text:
                raise invalid("an empty text can't be told from an absent one, for there are no quotes", "$")
            raise invalid(f"{text[:40]!r} has the separator or a line's end in it, and there are no quotes", "$")
        return quote + text.replace(quote, quote * 2) + quote

    return lambda cells: separator.join(map(cell, cells))


def _reader(column: Column) -> Callable[[str | None], Any]:
    path = f"$.{column.name}"
    parse = PARSE[Kind(column.type)]
    text_wanted = column.type == "string"

    def read(cell: str | None) -> Any:
        if cell is None:
            if column.optional:
                return UNSET
            cell = ""
        if column.codes is not None:
            name = column.codes.get(cell)
            if name is None:
                raise invalid(f"{cell[:40]!r} is none of the codes {', '.join(column.codes)}", path)
            return name
        if text_wanted:
            return cell
        try:
            return parse(cell)
        except ValueError as error:
            raise invalid(str(error), path) from None

    return read


def _writer(column: Column) -> Callable[[Any], str | None]:
    path = f"$.{column.name}"
    format_ = FORMAT[Kind(column.type)]
    codes = {name: code for code, name in column.codes.items()} if column.codes is not None else None

    def write(value: Any) -> str | None:
        if value is UNSET:
            return None
        if codes is not None:
            if value not in codes:
                raise invalid(f"{value!r} has no code", path)
            return codes[value]
        text = format_(value)
        return None if not text and not column.optional else text

    return write
