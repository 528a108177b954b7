"""Addresses: where the parts of the demo listen. All on loopback."""

import base64
import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final

HOST = "127.0.0.1"
USUAL_PORTS: Final[Mapping[str, int]] = {
    "web": 8080,
    "grpc": 50052,
    "thrift": 9190,
    "mainframe": 7010,
    "sensors": 5140,
    "admin": 9901,
    "orders": 50051,
    "inventory": 8081,
    "legacy": 8082,
    "catalog": 8083,
    "carrier": 8084,
    "partner": 8085,
    "pricing": 9191,
    "warehouse": 7011,
    "board": 5141,
    "kafka": 9092,
    "rabbit": 5672,
}
_DATAGRAMS: Final = ("sensors", "board")


@dataclass(frozen=True, slots=True)
class Addresses:
    """host:port of each part. web, grpc, thrift, mainframe, sensors and admin are the gateway's own.

    rabbit: where the demo starts RabbitMQ, unless AMQP_URL names one that runs.
    """

    web: str
    grpc: str
    thrift: str
    mainframe: str
    sensors: str
    admin: str
    orders: str
    inventory: str
    legacy: str
    catalog: str
    carrier: str
    partner: str
    pricing: str
    warehouse: str
    board: str
    kafka: str
    rabbit: str
    secret: str = field(default_factory=lambda: "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode())

    @property
    def amqp_url(self) -> str:
        """May hold credentials: don't print it."""
        return os.environ.get("AMQP_URL") or f"amqp://guest:guest@{self.rabbit}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of routes.yaml."""
        return {
            "WEB_LISTEN": self.web,
            "GRPC_LISTEN": self.grpc,
            "THRIFT_LISTEN": self.thrift,
            "MAINFRAME_LISTEN": self.mainframe,
            "SENSORS_LISTEN": self.sensors,
            "ADMIN_LISTEN": self.admin,
            "ORDERS_TARGET": self.orders,
            "INVENTORY_TARGET": f"http://{self.inventory}",
            "LEGACY_TARGET": f"http://{self.legacy}/orders",
            "CATALOG_TARGET": f"http://{self.catalog}/graphql",
            "CARRIER_TARGET": f"ws://{self.carrier}",
            "PARTNER_TARGET": f"http://{self.partner}/hook",
            "PRICING_TARGET": self.pricing,
            "WAREHOUSE_TARGET": self.warehouse,
            "BOARD_TARGET": self.board,
            "KAFKA": self.kafka,
            "KAFKA_IDEMPOTENT": "false",
            "AMQP_URL": self.amqp_url,
            "EVENTS_STORE": "memory",
            "WEBHOOK_SECRET": self.secret,
        }


def split(address: str) -> tuple[str, int]:
    """(host, port)"""
    host, _, port = address.rpartition(":")
    return host, int(port)


def choose(*, free: bool) -> tuple[Addresses, list[str]]:
    """The addresses to use, and what to tell about them: the usual ports, or free ones where those are taken.

    free: take free ports anyway.
    """
    held: list[socket.socket] = []
    notes: list[str] = []
    ports: dict[str, int] = {}
    try:
        for part in fields(Addresses):
            if part.name not in USUAL_PORTS:
                continue
            usual = USUAL_PORTS[part.name]
            kind = socket.SOCK_DGRAM if part.name in _DATAGRAMS else socket.SOCK_STREAM
            listener = _listener(kind, 0 if free else usual) or _listener(kind, 0)
            if listener is None:
                raise OSError(f"no port is free on {HOST}")
            held.append(listener)
            ports[part.name] = listener.getsockname()[1]
            if not free and ports[part.name] != usual:
                notes.append(f"port {usual} is taken, {part.name} uses {ports[part.name]}")
    finally:
        for listener in held:
            listener.close()
    return Addresses(**{name: f"{HOST}:{port}" for name, port in ports.items()}), notes


def _listener(kind: socket.SocketKind, port: int) -> socket.socket | None:
    # A service that listens on all interfaces would take part of the callers: both addresses must be free.
    if port and (everywhere := _bound(kind, "", port)) is not None:
        everywhere.close()
    elif port:
        return None
    return _bound(kind, HOST, port)


def _bound(kind: socket.SocketKind, host: str, port: int) -> socket.socket | None:
    listener = socket.socket(socket.AF_INET, kind)
    try:
        if kind is socket.SOCK_STREAM:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        if kind is socket.SOCK_STREAM:
            listener.listen()
    except OSError:
        listener.close()
        return None
    return listener
