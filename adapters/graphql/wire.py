"""The messages of graphql-transport-ws. Sans-io. https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md"""

from typing import Any, Final

import msgspec

from gateway.codecs.graphql_request import parse_json, to_json

SUBPROTOCOL: Final = "graphql-transport-ws"

# How a server closes; the reasons are the protocol's own words.
INVALID_MESSAGE: Final = 4400
UNAUTHORIZED: Final = (4401, "Unauthorized")
INIT_TIMEOUT: Final = (4408, "Connection initialisation timeout")
DUPLICATE: Final = 4409
TOO_MANY_INITS: Final = (4429, "Too many initialisation requests")

_ID: Final = frozenset({"subscribe", "next", "error", "complete"})
_FROM_SERVER: Final = frozenset({"connection_ack", "ping", "pong", "next", "error", "complete"})
_TYPES: Final = _ID | {"connection_init", "connection_ack", "ping", "pong"}


class Frame(msgspec.Struct, frozen=True):
    """id: of the operation; empty where the type has none. payload: None where it is missing."""

    type: str
    id: str = ""
    payload: Any = None


def read_frame(data: bytes | str) -> Frame:
    """Raises ValueError for what is no message of the protocol."""
    message = parse_json(data)
    kind = message.get("type") if isinstance(message, dict) else None
    if kind not in _TYPES:
        raise ValueError("this is no message of graphql-transport-ws")
    key = message.get("id", "")
    if kind in _ID and (not isinstance(key, str) or not key):
        raise ValueError(f"{kind} needs an id")
    payload = message.get("payload")
    wanted = list if kind == "error" else dict
    if kind in ("subscribe", "next", "error") and not isinstance(payload, wanted):
        raise ValueError(f"{kind} needs a payload")
    return Frame(kind, key if kind in _ID else "", payload)


class ServerFrame(msgspec.Struct, frozen=True):
    """As Frame, the payload not parsed."""

    type: str
    id: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"null")


_decode_server: Final = msgspec.json.Decoder(ServerFrame).decode


def read_server_frame(data: bytes | str) -> ServerFrame:
    """Raises ValueError for what no server says."""
    try:
        received = _decode_server(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ValueError("this is no message of graphql-transport-ws") from None
    if received.type not in _FROM_SERVER:
        raise ValueError(f"{received.type[:40]} is no message of a server")
    return received


def frame(kind: str, key: str = "", payload: Any = None) -> bytes:
    message: dict[str, Any] = {"type": kind}
    if key:
        message["id"] = key
    if payload is not None:
        message["payload"] = payload
    return to_json(message)
