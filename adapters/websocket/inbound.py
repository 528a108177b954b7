"""WebSocket connections as calls of routes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

from adapters.websocket.config import END, IN_FLIGHT, WebSocketEndpoint, WebSocketSource
from adapters.websocket.status import TO_WIRE
from gateway.codecs.declared_format import Formats
from gateway.codecs.form import FormFormat, parse_form
from gateway.message import Message
from gateway.net.counters import Rejections
from gateway.net.failure_message import failure_message
from gateway.net.http.mounted import Mounted
from gateway.net.http.router import PathTemplate
from gateway.net.http.server import Handler, HttpRequest, HttpRoute
from gateway.net.network import Network
from gateway.net.websocket.connection import WebSocket, WebSocketClosed
from gateway.net.websocket.server import HttpUpgrade
from gateway.pattern import Count, Pattern
from gateway.port import Binding, Contract, loaded
from gateway.schema.types import STRING
from gateway.status import Code, Failure, invalid

_STREAMS: Final[Mapping[Pattern, tuple[str, str]]] = {
    Pattern.SERVER_STREAM: ("one", "many"),
    Pattern.CLIENT_STREAM: ("many", "one"),
    Pattern.BIDI: ("many", "many"),
}


class WebSocketInbound(Mounted):
    """One endpoint's routes on a shared HTTP server."""

    def __init__(self, name: str, endpoint: WebSocketEndpoint, network: Network) -> None:
        super().__init__(name, endpoint.listen, network, endpoint.tls)
        self._endpoint = endpoint
        self._formats: Formats | None = None

    async def load(self) -> None:
        await super().load()
        if self._formats is None:
            self._formats = self._endpoint.load(self._network.path)

    def contract(self, address: WebSocketSource) -> Contract:
        template = PathTemplate(address.path)
        listen = self._server.listen
        silent = address.requests == "query"
        formats = loaded(self._formats).correlated(address.field)
        declared = not silent and address.requests != "none"
        type_ = formats.request_type if declared else None
        return Contract(
            patterns=_patterns(address),
            format=FormFormat() if silent else formats.received_request if declared else self._endpoint.json_format,
            reply_format=formats.reply,
            request=type_,
            reply=formats.reply_type,
            unknown=self._endpoint.unknown,
            # A declared message is whole: nothing of the address is put into it.
            params=template.names if type_ is None else (),
            metadata={} if type_ is None else dict.fromkeys(template.names, STRING),
            open_params=not silent and type_ is None,
            headers=self._endpoint.forwarded,
            claim=f"GET {template.shape} on {listen}",
            describe=f"WebSocket {address.mode} at {template.text} on {listen}",
            wire=(template, _Speech(self._endpoint, formats, self._network.counters.rejections(self._name))),
        )

    def bind(self, bindings: Sequence[Binding]) -> None:
        self._server.mount(self._name, [self._route(binding) for binding in bindings])

    def _route(self, binding: Binding) -> HttpRoute:
        template, speech = binding.contract.wire
        streams = binding.address.mode == "stream"
        serve = _conversation(binding, speech) if streams else _calls(binding, speech)
        return HttpRoute("GET", template, self._handler(binding, serve))

    def _handler(self, binding: Binding, serve: "Callable[[WebSocket, _Head], Awaitable[None]]") -> Handler:
        endpoint = self._endpoint
        wanted = tuple(binding.headers)
        one_way = binding.pattern is Pattern.ONE_WAY
        queried = binding.contract.open_params or binding.address.requests == "query"

        async def handle(request: HttpRequest) -> HttpUpgrade:
            head = _Head(request, wanted, queried)
            return HttpUpgrade(
                lambda socket: serve(socket, head),
                subprotocols=endpoint.subprotocols,
                origins=endpoint.origins,
                limits=endpoint.limits,
                outlives=one_way,
                leaving_cancels=not one_way,
            )

        return handle


class _Head:
    """What the handshake says for all calls of its connection. queried: the query has a meaning."""

    __slots__ = ("context", "headers", "params", "path_params", "query", "unread")

    def __init__(self, request: HttpRequest, wanted: Sequence[str], queried: bool) -> None:
        self.headers = request.wanted(wanted)
        self.path_params = request.params
        self.params: Mapping[str, Any] = request.params
        self.query = request.query
        self.context = request.context
        self.unread: Failure | None = None
        if request.query and not queried:
            self.unread = invalid("the query has no place in the messages here")
        elif request.query:
            try:
                self.params = {**parse_form(request.query.encode()), **request.params}
            except Failure as failure:
                self.unread = failure

    def message(self, body: bytes | None) -> Message:
        if self.unread is not None:
            raise self.unread
        return Message(body, self.headers, self.params)

    def request(self) -> Message:
        """The request that the address alone makes."""
        return Message(self.query.encode(), self.headers, self.path_params)


class _Speech:
    """How an endpoint speaks at one address. Raises ContractError.

    failure_message: makes what tells of a failure; None where the close code does. rejections: counts what no route
        does.
    """

    def __init__(self, endpoint: WebSocketEndpoint, formats: Formats, rejections: Rejections) -> None:
        self.rejections = rejections
        kind = endpoint.on_failure or ("error" if formats.json else "close")
        self.text = endpoint.text
        self.correlation = formats.correlation
        self.failure_message = failure_message(kind, formats)
        self._misfit = endpoint.misfit

    def fitting(self, reply: bytes) -> bytes:
        """The reply, if it can be sent. Raises Failure."""
        misfit = self._misfit(reply)
        if misfit:
            raise Failure(Code.INTERNAL, f"the reply {misfit}")
        return reply

    async def fail(self, socket: WebSocket, failure: Failure) -> None:
        """End the connection with the failure."""
        self.rejections.add(failure)
        if self.failure_message is not None:
            await socket.send(self.failure_message(failure), text=self.text)
        await socket.close(TO_WIRE[failure.code], failure.text)


