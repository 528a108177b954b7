"""A route with jobs is two: one that accepts requests as jobs, and one that asks how they stand. This makes their legs.

To the first the upstream is a one-way upstream, whose receipt is the job's id. To the second the jobs are an upstream
that speaks JSON.
"""

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from gateway.codecs.json.format import JsonFormat
from gateway.config import Job, RouteConfig, RouteSection
from gateway.jobs.jobs import Jobs
from gateway.jobs.store import State
from gateway.link import Leg
from gateway.mapping import Rules
from gateway.message import Context, Message
from gateway.observe import AccessLog, RouteMetrics
from gateway.pattern import Pattern
from gateway.port import Contract, Service, UnaryService
from gateway.route import FailureTranslator, Route
from gateway.schema.names import convention
from gateway.schema.types import ANY, STRING, Enumeration, Field, List, Record, Type
from gateway.status import Code
from gateway.step import reply_step

ID: Final = "job"
LINK: Final = "status"

_JSON: Final = JsonFormat()
_QUERY: Final = Record("JobQuery", [Field(ID, STRING, required=True)])
_STATE: Final = Enumeration("JobState", {state.value: number for number, state in enumerate(State, 1)})
_CODE: Final = Enumeration("Code", {code.name: code.value for code in Code if code})
_FAILURE: Final = Record(
    "JobFailure",
    [
        Field("code", _CODE, required=True),
        Field("message", STRING, required=True),
        Field("path", STRING),
        Field("details", List(ANY)),
    ],
)

Link = Callable[[str], str]
"""Job's id -> how its status is asked for."""


def refusals(
    section: RouteSection, source: Contract, target: Contract, status: Contract
) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """(where in the route, why it can't have jobs, hint)"""
    if Pattern.REQUEST_REPLY not in source.patterns:
        yield ("from",), "a job's caller sends one request and takes one reply, which tells the job's id", ""
    if Pattern.REQUEST_REPLY not in target.patterns:
        if Pattern.ONE_WAY in target.patterns:
            yield ("to",), "the upstream never replies, so that a job would have no outcome", "leave job: out"
        else:
            yield ("to",), "a job has one request and one reply, and the upstream streams", ""
    if Pattern.REQUEST_REPLY not in status.patterns:
        yield ("job", "status"), "a status is one reply to one request", ""
    for key, word in (("requests", section.requests), ("replies", section.replies)):
        if word is not None:
            yield (key,), f"{key}: {word.value} has nothing to do for a job, which has one of them", ""
    if section.silence is not None:
        yield ("silence",), "silence has nothing to do for a job: nothing streams", "a job has its deadline"
    if status.link is not None:
        param = _param(status, section)
        try:
            status.link({param: ID})
        except KeyError as missing:
            hint = "let it capture the job's id, as {job}, and nothing else"
            yield ("job", "status"), f"the job's id alone does not lead there: {missing.args[0]}", hint


def job_legs(
    route: RouteConfig,
    job: Job,
    jobs: Jobs,
    source: Contract,
    target: Contract,
    status: Contract,
    deadline: float,
) -> tuple[Leg, Leg]:
    """The submission's, and the question's for the status. deadline: of both."""
    section, keys = route.section, ("routes", route.name)
    link = _link(status, section)
    submission = Leg(
        name=route.name,
        keys=keys,
        source_keys=(*keys, "from"),
        target_keys=(*keys, "to"),
        address=route.source,
        source=source,
        target=_submission(target, section.deadline or deadline, linked=link is not None),
        source_pattern=Pattern.REQUEST_REPLY,
        target_pattern=Pattern.ONE_WAY,
        service=lambda: Submission(jobs, route.name, link),
        deadline=deadline,
        request=section.request,
        reply=section.reply,
        link=LINK if link is not None and route.source_endpoint == route.status_endpoint else "",
    )
    question = Leg(
        name=f"{route.name}/status",
        keys=(*keys, "job"),
        source_keys=(*keys, "job", "status"),
        target_keys=(*keys, "job"),
        address=route.status,
        source=status,
        target=_status(route.name, kept_reply(target, status, job), target.headers),
        source_pattern=Pattern.REQUEST_REPLY,
        target_pattern=Pattern.REQUEST_REPLY,
        service=lambda: Status(jobs, route.name),
        deadline=deadline,
        request=job.request,
        reply=job.reply,
    )
    return submission, question


