"""Processes pinned to a core, and what they cost: CPU time and resident memory of the whole tree, from /proc."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

_TICK: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_LOG_TAIL: Final = 2000


class StartError(Exception):
    """A process did not come up; the text ends with its log."""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def _pinned(core: int) -> Iterator[None]:
    """This thread, and so what it forks, on one core; on all of its own where there is no such core."""
    before = os.sched_getaffinity(0)
    if core in before:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Process:
    """port: it is up once this port accepts connections. log: where its output goes."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        core: int,
        log: Path,
        environment: Mapping[str, str] | None = None,
        port: int = 0,
        pipes: bool = False,
    ) -> None:
        self.name = name
        self._log = log
        self._port = port
        with log.open("ab") as out, _pinned(core):
            self._popen = subprocess.Popen(
                command,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else out,
                stderr=out,
                text=True,
            )

    def wait_ready(self, seconds: float = 30.0) -> None:
        """Return when the port accepts connections. Raises StartError."""
        deadline = time.monotonic() + seconds
        while not _accepts(self._port):
            self.check()
            if time.monotonic() > deadline:
                raise self.failed(f"not up after {seconds:.0f} s")
            time.sleep(0.05)

    def check(self) -> None:
        """Raises StartError if it has ended."""
        if self._popen.poll() is not None:
            raise self.failed(f"ended with {self._popen.returncode}")

    def failed(self, why: str) -> StartError:
        return StartError(f"{self.name}: {why}\n{self._log.read_text(errors='replace')[-_LOG_TAIL:]}")

    @property
    def input(self) -> IO[str]:
        assert self._popen.stdin is not None
        return self._popen.stdin

    @property
    def output(self) -> IO[str]:
        assert self._popen.stdout is not None
        return self._popen.stdout

    def cpu_seconds(self) -> float:
        """User and system time so far, of the process, its children and those that have ended."""
        return sum(_cpu_ticks(pid) for pid in _tree(self._popen.pid)) / _TICK

    def resident_bytes(self) -> int:
        return sum(_resident(pid) for pid in _tree(self._popen.pid))

    def stop(self) -> None:
        """End it; kill it if it takes longer than five seconds."""
        self._popen.terminate()
        try:
            self._popen.wait(5)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                pipe.close()


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _tree(int(child))


def _cpu_ticks(pid: int) -> int:
    # Fields 14 to 17 of proc_pid_stat(5); the name, field 2, may hold spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15]))


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
