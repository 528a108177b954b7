"""Apache's Thrift for Node, installed on first use into .cache/ of the repository."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.thrift_apache import EVERYTHING

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests" / "peers" / "node" / "thrift"
CACHE = ROOT / ".cache" / "node-thrift"


def installed() -> Path:
    """The folder with peer.js, its library and its generated code; skips the test, naming what is missing."""
    npm, compiler = shutil.which("npm"), shutil.which("thrift")
    if shutil.which("node") is None or npm is None:
        pytest.skip("node and npm are needed for Thrift's Node peers")
    if compiler is None:
        pytest.skip("Apache's Thrift compiler (Debian: thrift-compiler) is missing")
    wanted = (SOURCE / "package.json").read_text()
    stamp = CACHE / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        CACHE.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCE / "package.json", CACHE)
        command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent"]
        done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=110, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm could not install thrift: {done.stderr.strip()[:200]}")
        stamp.write_text(wanted)
    shutil.copy(SOURCE / "peer.js", CACHE)
    (CACHE / "gen").mkdir(exist_ok=True)
    subprocess.run(
        [compiler, "-r", "--gen", "js:node,es6", "-out", str(CACHE / "gen"), str(EVERYTHING)],
        check=True,
        capture_output=True,
    )
    return CACHE


async def call(places: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the clients made of their calls."""
    async with _node("call", places) as process:
        out, problems = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, problems.decode()
        told: list[dict[str, Any]] = json.loads(out.splitlines()[-1])
        return told


@asynccontextmanager
async def serving(places: list[dict[str, Any]]) -> AsyncIterator[list[int]]:
    """Ports of the servers."""
    async with _node("serve", places) as process:
        assert process.stdout is not None and process.stdin is not None
        line = await asyncio.wait_for(process.stdout.readline(), 20)
        yield json.loads(line)
        process.stdin.close()


@asynccontextmanager
async def _node(verb: str, places: list[dict[str, Any]]) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        "node", "peer.js", verb, json.dumps(places), cwd=CACHE, stdin=pipe, stdout=pipe, stderr=pipe
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
