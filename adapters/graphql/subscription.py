"""Subscriptions of a GraphQL service over graphql-transport-ws, one connection for each."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Final

from gateway.codecs.graphql.response import Answer
from gateway.codecs.graphql.transport_ws import SUBPROTOCOL, failure_of_close, frame, read_server_frame, subscribe
from gateway.message import Context, Message
from gateway.net.http.call import crossing, request_headers
from gateway.net.websocket.client import WebSocketClient
from gateway.net.websocket.connection import WebSocket, WebSocketClosed
from gateway.port import StreamService
from gateway.schema.idl.graphql.document import GraphqlCall
from gateway.status import Code, Failure

ACK_SECONDS: Final = 10.0
LEAVE_SECONDS: Final = 1.0
_ID: Final = "1"


class Subscription(StreamService):
    """One subscription field, as a Service."""

    def __init__(self, client: WebSocketClient, target: str, call: GraphqlCall, answer: Answer) -> None:
        self._client = client
        self._url = "ws" + target.removeprefix("http")
        self._call = call
        self._answer = answer

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        socket = await self._client.connect(self._url, request_headers((), request, context), (SUBPROTOCOL,))
        subscribed = False
        try:
            await self._acknowledged(socket, dict(crossing(request.headers)))
            await socket.send(subscribe(_ID, self._call, request.body), text=True)
            subscribed = True
            async for message in socket:
                received = read_server_frame(message)
                match received.type:
                    case "next":
                        yield Message(self._answer.value(received.response))
                    case "error":
                        subscribed = False
                        raise received.failure
                    case "complete":
                        subscribed = False
                        return
                    case "ping":
                        await socket.send(frame("pong"), text=True)
                    case _:
                        pass
            raise failure_of_close(socket.close_code)
        except WebSocketClosed as closed:
            raise failure_of_close(closed.code) from None
        finally:
            await _leave(socket, subscribed=subscribed)

    async def _acknowledged(self, socket: WebSocket, payload: dict[str, str]) -> None:
        """Raises Failure for a server that does not take the connection. payload: what servers that read no headers
        are told."""
        try:
            async with asyncio.timeout(ACK_SECONDS):
                await socket.send(frame("connection_init", payload=payload or None), text=True)
                async for message in socket:
                    match read_server_frame(message).type:
                        case "connection_ack":
                            return
                        case "ping":
                            await socket.send(frame("pong"), text=True)
                        case _:
                            pass
        except TimeoutError:
            raise Failure(Code.UNAVAILABLE, "the upstream did not take the connection in time", sent=False) from None
        raise failure_of_close(socket.close_code, sent=False)


async def _leave(socket: WebSocket, *, subscribed: bool) -> None:
    """Tell the server that nobody listens any more, and hang up."""
    if subscribed and not socket.closed:
        with suppress(WebSocketClosed, TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await socket.send(frame("complete", _ID), text=True)
    socket.close_soon()
