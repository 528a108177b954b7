"""HTTP through aiohttp's client and server."""

import asyncio
import codecs
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
from aiohttp import web

from gateway.bridge import Requests
from gateway.pattern import Count, Pattern
from gateway.status import Code
from support.answers import answers, refuses
from support.peers import Case, Place, Record, RefusedError, Shape, names_out_of_stock
from support.ports import free_port
from support.specimen import DETAIL, Specimen, timestamp_of
from support.specimen_json import Dialect, dumps, from_json, to_json

NDJSON: Final = "application/x-ndjson"
SSE: Final = "text/event-stream"
JSON: Final = "application/json"
CUT: Final = "cut off"
_LIMIT: Final = 4 * 1024 * 1024
_STATUS: Final = {
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.UNAVAILABLE: 503,
    Code.INTERNAL: 500,
}
_ITEM: Final = re.compile(r"\s*[\[,]\s*(?=\{)")
_DECODER: Final = json.JSONDecoder()
_RECEIPT: Final = {"partition": int, "offset": int, "timestamp": timestamp_of}


def _accept(case: Case) -> str:
    """Each of the framings of many replies is asked for by some case."""
    if case.inbound.replies is Count.ONE:
        return JSON
    if case.paced:
        return NDJSON
    if case.endless:
        return {None: SSE, Requests.FIRST: JSON}.get(case.requests, NDJSON)
    return {Pattern.SERVER_STREAM: SSE, Pattern.CLIENT_STREAM: JSON}.get(case.outbound, NDJSON)


class Caller:
    typed = False
    dialect: Dialect | None = None
    tells_detail = True

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self._dialect = dialect
        self._listen = f"127.0.0.1:{free_port()}"
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30), read_bufsize=_LIMIT)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    def source(self, case: Case) -> Place:
        counts = {"requests": case.inbound.requests.value, "replies": case.inbound.replies.value}
        return "web", {"protocol": "http", "listen": self._listen}, {"path": f"/{case.id}", **counts}

    async def call(self, case: Case, specimens: Sequence[Specimen]) -> list[Any]:
        told: list[Any] = []
        await self.listen(case, specimens, told)
        return told

    async def listen(self, case: Case, specimens: Sequence[Specimen], told: list[Any]) -> None:
        await self._exchange(case, [dumps(to_json(specimen, self._dialect)) for specimen in specimens], told)

    async def misspeak(self, case: Case) -> None:
        await self._exchange(case, [b'{"id": "un'], [])

    def code(self, code: Code, case: Case, *, declared: bool) -> str:
        cut = case.endless and case.inbound.replies is Count.MANY and _accept(case) == JSON and code is Code.INTERNAL
        return CUT if cut else f"{_STATUS[code]} {code.name}"

    async def _exchange(self, case: Case, bodies: list[bytes], told: list[Any]) -> None:
        assert self._session is not None
        turns: asyncio.Queue[None] | None = asyncio.Queue() if case.paced else None
        content, data = self._request(case, bodies, turns)
        headers = {"Content-Type": content, "Accept": _accept(case)}
        url = f"http://{self._listen}/{case.id}"
        async with self._session.post(url, data=data, headers=headers) as response:
            if response.status >= 400:
                raise _refusal(response.status, await response.json(content_type="application/problem+json"))
            if case.inbound.replies is not Count.MANY:
                assert response.status == (202 if case.outbound.replies is Count.NONE else 200)
                told.append(self._reply(case, json.loads(await response.read())))
                return
            assert response.content_type == headers["Accept"]
            async for value in _FRAMINGS[response.content_type](response):
                told.append(self._reply(case, value))
                if turns is not None:
                    turns.put_nowait(None)

    def _request(self, case: Case, bodies: list[bytes], turns: "asyncio.Queue[None] | None") -> tuple[str, Any]:
        if case.inbound.requests is Count.ONE:
            return JSON, bodies[0]
        if case.requests is Requests.GATHER:
            return JSON, b"[" + b", ".join(bodies) + b"]"
        return NDJSON, _paced(bodies, turns)

    def _reply(self, case: Case, value: Any) -> Any:
        match case.reply_shape:
            case Shape.SPECIMEN:
                return from_json(value, self._dialect)
            case Shape.BATCH:
                return [from_json(item, self._dialect) for item in value]
            case Shape.RECEIPT:
                return {name: _RECEIPT.get(name, str)(entry) for name, entry in value.items()}


async def _paced(bodies: list[bytes], turns: "asyncio.Queue[None] | None") -> AsyncIterator[bytes]:
    """The lines; with turns, each after the reply to the one before."""
    for number, body in enumerate(bodies):
        if number and turns is not None:
            await turns.get()
        yield body + b"\n"


