"""The messages of graphql-transport-ws, as each side reads and writes them. Sans-io.

https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

from collections.abc import Container
from typing import Any, Final

import msgspec

from gateway.codecs.graphql.error import failure_of
from gateway.codecs.graphql.request import parse_json, to_json
from gateway.codecs.graphql.response import Response, read_response
from gateway.net.websocket.connection import CloseWebSocket
from gateway.schema.idl.graphql.document import GraphqlCall
from gateway.status import Code, Failure

SUBPROTOCOL: Final = "graphql-transport-ws"

# How a server closes; the reasons are the protocol's own words.
INVALID_MESSAGE: Final = 4400
INIT_TIMEOUT: Final = (4408, "Connection initialisation timeout")
NO_SUBPROTOCOL: Final = (4406, "Subprotocol not acceptable")
_UNAUTHORIZED: Final = (4401, "Unauthorized")
_DUPLICATE: Final = 4409
_TOO_MANY_INITS: Final = (4429, "Too many initialisation requests")

_CLOSED: Final = {
    4400: Code.INTERNAL,
    4401: Code.UNAUTHENTICATED,
    4403: Code.PERMISSION_DENIED,
    4406: Code.UNIMPLEMENTED,
    4429: Code.RESOURCE_EXHAUSTED,
}
_FROM_SERVER: Final = frozenset({"connection_ack", "ping", "pong", "next", "error", "complete"})
_FROM_CLIENT: Final = frozenset({"connection_init", "ping", "pong", "subscribe", "complete"})
_TYPES: Final = _FROM_CLIENT | _FROM_SERVER


def frame(kind: str, key: str = "", payload: Any = None) -> bytes:
    """A message. key: the operation's id; empty where the type has none. payload: left out where it is None."""
    message: dict[str, Any] = {"type": kind}
    if key:
        message["id"] = key
    if payload is not None:
        message["payload"] = payload
    return to_json(message)


def subscribe(key: str, call: GraphqlCall, variables: bytes) -> bytes:
    """The message that asks for an operation. variables: JSON."""
    payload: dict[str, Any] = {"query": call.document, "variables": msgspec.Raw(variables)}
    if call.name:
        payload["operationName"] = call.name
    return frame("subscribe", key, payload)


class ClientFrame(msgspec.Struct, frozen=True):
    """id: of the operation; empty where the type has none. payload: None where it is missing."""

    type: str
    id: str
    payload: Any


def read_client_frame(data: bytes | str, *, opened: bool, running: Container[str]) -> ClientFrame:
    """What a server hears. Raises CloseWebSocket, as the protocol has it, for what may not be said, or not now.

    opened: connection_init has come. running: the ids of operations.
    """
    try:
        message = parse_json(data)
    except ValueError as problem:
        raise CloseWebSocket(INVALID_MESSAGE, str(problem)) from None
    kind = message.get("type") if isinstance(message, dict) else None
    if not isinstance(kind, str) or kind not in _TYPES:
        raise CloseWebSocket(INVALID_MESSAGE, f"this is no message of {SUBPROTOCOL}")
    if kind not in _FROM_CLIENT:
        raise CloseWebSocket(INVALID_MESSAGE, f"{kind} is the server's to send")
    if kind == "connection_init" and opened:
        raise CloseWebSocket(*_TOO_MANY_INITS)
    key, payload = "", message.get("payload")
    if kind in ("subscribe", "complete"):
        key = message.get("id")
        if not isinstance(key, str) or not key:
            raise CloseWebSocket(INVALID_MESSAGE, f"{kind} needs an id")
    if kind == "subscribe":
        if not isinstance(payload, dict):
            raise CloseWebSocket(INVALID_MESSAGE, "subscribe needs a payload")
        if not opened:
            raise CloseWebSocket(*_UNAUTHORIZED)
        if key in running:
            raise CloseWebSocket(_DUPLICATE, f"Subscriber for {key[:80]} already exists")
    return ClientFrame(kind, key, payload)


class ServerFrame(msgspec.Struct, frozen=True):
    """As ClientFrame, the payload not parsed."""

    type: str
    id: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def response(self) -> Response:
        """That of a `next`. Raises Failure."""
        found = read_response(self.payload)
        if found is None:
            raise Failure(Code.INTERNAL, "the upstream's event is not GraphQL")
        return found

    @property
    def failure(self) -> Failure:
        """That of an `error`."""
        try:
            return failure_of(msgspec.json.decode(self.payload))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return failure_of(None)


_decode_server: Final = msgspec.json.Decoder(ServerFrame).decode


def read_server_frame(data: bytes | str) -> ServerFrame:
    """What a client hears. Raises Failure for what no server says."""
    try:
        received = _decode_server(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _against_protocol(f"this is no message of {SUBPROTOCOL}") from None
    if received.type not in _FROM_SERVER:
        raise _against_protocol(f"{received.type[:40]} is no message of a server")
    return received


def _against_protocol(problem: str) -> Failure:
    return Failure(Code.INTERNAL, f"the upstream breaks the protocol: {problem}")


def failure_of_close(code: int, *, sent: bool = True) -> Failure:
    """Of a connection that the server closed with this code before its events ended."""
    text = f"the connection to the upstream ended before the events did (close code {code})"
    return Failure(_CLOSED.get(code, Code.UNAVAILABLE), text, sent=sent)