def kept_reply(target: Contract, status: Contract, job: Job) -> Type:
    """The type of kept replies: the upstream's, or else what the status' answer declares for them."""
    if target.reply is not None:
        return target.reply
    if not isinstance(status.reply, Record) or job.reply.map:
        return ANY
    return next((field.type for field in status.reply.fields if convention(field.name) == "reply"), ANY)


def job_call(
    route: RouteConfig,
    service: Service,
    target: Contract,
    reply: Type,
    deadline: float,
    metrics: RouteMetrics,
    access: AccessLog | None,
) -> Route:
    """Calls the upstream with a request as it was kept; the reply, and details of failures, are JSON then."""
    decode = target.replies.decoder(reply, target.unknown)
    kept = Contract(patterns=frozenset({Pattern.REQUEST_REPLY}), format=_JSON)
    return Route(
        f"{route.name}/job",
        service,
        request=lambda message: message,
        reply=reply_step(decode, None, _JSON.encoder(reply), target.headers),
        bridged=False,
        one_reply=True,
        failures=FailureTranslator(kept, target, route.section.errors),
        deadline=deadline,
        stream_deadline=deadline,
        metrics=metrics,
        access=access,
    )


def _submission(target: Contract, deadline: float, *, linked: bool) -> Contract:
    """What a route's `from` meets: the upstream's request, and a receipt. deadline: the job's."""
    return Contract(
        patterns=frozenset({Pattern.ONE_WAY}),
        format=target.format,
        request=target.request,
        params=target.params,
        sources=target.sources,
        receipt={ID: STRING, LINK: STRING} if linked else {ID: STRING},
        describe=f"as a job of at most {deadline:g} s: {target.describe}",
    )


def _status(route: str, reply: Type, headers: frozenset[str]) -> Contract:
    """What a route's `job.status` meets. reply, headers: the upstream's."""
    job = Record(
        "Job",
        [
            Field(ID, STRING, required=True),
            Field("state", _STATE, required=True),
            Field("reply", reply),
            Field("failure", _FAILURE),
        ],
    )
    return Contract(
        patterns=frozenset({Pattern.REQUEST_REPLY}),
        format=_JSON,
        request=_QUERY,
        reply=job,
        headers=headers,
        describe=f"the jobs of route {route}",
    )


def _link(status: Contract, section: RouteSection) -> Link | None:
    to, param = status.link, _param(status, section)
    return None if to is None else lambda job: to({param: job})


def _param(status: Contract, section: RouteSection) -> str:
    """The param, or the field, of the status' address that is the job's id."""
    rules: Rules = (section.job and section.job.request.map) or {}
    rule = next((rule for name, rule in rules.items() if convention(name) == ID), ID)
    wanted = rule.removeprefix("$params.").removeprefix("$.") if isinstance(rule, str) else ID
    captured = (*status.params, *status.metadata)
    return next((name for name in captured if convention(name) == convention(wanted)), wanted)


class Submission(UnaryService):
    """The Service that accepts requests as jobs."""

    def __init__(self, jobs: Jobs, route: str, link: Link | None) -> None:
        self._jobs = jobs
        self._route = route
        self._link = link

    async def call(self, request: Message, context: Context) -> Message:
        job = await self._jobs.submit(self._route, request, context)
        return Message(None, params={ID: job} if self._link is None else {ID: job, LINK: self._link(job)})


class Status(UnaryService):
    """The Service that tells how jobs stand."""

    def __init__(self, jobs: Jobs, route: str) -> None:
        self._jobs = jobs
        self._route = route

    async def call(self, request: Message, context: Context) -> Message:
        job: str = msgspec.json.decode(request.body)[ID]
        return await self._jobs.status(self._route, job)
