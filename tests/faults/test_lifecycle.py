"""A gateway process from start to end: peers that are not there yet, ports that are taken, SIGTERM under load."""

import asyncio
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from support.gateway_process import GatewayProcess, running_gateway
from support.grpc_orders import OrdersServer
from support.ports import free_port

ROOT = Path(__file__).parents[2]
PLACE = "shop.orders.v1.Orders/PlaceOrder"


async def call(port: int, path: str, body: Any) -> tuple[int, Any]:
    """POST JSON to the gateway."""

    def post() -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    return await asyncio.to_thread(post)


async def until_ok(port: int, path: str, body: Any) -> Any:
    for _ in range(200):
        status, reply = await call(port, path, body)
        if status == 200:
            return reply
        await asyncio.sleep(0.05)
    raise AssertionError(f"still {status}: {reply}")


def routes(web_port: int, endpoint: dict[str, Any], to: dict[str, Any]) -> dict[str, Any]:
    return {
        "endpoints": {"web": {"protocol": "http", "listen": f"127.0.0.1:{web_port}"}, "back": endpoint},
        "routes": {"place": {"from": {"endpoint": "web", "path": "/orders"}, "to": {"endpoint": "back", **to}}},
    }


async def test_backend_that_comes_up_later(tmp_path: Path) -> None:
    port, target = free_port(), free_port()
    endpoint = {"protocol": "grpc", "target": f"127.0.0.1:{target}", "proto": str(ROOT / "schemas/orders.proto")}
    async with running_gateway(tmp_path, routes(port, endpoint, {"method": PLACE})) as gateway:
        status, problem = await call(port, "/orders", {"customerId": "ada"})
        assert (status, problem["code"]) == (503, "UNAVAILABLE")
        with OrdersServer(target):
            assert (await until_ok(port, "/orders", {"customerId": "ada"}))["customerId"] == "ada"
        assert await gateway.terminate() == 0


async def test_contract_that_comes_up_later(tmp_path: Path) -> None:
    """With reflection the route's very type is unknown until the backend is there."""
    port, target = free_port(), free_port()
    endpoint = {"protocol": "grpc", "target": f"127.0.0.1:{target}", "reflection": True}
    async with running_gateway(tmp_path, routes(port, endpoint, {"method": PLACE})) as gateway:
        status, problem = await call(port, "/orders", {"customerId": "ada"})
        assert (status, problem["code"]) == (503, "UNAVAILABLE")
        assert "place" in problem["detail"]
        assert "place" in json.loads((await gateway.get("/readyz"))[1])["pending"]
        assert b'gateway_route_pending{route="place"} 1.0' in (await gateway.get("/metrics"))[1]
        with OrdersServer(target, reflection="v1"):
            await until_ok(port, "/orders", {"customerId": "ada"})
            status, problem = await call(port, "/orders", {"customerIdd": "ada"})
            assert (status, problem["path"]) == (400, "$.customerIdd")
        assert "pending" not in json.loads((await gateway.get("/readyz"))[1])


async def test_it_tells_that_it_starts(tmp_path: Path) -> None:
    """The contract is asked of a peer that takes the connection and says nothing."""
    taken: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda reader, writer: taken.append(writer), "127.0.0.1", 0)
    endpoint = {"protocol": "grpc", "target": f"127.0.0.1:{silent.sockets[0].getsockname()[1]}", "reflection": True}
    config = routes(free_port(), endpoint, {"method": PLACE})
    async with running_gateway(tmp_path, config, probe="/healthz") as gateway:
        status, told = await gateway.get("/readyz")
        assert (status, json.loads(told)) == (503, {"status": "starting"})
        await gateway.ready()
        assert "place" in json.loads((await gateway.get("/readyz"))[1])["pending"]
    silent.close()


