"""amqplib, the AMQP client of the Node world, installed on first use into .cache/ of the repository."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "tests" / "peers" / "node" / "amqp"
CACHE = ROOT / ".cache" / "node-amqp"


def installed() -> Path:
    """The folder with peer.mjs and its library; skips the test, naming what is missing."""
    npm = shutil.which("npm")
    if shutil.which("node") is None or npm is None:
        pytest.skip("node and npm are needed for the Node AMQP client")
    wanted = (SOURCE / "package.json").read_text()
    stamp = CACHE / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        CACHE.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCE / "package.json", CACHE)
        command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent"]
        done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=110, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm could not install amqplib: {done.stderr.strip()[:200]}")
        stamp.write_text(wanted)
    shutil.copy(SOURCE / "peer.mjs", CACHE)
    return CACHE


async def _spawn(url: str, command: str, arguments: Any) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        "node", "peer.mjs", url, command, json.dumps(arguments), cwd=CACHE, stdin=pipe, stdout=pipe, stderr=pipe
    )


async def run(url: str, command: str, **arguments: Any) -> Any:
    """What amqplib made of one command of peer.mjs."""
    process = await _spawn(url, command, arguments)
    try:
        out, problems = await asyncio.wait_for(process.communicate(), 20)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, problems.decode()
    return json.loads(out)


@asynccontextmanager
async def serving(url: str, queue: str) -> AsyncGenerator[None, None]:
    """amqplib answers what is asked at the queue."""
    process = await _spawn(url, "serve", {"queue": queue})
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"ready\n"
        yield
    finally:
        process.kill()
        await process.communicate()
