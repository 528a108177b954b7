"""A protocol that the gateway does not ship: one JSON message per line over TCP, request then reply.

It is all that a newcomer writes to add a protocol; nothing under gateway/ knows of it.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

from pydantic import Field

from gateway import port
from gateway.codecs.json.format import JsonFormat
from gateway.message import Context, Message
from gateway.net.address import split_host_port
from gateway.net.network import Network
from gateway.pattern import Pattern
from gateway.port import Binding, Contract, ContractError, Service
from gateway.status import Code, Failure


class LinesEndpoint(port.Endpoint):
    listen: str = Field(default="", description="Inbound: host:port to listen on.")
    target: str = Field(default="", description="Outbound: host:port to connect to.")


class LinesAddress(port.Address):
    pass


class LinesInbound:
    unready = ""

    def __init__(self, name: str, endpoint: LinesEndpoint, network: Network) -> None:
        if not endpoint.listen:
            raise ContractError("listen: is missing")
        self._listen = endpoint.listen
        self._service: Service | None = None
        self._server: asyncio.Server | None = None

    async def load(self) -> None:
        pass

    def contract(self, address: LinesAddress) -> Contract:
        return Contract(
            patterns=frozenset({Pattern.REQUEST_REPLY}), format=JsonFormat(), claim=f"lines on {self._listen}"
        )

    def bind(self, bindings: Sequence[Binding]) -> None:
        self._service = bindings[0].service if bindings else None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, *split_host_port(self._listen))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for line in reader:
            try:
                if self._service is None:
                    raise Failure(Code.UNIMPLEMENTED, "no route")
                reply = await self._service.call(Message(line.strip()), Context())
                writer.write(reply.body + b"\n")
            except Failure as failure:
                writer.write(json.dumps({"error": failure.text}).encode() + b"\n")
        writer.close()

    async def drain(self) -> None:
        if self._server is not None:
            self._server.close()

    async def stop(self) -> None:
        await self.drain()


class LinesOutbound:
    unready = ""

    def __init__(self, name: str, endpoint: LinesEndpoint, network: Network) -> None:
        self._target = endpoint.target

    async def load(self) -> None:
        pass

    def contract(self, address: LinesAddress) -> Contract:
        return Contract(patterns=frozenset({Pattern.REQUEST_REPLY}), format=JsonFormat())

    def service(self, address: LinesAddress, contract: Contract, pattern: Pattern) -> Service:
        return LinesService(self._target)

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass


class LinesService:
    def __init__(self, target: str) -> None:
        self._target = target

    async def call(self, request: Message, context: Context) -> Message:
        try:
            reader, writer = await asyncio.open_connection(*split_host_port(self._target))
        except OSError:
            raise Failure(Code.UNAVAILABLE, "the upstream can't be reached", sent=False) from None
        writer.write(request.body + b"\n")
        line = await reader.readline()
        writer.close()
        return Message(line.strip())

    def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        raise Failure(Code.UNIMPLEMENTED, "lines have no streams")


_UNARY = frozenset({Pattern.REQUEST_REPLY})
ADAPTER = port.Adapter(
    protocol="lines",
    summary="One JSON message per line",
    endpoint=LinesEndpoint,
    inbound=port.Side(address=LinesAddress, open=LinesInbound, patterns=_UNARY),
    outbound=port.Side(address=LinesAddress, open=LinesOutbound, patterns=_UNARY),
)

__all__: list[Any] = ["ADAPTER"]
