"""Jobs: calls that go on after their callers were answered with an id, under which they ask for the outcome.

A job is accepted once its request is synced to a file, encoded as the upstream takes it. It is called until it has an
outcome or its deadline has passed, after a restart again: at least once, always with the same message id, in the header
`message-id` that outbounds know. Its outcome is kept as JSON.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import uuid4

import msgspec

from gateway.jobs.store import JobStore, Kept, State
from gateway.message import MESSAGE_ID, Context, Header, Message
from gateway.net.broker.redelivery import backoff
from gateway.net.http.problem_json import details_json
from gateway.net.tasks import end
from gateway.port import Service
from gateway.status import Code, Disposition, Failure, as_failure, disposition

FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 10.0
PRUNE_SECONDS: Final = 5.0
CLOCK_SECONDS: Final = 0.01  # a timer may be early by less
REQUESTS_SHARE: Final = 0.75  # of the file, beyond which no job is accepted: what runs needs room for its outcome

log = logging.getLogger("gateway.job")

_encode = msgspec.json.Encoder(decimal_format="number").encode


class JobRoute(msgspec.Struct, frozen=True):
    """How the jobs of one route are called.

    service: takes the kept request, replies in JSON, and bears the upstream's failures with details as in JSON.
    form: names the protocol and format of requests. encoded: the type of their bodies.
    deadline, keep: seconds.
    """

    service: Service
    form: str
    encoded: Any
    deadline: float
    keep: float


class _Request(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a request."""

    body: msgspec.Raw
    headers: list[tuple[str, Any]]
    params: dict[str, Any]
    key: bytes | None
    peer: str
    trace: str


class _Reply(msgspec.Struct, frozen=True, array_like=True):
    """What is kept of a reply. body: JSON."""

    body: bytes
    headers: list[tuple[str, Any]]


_reply = msgspec.msgpack.Decoder(_Reply).decode


