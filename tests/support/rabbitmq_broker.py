"""RabbitMQ on free loopback ports, with a folder, a cookie and a port mapper of its own; ended by process id.

The fixture `rabbitmq` gives its URL; GATEWAY_TEST_RABBITMQ=amqp://... names a broker that is there instead, which is
then not killed or frozen by tests that would.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from support.ports import free_ports

READY_SECONDS: Final = 60.0
_LOG_TAIL: Final = 4000
# Debian's own command changes to another user; what it calls stands here.
_DEBIAN: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class BrokerAbsentError(Exception):
    """A part that the broker needs is not on this machine; the text names it."""


class RabbitMQ:
    """One node that can be killed, frozen and started again with what it kept.

    tls: URL of a second listener, with TLS; empty where openssl is missing, which makes its certificate.
    authority: the PEM file to trust there.
    """

    def __init__(self) -> None:
        server = str(_DEBIAN) if _DEBIAN.exists() else shutil.which("rabbitmq-server")
        mapper = shutil.which("epmd")
        if server is None or mapper is None:
            raise BrokerAbsentError("rabbitmq-server is not installed (Debian: apt-get install rabbitmq-server)")
        self._command = server
        self.folder = Path(tempfile.mkdtemp(prefix="rabbitmq-"))
        self.port, secure, distribution, mapped = free_ports(4)
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}"
        plugins, settings = self.folder / "plugins", self.folder / "rabbitmq.conf"
        plugins.write_text("[].\n")
        lines = [f"listeners.tcp.local = 127.0.0.1:{self.port}", "log.console = true", "log.console.level = warning"]
        self.authority = self.folder / "authority.pem"
        self.tls = f"amqps://guest:guest@127.0.0.1:{secure}" if _certify(self.folder, self.authority) else ""
        if self.tls:
            lines += [
                f"listeners.ssl.local = 127.0.0.1:{secure}",
                f"ssl_options.cacertfile = {self.authority}",
                f"ssl_options.certfile = {self.authority}",
                f"ssl_options.keyfile = {self.folder / 'key.pem'}",
            ]
        settings.write_text("".join(f"{line}\n" for line in lines))
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))},
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(mapped),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"gateway-test-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONFIG_FILE": str(settings),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
            " -kernel inet_dist_use_interface {127,0,0,1}",
        }
        mapping = (mapper, "-port", str(mapped), "-address", "127.0.0.1")
        self._mapper = subprocess.Popen(mapping, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers. Raises AssertionError with the log's tail."""
        log = self.folder / "broker.log"
        (self.folder / "pid").unlink(missing_ok=True)
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_SECONDS
        while not self._answers():
            ended = self._process.poll()
            assert ended is None and time.monotonic() < deadline, (
                f"RabbitMQ did not come up\n{log.read_text(errors='replace')[-_LOG_TAIL:]}"
            )
            time.sleep(0.02)

    @property
    def running(self) -> bool:
        return self._process is not None

    def signal(self, number: int) -> None:
        """Such as SIGSTOP and SIGCONT, to the node itself."""
        os.kill(int((self.folder / "pid").read_text()), number)

    def control(self, *arguments: str) -> None:
        """rabbitmqctl, on this node."""
        command = (str(Path(self._command).with_name("rabbitmqctl")), *arguments)
        subprocess.run(command, env=self._environment, cwd=self.folder, capture_output=True, timeout=60, check=True)

    def kill(self) -> None:
        """kill -9; the folder stays, so that start() goes on from it."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(OSError, ValueError):
            self.signal(signal.SIGKILL)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def stop(self) -> None:
        """End it and its port mapper, and remove its folder. Nothing of it is needed again, so it need not end well."""
        self.kill()
        self._mapper.kill()
        self._mapper.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.settimeout(5)
                connection.sendall(b"AMQP\0\0\x09\x01")
                return connection.recv(1) == b"\x01"
        except OSError:
            return False


def _certify(folder: Path, authority: Path) -> bool:
    """A self-signed certificate for 127.0.0.1 with its key, which is its own authority."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return False
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(folder / "key.pem"))
    names = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1")
    command = (openssl, "req", "-x509", *key, "-days", "2", *names, "-out", str(authority))
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return True


class _Session:
    """The broker of this test session, started when a test first asks for it."""

    def __init__(self) -> None:
        self.broker: RabbitMQ | None = None
        self.used = ""
        self._absent = ""

    def start(self) -> RabbitMQ:
        if self._absent:
            pytest.skip(f"RabbitMQ: {self._absent}")
        if self.broker is None:
            try:
                self.broker = RabbitMQ()
            except BrokerAbsentError as error:
                self._absent = str(error)
                pytest.skip(f"RabbitMQ: {error}")
            self.broker.start()
        return self.broker

    def stop(self) -> None:
        if self.broker is not None:
            self.broker.stop()
            self.broker = None


_session = _Session()


def running_broker() -> str:
    """URL of the broker of this session. Skips the test where it can't run."""
    given = os.environ.get("GATEWAY_TEST_RABBITMQ")
    _session.used = "as given" if given else "started by the tests"
    return given or _session.start().url


@pytest.fixture(scope="session")
def rabbitmq() -> str:
    """URL of a real broker."""
    return running_broker()


@pytest.fixture
def mortal_rabbitmq() -> Iterator[RabbitMQ]:
    """The broker of this session, to be killed, frozen and set up otherwise; it runs again afterwards."""
    if os.environ.get("GATEWAY_TEST_RABBITMQ"):
        pytest.skip("RabbitMQ: the broker that was given is not to be killed")
    broker = _session.start()
    yield broker
    if not broker.running:
        broker.start()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _session.used:
        terminalreporter.write_line(f"RabbitMQ: {_session.used}")


def pytest_unconfigure() -> None:
    _session.stop()
