"""npm's ws, installed on first use into .cache/ of the repository."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "tests" / "peers" / "node" / "ws"
CACHE = ROOT / ".cache" / "node-ws"


def installed() -> Path:
    """The folder with the scripts and their library; skips the test, naming what is missing."""
    npm = shutil.which("npm")
    if shutil.which("node") is None or npm is None:
        pytest.skip("node and npm are needed for ws, the Node WebSocket peer")
    wanted = (SOURCE / "package.json").read_text()
    stamp = CACHE / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        CACHE.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCE / "package.json", CACHE)
        command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent"]
        done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=110, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm could not install ws: {done.stderr.strip()[:200]}")
        stamp.write_text(wanted)
    for script in SOURCE.glob("*.mjs"):
        shutil.copy(script, CACHE)
    return CACHE


async def call(url: str, **options: Any) -> dict[str, Any]:
    """What ws as a client made of one connection. options: see client.mjs."""
    process = await asyncio.create_subprocess_exec(
        "node",
        "client.mjs",
        url,
        json.dumps(options, ensure_ascii=False),
        cwd=CACHE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, problems = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, problems.decode()
    outcome: dict[str, Any] = json.loads(out.splitlines()[-1])
    return outcome


class NodeServer:
    """ws as a server; see server.mjs for its paths."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.port = port

    async def ended(self) -> dict[str, Any]:
        """How the next connection ended."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 10)
        outcome: dict[str, Any] = json.loads(line)
        return outcome


@asynccontextmanager
async def serving() -> AsyncIterator[NodeServer]:
    process = await asyncio.create_subprocess_exec("node", "server.mjs", cwd=CACHE, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield NodeServer(process, int(await asyncio.wait_for(process.stdout.readline(), 20)))
    finally:
        process.kill()
        await process.wait()
