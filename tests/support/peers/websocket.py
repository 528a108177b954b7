"""WebSocket through the websockets package's client and server."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from gateway.pattern import Count, Pattern
from gateway.status import Code
from support.answers import answers, refuses
from support.peers import PATIENCE_SECONDS, Case, Place, Record, RefusedError, Shape, names_out_of_stock
from support.ports import free_port
from support.specimen import DETAIL, REFUSED_BYTES, Specimen, timestamp_of
from support.specimen_json import Dialect, dumps, from_json, to_json

END: Final = ""
FIELD: Final = "call"
_LIMIT: Final = 4 * 1024 * 1024
_CLOSE_CODE: Final = {
    Code.INVALID_ARGUMENT: 1007,
    Code.FAILED_PRECONDITION: 4009,
    Code.UNAVAILABLE: 1013,
    Code.INTERNAL: 1011,
}
_RECEIPT: Final = {"partition": int, "offset": int, "timestamp": timestamp_of}
_BAD: Final = '{"id": "un'


def _mode(pattern: Pattern) -> dict[str, Any]:
    match pattern:
        case Pattern.ONE_WAY:
            return {"mode": "one-way"}
        case Pattern.REQUEST_REPLY:
            return {"mode": "request-reply"}
        case _:
            return {"mode": "stream", "requests": pattern.requests.value, "replies": pattern.replies.value}


class Caller:
    """A connection per call. Some request-reply cases correlate by order, some by a field."""

    typed = False
    dialect: Dialect | None = None
    tells_detail = True

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self._dialect = dialect
        self._listen = f"127.0.0.1:{free_port()}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def source(self, case: Case) -> Place:
        address = {"path": f"/{case.id}", **_mode(case.inbound)}
        if self._by_field(case):
            address["correlation"] = {"field": FIELD}
        endpoint = {"protocol": "websocket", "listen": self._listen, "max_message_bytes": _LIMIT}
        return "sockets", endpoint, address

    async def call(self, case: Case, specimens: Sequence[Specimen]) -> list[Any]:
        told: list[Any] = []
        await self.listen(case, specimens, told)
        return told

    async def listen(self, case: Case, specimens: Sequence[Specimen], told: list[Any]) -> None:
        values = [to_json(specimen, self._dialect) for specimen in specimens]
        if self._by_field(case):
            values = [{FIELD: "one", **value} for value in values]
        await self._exchange(case, [dumps(value).decode() for value in values], told)

    async def misspeak(self, case: Case) -> None:
        await self._exchange(case, [_BAD], [])

    def code(self, code: Code, case: Case, *, declared: bool) -> str:
        return (
            code.name
            if case.inbound in (Pattern.ONE_WAY, Pattern.REQUEST_REPLY)
            else f"{_CLOSE_CODE[code]} {code.name}"
        )

    def _by_field(self, case: Case) -> bool:
        return (
            case.inbound is Pattern.REQUEST_REPLY
            and case.outbound is not Pattern.REQUEST_REPLY
            and case.reply_shape is not Shape.BATCH
        )

    async def _exchange(self, case: Case, messages: list[str], told: list[Any]) -> None:
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            connect(f"ws://{self._listen}/{case.id}", max_size=_LIMIT) as link,
        ):
            match case.inbound:
                case Pattern.ONE_WAY:
                    await self._tell(link, messages[0])
                case Pattern.REQUEST_REPLY:
                    await link.send(messages[0])
                    value = json.loads(await link.recv())
                    _check(value)
                    if self._by_field(case):
                        assert value.pop(FIELD) == "one"
                    told.append(self._reply(case, value))
                case _:
                    await self._converse(case, link, messages, told)

    async def _tell(self, link: ClientConnection, message: str) -> None:
        """Messages are handled in their order: when the answer to a bad one comes, the one before was good."""
        await link.send(message)
        await link.send(_BAD)
        first = json.loads(await link.recv())
        if message == _BAD or "malformed" not in first["error"]["detail"]:
            _check(first)

    async def _converse(self, case: Case, link: ClientConnection, messages: list[str], told: list[Any]) -> None:
        last: Any = None

        async def receive() -> None:
            nonlocal last
            last = json.loads(await link.recv())
            if not _is_error(last):
                told.append(self._reply(case, last))

        with suppress(ConnectionClosed):  # reading tells how it ended
            if case.inbound.requests is Count.MANY:
                for number, message in enumerate(messages):
                    if case.paced and number:
                        await receive()
                    await link.send(message)
                await link.send(END)
            elif case.inbound.requests is Count.ONE:
                await link.send(messages[0])
        try:
            while True:
                await receive()
        except ConnectionClosed:
            if link.close_code != 1000:
                _check(last, f"{link.close_code} ")
                raise

    def _reply(self, case: Case, value: Any) -> Any:
        match case.reply_shape:
            case Shape.SPECIMEN:
                return from_json(value, self._dialect)
            case Shape.BATCH:
                return [from_json(item, self._dialect) for item in value]
            case Shape.RECEIPT:
                return {name: _RECEIPT.get(name, str)(entry) for name, entry in value.items()}


def _is_error(value: Any) -> bool:
    return isinstance(value, dict) and "error" in value


def _check(value: Any, close: str = "") -> None:
    """Raises RefusedError for an error."""
    if not _is_error(value):
        return
    problem = value["error"]
    details = [entry for entry in problem.get("details", ()) if names_out_of_stock(entry["type"])]
    detail = {"sku": details[0]["sku"], "available": int(details[0]["available"])} if details else None
    raise RefusedError(close + problem["code"], problem["detail"], detail)


_PROBLEM: Final = {
    "detail": "the shelf is empty",
    "code": "FAILED_PRECONDITION",
    "details": [{"type": "OutOfStock", **DETAIL}],
}


class Backend:
    """Refuses what it can answer; one-way messages are refused by the gateway when they are too large."""

    typed = False
    dialect: Dialect | None = None
    receipt: tuple[str, ...] = ()

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self.record = Record()
        self._dialect = dialect
        self._cases = {f"/{case.id}": case for case in cases}
        self._server: Server | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        self._server = await serve(self._serve, "127.0.0.1", 0, max_size=_LIMIT, close_timeout=1)
        self._port = next(iter(self._server.sockets)).getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    def target(self, case: Case) -> Place:
        address = {"path": f"/{case.id}", **_mode(case.outbound)}
        if self._by_field(case):
            address["correlation"] = {"field": FIELD}
        endpoint = {"protocol": "websocket", "target": f"ws://127.0.0.1:{self._port}"}
        if case.outbound is Pattern.ONE_WAY:
            return "told", {**endpoint, "max_message_bytes": REFUSED_BYTES}, address
        return "asked", {**endpoint, "max_message_bytes": _LIMIT}, address

    def refusal(self, case: Case) -> tuple[Code, bool]:
        if case.outbound is Pattern.ONE_WAY:
            return Code.INVALID_ARGUMENT, False
        return Code.FAILED_PRECONDITION, True

    def receipts(self) -> list[Mapping[str, Any]]:
        return []

    def _by_field(self, case: Case) -> bool:
        return (
            case.outbound is Pattern.REQUEST_REPLY
            and case.inbound is not Pattern.REQUEST_REPLY
            and case.request_shape is not Shape.BATCH
        )

    async def _serve(self, link: ServerConnection) -> None:
        assert link.request is not None
        case = self._cases[link.request.path]
        with suppress(ConnectionClosed):
            match case.outbound:
                case Pattern.ONE_WAY:
                    async for message in link:
                        self.record.add(self._read(json.loads(message)))
                case Pattern.REQUEST_REPLY:
                    async for message in link:
                        await self._reply(case, link, json.loads(message))
                case _:
                    await self._converse(case, link)

    async def _reply(self, case: Case, link: ServerConnection, value: Any) -> None:
        call = self.record.begin()
        own = {FIELD: value.pop(FIELD)} if self._by_field(case) else {}
        call.append(self._read(value))
        reply = {"error": _PROBLEM} if refuses(call) else to_json(answers(case.outbound, call)[0], self._dialect)
        self.record.end()
        await link.send(dumps({**own, **reply}).decode())

    async def _converse(self, case: Case, link: ServerConnection) -> None:
        call = self.record.begin()
        try:
            if case.outbound.requests is not Count.NONE:
                async for message in link:
                    if message == END:
                        break
                    call.append(self._read(json.loads(message)))
                    if refuses(call):
                        await link.send(dumps({"error": _PROBLEM}).decode())
                        await link.close(4009, "the shelf is empty")
                        return
                    if case.outbound is Pattern.BIDI:
                        await self._send(link, answers(Pattern.BIDI, call[-1:]))
                    elif case.outbound.requests is Count.ONE:
                        break
                else:
                    return  # it left before the end of its messages
            if case.outbound is not Pattern.BIDI:
                await self._send(link, answers(case.outbound, call))
        finally:
            self.record.end()

    async def _send(self, link: ServerConnection, replies: Sequence[Any]) -> None:
        for reply in replies:
            await link.send(dumps(to_json(reply, self._dialect)).decode())

    def _read(self, value: Any) -> Any:
        if isinstance(value, list):
            return [from_json(item, self._dialect) for item in value]
        return from_json(value, self._dialect)
