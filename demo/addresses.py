"""Addresses: where the parts of the demo listen. All on loopback."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass, fields

HOST = "127.0.0.1"
_DEFAULTS: Mapping[str, int] = {
    "web": 8080,
    "grpc": 50052,
    "admin": 9901,
    "orders": 50051,
    "inventory": 8081,
    "legacy": 8082,
    "kafka": 9092,
}


@dataclass(frozen=True, slots=True)
class Addresses:
    """host:port of each part. web, grpc and admin are the gateway's own."""

    web: str
    grpc: str
    admin: str
    orders: str
    inventory: str
    legacy: str
    kafka: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables of routes.yaml."""
        return {
            "WEB_LISTEN": self.web,
            "GRPC_LISTEN": self.grpc,
            "ADMIN_LISTEN": self.admin,
            "ORDERS_TARGET": self.orders,
            "INVENTORY_TARGET": f"http://{self.inventory}",
            "LEGACY_TARGET": f"http://{self.legacy}/orders",
            "KAFKA": self.kafka,
            "KAFKA_IDEMPOTENT": "false",
        }


def choose(*, free: bool) -> tuple[Addresses, list[str]]:
    """The addresses to use, and what to tell about them: the usual ports, or free ones where those are taken.

    free: take free ports anyway.
    """
    held: list[socket.socket] = []
    notes: list[str] = []
    ports: dict[str, int] = {}
    try:
        for field in fields(Addresses):
            usual = _DEFAULTS[field.name]
            listener = _listener(0 if free else usual) or _listener(0)
            if listener is None:
                raise OSError(f"no port is free on {HOST}")
            held.append(listener)
            ports[field.name] = listener.getsockname()[1]
            if not free and ports[field.name] != usual:
                notes.append(f"port {usual} is taken, {field.name} uses {ports[field.name]}")
    finally:
        for listener in held:
            listener.close()
    return Addresses(**{name: f"{HOST}:{port}" for name, port in ports.items()}), notes


def _listener(port: int) -> socket.socket | None:
    # A service that listens on all interfaces would take part of the callers: both addresses must be free.
    if port:
        try:
            socket.create_server(("", port)).close()
        except OSError:
            return None
    try:
        return socket.create_server((HOST, port))
    except OSError:
        return None