def _patterns(address: WebSocketSource) -> frozenset[Pattern]:
    """All that the address leaves open."""
    match address.mode:
        case "one-way":
            return frozenset({Pattern.ONE_WAY})
        case "request-reply":
            return frozenset({Pattern.REQUEST_REPLY})
    if address.requests == "none":
        return frozenset({Pattern.SUBSCRIBE})
    if address.requests == "query":
        return frozenset({Pattern.SERVER_STREAM})
    return frozenset(
        pattern
        for pattern, (requests, replies) in _STREAMS.items()
        if address.requests in (None, requests) and address.replies in (None, replies)
    )


def _bytes(message: str | bytes) -> bytes:
    return message.encode() if isinstance(message, str) else message


# -- each message is a call


def _calls(binding: Binding, speech: _Speech) -> Callable[[WebSocket, _Head], Awaitable[None]]:
    address: WebSocketSource = binding.address
    one_way = binding.pattern is Pattern.ONE_WAY
    places = address.max_in_flight or (1 if one_way else IN_FLIGHT)
    answer = _answerer(binding, speech)
    ordered = not one_way and not address.field

    async def handle(socket: WebSocket, head: _Head, message: bytes, before: "asyncio.Future[None] | None") -> None:
        reply = await answer(head, message)
        if before is not None:
            await before
        if isinstance(reply, Failure):
            await socket.close(TO_WIRE[reply.code], reply.text)
        elif reply is not None:
            with suppress(WebSocketClosed):
                await socket.send(reply, text=speech.text)

    async def receive(socket: WebSocket, head: _Head) -> None:
        if places == 1:
            async for message in socket:
                await handle(socket, head, _bytes(message), None)
            return
        free = asyncio.Semaphore(places)
        last: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as group:
            async for message in socket:
                await free.acquire()
                before = last if ordered and last is not None and not last.done() else None
                last = group.create_task(handle(socket, head, _bytes(message), before))
                last.add_done_callback(lambda _: free.release())

    return receive


def _answerer(binding: Binding, speech: _Speech) -> Callable[[_Head, bytes], Awaitable[bytes | Failure | None]]:
    """Makes one call. The reply is None where there is none to send, and a failure where no message tells it."""
    call = binding.service.call
    correlation = speech.correlation
    failure_message = speech.failure_message

    async def answer(head: _Head, message: bytes) -> bytes | Failure | None:
        key: Any = None
        try:
            if correlation is not None:
                key = correlation.key(message)
            reply = (await call(head.message(message), head.context())).body
            if correlation is not None:
                reply = correlation.put_reply(b"{}" if reply is None else reply, key)
            return None if reply is None else speech.fitting(reply)
        except Failure as failure:
            speech.rejections.add(failure)
            if failure_message is None:
                return failure
            told = failure_message(failure)
            return told if correlation is None or key is None else correlation.put_reply(told, key)

    return answer


# -- the connection is a call


def _conversation(binding: Binding, speech: _Speech) -> Callable[[WebSocket, _Head], Awaitable[None]]:
    many = binding.pattern.requests is Count.MANY
    silent = binding.address.requests == "query"
    subscribes = binding.pattern is Pattern.SUBSCRIBE
    stream = binding.service.stream

    async def push(socket: WebSocket, replies: AsyncGenerator[Message, None]) -> None:
        """Send what comes back; asking for the next one only then, a slow caller slows the upstream."""
        try:
            async with aclosing(replies):
                async for reply in replies:
                    await socket.send(speech.fitting(reply.body or b""), text=speech.text)
        except Failure as failure:
            await speech.fail(socket, failure)
        else:
            await socket.close(TO_WIRE[Code.OK])

    async def serve(socket: WebSocket, head: _Head) -> None:
        try:
            if silent:
                request, more = head.request(), None
            elif subscribes:
                request, more = head.message(None), None
            elif many:
                request, more = head.message(None), _requests(socket, head)
            else:
                first = await anext(socket, None)
                if first is None:
                    return
                request, more = head.message(_bytes(first)), None
        except Failure as failure:
            await speech.fail(socket, failure)
            return
        socket.reads_while_draining = True
        pushing = push(socket, stream(request, more, head.context()))
        if many:
            await pushing
        else:
            await _while_quiet(socket, asyncio.create_task(pushing), speech)

    return serve


async def _requests(socket: WebSocket, head: _Head) -> AsyncIterator[Message]:
    async for message in socket:
        body = _bytes(message)
        if body == END:
            return
        yield head.message(body)
    # What came is not the whole.
    raise Failure(Code.CANCELLED, "the caller left before the end of its messages")


async def _while_quiet(socket: WebSocket, pushing: "asyncio.Task[None]", speech: _Speech) -> None:
    """Wait for the push. A caller that sends what nobody takes cancels it."""
    listening = asyncio.create_task(_unexpected(socket))
    try:
        await asyncio.wait((pushing, listening), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancelled(pushing)
        await _cancelled(listening)
    if not listening.cancelled() and listening.result():
        await speech.fail(socket, invalid("a message is not expected here"))


async def _unexpected(socket: WebSocket) -> bool:
    """Whether a message came before the caller left. An empty one says no more than that there are none."""
    async for message in socket:
        if _bytes(message) != END:
            return True
    return False


async def _cancelled(task: "asyncio.Task[Any]") -> None:
    """End the task, and raise what it raised."""
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.result()
