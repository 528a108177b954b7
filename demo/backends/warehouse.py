"""The warehouse controller: lines of fixed columns over TCP."""

import asyncio

from demo.addresses import split
from demo.backends.goods import GOODS
from demo.backends.inbox import Inbox

COUNTED = "20250601"


class WarehouseController:
    """Asked `QTEA   `, it answers `RTEA   A-01` and so on."""

    def __init__(self) -> None:
        self.inbox = Inbox("the warehouse controller")
        self._server: asyncio.Server | None = None

    async def start(self, address: str) -> None:
        self._server = await asyncio.start_server(self._serve, *split(address))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shelves = {sku: f"A-{number:02}" for number, sku in enumerate(GOODS, 1)}
        try:
            while line := await reader.readline():
                text = line.decode("ascii").rstrip("\r\n")
                await self.inbox.put("query", repr(text), text)
                sku = text[1:].rstrip()
                pieces = GOODS[sku].available if sku in GOODS else 0
                writer.write(f"R{sku:<6}{shelves.get(sku, ''):<4}{pieces:05}{COUNTED}\r\n".encode("ascii"))
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()