async def _slow_backend(release: asyncio.Event) -> tuple[web.AppRunner, int]:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        await release.wait()
        return web.json_response({"ok": True})

    application = web.Application()
    application.router.add_post("/slow", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


async def _until_in_flight(gateway: GatewayProcess) -> None:
    for _ in range(100):
        if b'gateway_calls_in_flight{route="place"} 1.0' in (await gateway.get("/metrics"))[1]:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the call never began")


async def test_sigterm_finishes_what_is_in_flight(tmp_path: Path) -> None:
    release = asyncio.Event()
    runner, target = await _slow_backend(release)
    port = free_port()
    endpoint = {"protocol": "http", "target": f"http://127.0.0.1:{target}"}
    async with running_gateway(tmp_path, routes(port, endpoint, {"path": "/slow"})) as gateway:
        flying = asyncio.create_task(call(port, "/orders", {}))
        await _until_in_flight(gateway)
        ending = asyncio.create_task(gateway.terminate())
        for _ in range(100):
            if (await gateway.get("/readyz"))[0] == 503:
                break
            await asyncio.sleep(0.02)
        assert json.loads((await gateway.get("/readyz"))[1]) == {"status": "draining"}
        with pytest.raises(urllib.error.URLError):
            await call(port, "/orders", {})
        release.set()
        assert await flying == (200, {"ok": True})
        assert await ending == 0
    await runner.cleanup()


async def test_drain_is_bounded(tmp_path: Path) -> None:
    runner, target = await _slow_backend(asyncio.Event())
    port = free_port()
    endpoint = {"protocol": "http", "target": f"http://127.0.0.1:{target}"}
    config = {**routes(port, endpoint, {"path": "/slow"}), "gateway": {"drain": "200ms"}}
    async with running_gateway(tmp_path, config) as gateway:
        flying = asyncio.create_task(call(port, "/orders", {}))
        await _until_in_flight(gateway)
        assert await gateway.terminate() == 0
        status, problem = await flying
        assert (status, problem["code"], problem["detail"]) == (503, "UNAVAILABLE", "the gateway is stopping")
        assert "in flight" in gateway.log.read_text()
    await runner.cleanup()


async def test_deadline(tmp_path: Path) -> None:
    runner, target = await _slow_backend(asyncio.Event())
    port = free_port()
    config = routes(port, {"protocol": "http", "target": f"http://127.0.0.1:{target}"}, {"path": "/slow"})
    config["routes"]["place"]["deadline"] = "150ms"
    async with running_gateway(tmp_path, config):
        status, problem = await call(port, "/orders", {})
        assert (status, problem["code"]) == (504, "DEADLINE_EXCEEDED")
    await runner.cleanup()


def _run(tmp_path: Path, command: str, text: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "routes.yaml"
    file.write_text(text)
    return subprocess.run(
        [sys.executable, "-c", "from gateway.cli import main; main()", command, "--config", str(file)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("command", ["run", "check"])
def test_bad_configuration_ends_with_all_problems(tmp_path: Path, command: str) -> None:
    bad = """
endpoints:
  web: {protocol: http, listen: "127.0.0.1:0"}
  back: {protocol: http, target: "${NOT_SET_ANYWHERE}"}
routes:
  one: {from: {endpoint: wob, path: /}, to: {endpoint: web, path: /}}
"""
    done = _run(tmp_path, command, bad)
    assert done.returncode == 1
    assert "NOT_SET_ANYWHERE" in done.stderr
    assert "Traceback" not in done.stderr

    done = _run(tmp_path, command, bad.replace("${NOT_SET_ANYWHERE}", "nowhere"))
    assert done.returncode == 1
    assert "did you mean web?" in done.stderr
    assert "'nowhere' is not a base URL" in done.stderr
    assert "routes.yaml:4:" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_file(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from gateway.cli import main; main()", "check", "--config", str(tmp_path / "no")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "No such file" in done.stderr
    assert "Traceback" not in done.stderr


async def test_port_taken(tmp_path: Path) -> None:
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    text = json.dumps(
        {
            "gateway": {"admin": {"enabled": False}},
            **routes(port, {"protocol": "http", "target": "http://127.0.0.1:1"}, {"path": "/"}),
        }
    )
    done = await asyncio.to_thread(_run, tmp_path, "run", text)
    server.close()
    assert done.returncode == 1
    assert "address already in use" in done.stderr
    assert "Traceback" not in done.stderr
