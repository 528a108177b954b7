"""Server-sent events (WHATWG HTML, 9.2). Sans-io: bytes in, bytes out."""

import re
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from gateway.net.http.json_stream import one_line
from gateway.status import Failure

SSE: Final = "text/event-stream"
SSE_HEADERS: Final = (("Content-Type", SSE), ("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"))
HEARTBEAT: Final = b":\n\n"

_BREAKS: Final = re.compile(rb"[\0\r\n]")


class SseEvent(msgspec.Struct, frozen=True):
    event: str
    data: bytes


class SseReader:
    """Reads events: comments left out, data lines joined.

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


def sse(data: bytes, event: str = "", identity: bytes | None = None) -> bytes:
    """One event, of one line. identity: what a client gives as Last-Event-ID to go on from here; left out where it
    has a character that no id may have."""
    head = b"event: %b\n" % event.encode() if event else b""
    if identity is not None and not _BREAKS.search(identity):
        head += b"id: %b\n" % identity
    return b"%bdata: %b\n\n" % (head, one_line(data))
