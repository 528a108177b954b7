"""The display board: shows the text of each datagram, and never answers."""

import asyncio

from demo.addresses import split
from demo.backends.inbox import Inbox


class DisplayBoard(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.inbox = Inbox("the display board")
        self._transport: asyncio.DatagramTransport | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, address: str) -> None:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=split(address))

    async def stop(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: object) -> None:
        text = data.decode(errors="replace")
        task = asyncio.create_task(self.inbox.put("datagram", text, text))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
