"""SOAP clients of the Node world, installed on first use into .cache/ of the repository."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
SOURCE = ROOT / "tests" / "peers" / "node" / "soap"
CACHE = ROOT / ".cache" / "node-soap"


def installed() -> Path:
    """The folder with call.mjs and its libraries; skips the test, naming what is missing."""
    npm = shutil.which("npm")
    if shutil.which("node") is None or npm is None:
        pytest.skip("node and npm are needed for the Node SOAP clients")
    wanted = (SOURCE / "package.json").read_text()
    stamp = CACHE / "installed.json"
    if not stamp.exists() or stamp.read_text() != wanted:
        CACHE.mkdir(parents=True, exist_ok=True)
        shutil.copy(SOURCE / "package.json", CACHE)
        command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent"]
        done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=110, check=False)
        if done.returncode != 0:
            pytest.skip(f"npm could not install soap and strong-soap: {done.stderr.strip()[:200]}")
        stamp.write_text(wanted)
    shutil.copy(SOURCE / "call.mjs", CACHE)
    return CACHE


async def call(library: str, wsdl: str, operation: str, arguments: Any, version: str = "1.1") -> dict[str, Any]:
    """What the library made of one call: {"result": ...} or {"fault": ..., "message": ...}."""
    process = await asyncio.create_subprocess_exec(
        "node",
        "call.mjs",
        library,
        wsdl,
        operation,
        json.dumps(arguments),
        version,
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
    answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    return answer
