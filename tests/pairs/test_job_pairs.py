"""Every protocol that replies is an upstream of jobs, and every one whose callers are answered submits them."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.answers import answers
from support.job_caller import ask, ended
from support.pairs import Case, running
from support.peers import Backend, Caller, load_peer
from support.ports import free_port
from support.specimen import DETAIL, exact, refused, specimen, without_nulls
from support.specimen_json import Dialect, from_json

from gateway import registry
from gateway.pattern import Pattern

ASKED = Case(Pattern.REQUEST_REPLY, Pattern.REQUEST_REPLY, None, None)
ACCEPTED = Case(Pattern.REQUEST_REPLY, Pattern.ONE_WAY, None, None)


def _protocols(*, inbound: bool) -> list[str]:
    sides = {name: registry.adapter(name) for name in registry.protocols()}
    return [
        name
        for name, adapter in sides.items()
        if (side := adapter.inbound if inbound else adapter.outbound) is not None
        and Pattern.REQUEST_REPLY in side.patterns
    ]


class Jobs:
    """A gateway between a caller who submits and a backend that serves jobs; their status is asked for over HTTP."""

    def __init__(self, caller: Caller, backend: Backend, dialect: Dialect, port: int) -> None:
        self.caller = caller
        self.backend = backend
        self._dialect = dialect
        self.port = port

    async def submit(self, sent: Any) -> str:
        (receipt,) = await self.caller.call(ACCEPTED, [sent])
        return str(receipt.get("job") or receipt["id"])

    async def outcome(self, job: str) -> Any:
        return await ended(self.port, f"/jobs/{job}")

    def reply(self, told: Any) -> Any:
        value = from_json(told, self._dialect)
        return exact(without_nulls([value]) if getattr(self.backend, "null_is_absent", False) else [value])

    def expected(self, sent: Any) -> Any:
        found = answers(Pattern.REQUEST_REPLY, [sent])
        return exact(without_nulls(found) if getattr(self.backend, "null_is_absent", False) else found)


@asynccontextmanager
async def jobs(source: str, target: str, folder: Path) -> AsyncIterator[Jobs]:
    caller_type, backend_type = load_peer(source).Caller, load_peer(target).Backend
    dialect = caller_type.dialect or backend_type.dialect or Dialect.PROTO
    port = free_port()
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(backend_type(folder, [ASKED], dialect, ""))
        caller = await stack.enter_async_context(caller_type(folder, [ACCEPTED], dialect, ""))
        (left, left_endpoint, left_address), (right, right_endpoint, right_address) = (
            caller.source(ACCEPTED),
            backend.target(ASKED),
        )
        route: dict[str, Any] = {
            "from": {"endpoint": left, **left_address},
            "to": {"endpoint": right, **right_address},
            "job": {"status": {"endpoint": "status", "method": "GET", "path": "/jobs/{job}"}},
        }
        if caller.typed:
            route["reply"] = {"map": {"id": "$params.job"}}
        config = {
            "gateway": {
                "admin": {"enabled": False},
                "access_log": False,
                "deadline": "20s",
                "jobs": {"file": str(folder / "jobs.sqlite")},
            },
            "endpoints": {
                left: left_endpoint,
                right: right_endpoint,
                "status": {"protocol": "http", "listen": f"127.0.0.1:{port}"},
            },
            "routes": {"job": route},
        }
        file = folder / "routes.yaml"
        file.write_text(json.dumps(config, indent=1))
        await stack.enter_async_context(running(file))
        yield Jobs(caller, backend, dialect, port)


@pytest.mark.parametrize("target", _protocols(inbound=False))
async def test_every_upstream(target: str, tmp_path: Path) -> None:
    """It gets what was submitted, and its reply, or its refusal, is the outcome."""
    async with jobs("http", target, tmp_path) as served:
        good, bad = await asyncio.gather(served.submit(specimen(1)), served.submit(refused()))
        job = await served.outcome(good)
        assert (job["state"], served.reply(job["reply"])) == ("done", served.expected(specimen(1)))
        code, declared = served.backend.refusal(ASKED)
        failed = await served.outcome(bad)
        assert (failed["state"], failed["failure"]["code"]) == ("failed", code.name)
        if declared:
            (detail,) = failed["failure"]["details"]
            assert {name: type(value)(detail[name]) for name, value in DETAIL.items()} == DETAIL
        assert exact([specimen(1)]) in [exact(call) for call in served.backend.record.calls]


@pytest.mark.parametrize("source", _protocols(inbound=True))
async def test_every_caller(source: str, tmp_path: Path) -> None:
    """It is told the id, whatever form its receipts have."""
    async with jobs(source, "http", tmp_path) as served:
        job = await served.outcome(await served.submit(specimen(1)))
        assert (job["state"], served.reply(job["reply"])) == ("done", served.expected(specimen(1)))


async def test_http_is_told_where_to_ask(tmp_path: Path) -> None:
    """Only where both addresses are of one endpoint does a path lead there."""
    async with jobs("http", "http", tmp_path) as served:
        (receipt,) = await served.caller.call(ACCEPTED, [specimen(1)])
        assert receipt["status"] == f"/jobs/{receipt['job']}"
        status, job, headers = await ask(served.port, receipt["status"])
        assert (status, job["job"]) == (200, receipt["job"])
        assert "Location" not in headers
