"""Many JSON messages in one body: NDJSON, and a JSON array. Sans-io: bytes in, bytes out."""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from gateway.status import Failure, invalid

NDJSON: Final = "application/x-ndjson"
NDJSON_TYPES: Final = (NDJSON, "application/ndjson", "application/jsonl")

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


def one_line(data: bytes) -> bytes:
    """JSON without line breaks, which it has between its tokens only."""
    return data.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in data or b"\r" in data else data


def array_items(body: bytes) -> list[bytes]:
    """The items of a JSON array, each as its own text. Raises Failure(INVALID_ARGUMENT)."""
    try:
        return [bytes(item) for item in _array(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"a JSON array is expected: {error}") from None
