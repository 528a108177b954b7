"""UDP through plain sockets: JSON, a message a datagram."""

import asyncio
import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, cast

from gateway.pattern import Count, Pattern
from gateway.status import Code
from support.answers import answers, refuses
from support.peers import PATIENCE_SECONDS, Case, Place, Record
from support.peers.tcp import LABEL, REFUSAL, refusal, reply_of, request_of
from support.ports import free_port
from support.specimen import REFUSED_BYTES, Specimen
from support.specimen_json import Dialect, dumps, to_json

LARGEST: Final = 65_535


class Caller:
    """A listener per case: a datagram has no address that could tell them apart."""

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
        endpoint = {"protocol": "udp", "listen": f"127.0.0.1:{self._ports[case.id]}", "on_failure": "error"}
        return f"datagrams-{case.id}", endpoint, {"pattern": LABEL[case.inbound]}

    async def call(self, case: Case, specimens: Sequence[Specimen]) -> list[Any]:
        """One-way returns once it is sent, save for a specimen that is to be refused."""
        (specimen,) = specimens
        data = dumps(to_json(specimen, self._dialect))
        return await self._exchange(case, data, refused=specimen["id"] == "refused")

    async def misspeak(self, case: Case) -> None:
        await self._exchange(case, b'{"id": "un', refused=True)

    def code(self, code: Code, case: Case, *, declared: bool) -> str:
        return code.name

    async def _exchange(self, case: Case, data: bytes, *, refused: bool) -> list[Any]:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(("127.0.0.1", self._ports[case.id]))
            sock.send(data)
            if case.inbound.replies is Count.NONE and not refused:
                return []
            value = json.loads(await asyncio.wait_for(loop.sock_recv(sock, LARGEST), PATIENCE_SECONDS))
        error = refusal(value)
        if error is not None:
            raise error
        return [reply_of(case, self._dialect, value)]


class Backend:
    """A server per pattern."""

    typed = False
    dialect: Dialect | None = None
    receipt: tuple[str, ...] = ()

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None:
        self.record = Record()
        self._dialect = dialect
        self._transports: dict[Pattern, asyncio.DatagramTransport] = {}

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        for pattern in (Pattern.ONE_WAY, Pattern.REQUEST_REPLY):
            self._transports[pattern], _ = await loop.create_datagram_endpoint(
                lambda pattern=pattern: _Server(self, pattern), ("127.0.0.1", 0)
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        for transport in self._transports.values():
            transport.close()

    def target(self, case: Case) -> Place:
        port = self._transports[case.outbound].get_extra_info("sockname")[1]
        endpoint: dict[str, Any] = {"protocol": "udp", "target": f"127.0.0.1:{port}"}
        if case.outbound is Pattern.ONE_WAY:
            endpoint["max_datagram_bytes"] = REFUSED_BYTES
        return f"station-{LABEL[case.outbound]}", endpoint, {"pattern": LABEL[case.outbound]}

    def refusal(self, case: Case) -> tuple[Code, bool]:
        """Without replies there is only the size that the gateway may send."""
        if case.outbound is Pattern.ONE_WAY:
            return Code.INVALID_ARGUMENT, False
        return Code.FAILED_PRECONDITION, True

    def receipts(self) -> list[Mapping[str, Any]]:
        return []

    def answer(self, pattern: Pattern, data: bytes) -> bytes | None:
        """The reply to a datagram."""
        call = [request_of(self._dialect, json.loads(data))]
        self.record.add(call[0])
        if pattern is Pattern.ONE_WAY:
            return None
        if refuses(call):
            return dumps(REFUSAL)
        return dumps(to_json(answers(pattern, call)[0], self._dialect))


class _Server(asyncio.DatagramProtocol):
    def __init__(self, backend: Backend, pattern: Pattern) -> None:
        self._backend = backend
        self._pattern = pattern
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        reply = self._backend.answer(self._pattern, data)
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)
