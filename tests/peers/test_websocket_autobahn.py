"""The Autobahn testsuite against both ends of gateway.net.websocket.connection: no case may fail."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from support import websocket_autobahn as autobahn
from support.ports import free_port
from support.websocket_server import echo, serving, url

from gateway.net.websocket.client import WebSocketClient
from gateway.net.websocket.connection import WebSocketClosed, WebSocketLimits
from gateway.status import Failure

LIMITS = WebSocketLimits(max_message_bytes=32 * 2**20, compression=True)
# NON-STRICT: what is invalid in a later part of a read is refused, but what came before it was not answered any more.
PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}
MANY = 100

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    autobahn.installed()


def _check(folder: Path) -> None:
    found = autobahn.verdicts(folder)
    failed = {case: verdict for case, verdict in found.items() if not set(verdict) <= PASSED}
    assert failed == {}
    assert len(found) > MANY


async def test_server(tmp_path: Path) -> None:
    async with serving(echo, limits=LIMITS) as server:
        spec = {"servers": [{"agent": autobahn.AGENT, "url": url(server)}]}
        async with autobahn.running("fuzzingclient", tmp_path, spec) as suite:
            assert await suite.wait() == 0, (tmp_path / "log").read_text()
    _check(tmp_path)


async def test_client(tmp_path: Path) -> None:
    base = f"ws://127.0.0.1:{free_port()}"
    client = WebSocketClient(LIMITS)
    async with autobahn.running("fuzzingserver", tmp_path, {"url": base}) as suite:
        for _ in range(200):
            assert suite.returncode is None, (tmp_path / "log").read_text()
            try:
                counting = await client.connect(f"{base}/getCaseCount")
                break
            except Failure:
                await asyncio.sleep(0.1)
        count = int(await anext(counting))
        await counting.close()
        for case in range(1, count + 1):
            socket = await client.connect(f"{base}/runCase?case={case}&agent={autobahn.AGENT}")
            with suppress(WebSocketClosed):
                await echo(socket)
            await socket.close()
        reporting = await client.connect(f"{base}/updateReports?agent={autobahn.AGENT}")
        await reporting.wait_closed()
        await client.close()
    _check(tmp_path)
