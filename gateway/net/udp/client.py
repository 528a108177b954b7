"""Datagrams to a target, and those that come back."""

import asyncio
import socket
from typing import Final

from gateway.net.counters import Counters
from gateway.net.udp.endpoint import connected
from gateway.status import Code, Failure

_REFUSED: Final = "nobody listens at the upstream's address"


class DatagramClient:
    """Sends without repeating: where a datagram gets lost, the caller's deadline tells.

    max_bytes: of a datagram either way. max_in_flight: most requests at a time; further ones wait.

    Counters: sent, received (replies), truncated (replies that are too large), refused (datagrams that the peer's
    system sent back), failed (those that could not be sent).
    """

    def __init__(self, name: str, target: str, counters: Counters, *, max_bytes: int, max_in_flight: int) -> None:
        self._target = target
        self._max_bytes = max_bytes
        self._telling: socket.socket | None = None
        self._asking = asyncio.Semaphore(max_in_flight)
        self._sent, self._received, self._truncated, self._refused, self._failed = (
            counters.counter(name, label) for label in ("sent", "received", "truncated", "refused", "failed")
        )

    async def tell(self, data: bytes) -> None:
        """Send a datagram that has no reply. Raises Failure, which means that it was not sent."""
        if self._telling is None:
            sock = await self._connect()
            if self._telling is None:
                self._telling = sock
            else:
                sock.close()
        await self._send(self._telling, data)

    async def ask(self, data: bytes) -> bytes:
        """Send a request and return the datagram that comes back to its own port. Raises Failure."""
        async with self._asking:
            sock = await self._connect()
            try:
                await self._send(sock, data)
                return await self._reply(sock)
            finally:
                sock.close()

    def close(self) -> None:
        sock, self._telling = self._telling, None
        if sock is not None:
            sock.close()

    async def _connect(self) -> socket.socket:
        try:
            return await connected(self._target)
        except OSError:
            self._failed.add()
            raise Failure(Code.UNAVAILABLE, "the upstream's address can't be used", sent=False) from None

    async def _send(self, sock: socket.socket, data: bytes) -> None:
        if len(data) > self._max_bytes:
            self._failed.add()
            text = f"the message has {len(data)} bytes, a datagram at most {self._max_bytes}"
            raise Failure(Code.INVALID_ARGUMENT, text, sent=False)
        try:
            try:
                await _send(sock, data)
            except ConnectionRefusedError:
                # It tells of an earlier datagram on this socket; the error is taken by being told.
                self._refused.add()
                await _send(sock, data)
        except OSError as error:
            self._failed.add()
            refused = isinstance(error, ConnectionRefusedError)
            raise Failure(
                Code.UNAVAILABLE, _REFUSED if refused else "the datagram could not be sent", sent=False
            ) from None
        self._sent.add()

    async def _reply(self, sock: socket.socket) -> bytes:
        try:
            data = await asyncio.get_running_loop().sock_recv(sock, self._max_bytes + 1)
        except ConnectionRefusedError:
            self._refused.add()
            raise Failure(Code.UNAVAILABLE, _REFUSED, sent=False) from None
        except OSError:
            raise Failure(Code.UNAVAILABLE, "the reply could not be received") from None
        self._received.add()
        if len(data) > self._max_bytes:
            self._truncated.add()
            raise Failure(Code.INTERNAL, f"the upstream's reply is larger than {self._max_bytes} bytes")
        return data


async def _send(sock: socket.socket, data: bytes) -> None:
    """Raises OSError."""
    try:
        sock.send(data)
    except (BlockingIOError, InterruptedError):
        await asyncio.get_running_loop().sock_sendall(sock, data)
