"""Calls to spyne, which describes itself: its WSDL, its reading of what we write, its replies and faults."""

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from support.plain import plain, shown
from support.soap_service import ROOT, Caller

from gateway.net.http.client import HttpClient
from gateway.status import Code, Failure

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("spyne") is None, reason="spyne is missing; it needs Python before 3.12"
)


@pytest.fixture(params=["1.1", "1.2"])
async def caller(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Caller]:
    """A client of spyne that knows it by its own WSDL."""
    program = ROOT / "tests" / "support" / "soap_spyne.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(program), request.param, stdout=asyncio.subprocess.PIPE
    )
    client = HttpClient(1_000_000)
    try:
        assert process.stdout is not None
        port = int(await asyncio.wait_for(process.stdout.readline(), 30))
        url = f"http://127.0.0.1:{port}/"
        wsdl = tmp_path / "spyne.wsdl"
        wsdl.write_bytes((await client.request("GET", url + "?wsdl")).body)
        async with Caller(target=url, wsdl=str(wsdl)) as one:
            yield one
    finally:
        await client.close()
        process.kill()
        await process.wait()


ORDER: dict[str, Any] = {
    "order_id": "o <1> & é",
    "status": "PAID",
    "total_cents": 2**62 + 1,
    "placed_at": 1_700_000_000_123_000_000,
    "day": "2026-01-31",
    "items": {"Item": [{"code": "A", "qty": 2, "note": 'n "1"'}, {"code": "B", "qty": -1}]},
    "tags": ["one", "", "three"],
    "weight": 0.1,
    "price": Decimal("12345678901234567890.10"),
    "urgent": False,
    "photo": b"\x00\xff",
}


async def test_everything_comes_back(caller: Caller) -> None:
    contract = caller.contract("Echo")
    assert contract.request is not None and contract.reply is not None
    reply = await caller.call("Echo", plain(contract.request, {"order": ORDER}))
    result = shown(contract.reply, reply)["EchoResult"]
    assert result.pop("tags") in (["one", "", "three"], ["one", None, "three"])
    assert result == {name: value for name, value in ORDER.items() if name != "tags"}


async def test_simple_parts(caller: Caller) -> None:
    contract = caller.contract("Say")
    assert contract.request is not None and contract.reply is not None
    reply = await caller.call("Say", plain(contract.request, {"name": "ab", "times": 3}))
    assert shown(contract.reply, reply) == {"SayResult": "ababab"}


async def test_faults(caller: Caller) -> None:
    contract = caller.contract("Fail")
    assert contract.request is not None
    for how, code in (("Client.Nope", Code.INVALID_ARGUMENT), ("Server.Down", Code.INTERNAL)):
        with pytest.raises(Failure) as caught:
            await caller.call("Fail", plain(contract.request, {"how": how}))
        assert (caught.value.code, caught.value.message) == (code, "it failed & so on")
