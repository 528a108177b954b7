"""Sockets for datagrams."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from gateway.net.address import split_host_port


async def connected(target: str) -> socket.socket:
    """One that sends to host:port and hears nobody else. Raises OSError."""
    return await _opened(target, 0, lambda sock, address: sock.connect(address))


async def bound(listen: str, prepare: Callable[[socket.socket], None]) -> socket.socket:
    """One for what comes to host:port. prepare: sets its options before anything can come. Raises OSError."""

    def bind(sock: socket.socket, address: Any) -> None:
        prepare(sock)
        sock.bind(address)

    return await _opened(listen, socket.AI_PASSIVE, bind)


async def _opened(place: str, flags: int, use: Callable[[socket.socket, Any], None]) -> socket.socket:
    host, port = split_host_port(place)
    found = await asyncio.get_running_loop().getaddrinfo(host or None, port, type=socket.SOCK_DGRAM, flags=flags)
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        use(sock, address)
    except OSError:
        sock.close()
        raise
    return sock
