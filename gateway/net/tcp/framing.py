"""Framing: how messages are told apart in a stream of bytes. Sans-io: bytes in, frames out.

A framing is declared (`framing:` of an endpoint), makes one FrameReader per connection and frames what is written. A
reader never holds more than one frame of the largest size and what one read from the socket brought: a frame that
claims to be larger is refused from its prefix.
"""

from typing import Annotated, ClassVar, Final, Literal, Protocol, Self, TypeAlias, Union

from pydantic import AfterValidator, Field, model_validator

from gateway.section import Section
from gateway.status import Code, Failure, invalid

VARINT_BYTES: Final = 10  # of 64 bits in groups of 7


class FramingError(ValueError):
    """The stream can't be read on: it breaks the framing's rules. The message is for the peer; it shows no payload."""


class FrameReader(Protocol):
    """Takes the bytes of one stream apart."""

    def feed(self, data: bytes) -> None:
        """More bytes of the stream."""
        ...

    def next(self) -> bytes | None:
        """The next whole frame without its framing, or None where more bytes are needed. Raises FramingError."""
        ...

    def end(self) -> bytes | None:
        """The stream ended, and next() gave None: the last frame, where the end is what ends it.

        Raises FramingError inside a frame.
        """
        ...

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        ...


def _latin(text: str) -> str:
    if any(ord(character) > 0xFF for character in text):
        raise ValueError(f"{text!r} is not bytes: write characters up to \\xff")
    return text


ByteText = Annotated[str, AfterValidator(_latin)]
"""Bytes as YAML can write them: one character each, "\\x02" or "\\r\\n"."""


class _Declared(Section):
    single: ClassVar[bool] = False


