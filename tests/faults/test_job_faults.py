"""Jobs: accepted means kept. A gateway process in front of an upstream that answers when it is told to."""

import asyncio
import json
import os
import signal
import sqlite3
import urllib.error
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.gateway_process import GatewayProcess, running_gateway
from support.grpc_orders import OrdersServer
from support.job_caller import ask, ended
from support.ports import free_port
from support.until import until


class Upstream:
    """A service that answers requests by what `answers` says of their `case`; an absent one waits.

    seen: the message ids of each case's requests, in order.
    """

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.seen: dict[str, list[str]] = {}
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        case = (await request.json())["case"]
        self.seen.setdefault(case, []).append(request.headers["message-id"])
        while case not in self.answers:
            await asyncio.sleep(0.01)
        status, body = self.answers[case]
        kind = "application/json" if status < 300 else "application/problem+json"
        echoed = {name: value for name, value in request.headers.items() if name.lower().startswith("x-")}
        return web.Response(status=status, body=json.dumps(body), content_type=kind, headers=echoed)


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    service = Upstream()
    application = web.Application()
    application.router.add_post("/quotes", service.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        service.port = runner.addresses[0][1]
        yield service
    finally:
        await runner.cleanup()


def routes(port: int, target: int, *, deadline: str = "1m", keep: str = "1m", **jobs: Any) -> dict[str, Any]:
    return {
        "gateway": {"jobs": {"file": "jobs.sqlite", **jobs}},
        "endpoints": {
            "web": {"protocol": "http", "listen": f"127.0.0.1:{port}"},
            "back": {"protocol": "http", "target": f"http://127.0.0.1:{target}"},
        },
        "routes": {
            "quote": {
                "from": {"endpoint": "web", "path": "/quotes"},
                "to": {"endpoint": "back", "path": "/quotes"},
                "deadline": deadline,
                "job": {"status": {"endpoint": "web", "method": "GET", "path": "/quotes/jobs/{job}"}, "keep": keep},
            }
        },
    }


async def submit(port: int, case: str, headers: Mapping[str, str] | None = None) -> str:
    """The path of the accepted job's status."""
    status, receipt, told = await ask(port, "/quotes", {"case": case}, headers)
    assert status == 202, receipt
    assert receipt == {"job": receipt["job"], "status": f"/quotes/jobs/{receipt['job']}"}
    assert told["Location"] == receipt["status"]
    return str(receipt["status"])


async def metric(gateway: GatewayProcess, line: str) -> bool:
    return line.encode() in (await gateway.get("/metrics"))[1]


async def test_a_job_from_beginning_to_end(tmp_path: Path) -> None:
    port = free_port()
    async with upstream() as service, running_gateway(tmp_path, routes(port, service.port)) as gateway:
        path = await submit(port, "a")
        job = path.rpartition("/")[2]
        assert (await ask(port, path))[:2] == (200, {"job": job, "state": "running"})
        assert await metric(gateway, 'gateway_jobs{route="quote",state="running"} 1.0')
        service.answers["a"] = (200, {"price": 12345678901234567890, "note": None})
        done = {"job": job, "state": "done", "reply": {"price": 12345678901234567890, "note": None}}
        assert await ended(port, path) == done
        assert (await ask(port, path))[1] == done, "it can be asked for again"
        assert service.seen == {"a": [job]}
        assert await metric(gateway, 'gateway_jobs{route="quote",state="done"} 1.0')
        status, problem, _ = await ask(port, "/quotes/jobs/0123")
        assert (status, problem["code"]) == (404, "NOT_FOUND")
        assert oct((tmp_path / "jobs.sqlite").stat().st_mode)[-3:] == "600"


async def test_the_upstreams_failure_is_told(tmp_path: Path) -> None:
    port = free_port()
    problem = {"detail": "sold out", "code": "FAILED_PRECONDITION", "details": [{"type": "OutOfStock", "sku": "A1"}]}
    async with upstream() as service, running_gateway(tmp_path, routes(port, service.port)):
        service.answers["a"] = (400, problem)
        job = await ended(port, await submit(port, "a"))
    assert job["state"] == "failed"
    assert job["failure"] == {
        "code": "FAILED_PRECONDITION",
        "message": "sold out",
        "details": [{"type": "OutOfStock", "sku": "A1"}],
    }


async def test_headers_of_both_ways_cross(tmp_path: Path) -> None:
    """Those that may: the request's to the upstream, the reply's to whoever asks for the status."""
    port = free_port()
    async with upstream() as service:
        config = routes(port, service.port)
        for endpoint in ("web", "back"):
            config["endpoints"][endpoint]["forward_headers"] = ["x-tenant", "message-id"]
        async with running_gateway(tmp_path, config):
            service.answers["a"] = (200, {})
            given = {"X-Tenant": "zürich".encode().decode("latin-1"), "Message-Id": "mine", "X-Other": "no"}
            path = await submit(port, "a", headers=given)
            await ended(port, path)
            _, _, headers = await ask(port, path)
    assert service.seen["a"] == ["mine"], "a caller's own id is the message's"
    assert headers["x-tenant"] == given["X-Tenant"]
    assert "x-other" not in {name.lower() for name in headers}


async def test_an_upstream_that_is_away_is_tried_again(tmp_path: Path) -> None:
    port = free_port()
    async with upstream() as service, running_gateway(tmp_path, routes(port, service.port)):
        service.answers["a"] = (503, {"detail": "not now"})
        path = await submit(port, "a")
        await until(lambda: len(service.seen.get("a", ())) >= 3)
        service.answers["a"] = (200, {"price": 1})
        assert (await ended(port, path))["reply"] == {"price": 1}
        assert len(set(service.seen["a"])) == 1


async def test_deadline(tmp_path: Path) -> None:
    port = free_port()
    async with upstream() as service, running_gateway(tmp_path, routes(port, service.port, deadline="400ms")):
        service.answers["busy"] = (503, {"detail": "not now"})
        silent, busy = await submit(port, "silent"), await submit(port, "busy")
        for path, end in ((silent, "no answer within the job's deadline"), (busy, "at last UNAVAILABLE: not now")):
            job = await ended(port, path)
            assert (job["state"], job["failure"]["code"]) == ("failed", "DEADLINE_EXCEEDED")
            assert job["failure"]["message"].endswith(end)


async def test_a_job_expires(tmp_path: Path) -> None:
    port = free_port()
    async with upstream() as service, running_gateway(tmp_path, routes(port, service.port, keep="500ms")) as gateway:
        service.answers["a"] = (200, {})
        path = await submit(port, "a")
        await ended(port, path)
        await asyncio.sleep(0.6)
        status, problem, _ = await ask(port, path)
        assert (status, problem["code"]) == (404, "NOT_FOUND")
        for _ in range(100):
            if await metric(gateway, 'gateway_jobs{route="quote",state="done"} 0.0'):
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError("it was never removed")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_what_was_accepted_survives_the_process(tmp_path: Path, how: signal.Signals) -> None:
    """Killed between 202 and the reply, or ended properly: the next process calls again, as the same message."""
    port = free_port()
    async with upstream() as service:
        config = routes(port, service.port)
        async with running_gateway(tmp_path, config) as gateway:
            service.answers["before"] = (200, {"price": 1})
            before = await submit(port, "before")
            await ended(port, before)
            paths = [await submit(port, f"case {number}") for number in range(20)]
            await until(lambda: len(service.seen) == 21)
            os.kill(gateway.process.pid, how)
            await asyncio.wait_for(gateway.process.wait(), 20)
            if how is signal.SIGTERM:
                assert "20 jobs are left to the next start" in gateway.log.read_text()
        for number in range(20):
            service.answers[f"case {number}"] = (200, {"price": number})
        async with running_gateway(tmp_path, config) as gateway:
            for number, path in enumerate(paths):
                job = await ended(port, path)
                assert (job["state"], job["reply"]) == ("done", {"price": number})
            assert (await ended(port, before))["reply"] == {"price": 1}
            assert await metric(gateway, 'gateway_jobs{route="quote",state="done"} 21.0')
            assert await gateway.terminate() == 0
        assert len(service.seen["before"]) == 1
        for number, path in enumerate(paths):
            assert service.seen[f"case {number}"] == [path.rpartition("/")[2]] * 2
    with sqlite3.connect(tmp_path / "jobs.sqlite") as file:
        assert file.execute("SELECT count(*) FROM jobs WHERE request IS NOT NULL").fetchone() == (0,)


async def test_killed_at_any_time(tmp_path: Path) -> None:
    """Each id that a caller was told is there after the crash, and ends."""
    port = free_port()
    async with upstream() as service:
        config = routes(port, service.port)
        told: dict[str, str] = {}
        for turn in range(3):
            async with running_gateway(tmp_path, config) as gateway:

                async def load(turn: int = turn) -> None:
                    for number in range(10_000):
                        case = f"{turn}.{number}"
                        service.answers[case] = (200, {"case": case})
                        try:
                            told[case] = await submit(port, case)
                        except (OSError, urllib.error.URLError):
                            return

                loading = asyncio.create_task(load())
                await until(lambda turn=turn: f"{turn}.{20 + 7 * turn}" in told)
                gateway.process.kill()
                await loading
        async with running_gateway(tmp_path, config):
            for case, path in told.items():
                job = await ended(port, path)
                assert (job["state"], job["reply"]) == ("done", {"case": case})
        for case, path in told.items():
            assert set(service.seen[case]) == {path.rpartition("/")[2]}


async def test_deadline_that_passed_while_nobody_ran(tmp_path: Path) -> None:
    port = free_port()
    async with upstream() as service:
        config = routes(port, service.port, deadline="1s")
        async with running_gateway(tmp_path, config):
            path = await submit(port, "a")
            await until(lambda: "a" in service.seen)
        await asyncio.sleep(1.1)
        async with running_gateway(tmp_path, config):
            assert (await ended(port, path))["failure"]["code"] == "DEADLINE_EXCEEDED"
        assert len(service.seen["a"]) == 1


async def test_a_route_that_is_not_ready_at_the_restart(tmp_path: Path) -> None:
    """Its jobs go on once the upstream tells its contract."""
    port, target = free_port(), free_port()
    config = routes(port, 1)
    config["endpoints"]["back"] = {"protocol": "grpc", "target": f"127.0.0.1:{target}", "reflection": True}
    config["routes"]["quote"]["to"] = {"endpoint": "back", "method": "shop.orders.v1.Orders/PlaceOrder"}
    with OrdersServer(target, reflection="v1") as server:
        async with running_gateway(tmp_path, config):
            _, receipt, _ = await ask(port, "/quotes", {"customerId": "slow"})
            await asyncio.to_thread(server.shop.started.wait, 10)
    async with running_gateway(tmp_path, config):
        status, problem, _ = await ask(port, receipt["status"])
        assert (status, problem["code"]) == (503, "UNAVAILABLE")
        with OrdersServer(target, reflection="v1") as server:
            server.shop.cancelled.set()
            for _ in range(100):
                if (await ask(port, receipt["status"]))[0] == 200:
                    break
                await asyncio.sleep(0.05)
            job = await ended(port, receipt["status"])
    assert (job["state"], job["reply"]["customerId"]) == ("done", "slow")
    assert server.shop.metadata["message-id"] == receipt["job"]


async def test_a_target_that_became_another_one(tmp_path: Path) -> None:
    """A request that was kept for one protocol is not sent in another."""
    port, other = free_port(), free_port()
    async with upstream() as service:
        config = routes(port, service.port)
        async with running_gateway(tmp_path, config):
            path = await submit(port, "a")
        config["endpoints"]["back"] = {"protocol": "websocket", "target": f"ws://127.0.0.1:{other}"}
        config["routes"]["quote"]["to"] = {"endpoint": "back", "path": "/"}
        async with running_gateway(tmp_path, config):
            failure = (await ended(port, path))["failure"]
    assert failure["code"] == "FAILED_PRECONDITION"
    assert "it is http json, and the route takes websocket json" in failure["message"]


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        ({"max_running": 2}, "2 jobs are running, and no more may"),
        ({"max_kept": 2}, "2 jobs are kept, and no more may be"),
    ],
)
async def test_no_more_than_so_many(tmp_path: Path, limit: dict[str, int], text: str) -> None:
    port = free_port()
    async with upstream() as service, running_gateway(tmp_path, routes(port, service.port, **limit)):
        for case in ("a", "b"):
            await submit(port, case)
        status, problem, headers = await ask(port, "/quotes", {"case": "c"})
        assert (status, problem["code"], problem["detail"]) == (429, "RESOURCE_EXHAUSTED", text)
        assert "Retry-After" in headers
        assert "c" not in service.seen


