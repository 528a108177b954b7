"""Compile: configuration and contracts to a Plan, or all Problems at once. Every check comes before serving."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from gateway import bridge, registry
from gateway.backbone import Lent, lend
from gateway.bridge import BridgeError, UnfitError
from gateway.config import Config, EndpointConfig, RouteConfig
from gateway.jobs.jobs import JobRoute, Jobs
from gateway.jobs.link import job_call, job_legs, kept_reply, refusals
from gateway.jobs.store import JobStore
from gateway.link import Explanation, Leg, Link
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.observe import AccessLog, Metrics
from gateway.pattern import Pattern
from gateway.port import Binding, Contract, ContractError, Inbound, Outbound
from gateway.problem import ConfigError, Problem
from gateway.route import Route
from gateway.status import Code, Failure

# Which patterns to prefer where an address can be used with several.
_ORDER: Final = (
    Pattern.REQUEST_REPLY,
    Pattern.ONE_WAY,
    Pattern.SERVER_STREAM,
    Pattern.CLIENT_STREAM,
    Pattern.BIDI,
    Pattern.SUBSCRIBE,
)


_Bound = tuple[str, tuple[str, ...], Binding]
"""(inbound endpoint, where in the route its address is, binding)"""


@dataclass(slots=True)
class Plan:
    """All that serves, compiled.

    routes: those that callers call.
    pending: route -> why its contract isn't known yet; such a route answers UNAVAILABLE.
    lent: endpoint -> its backbone.
    jobs: None where routes.yaml keeps none. job_routes: how they are called.
    """

    config: Config
    inbounds: dict[str, Inbound] = field(default_factory=dict)
    outbounds: dict[str, Outbound] = field(default_factory=dict)
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    routes: list[Route] = field(default_factory=list)
    explanations: dict[str, Explanation] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    lent: dict[str, Lent] = field(default_factory=dict)
    losses: list[Problem] = field(default_factory=list)
    jobs: Jobs | None = None
    job_routes: dict[str, JobRoute] = field(default_factory=dict)


async def compile_plan(
    config: Config, network: Network, metrics: Metrics, access: AccessLog | None, previous: Plan | None = None
) -> Plan:
    """Raises ConfigError with all problems. Endpoints whose configuration is unchanged are taken from `previous`."""
    return await _Compiler(config, network, metrics, access, previous).compile()


class _Pending:
    """Serves a route whose contract is not known yet."""

    def __init__(self, route: str, why: str) -> None:
        self._failure = f"route {route} is not ready: {why}"

    async def call(self, request: Message, context: Context) -> Message:
        raise Failure(Code.UNAVAILABLE, self._failure, retry_after=1.0, sent=False)

    async def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        raise Failure(Code.UNAVAILABLE, self._failure, retry_after=1.0, sent=False)
        yield request


class _Compiler:
    def __init__(
        self, config: Config, network: Network, metrics: Metrics, access: AccessLog | None, previous: Plan | None
    ) -> None:
        self._config = config
        self._network = network
        self._metrics = metrics
        self._access = access
        self._previous = previous
        self._problems: list[Problem] = list(config.problems)
        self._unavailable: dict[str, str] = {}
        self._plan = Plan(config)

    async def compile(self) -> Plan:
        plan = self._plan
        routes = self._config.routes.values()
        for route in routes:
            self._open(route.source_endpoint, inbound=True)
            self._open(route.target_endpoint, inbound=False)
            if route.status_endpoint:
                self._open(route.status_endpoint, inbound=True)
        plan.jobs = self._jobs()
        sides: list[tuple[str, Inbound | Outbound]] = [*plan.inbounds.items(), *plan.outbounds.items()]
        sides += [(lent.bus.name, side) for lent in plan.lent.values() for side in lent.sides]
        await asyncio.gather(*(self._load(name, side) for name, side in sides))
        claims: dict[str, str] = {}
        holders: dict[str, str] = {}
        for route in routes:
            for endpoint, keys, binding in self._route(route):
                claim = binding.contract.claim
                if claim:
                    other = claims.setdefault(claim, binding.route)
                    if other != binding.route:
                        self._report(route, keys, f"{claim} is taken by route {other}")
                for held in binding.contract.holds:
                    holder = holders.setdefault(held, endpoint)
                    if holder != endpoint:
                        self._report(route, (*keys, "endpoint"), f"{held} is held by endpoint {holder}")
                plan.bindings.setdefault(endpoint, []).append(binding)
        if any(problem.fatal for problem in self._problems):
            raise ConfigError(self._problems)
        plan.losses = self._problems
        return plan

    # -- endpoints

    def _open(self, name: str, *, inbound: bool) -> None:
        opened: dict[str, Any] = self._plan.inbounds if inbound else self._plan.outbounds
        if name in opened:
            return
        endpoint = self._config.endpoints[name]
        kept = self._kept(name, endpoint, inbound=inbound)
        if kept is not None:
            opened[name] = kept
            return
        adapter = registry.adapter(endpoint.protocol)
        side = adapter.inbound if inbound else adapter.outbound
        if side is None:
            return  # config has refused such a route
        lent = self._lent(name)
        try:
            if lent is not None and side.on_backbone is not None:
                opened[name] = side.on_backbone(name, endpoint.endpoint, self._network, lent.bus)
            else:
                opened[name] = side.open(name, endpoint.endpoint, self._network)
        except ContractError as error:
            self._problems.append(
                self._config.document.problem(("endpoints", name, *error.field), error.message, error.hint)
            )

    def _kept(self, name: str, endpoint: EndpointConfig, *, inbound: bool) -> Any:
        previous = self._previous
        if previous is None or previous.config.endpoints.get(name) != endpoint:
            return None
        lent = previous.lent.get(name)
        if lent is not None:
            if previous.config.endpoints[lent.bus.name] != self._config.endpoints.get(lent.bus.name):
                return None
            self._plan.lent[name] = lent
        return previous.inbounds.get(name) if inbound else previous.outbounds.get(name)

    def _lent(self, name: str) -> Lent | None:
        """The backbone of an endpoint, the same one for both its sides."""
        lent = self._plan.lent.get(name) or lend(self._config, name, self._network)
        if lent is not None:
            self._plan.lent[name] = lent
        return lent

    async def _load(self, name: str, side: Inbound | Outbound) -> None:
        try:
            await side.load()
        except ContractError as error:
            self._problems.append(
                self._config.document.problem(("endpoints", name, *error.field), error.message, error.hint)
            )
            self._unavailable[name] = error.message
        except Failure as failure:
            self._unavailable[name] = failure.message

    # -- routes

    def _report(self, route: RouteConfig, keys: tuple[str | int, ...], message: str, hint: str = "") -> None:
        self._problems.append(self._config.document.problem(("routes", route.name, *keys), message, hint))

    def _contract(
        self, route: RouteConfig, side: Inbound | Outbound, address: Any, keys: tuple[str | int, ...]
    ) -> Contract | None:
        try:
            return side.contract(address)
        except ContractError as error:
            self._report(route, (*keys, *error.field), error.message, error.hint)
            return None

    def _route(self, route: RouteConfig) -> Iterator[_Bound]:
        """The bindings of a route whose contracts can be had."""
        inbound = self._plan.inbounds.get(route.source_endpoint)
        outbound = self._plan.outbounds.get(route.target_endpoint)
        asked = self._plan.inbounds.get(route.status_endpoint)
        if inbound is None or outbound is None or (route.status is not None and asked is None):
            return
        for endpoint in (route.source_endpoint, route.status_endpoint):
            if endpoint in self._unavailable:
                self._plan.pending[route.name] = self._unavailable[endpoint]
                return
        source = self._contract(route, inbound, route.source, ("from",))
        status = None if asked is None else self._contract(route, asked, route.status, ("job", "status"))
        why = self._unavailable.get(route.target_endpoint)
        if why is not None:
            self._plan.pending[route.name] = why
            if source is not None:
                yield route.source_endpoint, ("from",), _pending(route.name, route.source, source, why)
            if status is not None:
                bound = _pending(f"{route.name}/status", route.status, status, why)
                yield route.status_endpoint, ("job", "status"), bound
            return
        target = self._contract(route, outbound, route.target, ("to",))
        if source is None or target is None or (asked is not None and status is None):
            return
        if status is not None:
            yield from self._job(route, source, target, status, outbound)
            return
        patterns = self._bridge(route, source, target)
        if patterns is None:
            return
        section = route.section
        binding = self._link(
            Leg(
                name=route.name,
                keys=("routes", route.name),
                source_keys=("routes", route.name, "from"),
                target_keys=("routes", route.name, "to"),
                address=route.source,
                source=source,
                target=target,
                source_pattern=patterns[0],
                target_pattern=patterns[1],
                service=lambda: outbound.service(route.target, target, patterns[1]),
                deadline=section.deadline or self._config.gateway.deadline,
                stream_deadline=section.deadline or float("inf"),
                silence=section.silence or float("inf"),
                request=section.request,
                reply=section.reply,
                requests=section.requests,
                replies=section.replies,
                errors=section.errors,
            )
        )
        if binding is not None:
            yield route.source_endpoint, ("from",), binding

    def _link(self, leg: Leg) -> Binding | None:
        link = Link(leg, self._config.document, self._metrics, self._access)
        binding = link.binding()
        self._problems.extend(link.problems)
        if link.explanation is not None:
            self._plan.explanations[leg.name] = link.explanation
        self._plan.routes.extend(link.routes)
        return binding

    def _bridge(self, route: RouteConfig, source: Contract, target: Contract) -> tuple[Pattern, Pattern] | None:
        pairs = [
            (theirs, ours)
            for theirs in _ORDER
            if theirs in source.patterns
            for ours in _ORDER
            if ours in target.patterns
        ]
        refusals: list[BridgeError] = []
        for pair in sorted(pairs, key=lambda pair: pair[0] is not pair[1]):
            try:
                bridge.check(*pair, route.section.requests, route.section.replies, target.ends)
            except BridgeError as error:
                refusals.append(error)
            else:
                if route.section.silence is not None and pair[0].unary and pair[1].unary:
                    message = f"silence has nothing to do for {pair[0].label} to {pair[1].label}: nothing streams"
                    self._report(route, ("silence",), message, "a call has its deadline")
                    return None
                return pair
        self._report(route, (), str(min(refusals, key=lambda error: isinstance(error, UnfitError))))
        return None

    # -- jobs

    def _jobs(self) -> Jobs | None:
        section = self._config.gateway.jobs
        previous = self._previous
        if previous is not None and previous.config.gateway.jobs == section:
            return previous.jobs
        if section is None:
            return None
        store = JobStore(self._network.path(section.file), section.max_bytes)
        return Jobs(store, section.max_running, section.max_kept, section.max_bytes)

    def _job(
        self, route: RouteConfig, source: Contract, target: Contract, status: Contract, outbound: Outbound
    ) -> Iterator[_Bound]:
        """The binding where jobs are submitted, and the one where their status is asked for."""
        jobs, job = self._plan.jobs, route.section.job
        if jobs is None or job is None:
            hint = "say where they are kept: gateway: {jobs: {file: jobs.sqlite}}"
            self._report(route, ("job",), "the gateway keeps no jobs", hint)
            return
        refused = list(refusals(route.section, source, target, status))
        for refusal in refused:
            self._report(route, *refusal)
        if refused:
            return
        legs = job_legs(route, job, jobs, source, target, status, self._config.gateway.deadline)
        submission, question = (self._link(leg) for leg in legs)
        if submission is None or question is None:
            return
        service = outbound.service(route.target, target, Pattern.REQUEST_REPLY)
        deadline = route.section.deadline or self._config.gateway.deadline
        reply = kept_reply(target, status, job)
        metrics = self._metrics.route(f"{route.name}/job")
        called = job_call(route, service, target, reply, deadline, metrics, self._access)
        protocol = self._config.endpoints[route.target_endpoint].protocol
        form, encoded = f"{protocol} {target.format.name}", target.format.encoded | None
        self._plan.job_routes[route.name] = JobRoute(called, form, encoded, deadline, job.keep)
        yield route.source_endpoint, ("from",), submission
        yield route.status_endpoint, ("job", "status"), question


def _pending(name: str, address: Any, contract: Contract, why: str) -> Binding:
    pattern = next(pattern for pattern in _ORDER if pattern in contract.patterns)
    pending = _Pending(name, why)
    requests, replies = (contract.format, *contract.formats), (contract.replies, *contract.reply_formats)
    variants = {(asked.name, told.name): pending for asked in requests for told in replies}
    return Binding(name, address, contract, pattern, pending, frozenset(), variants=variants)
