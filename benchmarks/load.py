"""Load: a fixed number of requests over keep-alive connections, each with one request under way.

Reads a Job as one line of JSON, connects, warms up, writes "ready", waits for a line, works, writes an Outcome.
Checks each reply's status and a sample of the bodies; a wrong one ends it with exit status 1.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, cast

import httptools
import uvloop
from lxml import etree

SAMPLED: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """check: what a sampled reply must be: the request again (json, soap) or a broker's receipt."""

    port: int
    path: str
    content_type: str
    headers: dict[str, str]
    body: str
    status: int
    check: Literal["json", "soap", "receipt"]
    requests: int
    warm_up: int
    connections: int = 32
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """seconds: wall time. p50, p99: milliseconds."""

    seconds: float
    p50: float
    p99: float


class WrongReplyError(Exception):
    pass


class _Phase:
    """Requests that are still to be sent, and those still to be answered."""

    def __init__(self, requests: int) -> None:
        self.unsent = requests
        self.unanswered = requests
        self.latencies: list[float] = []
        self.samples: list[bytes] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, message: str) -> None:
        if not self.done.done():
            self.done.set_exception(WrongReplyError(message))


class _Client(asyncio.Protocol):
    def __init__(self, request: bytes, status: int) -> None:
        self._request = request
        self._status = status
        self._phase: _Phase | None = None
        self._body = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)

    def connection_lost(self, error: Exception | None) -> None:
        if self._phase is not None:
            self._phase.fail(f"the connection was lost: {error}")

    def begin(self, phase: _Phase) -> None:
        self._phase = phase
        if self._transport.is_closing():
            phase.fail("the connection was closed while it was idle")
        else:
            self._next(phase)

    def close(self) -> None:
        self._phase = None
        self._transport.close()

    def _next(self, phase: _Phase) -> None:
        if not phase.unsent:
            self._phase = None
            return
        phase.unsent -= 1
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self._phase is not None:
                self._phase.fail(f"not HTTP: {error}")

    def on_body(self, body: bytes) -> None:
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        phase = self._phase
        if phase is None:
            return
        body, self._body = self._body, b""
        phase.latencies.append(time.perf_counter() - self._sent_at)
        if self._parser.get_status_code() != self._status:
            phase.fail(f"status {self._parser.get_status_code()}: {body[:500]!r}")
            return
        if phase.unanswered % SAMPLED == 0:
            phase.samples.append(body)
        phase.unanswered -= 1
        if phase.unanswered:
            self._next(phase)
        elif not phase.done.done():
            phase.done.set_result(None)


async def _work(job: Job) -> Outcome:
    loop = asyncio.get_running_loop()
    body = job.body.encode()
    lines = [
        f"POST {job.path} HTTP/1.1",
        f"Host: 127.0.0.1:{job.port}",
        f"Content-Type: {job.content_type}",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in job.headers.items()),
    ]
    request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    clients: list[_Client] = []
    for _ in range(job.connections):
        _, client = await loop.create_connection(lambda: _Client(request, job.status), "127.0.0.1", job.port)
        clients.append(client)
    await _phase(clients, job, job.warm_up)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.readline)
    start = time.perf_counter()
    phase = await _phase(clients, job, job.requests)
    seconds = time.perf_counter() - start
    for client in clients:
        client.close()
    latencies = sorted(phase.latencies)
    return Outcome(seconds, latencies[len(latencies) // 2] * 1000, latencies[len(latencies) * 99 // 100] * 1000)


async def _phase(clients: list[_Client], job: Job, requests: int) -> _Phase:
    phase = _Phase(requests)
    for client in clients:
        client.begin(phase)
    async with asyncio.timeout(job.seconds):
        await phase.done
    read = _CHECKS[job.check]
    expected = {"topic", "offset"} if job.check == "receipt" else read(job.body)
    for sample in phase.samples:
        if read(sample) != expected:
            raise WrongReplyError(f"not the reply to this request: {sample[:500]!r}")
    return phase


def _soap_body(envelope: str | bytes) -> Any:
    """The members of the body's one element, without namespaces; that element's own name is the operation's affair."""
    root = etree.fromstring(envelope.encode() if isinstance(envelope, str) else envelope)
    body = next(child for child in root if etree.QName(child).localname == "Body")
    (operation,) = body
    return [_tree(child) for child in operation]


def _tree(element: Any) -> Any:
    name = etree.QName(element).localname
    children = [_tree(child) for child in element]
    # A map's entries have no order.
    return name, (sorted(children) if name == "labels" else children) or element.text


def _receipt(reply: str | bytes) -> Any:
    return {"topic", "offset"} & json.loads(reply).keys()


_CHECKS: Final[dict[str, Callable[[str | bytes], Any]]] = {"json": json.loads, "soap": _soap_body, "receipt": _receipt}


def main() -> None:
    job = Job(**json.loads(sys.stdin.readline()))
    try:
        outcome = uvloop.run(_work(job))
    except (WrongReplyError, TimeoutError, OSError) as error:
        sys.exit(f"load: {error or type(error).__name__}")
    sys.stdout.write(json.dumps(asdict(outcome)) + "\n")


if __name__ == "__main__":
    main()
