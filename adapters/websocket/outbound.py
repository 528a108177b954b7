"""Calls of routes as WebSocket messages."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Final

from adapters.websocket.config import END, WebSocketEndpoint, WebSocketTarget
from adapters.websocket.status import TO_WIRE
from gateway.codecs.declared_format import Formats
from gateway.codecs.form import FormFormat
from gateway.codecs.format import Format, Unknown
from gateway.message import TRACEPARENT, Context, Message
from gateway.net.feeder import Feeder
from gateway.net.http.call import crossing
from gateway.net.http.router import PathTemplate
from gateway.net.http.targeted import Targeted
from gateway.net.json_error import told_failure
from gateway.net.network import Network
from gateway.net.websocket.client import WebSocketClient
from gateway.net.websocket.connection import WebSocket, WebSocketClosed
from gateway.net.websocket.line import WebSocketLine, broken
from gateway.net.websocket.pool import Key, WebSocketPool
from gateway.net.websocket.status import code_of_close
from gateway.pattern import Count, Pattern
from gateway.port import Contract, Service, UnaryService, loaded
from gateway.status import Code, Failure, invalid

UNBOUNDED: Final = 2**31
ATTEMPTS: Final = 2

_STREAMS: Final[Mapping[tuple[str, str], frozenset[Pattern]]] = {
    ("none", "many"): frozenset({Pattern.SUBSCRIBE}),
    ("query", "many"): frozenset({Pattern.SERVER_STREAM}),
    ("one", "one"): frozenset({Pattern.REQUEST_REPLY}),
    ("one", "many"): frozenset({Pattern.SERVER_STREAM}),
    ("many", "one"): frozenset({Pattern.CLIENT_STREAM}),
    ("many", "many"): frozenset({Pattern.BIDI}),
}


class WebSocketOutbound(Targeted[WebSocketClient]):
    """One WebSocket service."""

    def __init__(self, name: str, endpoint: WebSocketEndpoint, network: Network) -> None:
        super().__init__(endpoint.target, WebSocketClient(endpoint.limits), network, endpoint.tls)
        self._endpoint = endpoint
        self._formats: Formats | None = None

    async def load(self) -> None:
        await super().load()
        if self._formats is None:
            self._formats = self._endpoint.load(self._network.path)

    def contract(self, address: WebSocketTarget) -> Contract:
        template = PathTemplate(address.path)
        formats = loaded(self._formats).correlated(address.field, address.max_in_flight)
        return Contract(
            patterns=_patterns(address),
            format=_request_format(self._endpoint, address, formats),
            reply_format=formats.received_reply,
            request=None if address.requests in ("none", "query") else formats.request_type,
            reply=formats.reply_type,
            unknown=Unknown.DROP,
            params=template.names,
            headers=self._endpoint.forwarded,
            describe=f"WebSocket {address.mode} to {self._target}{template.text}",
            wire=(template, formats),
        )

    def service(self, address: WebSocketTarget, contract: Contract, pattern: Pattern) -> Service:
        where = _Where(self._client, self._endpoint, *contract.wire)
        if address.mode == "stream":
            return _Conversation(where, address, pattern)
        return _Exchange(where, address)


def _patterns(address: WebSocketTarget) -> frozenset[Pattern]:
    match address.mode:
        case "one-way":
            return frozenset({Pattern.ONE_WAY})
        case "request-reply":
            return frozenset({Pattern.REQUEST_REPLY})
        case "stream":
            return _STREAMS[address.requests, address.replies]


def _request_format(endpoint: WebSocketEndpoint, address: WebSocketTarget, formats: Formats) -> Format:
    """Where no message is sent, the request is the caller's alone."""
    match address.requests:
        case "query":
            return FormFormat()
        case "none":
            return endpoint.json_format
        case _:
            return formats.request


class _Where:
    """Connects to an address, and knows what is spoken there."""

    def __init__(
        self, client: WebSocketClient, endpoint: WebSocketEndpoint, template: PathTemplate, formats: Formats
    ) -> None:
        self._client = client
        self._target = endpoint.target or ""
        self._subprotocols = endpoint.subprotocols
        self._template = template
        self._limit = endpoint.max_message_bytes
        self._misfit = endpoint.misfit
        self.text = endpoint.text
        self.correlation = formats.correlation
        self._json = formats.json
        self._field = "" if formats.correlation is None else formats.correlation.field

    def key(self, request: Message) -> Key:
        """Where this request goes, and with which headers."""
        try:
            url = self._target + self._template.fill(request.params)
        except KeyError as missing:
            raise invalid(f"the parameter {missing.args[0]} is needed before the first message") from None
        return url, tuple(crossing(request.headers))

    def message(self, body: bytes) -> bytes:
        """The body, if it can be sent. Raises Failure."""
        if len(body) > self._limit:
            raise invalid(f"the message is larger than the limit of {self._limit} bytes")
        misfit = self._misfit(body)
        if misfit:
            raise invalid(f"the message {misfit}")
        return body

    def told_failure(self, body: bytes) -> Failure | None:
        """The failure that a message tells; None where it is any other message."""
        return told_failure(body, self._field) if self._json else None

    async def connect(self, key: Key) -> WebSocket:
        """Raises Failure, with sent=False."""
        url, headers = key
        return await self._client.connect(url, headers, self._subprotocols)


