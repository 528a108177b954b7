"""Subscriptions of a GraphQL service over graphql-transport-ws, one connection for each."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any, Final

import msgspec

from adapters.graphql.wire import SUBPROTOCOL, ServerFrame, frame, read_server_frame
from gateway.codecs.graphql_error import failure_of
from gateway.codecs.graphql_response import Answer, read_response
from gateway.message import Context, Message
from gateway.net.http.call import crossing, request_headers
from gateway.net.websocket.client import WebSocketClient
from gateway.net.websocket.connection import WebSocket, WebSocketClosed
from gateway.schema.idl.graphql_document import GraphqlCall
from gateway.status import Code, Failure

ACK_SECONDS: Final = 10.0
LEAVE_SECONDS: Final = 1.0
_ID: Final = "1"
_CLOSED: Final = {
    4400: Code.INTERNAL,
    4401: Code.UNAUTHENTICATED,
    4403: Code.PERMISSION_DENIED,
    4406: Code.UNIMPLEMENTED,
    4429: Code.RESOURCE_EXHAUSTED,
}


class Subscription:
    """One subscription field, as a Service."""

    def __init__(self, client: WebSocketClient, target: str, call: GraphqlCall, answer: Answer) -> None:
        self._client = client
        self._url = "ws" + target.removeprefix("http")
        self._call = call
        self._answer = answer

    async def call(self, request: Message, context: Context) -> Message:
        raise TypeError("subscriptions are streams")

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        socket = await self._client.connect(self._url, request_headers((), request, context), (SUBPROTOCOL,))
        subscribed = False
        try:
            await self._acknowledged(socket, dict(crossing(request.headers)))
            payload: dict[str, Any] = {"query": self._call.document, "variables": msgspec.Raw(request.body)}
            if self._call.name:
                payload["operationName"] = self._call.name
            await socket.send(frame("subscribe", _ID, payload), text=True)
            subscribed = True
            async for message in socket:
                received = _read(message)
                match received.type:
                    case "next":
                        yield Message(self._value(received))
                    case "error":
                        subscribed = False
                        raise failure_of(_errors(received))
                    case "complete":
                        subscribed = False
                        return
                    case "ping":
                        await socket.send(frame("pong"), text=True)
                    case _:
                        pass
            raise _broken(socket.close_code)
        except WebSocketClosed as closed:
            raise _broken(closed.code) from None
        finally:
            await _leave(socket, subscribed=subscribed)

    async def _acknowledged(self, socket: WebSocket, payload: dict[str, str]) -> None:
        """Raises Failure for a server that does not take the connection. payload: what servers that read no headers
        are told."""
        try:
            async with asyncio.timeout(ACK_SECONDS):
                await socket.send(frame("connection_init", payload=payload or None), text=True)
                async for message in socket:
                    match _read(message).type:
                        case "connection_ack":
                            return
                        case "ping":
                            await socket.send(frame("pong"), text=True)
                        case _:
                            pass
        except TimeoutError:
            raise Failure(Code.UNAVAILABLE, "the upstream did not take the connection in time", sent=False) from None
        raise _broken(socket.close_code, sent=False)

    def _value(self, received: ServerFrame) -> bytes:
        response = read_response(received.payload)
        if response is None:
            raise Failure(Code.INTERNAL, "the upstream's event is not GraphQL")
        return self._answer.value(response)


def _read(message: str | bytes) -> ServerFrame:
    try:
        return read_server_frame(message)
    except ValueError as problem:
        raise Failure(Code.INTERNAL, f"the upstream breaks the protocol: {problem}") from None


def _errors(received: ServerFrame) -> Any:
    try:
        return msgspec.json.decode(received.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _broken(code: int, *, sent: bool = True) -> Failure:
    text = "the connection to the upstream ended before the events did"
    return Failure(_CLOSED.get(code, Code.UNAVAILABLE), f"{text} (close code {code})", sent=sent)


async def _leave(socket: WebSocket, *, subscribed: bool) -> None:
    """Tell the server that nobody listens any more, and hang up."""
    if subscribed and not socket.closed:
        with suppress(WebSocketClosed, TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await socket.send(frame("complete", _ID), text=True)
    socket.close_soon()
