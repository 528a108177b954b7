"""Compile: configuration and contracts to a Plan, or all Problems at once. Every check comes before serving."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway import bridge, registry
from gateway.binding import UnboundError, binder, relaxed, taker
from gateway.bridge import Bridge, BridgeError, Replies, Requests
from gateway.config import Config, EndpointConfig, RouteConfig
from gateway.conversion import Finding
from gateway.mapping import Translation, compile_mapping, compile_sources
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.observe import AccessLog, Metrics
from gateway.pattern import Count, Pattern
from gateway.port import Binding, Contract, ContractError, Inbound, Outbound, Service
from gateway.problem import ConfigError, Problem
from gateway.route import FailureTranslator, Route
from gateway.schema.types import ANY, STRING, Field, List, Record, Type
from gateway.schema.values import struct_of
from gateway.status import Code, Failure
from gateway.step import (
    accepted_step,
    discarded,
    gather_reply_step,
    gather_request_step,
    reply_step,
    request_step,
)

# Which patterns to prefer where an address can be used with several.
_ORDER: Final = (
    Pattern.REQUEST_REPLY,
    Pattern.ONE_WAY,
    Pattern.SERVER_STREAM,
    Pattern.CLIENT_STREAM,
    Pattern.BIDI,
    Pattern.SUBSCRIBE,
)


@dataclass(slots=True)
class Explanation:
    """What `gateway explain` shows of a route."""

    route: str
    source: str
    source_pattern: Pattern
    target: str
    target_pattern: Pattern
    request: str
    reply: str
    deadline: float
    generated: list[str]
    losses: list[Problem]


@dataclass(slots=True)
class Plan:
    """All that serves, compiled.

    pending: route -> why its contract isn't known yet; such a route answers UNAVAILABLE.
    """

    config: Config
    inbounds: dict[str, Inbound] = field(default_factory=dict)
    outbounds: dict[str, Outbound] = field(default_factory=dict)
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    explanations: dict[str, Explanation] = field(default_factory=dict)
    pending: dict[str, str] = field(default_factory=dict)
    losses: list[Problem] = field(default_factory=list)


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


class _AnyParams(Mapping[str, Type]):
    """The params of an address with open_params: those declared, and text under any other name."""

    def __init__(self, declared: Mapping[str, Type]) -> None:
        self._declared = declared

    def __getitem__(self, name: str) -> Type:
        return self._declared.get(name, STRING)

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)


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
        sides: list[tuple[str, Inbound | Outbound]] = [*plan.inbounds.items(), *plan.outbounds.items()]
        await asyncio.gather(*(self._load(name, side) for name, side in sides))
        claims: dict[str, str] = {}
        holders: dict[str, str] = {}
        for route in routes:
            binding = self._route(route)
            if binding is None:
                continue
            claim = binding.contract.claim
            if claim:
                other = claims.setdefault(claim, route.name)
                if other != route.name:
                    self._report(route, ("from",), f"{claim} is taken by route {other}")
            for held in binding.contract.holds:
                holder = holders.setdefault(held, route.source_endpoint)
                if holder != route.source_endpoint:
                    self._report(route, ("from", "endpoint"), f"{held} is held by endpoint {holder}")
            plan.bindings.setdefault(route.source_endpoint, []).append(binding)
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
        try:
            opened[name] = side.open(name, endpoint.endpoint, self._network)
        except ContractError as error:
            self._problems.append(
                self._config.document.problem(("endpoints", name, *error.field), error.message, error.hint)
            )

    def _kept(self, name: str, endpoint: EndpointConfig, *, inbound: bool) -> Any:
        previous = self._previous
        if previous is None or previous.config.endpoints.get(name) != endpoint:
            return None
        return previous.inbounds.get(name) if inbound else previous.outbounds.get(name)

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

    def _contract(self, route: RouteConfig, side: Inbound | Outbound, address: Any, key: str) -> Contract | None:
        try:
            return side.contract(address)
        except ContractError as error:
            self._report(route, (key, *error.field), error.message, error.hint)
            return None

    def _route(self, route: RouteConfig) -> Binding | None:
        inbound = self._plan.inbounds.get(route.source_endpoint)
        outbound = self._plan.outbounds.get(route.target_endpoint)
        if inbound is None or outbound is None:
            return None
        if route.source_endpoint in self._unavailable:
            self._plan.pending[route.name] = self._unavailable[route.source_endpoint]
            return None
        source = self._contract(route, inbound, route.source, "from")
        why = self._unavailable.get(route.target_endpoint)
        if why is not None:
            self._plan.pending[route.name] = why
            if source is None:
                return None
            pattern = next(pattern for pattern in _ORDER if pattern in source.patterns)
            return Binding(route.name, route.source, source, pattern, _Pending(route.name, why), frozenset())
        target = self._contract(route, outbound, route.target, "to")
        if source is None or target is None:
            return None
        patterns = self._bridge(route, source, target)
        if patterns is None:
            return None
        return _Link(self, route, source, target, *patterns, outbound).binding()

    def _bridge(self, route: RouteConfig, source: Contract, target: Contract) -> tuple[Pattern, Pattern] | None:
        pairs = [
            (theirs, ours)
            for theirs in _ORDER
            if theirs in source.patterns
            for ours in _ORDER
            if ours in target.patterns
        ]
        refusal = ""
        for pair in sorted(pairs, key=lambda pair: pair[0] is not pair[1]):
            try:
                bridge.check(*pair, route.section.requests, route.section.replies)
            except BridgeError as error:
                refusal = refusal or str(error)
            else:
                return pair
        self._report(route, (), refusal)
        return None


class _Link:
    """Links one route: types, mapping, steps, service."""

    def __init__(
        self,
        compiler: _Compiler,
        route: RouteConfig,
        source: Contract,
        target: Contract,
        source_pattern: Pattern,
        target_pattern: Pattern,
        outbound: Outbound,
    ) -> None:
        self._compiler = compiler
        self._route = route
        self._source = source
        self._target = target
        self._source_pattern = source_pattern
        self._target_pattern = target_pattern
        self._outbound = outbound
        self._generated: list[str] = []
        self._headers: set[str] = set(source.headers)
        self._meant: dict[str, set[str]] = {"request": set(), "reply": set()}
        self._problems: list[Problem] = []
        self._served_request: Type | None = None
        self._served_reply: Type | None = None
        self._params: frozenset[str] = frozenset()

    def binding(self) -> Binding | None:
        compiler, route, section = self._compiler, self._route, self._route.section
        request, gather_request, request_text = self._request()
        reply, gather_reply, reply_text = self._reply()
        self._check_losses()
        compiler._problems.extend(self._problems)  # noqa: SLF001  one compiler in two classes
        if any(problem.fatal for problem in self._problems):
            return None
        service: Service = self._outbound.service(route.target, self._target, self._target_pattern)
        bridged = not (self._source_pattern.unary and self._target_pattern.unary)
        if bridged:
            service = Bridge(
                service,
                self._source_pattern,
                self._target_pattern,
                section.requests,
                section.replies,
                request=request,
                reply=reply,
                gather_request=gather_request,
                gather_reply=gather_reply,
            )
        deadline = section.deadline or compiler._config.gateway.deadline  # noqa: SLF001
        served = Route(
            route.name,
            service,
            request=request,
            reply=reply,
            bridged=bridged,
            one_reply=self._source_pattern.replies is Count.ONE,
            failures=FailureTranslator(self._source, self._target, section.errors),
            deadline=deadline,
            stream_deadline=section.deadline or float("inf"),
            metrics=compiler._metrics.route(route.name),  # noqa: SLF001
            access=compiler._access,  # noqa: SLF001
        )
        compiler._plan.explanations[route.name] = Explanation(  # noqa: SLF001
            route.name,
            self._source.describe,
            self._source_pattern,
            self._target.describe,
            self._target_pattern,
            request_text,
            reply_text,
            deadline,
            self._generated,
            self._problems,
        )
        accepted = self._target_pattern.replies is Count.NONE
        return Binding(
            route.name,
            route.source,
            self._source,
            self._source_pattern,
            served,
            frozenset(self._headers),
            accepted,
            self._served_request,
            self._served_reply,
            self._params,
        )

    def _note(self, translation: Translation, key: str) -> None:
        if translation.text:
            self._generated.append(f"# {key}\n{translation.text}")
        document = self._compiler._config.document  # noqa: SLF001
        section = {"request": self._route.section.request, "reply": self._route.section.reply}.get(key)
        named = set(section.losses) if section else set()
        for finding in translation.findings:
            if not finding.fatal and finding.path in named:
                self._meant[key].add(finding.path)
                continue
            keys: tuple[str, ...] = ("routes", self._route.name, key)
            for step in re.findall(r"[^.$\[\]]+", finding.path):
                deeper = (*keys, "map", step)
                if not document.has(deeper):
                    break
                keys = deeper
            self._problems.append(
                document.problem(keys, f"{key} {finding.path}: {finding.message}", finding.hint, fatal=finding.fatal)
            )

    def _check_losses(self) -> None:
        """What the route says it loses must be what it loses."""
        section = self._route.section
        for key, named in (("request", section.request.losses), ("reply", section.reply.losses)):
            for index, path in enumerate(named):
                if path not in self._meant[key]:
                    self._problems.append(
                        self._compiler._config.document.problem(  # noqa: SLF001
                            ("routes", self._route.name, key, "losses", index), f"{path} is not lost here"
                        )
                    )

    def _refuse(self, keys: tuple[str, ...], message: str, hint: str = "") -> None:
        self._problems.append(
            self._compiler._config.document.problem(("routes", self._route.name, *keys), message, hint)  # noqa: SLF001
        )

    def _request(self) -> tuple[bridge.Step, bridge.GatherStep | None, str]:
        source, target, section = self._source, self._target, self._route.section
        declared: dict[str, Type] = {**source.metadata, **dict.fromkeys(source.params, STRING)}
        params: Mapping[str, Type] = _AnyParams(declared) if source.open_params else declared
        certain = frozenset(declared) - source.uncertain
        gathered = section.requests is Requests.GATHER
        coming = List(source.request) if gathered and source.request is not None else source.request
        translation = compile_mapping(
            section.request.map, coming, target.request, params, f"{self._route.name}.request", certain=certain
        )
        self._note(translation, "request")
        sources = compile_sources(target.sources, translation.source, params, certain) if target.sources else None
        if sources is not None:
            self._note(sources, "to")
        read_params = translation.params | (sources.params if sources else frozenset())
        self._headers |= translation.headers | (sources.headers if sources else frozenset())
        forward = source.headers if self._headers - source.headers else None
        decoded: Type = translation.source
        if gathered:
            decoded = translation.source.item if isinstance(translation.source, List) else ANY
            if not isinstance(translation.source, List) and translation.source != ANY:
                self._refuse(
                    ("requests",), f"gather makes a list, {translation.source} is none", "map it with `each: $`"
                )
        self._served_request, self._params = decoded, read_params
        used = read_params | set(target.params)
        bound = tuple(name for name in source.params if name not in used)
        decoded = relaxed(decoded, bound)
        if decoded == ANY:
            used |= set(bound)
            for name in bound:
                self._note(Translation(ANY, ANY, None, frozenset(), frozenset(), [_unused_param(name)]), "request")
        bind = take = None
        try:
            bind = None if gathered else binder(decoded, bound, used, source.open_params)
        except UnboundError as error:
            self._refuse(("from",), str(error), "use it in the map, as $params.NAME, or rename it")
        try:
            take = taker(translation.target, target.params) if target.params else None
        except UnboundError as error:
            self._refuse(("to",), str(error))
        decode = source.format.decoder(decoded, source.unknown)
        encode = target.format.encoder(translation.target)
        binds = bind is not None and decoded != ANY
        passes = source.format == target.format and translation.apply is None and not binds and take is None
        text = f"{source.format.name} {decoded} -> {target.format.name} {translation.target}"
        step = request_step(
            decode,
            bind,
            sources.apply if sources else None,
            translation.apply,
            take,
            None if passes else encode,
            forward,
            null_passes=decoded == ANY,
        )
        gather = (
            gather_request_step(decode, sources.apply if sources else None, translation.apply, take, encode)
            if gathered
            else None
        )
        return step, gather, text + (", bytes pass through" if passes else "")

    def _reply(self) -> tuple[bridge.Step, bridge.GatherStep | None, str]:
        source, target, section = self._source, self._target, self._route.section
        if self._source_pattern.replies is Count.NONE:
            return discarded, None, "none"
        title = f"{self._route.name}.reply"
        if self._target_pattern.replies is Count.NONE:
            return self._accepted(title)
        gathered = section.replies is Replies.GATHER
        coming = List(target.reply) if gathered and target.reply is not None else target.reply
        wanted = source.reply
        translation = compile_mapping(section.reply.map, coming, wanted, target.receipt, title)
        self._note(translation, "reply")
        decoded: Type = translation.source
        if gathered:
            decoded = translation.source.item if isinstance(translation.source, List) else ANY
        decode = target.replies.decoder(decoded, target.unknown)
        self._served_reply = translation.target
        encode = source.replies.encoder(translation.target)
        passes = source.replies == target.replies and translation.apply is None
        step = reply_step(decode, translation.apply, None if passes else encode, target.headers)
        gather = gather_reply_step(decode, translation.apply, encode) if gathered else None
        text = f"{target.replies.name} {decoded} -> {source.replies.name} {translation.target}"
        return step, gather, text + (", bytes pass through" if passes else "")

    def _accepted(self, title: str) -> tuple[bridge.Step, bridge.GatherStep | None, str]:
        """The reply to a caller of a one-way upstream: its receipt, or what the map makes of it."""
        source, target, section = self._source, self._target, self._route.section
        receipt = Record("receipt", [Field(name, type_) for name, type_ in target.receipt.items()])
        if source.reply is None and not section.reply.map:
            self._served_reply = receipt
            struct = struct_of(receipt)
            names = frozenset(target.receipt)
            encode = source.replies.encoder(receipt)
            return (
                accepted_step(
                    lambda params: struct(**{name: value for name, value in params.items() if name in names}), encode
                ),
                None,
                f"accepted -> {source.replies.name} receipt",
            )
        nothing = Record("nothing")
        translation = compile_mapping(
            section.reply.map or {}, nothing, source.reply, target.receipt, title, certain=frozenset(target.receipt)
        )
        self._note(translation, "reply")
        self._served_reply = translation.target
        encode = source.replies.encoder(translation.target)
        empty = struct_of(nothing)()
        apply = translation.apply or (lambda value, params, headers, key: value)
        return (
            accepted_step(lambda params: apply(empty, params, (), None), encode),
            None,
            f"accepted -> {source.replies.name} {translation.target}",
        )


def _unused_param(name: str) -> Finding:
    return Finding(
        f"$params.{name}", "dropped: nothing uses this parameter", f"map it, or address with it: $params.{name}"
    )
