"""Ports for what the tests start."""

import random
import socket
from typing import Final

RANGE: Final = range(15_000, 32_000)
"""Below those that systems give to clients, so that no connection takes one before its server does."""

_taken: Final[set[int]] = set()


def free_port() -> int:
    """A port of loopback that nothing uses now, over TCP or UDP, and that was not given before."""
    while True:
        port = random.choice(RANGE)
        if port in _taken:
            continue
        try:
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with socket.socket(socket.AF_INET, kind) as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        _taken.add(port)
        return port


def free_ports(count: int) -> list[int]:
    """All different."""
    return [free_port() for _ in range(count)]
