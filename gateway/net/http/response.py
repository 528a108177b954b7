"""A reply whose body is at hand, as aiohttp's connection takes it, written at once.

web.Response does the same at three times the cost: it is made for cookies, compression, charsets and ranges.
"""

import re
import time
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from aiohttp import hdrs, web

from gateway.message import REQUEST_ID

SERVER: Final = "protocol-gateway"

_HEADS: Final = 256
_BODILESS: Final = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
_FORBIDDEN: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_REASONS: Final = {status.value: status.phrase for status in HTTPStatus}

_heads: dict[tuple[int, Sequence[tuple[str, str]]], bytes] = {}


class HttpResponse:
    """What aiohttp's RequestHandler asks of a response: prepare(), write_eof() and keep_alive.

    headers: Content-Type where there is a body; neither Content-Length nor Connection. Given as a tuple they are
        taken for a constant, whose bytes are made once. Raises ValueError for control characters in them.
    request_id: told in place of one that is among the headers.
    """

    __slots__ = ("_body", "_head", "_request_id", "_status", "keep_alive")

    def __init__(self, status: int, headers: Sequence[tuple[str, str]], body: bytes, request_id: str) -> None:
        self._request_id = request_id.encode()
        self._status = status
        self._head = _head(status, headers)
        self._body = body
        self.keep_alive: bool | None = None

    def force_close(self) -> None:
        """Close the connection after this response."""
        self.keep_alive = False

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write the response. Raises ConnectionError where the caller has left."""
        if self.keep_alive is None:
            self.keep_alive = request.keep_alive
        if not self.keep_alive:
            end = b"Connection: close\r\n\r\n"
        elif request.version.minor:
            end = b"\r\n"
        else:
            end = b"Connection: keep-alive\r\n\r\n"
        body = self._body
        told = self._request_id
        if self._status in _BODILESS:
            data = b"%bDate: %b\r\nX-Request-Id: %b\r\n%b" % (self._head, _date(), told, end)
        elif request.method == hdrs.METH_HEAD:
            data = b"%bContent-Length: %d\r\nDate: %b\r\nX-Request-Id: %b\r\n%b" % (
                self._head,
                len(body),
                _date(),
                told,
                end,
            )
        else:
            data = b"%bContent-Length: %d\r\nDate: %b\r\nX-Request-Id: %b\r\n%b%b" % (
                self._head,
                len(body),
                _date(),
                told,
                end,
                body,
            )
        writer = request.writer
        transport = writer.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the caller left")
        writer.output_size += len(data)
        transport.write(data)
        await writer.drain()

    async def write_eof(self) -> None:
        """All is written by prepare()."""


def _head(status: int, headers: Sequence[tuple[str, str]]) -> bytes:
    """The status line and the headers."""
    if not isinstance(headers, tuple):
        return _made(status, headers)
    head = _heads.get((status, headers))
    if head is None:
        head = _made(status, headers)
        if len(_heads) < _HEADS:
            _heads[status, headers] = head
    return head


def _made(status: int, headers: Sequence[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, '')}"]
    for name, value in (*headers, (hdrs.SERVER, SERVER)):
        if name == REQUEST_ID:
            continue
        line = f"{name}: {value}"
        if _FORBIDDEN.search(line):
            raise ValueError(f"a control character in the header {name[:80]!r}")
        lines.append(line)
    return "\r\n".join([*lines, ""]).encode()


class _Clock:
    """The Date header's value, made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = b""

    def __call__(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True).encode()
        return self._text


_date: Final = _Clock()