async def test_a_full_store(tmp_path: Path) -> None:
    """New jobs are refused; those that run have room for their replies; a reply without room is told."""
    port = free_port()
    config = routes(port, 1, deadline="3s", max_bytes=1024 * 1024)
    config["endpoints"]["web"]["max_body_bytes"] = 1024 * 1024
    async with upstream() as service:
        config["endpoints"]["back"]["target"] = f"http://127.0.0.1:{service.port}"
        async with running_gateway(tmp_path, config):
            small, huge = await submit(port, "small"), await submit(port, "huge")
            service.answers["filler"] = (200, {"data": "x" * 100_000})
            accepted = 0
            while True:
                status, problem, _ = await ask(port, "/quotes", {"case": "filler", "data": "x" * 100_000})
                if status != 202:
                    break
                accepted += 1
            assert (status, problem["code"], problem["detail"]) == (429, "RESOURCE_EXHAUSTED", "the job store is full")
            assert 5 <= accepted <= 8
            service.answers["small"] = (200, {"data": "y" * 50_000})
            service.answers["huge"] = (200, {"data": "z" * 900_000})
            assert (await ended(port, small))["reply"] == {"data": "y" * 50_000}
            job = await ended(port, huge)
            assert (job["state"], job["failure"]["code"]) == ("failed", "RESOURCE_EXHAUSTED")
            assert "no room to keep the upstream's reply" in job["failure"]["message"]


async def test_two_processes_and_one_file(tmp_path: Path) -> None:
    port = free_port()
    async with upstream() as service, running_gateway(tmp_path, routes(port, service.port)):
        second = routes(free_port(), service.port)
        second["gateway"]["jobs"]["file"] = str(tmp_path / "jobs.sqlite")
        (tmp_path / "second").mkdir()
        with pytest.raises(AssertionError, match="another process uses it"):
            async with running_gateway(tmp_path / "second", second):
                pass
