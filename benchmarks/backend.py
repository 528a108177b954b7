"""A gRPC backend that answers each unary call with its own request message, whatever the method.

Its cost is not measured, yet it shares a core with the load: hence frames by hand (RFC 9113). Header blocks are never
decoded, since the answer does not depend on them; those sent use literals without indexing (RFC 7541, 6.2.2), which
leave no state behind.
"""

import argparse
import asyncio
import struct
from typing import Final, cast

import uvloop

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 1, 1, 4, 8
_FRAME: Final = 16384
_CONNECTION_WINDOW: Final = 1 << 30
_TOP_UP: Final = 1 << 20

_head: Final = struct.Struct(">IBI")
_increment: Final = struct.Struct(">I").pack
_setting: Final = struct.Struct(">HI")


def _literal(name: bytes, value: bytes) -> bytes:
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


_STATUS_200: Final = b"\x88" + _literal(b"content-type", b"application/grpc")
_TRAILERS: Final = _literal(b"grpc-status", b"0")


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return _head.pack(len(payload) << 8 | kind, flags, stream) + payload


class Connection(asyncio.Protocol):
    """One client. Both sides' flow control is kept (RFC 9113, 5.2)."""

    def __init__(self) -> None:
        self._buffer = b""
        self._preface = True
        self._requests: dict[int, bytes] = {}
        self._window = 65535
        self._initial_window = 65535
        self._windows: dict[int, int] = {}
        self._waiting: dict[int, bytes] = {}
        self._received = 0
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        settings = _setting.pack(3, 1000) + _setting.pack(4, 1 << 24)
        window = _increment(_CONNECTION_WINDOW)
        self._transport.write(_frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, window))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        at, size = 0, len(buffer)
        if self._preface:
            if size < len(_PREFACE):
                self._buffer = buffer
                return
            self._preface = False
            at = len(_PREFACE)
        while size - at >= 9:
            head, flags, stream = _head.unpack_from(buffer, at)
            end = at + 9 + (head >> 8)
            if end > size:
                break
            self._frame(head & 255, flags, stream, buffer[at + 9 : end])
            at = end
        self._buffer = buffer[at:]
        if self._received > _TOP_UP:
            self._out.append(_frame(_WINDOW_UPDATE, 0, 0, _increment(self._received)))
            self._received = 0
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        match kind:
            case 0:
                self._received += len(payload)
                if flags & _PADDED:
                    payload = payload[1 : len(payload) - payload[0]]
                known = self._requests.get(stream)
                if known is not None:
                    payload = known + payload
                if flags & _END_STREAM:
                    self._requests.pop(stream, None)
                    self._answer(stream, payload)
                else:
                    self._requests[stream] = payload
            case 3:
                self._requests.pop(stream, None)
                self._waiting.pop(stream, None)
                self._windows.pop(stream, None)
            case 4 if not flags & _ACK:
                for at in range(0, len(payload), 6):
                    name, value = _setting.unpack_from(payload, at)
                    if name == 4:
                        change = value - self._initial_window
                        self._initial_window = value
                        self._windows = {key: window + change for key, window in self._windows.items()}
                self._out.append(_frame(_SETTINGS, _ACK, 0, b""))
                self._resume()
            case 6 if not flags & _ACK:
                self._out.append(_frame(_PING, _ACK, 0, payload))
            case 8:
                increment = int.from_bytes(payload, "big")
                if stream:
                    self._windows[stream] = self._windows.get(stream, self._initial_window) + increment
                else:
                    self._window += increment
                self._resume()

    def _answer(self, stream: int, body: bytes) -> None:
        self._out.append(_frame(_HEADERS, _END_HEADERS, stream, _STATUS_200))
        if self._waiting or stream in self._windows:
            self._waiting[stream] = body
            self._resume()
        else:
            self._send(stream, body, self._initial_window)

    def _send(self, stream: int, body: bytes, window: int) -> None:
        while body:
            size = min(len(body), _FRAME, window, self._window)
            if size <= 0:
                self._windows[stream] = window
                self._waiting[stream] = body
                return
            self._out.append(_frame(_DATA, 0, stream, body[:size]))
            self._window -= size
            window -= size
            body = body[size:]
        self._windows.pop(stream, None)
        self._out.append(_frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _TRAILERS))

    def _resume(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for stream, body in waiting.items():
            self._send(stream, body, self._windows.get(stream, self._initial_window))


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    uvloop.run(_serve(arguments.parse_args().port))
