"""The gateway as users run it: a process with a routes.yaml."""

import asyncio
import json
import os
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.ports import free_port

ROOT = Path(__file__).parents[2]


class GatewayProcess:
    """admin: port of the admin endpoint."""

    def __init__(self, process: asyncio.subprocess.Process, admin: int, log: Path) -> None:
        self.process = process
        self.admin = admin
        self.log = log

    async def get(self, path: str) -> tuple[int, bytes]:
        """A page of the admin endpoint."""

        def fetch() -> tuple[int, bytes]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()

        return await asyncio.to_thread(fetch)

    async def ready(self, seconds: float = 15.0, probe: str = "/readyz") -> None:
        """Wait until it takes work, or whatever the probe tells; raises AssertionError with its log."""
        for _ in range(int(seconds / 0.05)):
            if self.process.returncode is not None:
                break
            try:
                status, _ = await self.get(probe)
            except OSError:
                status = 0
            if status == 200:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"the gateway is not ready:\n{self.log.read_text()}")

    async def terminate(self) -> int:
        """SIGTERM, and its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 30)


@asynccontextmanager
async def running_gateway(
    folder: Path, routes: Mapping[str, Any], environment: Mapping[str, str] | None = None, probe: str = "/readyz"
) -> AsyncIterator[GatewayProcess]:
    """`gateway run` on these routes (JSON is YAML), from when the probe succeeds, and ended on the way out. Relative
    file names start at folder."""
    admin = free_port()
    config = {"gateway": {"admin": {"listen": f"127.0.0.1:{admin}"}, **routes.get("gateway", {})}, **routes}
    config["gateway"] = {**routes.get("gateway", {}), "admin": {"listen": f"127.0.0.1:{admin}"}}
    file = folder / "routes.yaml"
    file.write_text(json.dumps(config))
    log = folder / "gateway.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from gateway.cli import main; main()",
            "run",
            "--config",
            str(file),
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
    gateway = GatewayProcess(process, admin, log)
    try:
        await gateway.ready(probe=probe)
        yield gateway
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
