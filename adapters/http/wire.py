"""Framings of many messages in one body: NDJSON, server-sent events, a JSON array. Sans-io: bytes in, bytes out."""

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from gateway.status import Failure, invalid

NDJSON: Final = "application/x-ndjson"
SSE: Final = "text/event-stream"
JSON: Final = "application/json"

_BREAKS: Final = re.compile(rb"[\0\r\n]")

_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


class LineReader:
    """Splits bytes into the lines of NDJSON, blank ones left out.

    limit: the longest line, in bytes; a longer one is refused before it is whole.
    too_long: makes the Failure to refuse it with.
    """

    def __init__(self, limit: int, too_long: Callable[[], Failure]) -> None:
        self._limit = limit
        self._too_long = too_long
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that are complete now. Raises the Failure for one over the limit."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield from self._line(line)
        if len(self._rest) > self._limit:
            raise self._too_long()

    def end(self) -> Iterator[bytes]:
        """The last line, where it does not end in a newline."""
        rest, self._rest = self._rest, b""
        yield from self._line(rest)

    def _line(self, line: bytes) -> Iterator[bytes]:
        if len(line) > self._limit:
            raise self._too_long()
        if line.strip():
            yield line


class SseEvent(msgspec.Struct, frozen=True):
    event: str
    data: bytes


class SseReader:
    """Reads server-sent events (WHATWG HTML, 9.2.6): comments left out, data lines joined.

    limit: the largest event, in bytes. too_long: makes the Failure to refuse a larger one with.
    """

    def __init__(self, limit: int, too_long: Callable[[], Failure]) -> None:
        self._limit = limit
        self._too_long = too_long
        self._rest = b""
        self._event = ""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[SseEvent]:
        """The events that are complete now. Raises the Failure for one over the limit."""
        buffer = (self._rest + data).replace(b"\r\n", b"\n")
        # A carriage return at the end may be half of a line break.
        held = buffer.endswith(b"\r")
        *lines, self._rest = (buffer[:-1] if held else buffer).replace(b"\r", b"\n").split(b"\n")
        if held:
            self._rest += b"\r"
        for line in lines:
            if not line:
                if self._data:
                    yield SseEvent(self._event, b"\n".join(self._data))
                self._event, self._data, self._size = "", [], 0
                continue
            self._field(line)
        if self._size + len(self._rest) > self._limit:
            raise self._too_long()

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")


def one_line(data: bytes) -> bytes:
    """JSON without line breaks, which it has between its tokens only."""
    return data.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in data or b"\r" in data else data


def sse(data: bytes, event: str = "", identity: bytes | None = None) -> bytes:
    """One event, of one line. identity: what a client gives as Last-Event-ID to go on from here; left out where it
    has a character that no id may have."""
    head = b"event: %b\n" % event.encode() if event else b""
    if identity is not None and not _BREAKS.search(identity):
        head += b"id: %b\n" % identity
    return b"%bdata: %b\n\n" % (head, one_line(data))


def array_items(body: bytes) -> list[bytes]:
    """The items of a JSON array, each as its own text. Raises Failure(INVALID_ARGUMENT)."""
    try:
        return [bytes(item) for item in _array(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"a JSON array is expected: {error}") from None
