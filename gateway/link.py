"""Link: two contracts joined into a Binding: types, mapping, steps, service."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from gateway import bridge
from gateway.binding import UnboundError, binder, relaxed, taker
from gateway.bridge import Bridge, Replies, Requests, Step
from gateway.codecs.format import Format, NoFormError
from gateway.config import Translate
from gateway.conversion import Finding
from gateway.document import Document
from gateway.mapping import Rules, Translation, compile_mapping, compile_sources
from gateway.observe import AccessLog, Metrics
from gateway.pattern import Count, Ends, Pattern
from gateway.port import Binding, Contract, Service
from gateway.problem import Problem
from gateway.route import FailureTranslator, Route
from gateway.schema.names import convention
from gateway.schema.types import ANY, STRING, Field, List, Record, Type
from gateway.schema.values import struct_of
from gateway.silence import SilenceLimit
from gateway.status import Code
from gateway.step import (
    accepted_step,
    discarded,
    gather_reply_step,
    gather_request_step,
    opening_step,
    reply_step,
    request_step,
)

_HEAD: Final = Record("head")
"""What a call with many requests says before the first of them, besides its metadata."""


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
    silence: float
    generated: list[str]
    losses: list[Problem]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """What is to be joined, and what routes.yaml says of it.

    name: how metrics, the access log and `explain` call it.
    keys: where in routes.yaml its `request` and `reply` are. source_keys, target_keys: where its addresses are.
    source_pattern, target_pattern: of each contract's; gateway.bridge.check() has passed them.
    service: makes the upstream's Service in target_pattern; asked once nothing is wrong.
    link: as Binding has it.
    """

    name: str
    keys: tuple[str | int, ...]
    source_keys: tuple[str | int, ...]
    target_keys: tuple[str | int, ...]
    address: Any
    source: Contract
    target: Contract
    source_pattern: Pattern
    target_pattern: Pattern
    service: Callable[[], Service]
    deadline: float
    stream_deadline: float = float("inf")
    silence: float = float("inf")
    request: Translate = field(default_factory=Translate)
    reply: Translate = field(default_factory=Translate)
    requests: Requests | None = None
    replies: Replies | None = None
    errors: Mapping[str, Code] = field(default_factory=dict)
    link: str = ""


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


class Link:
    """Joins one leg.

    problems: what is wrong and what is lost, once binding() was called. explanation: None where it can't be
        joined. routes: one for each variant of the binding.
    """

    def __init__(self, leg: Leg, document: Document, metrics: Metrics, access: AccessLog | None) -> None:
        self._leg = leg
        self._document = document
        self._metrics = metrics
        self._access = access
        self._source = leg.source
        self._target = leg.target
        self._generated: list[str] = []
        self._headers: set[str] = set(leg.source.headers)
        self._meant: dict[str, set[str]] = {"request": set(), "reply": set()}
        self._served_request: Type | None = None
        self._served_reply: Type | None = None
        self._params: frozenset[str] = frozenset()
        self.problems: list[Problem] = []
        self.explanation: Explanation | None = None
        self.routes: list[Route] = []

    def binding(self) -> Binding | None:
        """None where a problem is fatal."""
        leg = self._leg
        try:
            opening, requests, gather_request, request_text = self._request()
            replies, gather_reply, reply_text = self._reply()
        except NoFormError as error:
            self._refuse(leg.keys, str(error))
            return None
        self._check_losses()
        if any(problem.fatal for problem in self.problems):
            return None
        service = leg.service()
        bridged = not (leg.source_pattern.unary and leg.target_pattern.unary)
        if bridged and leg.silence < float("inf"):
            service = SilenceLimit(service, leg.target_pattern, leg.silence)
        failures = FailureTranslator(leg.source, leg.target, leg.errors)

        def served(request: Step, reply: Step) -> Route:
            return Route(
                leg.name,
                service
                if not bridged
                else Bridge(
                    service,
                    leg.source_pattern,
                    leg.target_pattern,
                    leg.requests,
                    leg.replies,
                    opening=opening,
                    request=request,
                    reply=reply,
                    gather_request=gather_request,
                    gather_reply=gather_reply,
                ),
                request=request,
                reply=reply,
                bridged=bridged,
                one_reply=leg.source_pattern.replies is Count.ONE,
                failures=failures,
                deadline=leg.deadline,
                stream_deadline=leg.stream_deadline,
                metrics=self._metrics.route(leg.name),
                access=self._access,
                endless=leg.target.ends is not Ends.SURELY or leg.target_pattern is Pattern.SUBSCRIBE,
            )

        variants = {
            (asked, told): served(request, reply)
            for asked, request in requests.items()
            for told, reply in replies.items()
        }
        self.routes = list(variants.values())
        self.explanation = Explanation(
            leg.name,
            leg.source.describe,
            leg.source_pattern,
            leg.target.describe,
            leg.target_pattern,
            request_text,
            reply_text,
            leg.deadline if leg.source_pattern.unary else leg.stream_deadline,
            leg.silence,
            self._generated,
            self.problems,
        )
        return Binding(
            leg.name,
            leg.address,
            leg.source,
            leg.source_pattern,
            variants.pop((leg.source.format.name, leg.source.replies.name)),
            frozenset(self._headers),
            leg.target_pattern.replies is Count.NONE,
            self._served_request,
            self._served_reply,
            self._params,
            leg.link,
            variants,
        )

    def _note(self, translation: Translation, key: str) -> None:
        if translation.text:
            self._generated.append(f"# {key}\n{translation.text}")
        section = {"request": self._leg.request, "reply": self._leg.reply}.get(key)
        named = set(section.losses) if section else set()
        for finding in translation.findings:
            if not finding.fatal and finding.path in named:
                self._meant[key].add(finding.path)
                continue
            keys: tuple[str | int, ...] = (*self._leg.keys, key)
            for step in re.findall(r"[^.$\[\]]+", finding.path):
                deeper = (*keys, "map", step)
                if not self._document.has(deeper):
                    break
                keys = deeper
            text = f"{key} {finding.path}: {finding.message}"
            self.problems.append(self._document.problem(keys, text, finding.hint, fatal=finding.fatal))

    def _check_losses(self) -> None:
        """What the route says it loses must be what it loses."""
        for key, named in (("request", self._leg.request.losses), ("reply", self._leg.reply.losses)):
            for index, path in enumerate(named):
                if path not in self._meant[key]:
                    self._refuse((*self._leg.keys, key, "losses", index), f"{path} is not lost here")

    def _refuse(self, keys: tuple[str | int, ...], message: str, hint: str = "") -> None:
        self.problems.append(self._document.problem(keys, message, hint))

    def _request(self) -> tuple[Step, dict[str, Step], bridge.GatherStep | None, str]:
        source, target, leg = self._source, self._target, self._leg
        declared: dict[str, Type] = {**source.metadata, **dict.fromkeys(source.params, STRING)}
        params: Mapping[str, Type] = _AnyParams(declared) if source.open_params else declared
        certain = frozenset(declared) - source.uncertain
        gathered = leg.requests is Requests.GATHER
        coming = List(source.request) if gathered and source.request is not None else source.request
        translation = compile_mapping(
            leg.request.map, coming, target.request, params, f"{leg.name}.request", certain=certain
        )
        self._note(translation, "request")
        sources = compile_sources(target.sources, translation.source, params, certain) if target.sources else None
        opening = compile_sources(target.opening, _HEAD, params, certain) if target.opening else None
        read_params = translation.params
        self._headers |= translation.headers
        for address in (sources, opening):
            if address is not None:
                self._note(address, "to")
                read_params |= address.params
                self._headers |= address.headers
        forward = source.headers if self._headers - source.headers else None
        decoded: Type = translation.source
        if gathered:
            decoded = translation.source.item if isinstance(translation.source, List) else ANY
            if not isinstance(translation.source, List) and translation.source != ANY:
                self._refuse(
                    (*leg.keys, "requests"),
                    f"gather makes a list, {translation.source} is none",
                    "map it with `each: $`",
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
            self._refuse(leg.source_keys, str(error), "use it in the map, as $params.NAME, or rename it")
        try:
            take = taker(translation.target, target.params) if target.params else None
        except UnboundError as error:
            self._refuse(leg.target_keys, str(error))
        encode = target.format.encoder(translation.target)
        binds = bind is not None and decoded != ANY
        as_it_is = translation.apply is None and not binds and take is None
        text = f"{source.format.name} {decoded} -> {target.format.name} {translation.target}"

        def step(format_: Format) -> Step:
            passes = as_it_is and format_ == target.format
            return request_step(
                format_.decoder(decoded, source.unknown),
                bind,
                sources.apply if sources else None,
                translation.apply,
                take,
                None if passes else encode,
                forward,
                null_passes=decoded == ANY or (passes and source.nulls and target.nulls),
                null_is_empty=not source.nulls,
            )

        gather = None
        if gathered:
            decode = source.format.decoder(decoded, source.unknown)
            gather = gather_request_step(decode, sources.apply if sources else None, translation.apply, take, encode)
        head = opening_step(opening.apply if opening else None, forward)
        passes = as_it_is and source.format == target.format
        steps = _steps(source.format, source.formats, step)
        return head, steps, gather, text + _told(steps, passes)

    def _reply(self) -> tuple[dict[str, Step], bridge.GatherStep | None, str]:
        source, target, leg = self._source, self._target, self._leg
        if leg.source_pattern.replies is Count.NONE:
            return {source.replies.name: discarded}, None, "none"
        title = f"{leg.name}.reply"
        if leg.target_pattern.replies is Count.NONE:
            return self._accepted(title)
        gathered = leg.replies is Replies.GATHER
        coming = List(target.reply) if gathered and target.reply is not None else target.reply
        wanted = source.reply
        translation = compile_mapping(leg.reply.map, coming, wanted, target.receipt, title)
        self._note(translation, "reply")
        decoded: Type = translation.source
        if gathered:
            decoded = translation.source.item if isinstance(translation.source, List) else ANY
        decode = target.replies.decoder(decoded, target.unknown)
        self._served_reply = translation.target
        passes = source.replies == target.replies and translation.apply is None

        def step(format_: Format) -> Step:
            as_it_is = format_ == target.replies and translation.apply is None
            encode = None if as_it_is else format_.encoder(translation.target)
            return reply_step(decode, translation.apply, encode, target.headers)

        gather = None
        if gathered:
            gather = gather_reply_step(decode, translation.apply, source.replies.encoder(translation.target))
        text = f"{target.replies.name} {decoded} -> {source.replies.name} {translation.target}"
        steps = _steps(source.replies, source.reply_formats, step)
        return steps, gather, text + _told(steps, passes)

    def _accepted(self, title: str) -> tuple[dict[str, Step], bridge.GatherStep | None, str]:
        """The reply to a caller of a one-way upstream: its receipt, or what the map makes of it."""
        source, target, leg = self._source, self._target, self._leg
        receipt = Record("receipt", [Field(name, type_) for name, type_ in target.receipt.items()])
        if source.reply is None and not leg.reply.map:
            self._served_reply = receipt
            struct = struct_of(receipt)
            names = frozenset(target.receipt)

            def told(params: Mapping[str, Any]) -> Any:
                return struct(**{name: value for name, value in params.items() if name in names})

            steps = _steps(
                source.replies, source.reply_formats, lambda format_: accepted_step(told, format_.encoder(receipt))
            )
            return steps, None, f"accepted -> {source.replies.name} receipt"
        nothing = Record("nothing")
        rules = {**_by_name(target.receipt, source.reply, leg.reply.map or {}), **(leg.reply.map or {})}
        translation = compile_mapping(
            rules, nothing, source.reply, target.receipt, title, certain=frozenset(target.receipt)
        )
        self._note(translation, "reply")
        self._served_reply = translation.target
        empty = struct_of(nothing)()
        apply = translation.apply or (lambda value, params, headers, key: value)

        def step(format_: Format) -> Step:
            return accepted_step(lambda params: apply(empty, params, (), None), format_.encoder(translation.target))

        steps = _steps(source.replies, source.reply_formats, step)
        return steps, None, f"accepted -> {source.replies.name} {translation.target}"


def _steps(format_: Format, others: Iterable[Format], step: Callable[[Format], Step]) -> dict[str, Step]:
    """By the format's name; without those others that the type has no form in."""
    steps = {format_.name: step(format_)}
    for other in others:
        with suppress(NoFormError):
            steps[other.name] = step(other)
    return steps


def _told(steps: Iterable[str], passes: bool) -> str:
    _, *others = steps
    return (", bytes pass through" if passes else "") + (f"; also {', '.join(others)}" if others else "")


def _by_name(receipt: Mapping[str, Type], reply: Type | None, rules: Rules) -> Rules:
    """Rules for the fields of a reply that the receipt has under the same name, and as the same type."""
    ruled = {convention(name) for name in rules}
    given = {convention(name): name for name in receipt if convention(name) not in ruled}
    fields = reply.fields if isinstance(reply, Record) else ()
    return {
        field.name: f"$params.{name}"
        for field in fields
        if (name := given.get(convention(field.name))) is not None and receipt[name] == field.type
    }


def _unused_param(name: str) -> Finding:
    return Finding(
        f"$params.{name}", "dropped: nothing uses this parameter", f"map it, or address with it: $params.{name}"
    )