class _Exchange(UnaryService):
    """A message and its reply, or a message alone, on connections that are kept."""

    def __init__(self, where: _Where, address: WebSocketTarget) -> None:
        self._where = where
        self._one_way = address.mode == "one-way"
        places = UNBOUNDED if self._one_way else address.max_in_flight if address.field else 1
        self._connections = WebSocketPool(self._open, address.connections, places)

    async def call(self, request: Message, context: Context) -> Message:
        key = self._where.key(request)
        body = self._where.message(request.body)
        attempt = 1
        while True:
            line = await self._connections.take(key)
            try:
                if self._one_way:
                    await line.send(body)
                    return Message(None)
                return Message(await line.exchange(body))
            except Failure as failure:
                # A kept connection may have ended since it was used last.
                if failure.sent or line.usable or attempt == ATTEMPTS:
                    raise
            finally:
                self._connections.give(line)
            attempt += 1

    async def _open(self, key: Key) -> WebSocketLine:
        socket = await self._where.connect(key)
        where = self._where
        return WebSocketLine(socket, where.correlation, where.told_failure, replies=not self._one_way, text=where.text)


class _Conversation:
    """A connection per call."""

    def __init__(self, where: _Where, address: WebSocketTarget, pattern: Pattern) -> None:
        self._where = where
        self._silent = address.requests in ("none", "query")
        self._tells_end = address.end == "empty-message"
        self._one_reply = pattern.replies is Count.ONE

    async def call(self, request: Message, context: Context) -> Message:
        async with aclosing(self.stream(request, None, context)) as replies:
            return await anext(replies)

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        url, headers = self._where.key(request)
        if self._silent and request.body:
            url = f"{url}?{request.body.decode()}"
        if context.trace:
            headers = (*headers, (TRACEPARENT, context.trace))
        socket = await self._where.connect((url, headers))
        feeder = Feeder()
        code = TO_WIRE[Code.CANCELLED]
        try:
            if more is not None:
                feeder.start(self._feed(socket, more))
            elif not self._silent:
                with suppress(WebSocketClosed):  # reading says how it ended
                    await self._send(socket, request.body)
            async with aclosing(self._replies(socket, feeder)) as replies:
                async for reply in replies:
                    if self._one_reply:
                        code = TO_WIRE[Code.OK]
                        yield Message(reply)
                        return
                    yield Message(reply)
            code = TO_WIRE[Code.OK]
        finally:
            await feeder.stop()
            socket.close_soon(code)

    async def _replies(self, socket: WebSocket, feeder: Feeder) -> AsyncGenerator[bytes, None]:
        told: bytes | None = None
        async for message in socket:
            if told is not None:
                yield told
                told = None
            body = message.encode() if isinstance(message, str) else message
            if self._where.told_failure(body) is None:
                yield body
            else:
                told = body  # an error, if the connection ends with it; else a message like others
        feeder.check()
        if code_of_close(socket.close_code) is not Code.OK or not socket.close_code:
            raise (self._where.told_failure(told) if told is not None else None) or broken(socket)
        if told is not None:
            yield told
        elif self._one_reply:
            raise broken(socket)

    async def _feed(self, socket: WebSocket, more: AsyncIterator[Message]) -> None:
        """Send the caller's messages as fast as the peer takes them."""
        try:
            async for message in more:
                if self._tells_end and message.body == END:
                    raise invalid("an empty message would end the stream")
                await self._send(socket, message.body)
            if self._tells_end:
                await self._send(socket, END)
        except WebSocketClosed:
            return  # reading says how it ended
        except Failure as failure:
            socket.close_soon(TO_WIRE[failure.code])
            raise
        except BaseException:
            socket.close_soon(TO_WIRE[Code.CANCELLED])
            raise

    async def _send(self, socket: WebSocket, body: bytes) -> None:
        await socket.send(self._where.message(body), text=self._where.text)