class Jobs:
    """All jobs of the process.

    max_running, max_kept: how many; more are refused.
    """

    def __init__(self, store: JobStore, max_running: int, max_kept: int, max_bytes: int) -> None:
        self._store = store
        self._max_running = max_running
        self._max_kept = max_kept
        self._room = int(max_bytes * REQUESTS_SHARE)
        self._routes: Mapping[str, JobRoute] = {}
        self._running: dict[str, tuple[str, asyncio.Task[None]]] = {}  # route and task
        self._waiting: list[Kept] = []
        self._accepting = 0
        self._pruning: asyncio.Task[None] | None = None
        self._epoch = 0.0  # of the event loop's clock, which no change of the wall clock moves

    def bind(self, routes: Mapping[str, JobRoute]) -> None:
        """Replace all routes, atomically. Jobs that waited for theirs are called."""
        self._routes = routes
        waiting, self._waiting = self._waiting, []
        for job in waiting:
            self._begin(job)

    async def start(self) -> None:
        """Call again what was running. Raises OSError where the file can't be used."""
        if self._pruning is not None:
            return
        self._epoch = time.time() - asyncio.get_running_loop().time()
        kept = await self._store.open()
        self._pruning = asyncio.create_task(self._prune(), name="jobs prune")
        for job in kept:
            self._begin(job)
        if kept:
            log.info("%d jobs go on", len(self._running))
        for route, count in Counter(job.route for job in self._waiting).items():
            log.warning("%d jobs wait for route %s, which there is not now", count, route)

    async def stop(self) -> None:
        """Leave what runs to the next start. Safe at any time."""
        pruning, self._pruning = self._pruning, None
        if pruning is None:
            return
        running = [task for _, task in self._running.values()]
        await end([pruning, *running])
        self._waiting.clear()
        if running:
            log.info("%d jobs are left to the next start", len(running))
        await self._store.close()

    def counts(self) -> Iterator[tuple[str, str, int]]:
        """(route, state, jobs)"""
        return self._store.counts()

    async def submit(self, route: str, request: Message, context: Context) -> str:
        """The id of a job that is kept, and called from now on. Raises Failure; RESOURCE_EXHAUSTED where it is full."""
        self._check_room()
        target = self._routes[route]
        job = uuid4().hex
        headers: list[Header] = list(request.headers)
        if all(name != MESSAGE_ID for name, _ in headers):
            headers.append((MESSAGE_ID, job))
        body = msgspec.Raw(msgspec.msgpack.encode(request.body))
        kept = _Request(body, headers, dict(request.params), request.key, context.peer, context.trace)
        until = self._now() + target.deadline
        accepted = Kept(job, route, target.form, until, target.keep, msgspec.msgpack.encode(kept))
        self._accepting += 1
        try:
            await self._store.add(accepted, lambda: self._begin(accepted))
        finally:
            self._accepting -= 1
        return job

    async def status(self, route: str, job: str) -> Message:
        """The job as JSON, with the headers of the upstream's reply. Raises Failure(NOT_FOUND)."""
        running = self._running.get(job)
        if running is not None and running[0] == route:
            state, outcome = State.RUNNING, b""
        else:
            found = await self._store.find(route, job, self._now())
            if found is None:
                raise Failure(Code.NOT_FOUND, "there is no such job, or no longer", path="$.job", sent=False)
            state, outcome = found
        head = b'{"job":%b,"state":"%b"' % (_encode(job), state.value.encode())
        match state:
            case State.DONE:
                reply = _reply(outcome)
                return Message(b'%b,"reply":%b}' % (head, reply.body), reply.headers)
            case State.FAILED:
                return Message(b'%b,"failure":%b}' % (head, outcome))
            case _:
                return Message(head + b"}")

    def _check_room(self) -> None:
        if len(self._running) + self._accepting >= self._max_running:
            text = f"{self._max_running} jobs are running, and no more may"
        elif self._store.total + self._accepting >= self._max_kept:
            text = f"{self._max_kept} jobs are kept, and no more may be"
        elif self._store.size >= self._room:
            text = "the job store is full"
        else:
            return
        raise Failure(Code.RESOURCE_EXHAUSTED, text, retry_after=1.0, sent=False)

    def _now(self) -> float:
        return self._epoch + asyncio.get_running_loop().time()

    def _begin(self, job: Kept) -> None:
        if self._pruning is None:
            return  # the process is ending, and the next one does it
        if job.route not in self._routes:
            self._waiting.append(job)
            return
        task = asyncio.create_task(self._run(job), name=f"job {job.id}")
        self._running[job.id] = job.route, task
        task.add_done_callback(lambda _: self._running.pop(job.id))

    async def _run(self, job: Kept) -> None:
        try:
            ended = await self._outcome(job)
        except Exception as error:
            ended = State.FAILED, _failed(as_failure(error, f"in job {job.id}", log))
        if ended is None:
            self._waiting.append(job)
            return
        state, outcome = ended
        attempt = 0
        while True:
            attempt += 1
            try:
                await self._store.end(job, state, outcome, self._now() + job.keep)
            except Failure as failure:
                log.error("the outcome of job %s can't be kept: %s", job.id, failure)  # noqa: TRY400
                if failure.code is Code.RESOURCE_EXHAUSTED and state is State.DONE and self._now() >= job.until:
                    lost = f"there was no room to keep the upstream's reply of {len(outcome)} bytes"
                    state, outcome = State.FAILED, _failed(Failure(Code.RESOURCE_EXHAUSTED, lost))
                await asyncio.sleep(backoff(attempt, FIRST_PAUSE, LONGEST_PAUSE))
            else:
                return

    async def _outcome(self, job: Kept) -> tuple[State, bytes] | None:
        """None where its route is gone."""
        loop = asyncio.get_running_loop()
        deadline = job.until - self._epoch
        why = Failure(Code.DEADLINE_EXCEEDED, "no answer within the job's deadline")
        attempt = 0
        while deadline - loop.time() > CLOCK_SECONDS:
            route = self._routes.get(job.route)
            if route is None:
                return None
            attempt += 1
            try:
                message, context = _read(job, route)
                context.deadline = deadline
                reply = await route.service.call(message, context)
            except Failure as failure:
                if disposition(failure.code) is not Disposition.REDELIVER:
                    return State.FAILED, _failed(failure)
                if failure.code is not Code.DEADLINE_EXCEEDED:
                    text = f"no answer within the job's deadline; at last {failure.code.name}: {failure.text}"
                    why = Failure(Code.DEADLINE_EXCEEDED, text, details=failure.details)
                pause = max(backoff(attempt, FIRST_PAUSE, LONGEST_PAUSE), failure.retry_after or 0.0)
                await asyncio.sleep(max(0.0, min(pause, LONGEST_PAUSE, deadline - loop.time())))
            else:
                return State.DONE, msgspec.msgpack.encode(_Reply(reply.body, list(reply.headers)))
        return State.FAILED, _failed(why)

    async def _prune(self) -> None:
        while True:
            try:
                more = await self._store.prune(self._now())
            except Failure as failure:
                log.warning("expired jobs can't be removed: %s", failure)
                more = False
            if not more:
                await asyncio.sleep(PRUNE_SECONDS)


def _read(job: Kept, route: JobRoute) -> tuple[Message, Context]:
    """Raises Failure where the route's target has become another one since."""
    try:
        if job.form != route.form:
            raise msgspec.ValidationError(f"it is {job.form}, and the route takes {route.form}")
        kept = msgspec.msgpack.decode(job.request, type=_Request)
        body = msgspec.msgpack.decode(kept.body, type=route.encoded)
    except msgspec.DecodeError as error:
        raise Failure(Code.FAILED_PRECONDITION, f"the kept request can't be called: {error}") from error
    return Message(body, kept.headers, kept.params, kept.key), Context(peer=kept.peer, trace=kept.trace)


def _failed(failure: Failure) -> bytes:
    told = {
        "code": failure.code.name,
        "message": failure.message,
        "path": failure.path,
        "details": details_json(failure),
    }
    return _encode({name: value for name, value in told.items() if value})
