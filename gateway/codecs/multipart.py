"""multipart/form-data (RFC 7578): a part for each field, named as in a form.

A part for a field of bytes is its content as it is, one of JSON (by its content type) is any value, and any other is
text. Where the type is not known, files are bytes. A file's name and type are not kept.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, Final

import msgspec
from multipart import MultipartError, MultipartSegment, PushMultipartParser

from gateway.codecs.form import FIELDS, text_value, tree
from gateway.codecs.format import Decode, Encode, NoFormError, Unknown
from gateway.codecs.json.format import NESTING, read, too_deep
from gateway.schema.types import ANY, BYTES, Enumeration, Record, Scalar, Type
from gateway.status import invalid

HEADERS: Final = 8  # of a part
HEADER_BYTES: Final = 4096  # of each of them
_PLAIN: Final = ("", "7bit", "8bit", "binary")
_UTF_8: Final = (None, "", "utf-8", "utf8", "us-ascii")
_json: Final = msgspec.json.Decoder(float_hook=Decimal).decode


class MultipartBody(msgspec.Struct, frozen=True):
    """boundary: the parameter of the content type."""

    boundary: str
    content: bytes


class _Part(msgspec.Struct, frozen=True):
    head: MultipartSegment
    content: bytes


@dataclass(frozen=True, slots=True)
class MultipartFormat:
    """The wire form is a MultipartBody. It is read alone, never written."""

    encoded: ClassVar[type] = MultipartBody

    @property
    def name(self) -> str:
        return "multipart"

    def decoder(self, type_: Type, unknown: Unknown) -> Decode:
        """Raises NoFormError for what has no members."""
        if type_ != ANY and not isinstance(type_, Record):
            raise NoFormError(f"{type_} can't come as multipart/form-data")

        def decode(body: MultipartBody) -> Any:
            fields = _fields(body)
            if type_ == ANY:
                return {
                    name: [_value(ANY, part, f"$.{name}") for part in parts] if len(parts) > 1 else _only(name, parts)
                    for name, parts in fields.items()
                }
            given = {name: parts if len(parts) > 1 else parts[0] for name, parts in fields.items()}
            return read(type_, tree(type_, given, _value), unknown)

        return decode

    def encoder(self, type_: Type) -> Encode:
        raise NoFormError("multipart/form-data is read, not written")


def _only(name: str, parts: list[_Part]) -> Any:
    return _value(ANY, parts[0], f"$.{name}")


def _fields(body: MultipartBody) -> dict[str, list[_Part]]:
    """Parts by name. Raises Failure(INVALID_ARGUMENT)."""
    fields: dict[str, list[_Part]] = {}
    head: MultipartSegment | None = None
    chunks: list[bytes] = []
    try:
        with PushMultipartParser(
            body.boundary,
            max_header_size=HEADER_BYTES,
            max_header_count=HEADERS,
            max_segment_count=FIELDS,
            strict=True,
        ) as parser:
            for event in parser.parse(body.content):
                if isinstance(event, MultipartSegment):
                    head, chunks = event, []
                elif event is not None:
                    chunks.append(event)
                elif head is not None:
                    fields.setdefault(head.name or "", []).append(_Part(head, b"".join(chunks)))
    except MultipartError as error:
        raise invalid(f"this is not well-formed multipart/form-data: {error}") from None
    except (UnicodeError, ValueError):
        raise invalid("a header of a part is not valid UTF-8") from None
    return fields


def _value(type_: Type, part: _Part, path: str) -> Any:
    """The part in the form that JSON has for the type, or bytes."""
    head = part.head
    if (head.header("Content-Transfer-Encoding") or "").lower() not in _PLAIN:
        raise invalid("a part's Content-Transfer-Encoding is not read", path)
    if type_ == BYTES:
        return part.content
    media_type = head.content_type or "text/plain"
    if media_type == "application/json" or media_type.endswith("+json"):
        return _parsed(part.content, path)
    if type_ == ANY and (head.filename is not None or not media_type.startswith("text/")):
        return part.content
    if type_ != ANY and not isinstance(type_, Scalar | Enumeration):
        raise invalid(f"a part for {type_} must be application/json", path)
    if (head.charset or "").lower() not in _UTF_8:
        raise invalid("a part's text must be UTF-8", path)
    try:
        return text_value(type_, part.content.decode(), path)
    except UnicodeDecodeError:
        raise invalid("this text is not valid UTF-8", path) from None


def _parsed(content: bytes, path: str) -> Any:
    if too_deep(content):
        raise invalid(f"JSON is nested deeper than {NESTING} levels", path)
    try:
        return _json(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid("this part is not JSON", path) from None
