"""Content codings of bodies (RFC 9110, 8.4.1), undone in pieces of bounded size.

aiohttp's own takes a body that ends in the middle of its coding for the whole; this refuses it.
"""

import sys
import zlib
from collections.abc import Iterator
from typing import Any, Final

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ENCODINGS: Final = ("gzip", "deflate", "br", "zstd")
"""Those that are read."""
PIECE: Final = 64 * 1024
MEMBERS: Final = 64  # of one body: each costs a copy of what follows it
_WINDOW: Final = 23  # bits: 8 MiB (RFC 9659)
_TOO_EARLY: Final = "its content coding ends too early"
_IDENTITY: Final = ("", "identity")


class Inflater:
    """Undoes the coding of one body."""

    def __init__(self, encoding: str) -> None:
        """Raises ValueError for one that is not among ENCODINGS."""
        if encoding not in ENCODINGS:
            raise ValueError(f"content encoding {encoding[:40]!r} is not read")
        self._encoding = encoding
        self._members = 0
        self._begun = False
        self._brotli = brotli.Decompressor() if encoding == "br" else None
        self._member: Any = None  # a decompressor of zlib or zstd

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the next bytes become, in pieces of about PIECE. Raises ValueError for what is not of the coding."""
        try:
            yield from self._brotli_pieces(data) if self._brotli is not None else self._pieces(data)
        except (zlib.error, zstd.ZstdError, brotli.error):
            raise ValueError(f"it is no {self._encoding}") from None

    def end(self) -> None:
        """The body ended here. Raises ValueError where its coding did not."""
        if self._brotli is not None:
            whole = self._brotli.is_finished()
        else:
            whole = self._member is not None and self._member.eof
        if self._begun and not whole:
            raise ValueError(_TOO_EARLY)

    def _brotli_pieces(self, data: bytes) -> Iterator[bytes]:
        coding: Any = self._brotli
        self._begun = self._begun or bool(data)
        while True:
            piece = coding.process(data, output_buffer_limit=PIECE)
            data = b""
            if piece:
                yield piece
            if coding.can_accept_more_data() or coding.is_finished():
                return

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._member is None or self._member.eof:
                self._member = self._next(data)
            member = self._member
            while True:
                piece = member.decompress(data, PIECE)
                if piece:
                    yield piece
                if member.eof:
                    data = member.unused_data
                    break
                # zlib hands back what it did not take, zstd keeps it.
                data = getattr(member, "unconsumed_tail", b"")
                if not data and len(piece) < PIECE:
                    break

    def _next(self, data: bytes) -> Any:
        self._begun = True
        self._members += 1
        if self._members > MEMBERS:
            raise ValueError(f"it has more than {MEMBERS} members")
        if self._encoding == "zstd":
            return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW})
        if self._encoding == "gzip":
            return zlib.decompressobj(zlib.MAX_WBITS | 16)
        # Some send raw deflate, whose first bits are no zlib header (RFC 1950, 2.2).
        return zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0xF == 8 else -zlib.MAX_WBITS)


def inflater_of(header: str) -> Inflater | None:
    """For a body with this Content-Encoding; None for one without a coding. Raises ValueError as Inflater."""
    encoding = header.strip().lower().removeprefix("x-")
    return None if encoding in _IDENTITY else Inflater(encoding)
