"""Peers that freeze, leave or die in the middle of a stream, for every protocol that streams, on both sides.

A gateway process stands between callers of all kinds and a backend process that streams without end. All kinds are
tried at once: what they share, memory above all, they share here too.
"""

import asyncio
import json
import math
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio
from support.flow_backend import MESSAGE_BYTES, FlowBackend
from support.flow_callers import (
    CLEAN,
    CUT,
    UNHEARD,
    Caller,
    GraphqlCaller,
    GrpcCaller,
    HttpCaller,
    TcpCaller,
    WebSocketCaller,
    subscription,
)
from support.flow_gateway import STALL_SECONDS, Scene, scene
from support.flow_uploads import GrpcUpload, HttpUpload, Pushing, TcpUpload, Upload, WebSocketUpload
from support.ports import free_ports

SSE, NDJSON, JSON = "text/event-stream", "application/x-ndjson", "application/json"
MIB = 1024 * 1024
DEADLINE_SECONDS = 3.0
SILENCE_SECONDS = 2.0


def callers() -> dict[str, Caller]:
    """Of a gRPC backend."""
    return {
        "http-sse": HttpCaller("/watch/{mode}", SSE),
        "http-ndjson": HttpCaller("/watch/{mode}", NDJSON),
        "http-array": HttpCaller("/watch/{mode}", JSON, cut=True),
        "http-bidi": HttpCaller("/talk", NDJSON, body=lambda mode: json.dumps({"sku": mode}) + "\n"),
        "grpc-server-stream": GrpcCaller("WatchOrder"),
        "grpc-bidi": GrpcCaller("Negotiate"),
        "websocket": WebSocketCaller("/ws-watch", lambda mode: json.dumps({"orderId": mode})),
        "websocket-query": WebSocketCaller("/ws-query/{mode}"),
        "websocket-bidi": WebSocketCaller("/ws-talk", lambda mode: json.dumps({"sku": mode})),
        "graphql-ws": GraphqlCaller(),
        "graphql-sse": HttpCaller("/graphql", SSE, body=subscription),
        "tcp": TcpCaller(),
    }


def upstreams() -> dict[str, Caller]:
    """HTTP callers of backends of each kind."""
    paths = {kind: f"/up/{kind}/{{mode}}" for kind in ("ndjson", "sse", "ws", "graphql")} | {
        "tcp": "/up/tcp?orderId={mode}"
    }
    return {f"to-{kind}": HttpCaller(path, NDJSON) for kind, path in paths.items()}


