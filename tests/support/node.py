"""Peers of the Node world: the scripts of one folder of tests/peers/node, with the libraries of its package.json.

The libraries are installed on first use into .cache/ of the repository. Scripts speak lines of JSON.
"""

import asyncio
import fcntl
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
_INSTALL: Final = ("install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent")


class Node:
    """One folder's scripts. They run in `folder`."""

    def __init__(self, name: str) -> None:
        self._source = ROOT / "tests" / "peers" / "node" / name
        self.folder = ROOT / ".cache" / f"node-{name}"
        self._installed = False

    def install(self) -> None:
        """Done by itself before a script runs. Skips the test, naming what is missing."""
        if self._installed:
            return
        package = (self._source / "package.json").read_text()
        libraries = " and ".join(json.loads(package)["dependencies"])
        npm = shutil.which("npm")
        if npm is None or shutil.which("node") is None:
            pytest.skip(f"{'npm' if npm is None else 'node'} is not on the PATH, which npm's {libraries} need")
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            stamp = self.folder / "installed.json"
            if not stamp.exists() or stamp.read_text() != package:
                shutil.copy(self._source / "package.json", self.folder)
                try:
                    done = subprocess.run(
                        (npm, *_INSTALL), cwd=self.folder, capture_output=True, text=True, timeout=100, check=False
                    )
                except subprocess.TimeoutExpired:
                    pytest.skip(f"npm did not install {libraries} in time")
                if done.returncode != 0:
                    pytest.skip(f"npm could not install {libraries}: {done.stderr.strip()[:200]}")
                stamp.write_text(package)
            for script in self._source.glob("*.*js"):
                shutil.copy(script, self.folder)
        self._installed = True

    async def run(self, script: str, *arguments: Any, seconds: float = 60) -> list[Any]:
        """The lines that a script says until it ends, which must be well and within so many seconds."""
        async with self.running(script, *arguments) as process:
            async with asyncio.timeout(seconds):
                said = [line async for line in process]
                assert await process.process.wait() == 0, process.problems()
        return said

    @asynccontextmanager
    async def running(self, script: str, *arguments: Any) -> "AsyncIterator[NodeProcess]":
        """A script that is killed in the end. Arguments that are no text go as JSON."""
        self.install()
        texts = [one if isinstance(one, str) else json.dumps(one, ensure_ascii=False) for one in arguments]
        pipe = asyncio.subprocess.PIPE
        with tempfile.TemporaryFile() as problems:
            process = await asyncio.create_subprocess_exec(
                "node", script, *texts, cwd=self.folder, stdin=pipe, stdout=pipe, stderr=problems, limit=2**24
            )
            try:
                yield NodeProcess(process, problems)
            finally:
                if process.returncode is None:
                    process.kill()
                await process.communicate()


class NodeProcess:
    """A running script. Iterate it for what it says."""

    def __init__(self, process: asyncio.subprocess.Process, problems: IO[bytes]) -> None:
        self.process = process
        self._problems = problems

    def __aiter__(self) -> "NodeProcess":
        return self

    async def __anext__(self) -> Any:
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        if not line:
            raise StopAsyncIteration
        return json.loads(line)

    async def line(self) -> Any:
        """What it says next."""
        async with asyncio.timeout(20):
            async for said in self:
                return said
        raise AssertionError(f"the script ended: {self.problems()}")

    async def send(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")
        await self.process.stdin.drain()

    def problems(self) -> str:
        """What it wrote to stderr."""
        self._problems.seek(0)
        return self._problems.read().decode(errors="replace")
