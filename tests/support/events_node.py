"""CloudEvents' and Standard Webhooks' own packages for Node, installed on first use into .cache/ of the repository."""

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
SOURCE = ROOT / "tests" / "peers" / "node" / "events"
CACHE = ROOT / ".cache" / "node-events"


def installed() -> Path:
    """The folder with peer.mjs and its libraries; skips the test, naming what is missing."""
    npm = shutil.which("npm")
    if shutil.which("node") is None or npm is None:
        pytest.skip("node and npm are needed for the Node CloudEvents packages")
    wanted = (SOURCE / "package.json").read_text()
    stamp = CACHE / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        CACHE.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCE / "package.json", CACHE)
        command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent"]
        done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=110, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm could not install cloudevents and standardwebhooks: {done.stderr.strip()[:200]}")
        stamp.write_text(wanted)
    shutil.copy(SOURCE / "peer.mjs", CACHE)
    return CACHE


class NodePeer:
    """url: where it receives webhooks."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.url = ""

    async def line(self) -> Any:
        """What it says next."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 20)
        assert line, "the Node peer ended"
        return json.loads(line)

    async def send(self, mode: str) -> None:
        """Let it send an event: structured, binary or batch."""
        assert self.process.stdin is not None
        self.process.stdin.write(mode.encode() + b"\n")
        await self.process.stdin.drain()


@asynccontextmanager
async def node_peer(url: str, secret: str) -> AsyncIterator[NodePeer]:
    """A peer that sends to this URL and shares this secret."""
    folder = installed()
    process = await asyncio.create_subprocess_exec(
        "node", "peer.mjs", url, secret, cwd=folder, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        peer = NodePeer(process)
        peer.url = (await peer.line())["url"]
        yield peer
    finally:
        process.kill()
        await process.wait()
