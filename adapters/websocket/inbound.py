"""WebSocket connections as calls of routes."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final

from adapters.websocket.config import END, IN_FLIGHT, WebSocketEndpoint, WebSocketSource
from adapters.websocket.status import TO_WIRE
from gateway.codecs.correlated_json import CorrelatedJson, Correlator
from gateway.codecs.form import FormFormat, parse_form
from gateway.message import Context, Message
from gateway.net.http.router import PathTemplate
from gateway.net.http.server import Handler, HttpRequest, HttpRoute
from gateway.net.json_error import error_message
from gateway.net.network import Network
from gateway.net.websocket.connection import WebSocket, WebSocketClosed
from gateway.net.websocket.server import HttpUpgrade
from gateway.pattern import Count, Pattern
from gateway.port import Binding, Contract, ContractError
from gateway.status import Code, Failure, invalid

_STREAMS: Final[Mapping[Pattern, tuple[str, str]]] = {
    Pattern.SERVER_STREAM: ("one", "many"),
    Pattern.CLIENT_STREAM: ("many", "one"),
    Pattern.BIDI: ("many", "many"),
}


class WebSocketInbound:
    """One endpoint's routes on a shared HTTP server."""

    def __init__(self, name: str, endpoint: WebSocketEndpoint, network: Network) -> None:
        if endpoint.listen is None:
            raise ContractError("a route comes from an endpoint with `listen`; this one has `target`")
        self._name = name
        self._endpoint = endpoint
        self._server = network.http_server(endpoint.listen)

    async def load(self) -> None:
        """There is nothing to read: the contract is the upstream's."""

    def contract(self, address: WebSocketSource) -> Contract:
        template = PathTemplate(address.path)
        listen = self._server.listen
        json = self._endpoint.format
        silent = address.requests == "query"
        return Contract(
            patterns=_patterns(address),
            format=FormFormat() if silent else CorrelatedJson(json, address.field) if address.field else json,
            reply_format=json,
            unknown=self._endpoint.unknown,
            params=template.names,
            open_params=not silent,
            headers=self._endpoint.forwarded,
            claim=f"GET {template.shape} on {listen}",
            describe=f"WebSocket {address.mode} at {template.text} on {listen}",
            wire=template,
        )

    def bind(self, bindings: Sequence[Binding]) -> None:
        self._server.mount(self._name, [self._route(binding) for binding in bindings])

    async def start(self) -> None:
        await self._server.start()

    async def drain(self) -> None:
        await self._server.drain()

    async def stop(self) -> None:
        await self._server.stop()

    @property
    def unready(self) -> str:
        return ""

    def _route(self, binding: Binding) -> HttpRoute:
        address: WebSocketSource = binding.address
        text = self._endpoint.frames == "text"
        serve = _conversation(binding, text) if address.mode == "stream" else _calls(binding, text)
        return HttpRoute("GET", binding.contract.wire, self._handler(binding, serve))

    def _handler(self, binding: Binding, serve: "Callable[[WebSocket, _Head], Awaitable[None]]") -> Handler:
        endpoint = self._endpoint
        wanted = tuple(binding.headers)
        one_way = binding.pattern is Pattern.ONE_WAY

        async def handle(request: HttpRequest) -> HttpUpgrade:
            head = _Head(request, wanted)
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
    """What the handshake says for all calls of its connection."""

    __slots__ = ("headers", "params", "path_params", "peer", "query", "trace", "unread")

    def __init__(self, request: HttpRequest, wanted: Sequence[str]) -> None:
        self.headers = request.wanted(wanted)
        self.path_params = request.params
        self.params: Mapping[str, Any] = request.params
        self.query = request.query
        self.peer = request.peer
        self.trace = request.trace
        self.unread: Failure | None = None
        if request.query:
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

    def context(self) -> Context:
        return Context(peer=self.peer, trace=self.trace)


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


def _calls(binding: Binding, text: bool) -> Callable[[WebSocket, _Head], Awaitable[None]]:
    address: WebSocketSource = binding.address
    one_way = binding.pattern is Pattern.ONE_WAY
    places = address.max_in_flight or (1 if one_way else IN_FLIGHT)
    answer = _answerer(binding)
    ordered = not one_way and not address.field

    async def handle(socket: WebSocket, head: _Head, message: bytes, before: "asyncio.Future[None] | None") -> None:
        reply = await answer(head, message)
        if before is not None:
            await before
        if reply is not None:
            with suppress(WebSocketClosed):
                await socket.send(reply, text=text)

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


def _answerer(binding: Binding) -> Callable[[_Head, bytes], Awaitable[bytes | None]]:
    """Makes one call. The reply is None where there is none to send; a failure is always told."""
    call = binding.service.call
    field = binding.address.field
    if not field:

        async def answer(head: _Head, message: bytes) -> bytes | None:
            try:
                reply = await call(head.message(message), head.context())
            except Failure as failure:
                return error_message(failure)
            body: bytes | None = reply.body
            return body

        return answer

    correlator = Correlator(field)

    async def answer_correlated(head: _Head, message: bytes) -> bytes | None:
        member = b""
        try:
            raw = correlator.read(message)
            if not raw:
                raise invalid(f"the message has no {field}, which tells its reply from others", f"$.{field}")
            member = correlator.member(raw)
            reply = await call(head.message(message), head.context())
            return correlator.write(reply.body or b"{}", raw)
        except ValueError as misfit:
            return error_message(Failure(Code.INTERNAL, f"the reply {misfit}"), member)
        except Failure as failure:
            return error_message(failure, member)

    return answer_correlated


# -- the connection is a call


def _conversation(binding: Binding, text: bool) -> Callable[[WebSocket, _Head], Awaitable[None]]:
    many = binding.pattern.requests is Count.MANY
    silent = binding.address.requests == "query"
    subscribes = binding.pattern is Pattern.SUBSCRIBE
    stream = binding.service.stream

    async def push(socket: WebSocket, replies: AsyncGenerator[Message, None]) -> None:
        """Send what comes back; asking for the next one only then, a slow caller slows the upstream."""
        try:
            async with aclosing(replies):
                async for reply in replies:
                    await socket.send(reply.body or b"", text=text)
        except Failure as failure:
            await _fail(socket, failure, text)
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
            await _fail(socket, failure, text)
            return
        socket.reads_while_draining = not subscribes
        pushing = push(socket, stream(request, more, head.context()))
        if many:
            await pushing
        else:
            await _while_quiet(socket, asyncio.create_task(pushing), text)

    return serve


async def _requests(socket: WebSocket, head: _Head) -> AsyncIterator[Message]:
    async for message in socket:
        body = _bytes(message)
        if body == END:
            return
        yield head.message(body)
    # What came is not the whole.
    raise Failure(Code.CANCELLED, "the caller left before the end of its messages")


async def _fail(socket: WebSocket, failure: Failure, text: bool) -> None:
    await socket.send(error_message(failure), text=text)
    await socket.close(TO_WIRE[failure.code], failure.text)


async def _while_quiet(socket: WebSocket, pushing: "asyncio.Task[None]", text: bool) -> None:
    """Wait for the push. A caller that sends what nobody takes cancels it, and so does draining."""
    listening = asyncio.create_task(_unexpected(socket))
    try:
        await asyncio.wait((pushing, listening), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancelled(pushing)
        await _cancelled(listening)
    if not listening.cancelled() and listening.result():
        await _fail(socket, invalid("a message is not expected here"), text)


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
