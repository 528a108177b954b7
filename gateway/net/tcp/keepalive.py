"""TCP asks a silent peer: a host that vanished sends no FIN, and whoever only reads would wait for ever."""

import socket
from typing import Any, Final

KEEPALIVE_SECONDS: Final = 60.0


def keep_alive(sock: Any, seconds: float | None) -> None:
    """Have the system ask a silent peer after so many seconds whether it is there; it gives up after three times."""
    if seconds is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", int(seconds)),
        ("TCP_KEEPINTVL", max(1, int(seconds / 3))),
        ("TCP_KEEPCNT", 3),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
