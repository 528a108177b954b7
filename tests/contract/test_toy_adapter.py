"""Adding a protocol touches no file under gateway/: a distribution from outside is found and used."""

import asyncio
import json
import shutil
import urllib.request
from pathlib import Path

import pytest
from support.gateway_process import running_gateway
from support.ports import free_port

HERE = Path(__file__).parent


@pytest.fixture
def toy_distribution(tmp_path: Path) -> Path:
    """What `pip install` of a third party's package leaves behind."""
    site = tmp_path / "site"
    site.mkdir()
    shutil.copy(HERE / "toy" / "lines.py", site / "gateway_lines.py")
    info = site / "gateway_lines-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gateway-lines\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gateway.adapters]\nlines = gateway_lines:ADAPTER\n")
    return site


async def _upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async for line in reader:
        message = json.loads(line)
        writer.write(json.dumps({"said": message["say"].upper()}).encode() + b"\n")


async def test_a_protocol_from_outside(toy_distribution: Path, tmp_path: Path) -> None:
    backend = await asyncio.start_server(_upper, "127.0.0.1", 0)
    backend_port = backend.sockets[0].getsockname()[1]
    web, lines = free_port(), free_port()
    routes = {
        "endpoints": {
            "web": {"protocol": "http", "listen": f"127.0.0.1:{web}"},
            "in": {"protocol": "lines", "listen": f"127.0.0.1:{lines}"},
            "out": {"protocol": "lines", "target": f"127.0.0.1:{backend_port}"},
        },
        "routes": {
            "http-to-lines": {
                "from": {"endpoint": "web", "path": "/say"},
                "to": {"endpoint": "out"},
                "request": {"map": {"say": "$.text"}},
            },
            "lines-to-lines": {"from": {"endpoint": "in"}, "to": {"endpoint": "out"}},
        },
    }
    async with running_gateway(tmp_path, routes, {"PYTHONPATH": str(toy_distribution)}):
        request = urllib.request.Request(
            f"http://127.0.0.1:{web}/say", b'{"text": "hello"}', {"Content-Type": "application/json"}
        )
        answer = await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=5).read())
        assert json.loads(answer) == {"said": "HELLO"}

        reader, writer = await asyncio.open_connection("127.0.0.1", lines)
        writer.write(b'{"say": "hi"}\nnot json\n')
        assert json.loads(await reader.readline()) == {"said": "HI"}
        assert "malformed JSON" in json.loads(await reader.readline())["error"]
        writer.close()
    backend.close()
