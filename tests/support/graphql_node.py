"""GraphQL peers of the Node world, installed on first use into .cache/ of the repository."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests" / "peers" / "node" / "graphql"
CACHE = ROOT / ".cache" / "node-graphql"
SHAPES = ROOT / "tests" / "schemas" / "shapes.graphql"


def installed() -> Path:
    """The folder with the scripts and their libraries; skips the test, naming what is missing."""
    npm = shutil.which("npm")
    if shutil.which("node") is None or npm is None:
        pytest.skip("node and npm are needed for the Node GraphQL peers")
    wanted = (SOURCE / "package.json").read_text()
    stamp = CACHE / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        CACHE.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCE / "package.json", CACHE)
        command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent"]
        done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=110, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm could not install the GraphQL peers: {done.stderr.strip()[:200]}")
        stamp.write_text(wanted)
    for script in SOURCE.glob("*.mjs"):
        shutil.copy(script, CACHE)
    return CACHE


async def run(script: str, *arguments: str) -> list[Any]:
    """The JSON lines that a script prints."""
    process = await asyncio.create_subprocess_exec(
        "node", script, *arguments, cwd=CACHE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, problems = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, problems.decode()
    return [json.loads(line) for line in out.splitlines()]


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
    request = json.dumps({"query": query, "variables": variables or {}})
    *results, end = await run(
        "subscribe.mjs", transport, url, request, str(count) if count else "", json.dumps(headers or {})
    )
    return results, end


class Yoga:
    """A running service. said: the lines that it printed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/graphql"
        self.said: list[Any] = []
        self._heard = asyncio.Event()

    def hear(self, line: Any) -> None:
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
    process = await asyncio.create_subprocess_exec(
        "node", "server.mjs", str(schema), cwd=CACHE, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        first = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
        service = Yoga(first["port"])
        reading = asyncio.create_task(_listen(process.stdout, service))
        yield service
        reading.cancel()
    finally:
        process.kill()
        await process.wait()


async def _listen(out: asyncio.StreamReader, service: Yoga) -> None:
    async for line in out:
        service.hear(json.loads(line))
