"""TCP through asyncio's streams: JSON, a message a line."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from gateway.pattern import Count, Pattern
from gateway.status import Code
from support.answers import answers, refuses
from support.peers import PATIENCE_SECONDS, Case, Place, Record, RefusedError, Shape, names_out_of_stock
from support.ports import free_port
from support.specimen import DETAIL, REFUSED_BYTES, Specimen, timestamp_of
from support.specimen_json import Dialect, dumps, from_json, to_json

LIMIT: Final = 4 * 1024 * 1024
LABEL: Final = {
    Pattern.ONE_WAY: "one-way",
    Pattern.REQUEST_REPLY: "request-reply",
    Pattern.BIDI: "stream",
}
REFUSAL: Final = {
    "error": {
        "code": "FAILED_PRECONDITION",
        "detail": "the shelf is empty",
        "details": [{"type": "OutOfStock", **DETAIL}],
    }
}
_RECEIPT: Final[Mapping[str, Any]] = {"partition": int, "offset": int, "timestamp": timestamp_of}


def refusal(value: Any) -> RefusedError | None:
    """The gateway's error, if this is one."""
    if not isinstance(value, dict) or value.keys() != {"error"}:
        return None
    error = value["error"]
    detail = None
    for entry in error.get("details", ()):
        if names_out_of_stock(entry["type"]):
            detail = {"sku": entry["sku"], "available": int(entry["available"])}
    return RefusedError(error["code"], error["detail"], detail)


def reply_of(case: Case, dialect: Dialect, value: Any) -> Any:
    """What one reply to a caller says."""
    match case.reply_shape:
        case Shape.SPECIMEN:
            return from_json(value, dialect)
        case Shape.BATCH:
            return [from_json(item, dialect) for item in value]
        case Shape.RECEIPT:
            return {name: _RECEIPT.get(name, str)(entry) for name, entry in value.items()}


def request_of(dialect: Dialect, value: Any) -> Any:
    """What one request to a backend says."""
    return [from_json(item, dialect) for item in value] if isinstance(value, list) else from_json(value, dialect)


class Caller:
    """A listener per case: a connection has no address that could tell them apart."""

    typed = False
    dialect: Dialect | None = None
    tells_detail = True

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self._dialect = dialect
        self._ports = {case.id: free_port() for case in cases}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    def source(self, case: Case) -> Place:
        endpoint = {"protocol": "tcp", "listen": f"127.0.0.1:{self._ports[case.id]}"}
        if case.inbound is Pattern.ONE_WAY:
            endpoint["on_failure"] = "error"
        return f"line-{case.id}", endpoint, {"pattern": LABEL[case.inbound]}

    async def call(self, case: Case, specimens: Sequence[Specimen]) -> list[Any]:
        """One-way returns once all is sent, save for a specimen that is to be refused."""
        told: list[Any] = []
        await self.listen(case, specimens, told)
        return told

    async def listen(self, case: Case, specimens: Sequence[Specimen], told: list[Any]) -> None:
        lines = [dumps(to_json(specimen, self._dialect)) for specimen in specimens]
        await self._exchange(case, lines, told, refused=specimens[0]["id"] == "refused")

    async def misspeak(self, case: Case) -> None:
        await self._exchange(case, [b'{"id": "un'], [], refused=True)

    def code(self, code: Code, case: Case, *, declared: bool) -> str:
        return code.name

    async def _exchange(self, case: Case, lines: Sequence[bytes], told: list[Any], *, refused: bool) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), _connected(self._ports[case.id]) as (reader, writer):
            for line in lines:
                writer.write(line + b"\n")
                if case.paced:
                    told.append(await self._reply(case, reader))
            if case.inbound is Pattern.BIDI or (case.inbound is Pattern.ONE_WAY and not refused):
                writer.write_eof()
            if case.inbound.replies is Count.ONE or (case.inbound is Pattern.ONE_WAY and refused):
                told.append(await self._reply(case, reader))
                return
            while line := await reader.readline():
                told.append(self._read(case, line))

    async def _reply(self, case: Case, reader: asyncio.StreamReader) -> Any:
        return self._read(case, await reader.readline())

    def _read(self, case: Case, line: bytes) -> Any:
        assert line.endswith(b"\n"), line
        value = json.loads(line)
        error = refusal(value)
        if error is not None:
            raise error
        return reply_of(case, self._dialect, value)


@asynccontextmanager
async def _connected(port: int) -> AsyncGenerator[tuple[asyncio.StreamReader, asyncio.StreamWriter], None]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LIMIT)
    try:
        yield reader, writer
    finally:
        writer.close()


class Backend:
    """A server per case."""

    typed = False
    dialect: Dialect | None = None
    receipt: tuple[str, ...] = ()

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self.record = Record()
        self._dialect = dialect
        self._cases = cases
        self._servers: dict[str, asyncio.Server] = {}

    async def __aenter__(self) -> Self:
        for case in self._cases:
            serve = partial(self._serve, case)
            self._servers[case.id] = await asyncio.start_server(serve, "127.0.0.1", 0, limit=LIMIT)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.close()

    def target(self, case: Case) -> Place:
        port = self._servers[case.id].sockets[0].getsockname()[1]
        endpoint: dict[str, Any] = {"protocol": "tcp", "target": f"127.0.0.1:{port}"}
        if case.outbound is Pattern.ONE_WAY:
            endpoint["max_frame_bytes"] = REFUSED_BYTES
        return f"peer-{case.id}", endpoint, {"pattern": LABEL[case.outbound]}

    def refusal(self, case: Case) -> tuple[Code, bool]:
        """Without replies there is only the size that the gateway may send."""
        if case.outbound is Pattern.ONE_WAY:
            return Code.INVALID_ARGUMENT, False
        return Code.FAILED_PRECONDITION, True

    def receipts(self) -> list[Mapping[str, Any]]:
        return []

    async def _serve(self, case: Case, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if case.outbound is Pattern.BIDI:
                await self._converse(reader, writer)
            else:
                async for line in reader:
                    writer.write(self._answer(case, line))
        except OSError:
            pass  # the gateway left
        finally:
            writer.close()

    def _answer(self, case: Case, line: bytes) -> bytes:
        call = self.record.begin()
        call.append(request_of(self._dialect, json.loads(line)))
        self.record.end()
        if case.outbound is Pattern.ONE_WAY:
            return b""
        if refuses(call):
            return dumps(REFUSAL) + b"\n"
        return dumps(to_json(answers(case.outbound, call)[0], self._dialect)) + b"\n"

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = self.record.begin()
        try:
            async for line in reader:
                call.append(request_of(self._dialect, json.loads(line)))
                if refuses(call):
                    writer.write(dumps(REFUSAL) + b"\n")
                    return
                for reply in answers(Pattern.BIDI, call[-1:]):
                    writer.write(dumps(to_json(reply, self._dialect)) + b"\n")
        finally:
            self.record.end()
