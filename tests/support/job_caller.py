"""A caller over HTTP who submits jobs and asks how they stand."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any


async def ask(
    port: int, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Any, Mapping[str, str]]:
    """POST JSON, or GET where there is none."""

    def send() -> tuple[int, Any, Mapping[str, str]]:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", content, {"Content-Type": "application/json", **(headers or {})}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read()), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read()), dict(error.headers)

    return await asyncio.to_thread(send)


async def ended(port: int, path: str, seconds: float = 20.0) -> Any:
    """The status of a job that runs no longer."""
    for _ in range(int(seconds / 0.05)):
        status, job, _ = await ask(port, path)
        assert status == 200, job
        if job["state"] != "running":
            return job
        await asyncio.sleep(0.05)
    raise AssertionError(f"{path} still runs")