def _refusal(status: int, problem: Mapping[str, Any]) -> RefusedError:
    details = [entry for entry in problem.get("details", ()) if names_out_of_stock(entry["type"])]
    detail = {"sku": details[0]["sku"], "available": int(details[0]["available"])} if details else None
    return RefusedError(f"{status} {problem['code']}", problem["detail"], detail)


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[Any]:
    async for line in response.content:
        if not line.strip():
            continue  # a heartbeat
        value = json.loads(line)
        if "error" in value:
            raise _refusal(value["error"]["status"], value["error"])
        yield value


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Any]:
    async for block in _blocks(response):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        value = json.loads(fields["data"])
        match fields.get("event", "message"):
            case "error":
                raise _refusal(value["status"], value)
            case "end":
                return
            case _:
                yield value
    raise AssertionError("the event stream broke off")


async def _blocks(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    block = ""
    async for line in response.content:
        if line.strip():
            block += line.decode()
        elif block:
            yield block
            block = ""


async def _array(response: aiohttp.ClientResponse) -> AsyncIterator[Any]:
    """Each object once it is there. An array that is not whole has failed; it has no words for it."""
    text, decode = "", codecs.getincrementaldecoder("utf-8")().decode
    try:
        async for data in response.content.iter_any():
            text += decode(data)
            while (begun := _ITEM.match(text)) is not None:
                try:
                    value, end = _DECODER.raw_decode(text, begun.end())
                except json.JSONDecodeError:
                    break
                text = text[end:]
                yield value
    except aiohttp.ClientPayloadError as error:
        raise RefusedError(CUT, str(error)) from error
    assert text.strip() in ("]", "[]")


_FRAMINGS: Final[Mapping[str, Callable[[aiohttp.ClientResponse], AsyncIterator[Any]]]] = {
    NDJSON: _lines,
    SSE: _events,
    JSON: _array,
}


class Backend:
    typed = False
    dialect: Dialect | None = None
    receipt: tuple[str, ...] = ()

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self.record = Record()
        self._dialect = dialect
        self._cases = {case.id: case for case in cases}
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=_LIMIT)
        application.router.add_post("/{case}", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def target(self, case: Case) -> Place:
        counts = {"requests": case.outbound.requests.value, "replies": case.outbound.replies.value}
        endpoint = {"protocol": "http", "target": f"http://127.0.0.1:{self._port}"}
        return "rest", endpoint, {"path": f"/{case.id}", **counts}

    def refusal(self, case: Case) -> tuple[Code, bool]:
        return Code.FAILED_PRECONDITION, True

    def receipts(self) -> list[Mapping[str, Any]]:
        return []

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        case = self._cases[request.match_info["case"]]
        call = self.record.begin()
        try:
            if case.outbound is Pattern.BIDI:
                return await self._converse(request, call)
            if case.outbound.requests is Count.MANY:
                assert request.content_type == NDJSON
                async for line in request.content:
                    call.append(self._read(json.loads(line)))
            else:
                assert request.content_type == JSON
                call.append(self._read(await request.json()))
            if refuses(call):
                return _problem()
            replies = [to_json(reply, self._dialect) for reply in answers(case.outbound, call)]
            if case.outbound.replies is Count.ONE:
                return web.Response(body=dumps(replies[0]), content_type=JSON)
            return await self._stream(request, replies)
        finally:
            self.record.end()

    def _read(self, value: Any) -> Any:
        if isinstance(value, list):
            return [from_json(item, self._dialect) for item in value]
        return from_json(value, self._dialect)

    async def _stream(self, request: web.Request, replies: list[Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": SSE})
        await response.prepare(request)
        for reply in replies:
            await response.write(b"event: message\ndata: " + dumps(reply) + b"\n\n")
        await response.write_eof()
        return response

    async def _converse(self, request: web.Request, call: list[Any]) -> web.StreamResponse:
        """Answers each message as it comes."""
        response: web.StreamResponse | None = None
        async for line in request.content:
            call.append(self._read(json.loads(line)))
            if refuses(call):
                if response is None:
                    return _problem()
                await response.write(dumps({"error": _PROBLEM}) + b"\n")
                break
            if response is None:
                response = web.StreamResponse(headers={"Content-Type": NDJSON})
                await response.prepare(request)
            for reply in answers(Pattern.BIDI, call[-1:]):
                await response.write(dumps(to_json(reply, self._dialect)) + b"\n")
        if response is None:
            return web.Response(body=b"", content_type=NDJSON)
        await response.write_eof()
        return response


_PROBLEM: Final = {
    "title": "Bad Request",
    "status": 400,
    "detail": "the shelf is empty",
    "code": "FAILED_PRECONDITION",
    "details": [{"type": "OutOfStock", **DETAIL}],
}


def _problem() -> web.Response:
    return web.Response(status=400, body=dumps(_PROBLEM), content_type="application/problem+json")