def uploads() -> dict[str, Upload]:
    """To a gRPC backend, and by HTTP to backends of other kinds."""
    return {
        "http-import": HttpUpload("/import", "customerId", JSON),
        "http-talk": HttpUpload("/talk", "sku", NDJSON),
        "grpc-import": GrpcUpload("ImportOrders"),
        "grpc-talk": GrpcUpload("Negotiate"),
        "websocket-import": WebSocketUpload("/ws-import", "customerId"),
        "websocket-talk": WebSocketUpload("/ws-talk", "sku"),
        "tcp-talk": TcpUpload(),
        "http-to-http": HttpUpload("/take/http", "orderId", JSON),
        "http-to-websocket": HttpUpload("/take/ws", "orderId", JSON),
        "http-to-tcp": HttpUpload("/take/tcp", "orderId", NDJSON),
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def backend_process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FlowBackend]:
    backend = FlowBackend(free_ports(4), tmp_path_factory.mktemp("backend") / "backend.log")
    yield backend
    await backend.kill()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def patient(backend_process: FlowBackend, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """Without deadlines."""
    async for found in scene(tmp_path_factory.mktemp("patient"), backend_process, {}):
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hurried(backend_process: FlowBackend, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """With a deadline on every route."""
    async for found in scene(
        tmp_path_factory.mktemp("hurried"), backend_process, {"deadline": f"{DEADLINE_SECONDS:g}s"}
    ):
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def listening(backend_process: FlowBackend, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    """With a limit on every upstream's silence, and without deadlines."""
    bounds = {"silence": f"{SILENCE_SECONDS:g}s"}
    async for found in scene(tmp_path_factory.mktemp("listening"), backend_process, bounds):
        yield found


ALL = [*callers(), *upstreams()]
Endings = Mapping[str, tuple[str, float]]
"""What each caller was told, and how many seconds after the fault."""


async def _begin(scene: Scene, mode: str) -> dict[str, Caller]:
    """All callers with a stream that has begun."""
    everybody = {**callers(), **upstreams()}
    for name, caller in everybody.items():
        async with asyncio.timeout(10):
            await caller.open(scene.ports, f"{mode}-{name}")
            await caller.take()
    return everybody


async def _endings(everybody: Mapping[str, Caller], seconds: float) -> Endings:
    start = time.monotonic()

    async def one(caller: Caller) -> tuple[str, float]:
        try:
            async with asyncio.timeout(seconds):
                return await caller.ending(), time.monotonic() - start
        except TimeoutError:
            return "nothing", seconds

    told = await asyncio.gather(*(one(caller) for caller in everybody.values()))
    return dict(zip(everybody, told, strict=True))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def frozen_upstream(hurried: Scene) -> Endings:
    return await _frozen_upstream(hurried, DEADLINE_SECONDS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def silent_upstream(listening: Scene) -> Endings:
    return await _frozen_upstream(listening, SILENCE_SECONDS)


async def _frozen_upstream(scene: Scene, seconds: float) -> Endings:
    await scene.mend()
    everybody = await _begin(scene, "tick")
    await asyncio.sleep(seconds / 2)
    scene.backend.freeze()
    try:
        return await _endings(everybody, seconds + 10)
    finally:
        scene.backend.thaw()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.asyncio(loop_scope="module")
async def test_an_upstream_that_freezes(frozen_upstream: Endings, name: str) -> None:
    told, seconds = frozen_upstream[name]
    assert told == (CUT if name == "http-array" else "DEADLINE_EXCEEDED")
    assert seconds < DEADLINE_SECONDS + 3


@pytest.mark.parametrize("name", ALL)
@pytest.mark.asyncio(loop_scope="module")
async def test_an_upstream_that_falls_silent(silent_upstream: Endings, name: str) -> None:
    told, seconds = silent_upstream[name]
    assert told == (CUT if name == "http-array" else "DEADLINE_EXCEEDED")
    assert SILENCE_SECONDS - 1 < seconds < SILENCE_SECONDS + 3


@pytest.mark.parametrize("name", ["http-ndjson", "grpc-server-stream", "websocket", "graphql-ws", "tcp"])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_slow_caller_is_not_its_upstreams_silence(listening: Scene, name: str) -> None:
    await listening.mend()
    caller = callers()[name]
    async with asyncio.timeout(30):
        await caller.open(listening.ports, f"flood-slow-{name}")
        await caller.take()
        await asyncio.sleep(2 * SILENCE_SECONDS)
        sent = (await listening.stats(f"slow-{name}"))["sent"]
        while (await listening.stats(f"slow-{name}"))["sent"] < sent + 200:  # which are more than wait half-way
            await caller.take()
        await caller.leave()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def killed_upstream(patient: Scene) -> Endings:
    await patient.mend()
    everybody = await _begin(patient, "tick")
    await patient.backend.kill()
    return await _endings(everybody, 10)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.asyncio(loop_scope="module")
async def test_an_upstream_that_is_killed(killed_upstream: Endings, name: str) -> None:
    told, seconds = killed_upstream[name]
    # TCP has no other form for the end of a stream than the one that the system gives a killed process.
    assert told == {"http-array": CUT, "to-tcp": CLEAN}.get(name, "UNAVAILABLE")
    assert seconds < 3


@pytest.mark.parametrize("name", ALL)
@pytest.mark.asyncio(loop_scope="module")
async def test_a_caller_that_leaves(patient: Scene, name: str) -> None:
    await patient.mend()
    label = f"{name}-leaves"
    caller = {**callers(), **upstreams()}[name]
    async with asyncio.timeout(20):
        await caller.open(patient.ports, f"tick-{label}")
        await caller.take()
        await caller.leave()
        async with asyncio.timeout(5):
            while not (await patient.stats(label))["ended"]:
                await asyncio.sleep(0.02)


SUBSCRIBERS = ("events-sse", "events-ws")
ROUTE = {"events-sse": "events", "events-ws": "ws-events"}


@dataclass(frozen=True)
class Frozen:
    """sent: messages that the upstream could send. ended: after how many seconds it was cancelled; infinity where it
    was not. told: what each caller found that read on afterwards. stalled: callers that were counted so, by endpoint.
    logged: calls that the access log says were cut off, by route."""

    sent: Mapping[str, int]
    ended: Mapping[str, float]
    told: Endings
    stalled: Mapping[str, int]
    logged: Mapping[str, int]
    growth: int
    slowest: float


async def _publish_flood(scene: Scene) -> None:
    """1,500 events of 64 KiB."""
    body = json.dumps({"orderId": "e" * MESSAGE_BYTES}).encode()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{scene.ports.web}") as session:
        for _ in range(30):
            posts = (session.post("/events", data=body, headers={"Content-Type": JSON}) for _ in range(50))
            for answer in await asyncio.gather(*posts):
                assert answer.status == 202, await answer.text()
                answer.release()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def frozen_callers(patient: Scene) -> Frozen:
    await patient.mend()
    await _publish_flood(patient)
    for caller in (await _begin(patient, "tick")).values():
        await caller.leave()
    reader = HttpCaller("/watch/{mode}", NDJSON)
    await reader.open(patient.ports, "flood-reader")
    before = peak = patient.memory
    everybody = {
        **await _begin(patient, "flood"),
        "events-sse": HttpCaller("/events/flood", SSE),
        "events-ws": WebSocketCaller("/ws-events/flood"),
    }
    for name in SUBSCRIBERS:
        await everybody[name].open(patient.ports, "")
        await everybody[name].take()
    start = time.monotonic()
    reading = asyncio.create_task(reader.swallow(256 * MIB))
    slowest, ended, sent = 0.0, dict.fromkeys(everybody, math.inf), dict.fromkeys(everybody, 0)
    while math.inf in ended.values() and time.monotonic() < start + 2 * STALL_SECONDS + 5:
        await asyncio.sleep(0.2)
        slowest = max(slowest, await patient.place())
        peak = max(peak, patient.memory)
        stats = await patient.backend.stats()
        metrics = (await patient.gateway.get("/metrics"))[1].decode()
        for name in everybody:
            if name in SUBSCRIBERS:
                over = f'gateway_calls_in_flight{{route="{ROUTE[name]}"}} 0.0' in metrics
            else:
                streams = stats[name]
                over, sent[name] = streams["ended"] == streams["opened"], streams["sent"]
            if over:
                ended[name] = min(ended[name], time.monotonic() - start)
    await reading
    await reader.leave()
    metrics = (await patient.gateway.get("/metrics"))[1].decode()
    counted = re.findall(r'gateway_endpoint_events_total\{endpoint="(\w+)",event="stalled_peers"\} ([1-9]\d*)', metrics)
    stalled = {endpoint: int(count) for endpoint, count in counted}
    lines = (json.loads(line) for line in patient.gateway.log.read_text().splitlines() if line.startswith("{"))
    logged = Counter(line["route"] for line in lines if "the caller took nothing for" in line.get("message", ""))
    return Frozen(sent, ended, await _endings(everybody, 5), stalled, logged, peak - before, slowest)


@pytest.mark.asyncio(loop_scope="module")
async def test_memory_and_other_routes_while_callers_are_frozen(frozen_callers: Frozen) -> None:
    print(f"growth {frozen_callers.growth / MIB:.0f} MiB, slowest other call {frozen_callers.slowest:.3f} s")
    assert frozen_callers.growth < 48 * MIB
    assert frozen_callers.slowest < 2


@pytest.mark.parametrize("name", [*ALL, *SUBSCRIBERS])
@pytest.mark.asyncio(loop_scope="module")
async def test_a_caller_that_freezes(frozen_callers: Frozen, name: str) -> None:
    assert frozen_callers.sent[name] * MESSAGE_BYTES < 32 * MIB, "the upstream is read on"
    assert frozen_callers.ended[name] < 2 * STALL_SECONDS + 5, "the upstream was not cancelled"
    assert frozen_callers.told[name][0] == ("DEADLINE_EXCEEDED" if name.startswith("grpc") else CUT)


@pytest.mark.asyncio(loop_scope="module")
async def test_callers_that_freeze_are_counted_and_logged(frozen_callers: Frozen) -> None:
    everybody = len(ALL) + len(SUBSCRIBERS)
    assert set(frozen_callers.stalled) == {"web", "calls", "live", "graph", "tills"}
    assert sum(frozen_callers.stalled.values()) == sum(frozen_callers.logged.values()) == everybody


@dataclass(frozen=True)
class Uploaded:
    """sent: bytes that each caller got rid of before the deadline; what it is sent afterwards is thrown away."""

    sent: Mapping[str, int]
    endings: Endings
    growth: int


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def uploaded(hurried: Scene) -> Uploaded:
    return await _uploaded(hurried, DEADLINE_SECONDS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def uploaded_in_silence(listening: Scene) -> Uploaded:
    return await _uploaded(listening, SILENCE_SECONDS)


async def _uploaded(scene: Scene, seconds: float) -> Uploaded:
    """seconds: after which the gateway gives the upstream up."""
    await scene.mend()
    everybody = uploads()
    for name, upload in everybody.items():
        await upload.open(scene.ports, f"tick-{name}")
        await upload.send(f"tick-{name}", "")
        async with asyncio.timeout(5):
            while not (await scene.backend.stats()).get(name, {}).get("opened"):
                await asyncio.sleep(0.01)
    before = peak = scene.memory
    scene.backend.freeze()
    pushing = {name: Pushing(upload, f"tick-{name}") for name, upload in everybody.items()}
    listening = asyncio.create_task(_endings(everybody, seconds + 15))
    await asyncio.sleep(seconds / 2)
    sent = {name: push.sent for name, push in pushing.items()}
    while not listening.done():
        peak = max(peak, scene.memory)
        await asyncio.sleep(0.1)
    for push in pushing.values():
        await push.stop()
    scene.backend.thaw()
    return Uploaded(sent, await listening, peak - before)


@pytest.mark.asyncio(loop_scope="module")
async def test_memory_while_a_frozen_upstream_is_sent_uploads(uploaded: Uploaded) -> None:
    assert uploaded.growth < 48 * MIB


@pytest.mark.parametrize("name", uploads())
@pytest.mark.asyncio(loop_scope="module")
async def test_an_upload_to_a_frozen_upstream(uploaded: Uploaded, name: str) -> None:
    told, seconds = uploaded.endings[name]
    assert uploaded.sent[name] < 32 * MIB, "the caller is read on"
    assert told == "DEADLINE_EXCEEDED" or (told == UNHEARD and name.startswith("grpc"))
    assert seconds < DEADLINE_SECONDS + 5


@pytest.mark.parametrize("name", uploads())
@pytest.mark.asyncio(loop_scope="module")
async def test_an_upload_to_an_upstream_that_falls_silent(uploaded_in_silence: Uploaded, name: str) -> None:
    told, seconds = uploaded_in_silence.endings[name]
    assert told == "DEADLINE_EXCEEDED" or (told == UNHEARD and name.startswith("grpc"))
    assert seconds < SILENCE_SECONDS + 5
