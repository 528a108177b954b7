"""Process: a child of the demo, which ends with it."""

import asyncio
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

LINES: Final = 200
LINE_BYTES: Final = 64 * 1024
POLL_SECONDS: Final = 0.05


class StartError(Exception):
    """A part of the demo did not come up; the text says why, with what it wrote."""


class Process:
    """log: the last lines that it wrote. listener: told each further line."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.log: deque[str] = deque(maxlen=LINES)
        self.listener: Callable[[str], None] | None = None
        self._command = command
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """In a session of its own: Ctrl-C reaches the demo alone, which ends its parts in order."""
        process = self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_BYTES,
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read(process), name=f"{self.name} log")

    async def wait_until(self, why_unready: Callable[[], Awaitable[str]], seconds: float) -> None:
        """Return when why_unready() is empty. Raises StartError when it ends before, or after so many seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while why := await why_unready():
            if self._process is None or self._process.returncode is not None:
                raise StartError(f"{self.name} ended while starting{self._tail()}")
            if loop.time() > deadline:
                raise StartError(f"{self.name} is not ready after {seconds:.0f} s: {why}{self._tail()}")
            await asyncio.sleep(POLL_SECONDS)

    async def ended(self) -> int:
        """Its exit code, once it ends."""
        assert self._process is not None  # noqa: S101  narrows for the type checker
        return await self._process.wait()

    async def stop(self, grace: float) -> None:
        """SIGTERM, and SIGKILL after so many seconds; 0 is SIGKILL at once."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            # One signal where one will do: before a second one the child may be reaped behind asyncio's back.
            _signal(process, signal.SIGTERM if grace else signal.SIGKILL)
            try:
                async with asyncio.timeout(grace or None):
                    await process.wait()
            except TimeoutError:
                _signal(process, signal.SIGKILL)
        await process.wait()
        if self._reader is not None:
            await asyncio.wait({self._reader}, timeout=1.0)
            self._reader.cancel()

    def kill(self) -> None:
        """At once."""
        if self._process is not None and self._process.returncode is None:
            _signal(self._process, signal.SIGKILL)

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101  asked for above
        while True:
            try:
                line = await process.stdout.readline()
            except ValueError:
                continue  # a line over the limit
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            self.log.append(text)
            if self.listener is not None:
                self.listener(text)

    def _tail(self) -> str:
        return "".join(f"\n    {line}" for line in list(self.log)[-20:])


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with suppress(ProcessLookupError):  # it may end meanwhile
        process.send_signal(number)
