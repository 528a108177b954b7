"""GraphQL peers of the Node world."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.node import ROOT, Node, NodeProcess

NODE = Node("graphql")
SHAPES = ROOT / "tests" / "schemas" / "shapes.graphql"


async def subscribe(
    transport: str,
    url: str,
    query: str,
    variables: Any = None,
    *,
    count: int = 0,
    headers: dict[str, str] | None = None,
) -> tuple[list[Any], Any]:
    """(the results, how it ended) of an operation. count: leave after so many results."""
    request = {"query": query, "variables": variables or {}}
    *results, end = await NODE.run("subscribe.mjs", transport, url, request, str(count or ""), headers or {})
    return results, end


class Yoga:
    """A running service. said: the lines that it printed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/graphql"
        self.said: list[Any] = []
        self._heard = asyncio.Event()

    async def listen(self, process: NodeProcess) -> None:
        async for line in process:
            self.said.append(line)
            self._heard.set()

    async def call(self, field: str) -> Any:
        """The next call of this field that was not asked for yet."""
        await self.until(lambda: any(line.get("field") == field for line in self.said))
        found = next(line for line in self.said if line.get("field") == field)
        self.said.remove(found)
        return found

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._heard.clear()
                await self._heard.wait()


@asynccontextmanager
async def yoga(schema: Path = SHAPES) -> AsyncIterator[Yoga]:
    """graphql-yoga and graphql-ws behind one port."""
    async with NODE.running("server.mjs", str(schema)) as process:
        service = Yoga((await process.line())["port"])
        reading = asyncio.create_task(service.listen(process))
        yield service
        reading.cancel()
