"""TCP and UDP against programs that nobody here wrote: socat, util-linux's logger, multiprocessing's connections,
logging's handlers, OpenSSL's TLS in Python's ssl."""

import asyncio
import json
import logging
import logging.handlers
import shutil
import socketserver
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from multiprocessing.connection import Client, Listener
from pathlib import Path
from typing import Any

import pytest
from support.certificates import own
from support.ports import free_port
from support.socket_gateway import Route, calling, line, serving
from support.until import until

from gateway.message import Context, Message
from gateway.status import Code, Failure

socat_needed = pytest.mark.skipif(shutil.which("socat") is None, reason="socat is not on PATH")
logger_needed = pytest.mark.skipif(shutil.which("logger") is None, reason="util-linux's logger is not on PATH")


async def run(*command: str, data: bytes = b"") -> bytes:
    """A program's output; fails where it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(data), 15)
    assert process.returncode == 0, err.decode()
    return out


@asynccontextmanager
async def running(*command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def upper(body: bytes) -> bytes:
    return body.upper()


async def call(service: Any, body: bytes) -> bytes:
    """Once the program at the other end listens."""
    for _ in range(200):
        try:
            reply: bytes = (await asyncio.wait_for(service.call(Message(body), Context()), 5)).body
            return reply
        except Failure as failure:
            if failure.sent:
                raise
            await asyncio.sleep(0.02)
    raise AssertionError("nobody listens")


# -- socat


@socat_needed
async def test_socat_calls() -> None:
    async with serving(Route(upper), format="text") as side:
        assert await run("socat", "-t5", "-", f"TCP:127.0.0.1:{side.port}", data=b"one\ntwo\n") == b"ONE\nTWO\n"
    settings: dict[str, Any] = {"format": "text", "framing": {"kind": "until-close"}}
    async with serving(Route(upper), **settings) as side:
        assert await run("socat", "-t5", "-", f"TCP:127.0.0.1:{side.port}", data=b"whole\nfile") == b"WHOLE\nFILE"
    async with serving(Route(upper), "stream", format="text") as side:
        assert await run("socat", "-t5", "-", f"TCP:127.0.0.1:{side.port}", data=b"a\nb\n") == b"A\nB\n"
    async with serving(Route(upper), udp=True, format="text") as side:
        assert await run("socat", "-t1", "-", f"UDP:127.0.0.1:{side.port}", data=b"datagram") == b"DATAGRAM"


@socat_needed
async def test_socat_answers() -> None:
    port = free_port()
    echo = ("socat", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork", "EXEC:cat")
    async with running(*echo):
        async with calling(target=f"127.0.0.1:{port}", connections=2) as (_, service):
            assert await call(service, b'{"n":0}') == b'{"n":0}'
            bodies = [b'{"n":%d}' % number for number in range(30)]
            assert await asyncio.gather(*(call(service, body) for body in bodies)) == bodies
        settings: dict[str, Any] = {"framing": {"kind": "until-close"}, "format": "raw"}
        async with calling(target=f"127.0.0.1:{port}", **settings) as (_, service):
            assert await call(service, b"until\nclose\0") == b"until\nclose\0"
        async with calling("stream", target=f"127.0.0.1:{port}") as (_, service):
            assert [m.body async for m in service.stream(Message(b"{}"), None, Context())] == [b"{}"]


@socat_needed
async def test_socat_answers_datagrams() -> None:
    port = free_port()
    async with (
        running("socat", f"UDP-RECVFROM:{port},bind=127.0.0.1,reuseaddr,fork", "EXEC:cat"),
        calling(udp=True, target=f"127.0.0.1:{port}") as (_, service),
    ):
        for number in range(5):
            assert await call(service, b'{"n":%d}' % number) == b'{"n":%d}' % number


@socat_needed
async def test_socat_is_dialled_and_dials() -> None:
    """A device that only listens is consumed from; one that only connects is sent to."""
    port = free_port()
    route = Route(upper)
    async with (
        running("socat", "-u", "-", f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr") as device,
        serving(
            route, "one-way", target=f"127.0.0.1:{port}", backoff="10ms", max_backoff="20ms", format="text"
        ) as side,
    ):
        await until(lambda: not side.unready)
        assert device.stdin is not None
        device.stdin.write(b"reading 1\nreading 2\n")
        await until(lambda: route.requests == [b"reading 1", b"reading 2"])
    async with (
        calling("one-way", listen="127.0.0.1:0", address={"peers": "all"}, format="text") as (out, service),
        running("socat", "-u", f"TCP:127.0.0.1:{out.port}", "-") as device,
    ):
        await until(lambda: not out.unready)
        await service.call(Message(b"open the valve"), Context())
        assert device.stdout is not None
        assert await asyncio.wait_for(device.stdout.readline(), 5) == b"open the valve\n"


# -- syslog


@logger_needed
@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_logger_logs(transport: str) -> None:
    route = Route()
    async with serving(route, "one-way", udp=transport == "udp", format="text") as side:
        where = ("--server", "127.0.0.1", "--port", str(side.port), f"--{transport}")
        for number in range(3):
            await run("logger", *where, "--rfc3164", "--tag", "shop", f"order {number} placed")
        await until(lambda: len(route.requests) == 3)
    for number, request in enumerate(route.requests):
        assert request.startswith(b"<13>") and request.endswith(b"shop: order %d placed" % number), request


async def test_logging_over_datagrams() -> None:
    route = Route()
    async with serving(route, "one-way", udp=True, format="text") as side:
        handler = logging.handlers.SysLogHandler(("127.0.0.1", side.port))
        record = logging.LogRecord("shop", logging.WARNING, "", 0, "tea is %s", ("out",), None)
        await asyncio.to_thread(handler.emit, record)
        handler.close()
        await until(lambda: route.requests == [b"<12>tea is out\0"])


async def test_logging_over_frames() -> None:
    """logging.handlers.SocketHandler: four bytes of length, then a pickle that stays closed."""
    route = Route()
    framing = {"kind": "length", "width": 4}
    async with serving(route, "one-way", framing=framing, format="raw") as side:
        handler = logging.handlers.SocketHandler("127.0.0.1", side.port)
        record = logging.LogRecord("shop", logging.WARNING, "", 0, "tea is out", (), None)
        await asyncio.to_thread(handler.emit, record)
        handler.close()
        await until(lambda: len(route.requests) == 1)
    assert b"tea is out" in route.requests[0]


# -- multiprocessing's connections: four bytes of length


FRAMES: dict[str, Any] = {"framing": {"kind": "length", "width": 4}, "format": "raw"}


async def test_multiprocessing_calls() -> None:
    def talk(port: int) -> list[bytes]:
        with Client(("127.0.0.1", port)) as client:
            answers = []
            for body in (b"a", b"x" * 100_000, b"\n\0\xff"):
                client.send_bytes(body)
                answers.append(client.recv_bytes())
            return answers

    async with serving(Route(upper), **FRAMES) as side:
        assert await asyncio.to_thread(talk, side.port) == [b"A", b"X" * 100_000, b"\n\0\xff"]


async def test_multiprocessing_answers() -> None:
    with Listener(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with listener.accept() as peer:
                for _ in range(20):
                    peer.send_bytes(peer.recv_bytes().upper())

        thread = threading.Thread(target=answer)
        thread.start()
        port = listener.address[1]  # type: ignore[index]
        async with calling(target=f"127.0.0.1:{port}", connections=1, **FRAMES) as (_, service):
            replies = await asyncio.gather(*(call(service, b"n%d" % number) for number in range(20)))
        thread.join()
    assert replies == [b"N%d" % number for number in range(20)]


# -- the standard library's servers


async def test_socketserver_answers() -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for received in self.rfile:
                self.wfile.write(json.dumps({"seen": json.loads(received)}).encode() + b"\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        framing = {"kind": "delimiter", "delimiter": "\r\n"}
        async with calling(target=f"127.0.0.1:{server.server_address[1]}", framing=framing) as (_, service):
            assert await call(service, b'{\r\n"n": 1}') == b'{"seen": {"n": 1}}'
        server.shutdown()


# -- TLS


async def test_tls_in(pki: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(pki / "ca.pem"))
    async with serving(Route(upper), format="text", tls=own(pki, "server")) as side:
        async with line(side.port, ssl=trusting, server_hostname="server.example") as caller:
            await caller.say(b"secret\n")
            assert await caller.line() == b"SECRET\n"
        # Someone who speaks no TLS gets nothing, and nobody else suffers.
        async with line(side.port) as stranger:
            await stranger.say(b"plain\n")
            with suppress(ConnectionError):
                assert await stranger.rest() == b""
    async with serving(Route(upper), format="text", tls={**own(pki, "server"), "ca": str(pki / "ca.pem")}) as side:
        with suppress(ConnectionError, ssl.SSLError):
            async with line(side.port, ssl=trusting, server_hostname="server.example") as caller:
                await caller.say(b"secret\n")
                assert await caller.line() == b"", "without a certificate there is no answer"
        trusting.load_cert_chain(pki / "client.pem", pki / "client.key")
        async with line(side.port, ssl=trusting, server_hostname="server.example") as caller:
            await caller.say(b"secret\n")
            assert await caller.line() == b"SECRET\n"


@socat_needed
async def test_tls_out(pki: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    server = (
        f"OPENSSL-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,verify=1,"
        f"cert={pki}/server.pem,key={pki}/server.key,cafile={pki}/ca.pem"
    )
    trusted = {**own(pki, "client"), "ca": str(pki / "ca.pem")}
    async with running("socat", server, "EXEC:cat"):
        for tls in (trusted, {**trusted, "server_name": "server.example"}):
            async with calling(target=f"127.0.0.1:{port}", tls=tls) as (_, service):
                assert await call(service, b'{"n":1}') == b'{"n":1}'
        for tls in ({}, {**trusted, "server_name": "other.example"}):
            async with calling(target=f"127.0.0.1:{port}", tls=tls) as (side, service):
                with pytest.raises(Failure) as told:
                    await service.call(Message(b"{}"), Context())
                assert told.value.code is Code.UNAVAILABLE and "ertificate" in side.unready
    assert "self-signed certificate" in caplog.text and "Hostname mismatch" in caplog.text