class LengthFraming(_Declared):
    """Each frame begins with its length."""

    kind: Literal["length"] = Field(description="Frames begin with their length.")
    width: Literal[1, 2, 4, 8, "varint"] = Field(
        default=4, description="Bytes of the length, unsigned; varint: groups of 7 bits as in protobuf."
    )
    endian: Literal["big", "little"] = Field(default="big", description="Order of the length's bytes.")
    header: ByteText = Field(
        default="", description='Fixed bytes before the length, such as "\\x7e\\x01"; others are refused.'
    )
    offset: int = Field(
        default=0, ge=0, le=256, description="Bytes of the message itself that stand before the length; needs `keep`."
    )
    keep: bool = Field(
        default=False,
        description="The message includes the length and what stands before it, so that a record can name those bytes; "
        "the length is filled in when it is written.",
    )
    includes_self: bool = Field(
        default=False, description="The number counts the length's own bytes too, and those before it."
    )
    adjust: int = Field(
        default=0,
        ge=-65536,
        le=65536,
        description="Added to the number that was read to get the bytes that follow the length.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.offset and not self.keep:
            raise ValueError("offset needs keep: true; fixed bytes are written as header")
        if self.keep and self.header:
            raise ValueError("header and keep exclude each other: the record names the bytes")
        if self.width == "varint" and (self.keep or self.includes_self):
            raise ValueError("a varint's own length varies: keep and includes_self have no meaning with it")
        return self

    @property
    def ahead(self) -> bytes:
        """The fixed bytes before the length."""
        return self.header.encode("latin-1")

    def reader(self, limit: int) -> FrameReader:
        """limit: the largest message in bytes."""
        return _LengthReader(self, limit)

    def frame(self, body: bytes, limit: int) -> bytes:
        """Raises Failure(INVALID_ARGUMENT) for a message that can't be framed."""
        _check_size(body, limit)
        ahead = self.ahead
        if self.width == "varint":
            return ahead + _varint(self._number(len(body), 0)) + body
        before = len(ahead) + self.offset
        content = len(body) - (self.offset + self.width if self.keep else 0)
        if content < 0:
            raise invalid(f"the message has {len(body)} bytes, too few for its own header")
        number = self._number(content, before + self.width)
        try:
            length = number.to_bytes(self.width, self.endian)
        except OverflowError:
            raise invalid(f"a length of {number} does not fit in {self.width} bytes") from None
        if self.keep:
            return body[: self.offset] + length + body[self.offset + self.width :]
        return ahead + length + body

    def _number(self, content: int, prefix: int) -> int:
        number = content - self.adjust + (prefix if self.includes_self else 0)
        if number < 0:
            raise invalid(f"the message has {content} bytes, too few for this framing")
        return number


class DelimiterFraming(_Declared):
    """Each frame ends with a delimiter."""

    kind: Literal["delimiter"] = Field(description="Frames end with a delimiter.")
    delimiter: ByteText = Field(
        default="\n", min_length=1, max_length=64, description='The bytes that end a frame, such as "\\r\\n".'
    )
    start: ByteText = Field(
        default="",
        max_length=64,
        description='Bytes that begin each frame, such as "\\x0b" of MLLP; others are refused.',
    )
    keep: bool = Field(default=False, description="The message includes the delimiter.")

    def reader(self, limit: int) -> FrameReader:
        """limit: the largest message in bytes."""
        return _DelimiterReader(self, limit)

    def frame(self, body: bytes, limit: int) -> bytes:
        """Raises Failure(INVALID_ARGUMENT) for a message that can't be framed."""
        delimiter = self.delimiter.encode("latin-1")
        content = body
        if self.keep:
            if not body.endswith(delimiter):
                raise invalid("the message does not end with the delimiter")
            content = body[: -len(delimiter)]
        _check_size(body, limit)
        # Also one that begins in the message and ends in its own delimiter.
        if (content + delimiter).find(delimiter) < len(content):
            raise invalid("the message contains the delimiter that ends it")
        return self.start.encode("latin-1") + content + delimiter


class FixedFraming(_Declared):
    """All frames have one size."""

    kind: Literal["fixed"] = Field(description="All frames have one size.")
    size: int = Field(ge=1, le=2**30, description="That size in bytes.")

    def reader(self, limit: int) -> FrameReader:
        """limit: the largest message in bytes."""
        return _FixedReader(self.size)

    def frame(self, body: bytes, limit: int) -> bytes:
        """Raises Failure(INVALID_ARGUMENT) for a message that can't be framed."""
        if len(body) != self.size:
            raise invalid(f"the message has {len(body)} bytes, frames have {self.size}")
        return body


class UntilCloseFraming(_Declared):
    """A connection carries one message each way, which ends as its sender closes that direction."""

    single: ClassVar[bool] = True
    kind: Literal["until-close"] = Field(description="A connection carries one message each way.")

    def reader(self, limit: int) -> FrameReader:
        """limit: the largest message in bytes."""
        return _UntilCloseReader(limit)

    def frame(self, body: bytes, limit: int) -> bytes:
        """Raises Failure(INVALID_ARGUMENT) for a message that can't be framed."""
        _check_size(body, limit)
        if not body:
            raise invalid("an empty message can't be told from none")
        return body


Framing: TypeAlias = Annotated[
    Union[LengthFraming, DelimiterFraming, FixedFraming, UntilCloseFraming], Field(discriminator="kind")
]
"""single: a connection carries one frame each way, and its end is the frame's."""


def _check_size(body: bytes, limit: int) -> None:
    if len(body) > limit:
        raise Failure(
            Code.INVALID_ARGUMENT, f"the message has {len(body)} bytes, more than the limit of {limit}", sent=False
        )


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


class BufferReader:
    """What readers have in common that keep what came until it is a whole frame."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    @property
    def partial(self) -> bool:
        return bool(self._buffer)


class _LengthReader(BufferReader):
    def __init__(self, framing: LengthFraming, limit: int) -> None:
        super().__init__()
        self._framing = framing
        self._limit = limit
        self._header = framing.ahead
        self._before = len(self._header) + framing.offset
        self._size = -1  # of the frame whose prefix has been read
        self._prefix = 0

    def next(self) -> bytes | None:
        if self._size < 0 and not self._read_prefix():
            return None
        end = self._prefix + self._size
        buffer = self._buffer
        if len(buffer) < end:
            return None
        with memoryview(buffer) as view:
            frame = bytes(view[0 if self._framing.keep else self._prefix : end])
        del buffer[:end]
        self._size = -1
        return frame

    def end(self) -> bytes | None:
        if self._buffer:
            raise FramingError(f"the connection ended inside a frame, after {len(self._buffer)} bytes of it")
        return None

    def _read_prefix(self) -> bool:
        """Whether the next frame's prefix is there; then _prefix and _size are those of it."""
        framing, buffer, before = self._framing, self._buffer, self._before
        head = self._header
        if head and not buffer.startswith(head) and not head.startswith(bytes(buffer[: len(head)])):
            raise FramingError("a frame does not begin with the header's bytes")
        if framing.width == "varint":
            found = _read_varint(buffer, before)
            if found is None:
                return False
            number, prefix = found
        else:
            prefix = before + framing.width
            if len(buffer) < prefix:
                return False
            number = int.from_bytes(buffer[before:prefix], framing.endian)
        size = number + framing.adjust - (prefix if framing.includes_self else 0)
        if size < 0:
            raise FramingError(f"a frame's length of {number} is less than its own header")
        if size + (prefix if framing.keep else 0) > self._limit:
            raise FramingError(f"a frame of {size} bytes is announced, more than the limit of {self._limit}")
        self._prefix, self._size = prefix, size
        return True


def _read_varint(buffer: bytearray, at: int) -> tuple[int, int] | None:
    """(number, where it ends), or None where bytes are missing."""
    number = shift = 0
    for index in range(at, min(len(buffer), at + VARINT_BYTES)):
        byte = buffer[index]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, index + 1
        shift += 7
    if len(buffer) >= at + VARINT_BYTES:
        raise FramingError(f"a frame's length has more than {VARINT_BYTES} bytes")
    return None


class _DelimiterReader(BufferReader):
    def __init__(self, framing: DelimiterFraming, limit: int) -> None:
        super().__init__()
        self._delimiter = framing.delimiter.encode("latin-1")
        self._start = framing.start.encode("latin-1")
        self._keep = framing.keep
        self._limit = limit
        self._searched = 0  # before this no delimiter begins

    def next(self) -> bytes | None:
        buffer, delimiter, start = self._buffer, self._delimiter, self._start
        if not buffer:
            return None
        begin = len(start)
        if begin and not buffer.startswith(start):
            if start.startswith(bytes(buffer[:begin])):
                return None
            raise FramingError("a frame does not begin with its start bytes")
        found = buffer.find(delimiter, max(begin, self._searched))
        kept = len(delimiter) if self._keep else 0
        if found < 0:
            if len(buffer) - begin - len(delimiter) + 1 + kept > self._limit:
                raise FramingError(f"a frame has more than {self._limit} bytes without a delimiter")
            self._searched = max(begin, len(buffer) - len(delimiter) + 1)
            return None
        if found - begin + kept > self._limit:
            raise FramingError(f"a frame has more than {self._limit} bytes")
        with memoryview(buffer) as view:
            frame = bytes(view[begin : found + kept])
        del buffer[: found + len(delimiter)]
        self._searched = 0
        return frame

    def end(self) -> bytes | None:
        if self._buffer:
            raise FramingError("the connection ended inside a frame: its delimiter is missing")
        return None


class _FixedReader(BufferReader):
    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def next(self) -> bytes | None:
        if len(self._buffer) < self._size:
            return None
        with memoryview(self._buffer) as view:
            frame = bytes(view[: self._size])
        del self._buffer[: self._size]
        return frame

    def end(self) -> bytes | None:
        if self._buffer:
            raise FramingError(f"the connection ended inside a frame, after {len(self._buffer)} of {self._size} bytes")
        return None


class _UntilCloseReader(BufferReader):
    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def next(self) -> bytes | None:
        if len(self._buffer) > self._limit:
            raise FramingError(f"a message has more than {self._limit} bytes")
        return None

    def end(self) -> bytes | None:
        frame = bytes(self._buffer)
        self._buffer.clear()
        return frame or None
