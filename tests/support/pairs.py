"""Pairs of protocols with all patterns and bridging words between them, and what each exchange must look like."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from gateway import bridge, registry
from gateway.bridge import BridgeError, Replies, Requests
from gateway.pattern import Count, Ends, Pattern
from gateway.port import Contract, Side
from gateway.runtime import Runtime
from support.answers import answers
from support.peers import Backend, Caller, Shape, load_peer, peer_variants
from support.specimen import Specimen, exact, without_nulls
from support.specimen_json import Dialect
from support.until import until


@dataclass(frozen=True)
class Case:
    """How two patterns meet.

    refusal: why they don't; empty where they do. endless: what comes back has no end: it is what others publish.
    """

    inbound: Pattern
    outbound: Pattern
    requests: Requests | None
    replies: Replies | None
    refusal: str = ""
    endless: bool = False

    @property
    def words(self) -> str:
        """As the matrix shows them."""
        return ", ".join(word.value for word in (self.requests, self.replies) if word is not None)

    @property
    def id(self) -> str:
        words = [
            f"{kind}-{word.value}" for kind, word in (("requests", self.requests), ("replies", self.replies)) if word
        ]
        return "-".join((self.inbound.label, "to", self.outbound.label, *words))

    @property
    def name(self) -> str:
        """As an identifier."""
        return self.id.title().replace("-", "")

    @property
    def request_shape(self) -> Shape:
        """What one message to the backend is."""
        return Shape.BATCH if self.requests is Requests.GATHER else Shape.SPECIMEN

    @property
    def reply_shape(self) -> Shape:
        """What one message back to the caller is."""
        if self.outbound.replies is Count.NONE:
            return Shape.RECEIPT
        return Shape.BATCH if self.replies is Replies.GATHER else Shape.SPECIMEN

    @property
    def paced(self) -> bool:
        """Whether a reply can come before the next request is sent."""
        return (
            self.inbound is Pattern.BIDI
            and self.outbound.replies is not Count.NONE
            and (self.outbound is Pattern.BIDI or self.requests is Requests.EACH)
        )

    def sent(self, specimens: Sequence[Specimen]) -> list[list[Any]]:
        """The calls that the backend sees of these requests, each with its messages."""
        if self.inbound.requests is Count.NONE:
            return [[]]
        many = self.outbound.requests is Count.MANY
        if many or self.inbound.requests is Count.ONE:
            return [list(specimens)]
        match self.requests:
            case Requests.EACH:
                return [[specimen] for specimen in specimens]
            case Requests.GATHER:
                return [[list(specimens)]]
            case Requests.FIRST:
                return [[specimens[0]]]
            case _:
                return [[specimens[-1]]]

    def told(self, specimens: Sequence[Specimen]) -> list[Any]:
        """What the caller is told; for receipts, how many."""
        if self.inbound.replies is Count.NONE:
            return []
        coming = [reply for call in self.sent(specimens) for reply in answers(self.outbound, call)]
        if self.inbound.replies is Count.MANY:
            return coming
        match self.replies:
            case Replies.GATHER:
                return [coming]
            case Replies.FIRST:
                return [coming[0]]
            case _:
                return [coming[-1]]


def cases(source: str, target: str) -> list[Case]:
    """Every combination of the patterns that the two adapters declare with every bridging word, legal or not."""
    inbound, outbound = registry.adapter(source).inbound, registry.adapter(target).outbound
    endless = getattr(load_peer(target).Backend, "endless", frozenset())
    words = product(_patterns(inbound), _patterns(outbound), (None, *Requests), (None, *Replies))
    return [
        Case(*case, _refusal(*case, Ends.NEVER if case[1] in endless else Ends.SURELY), case[1] in endless)
        for case in words
    ]


def _patterns(side: Side | None) -> list[Pattern]:
    return [pattern for pattern in Pattern if side is not None and pattern in side.patterns]


def _refusal(
    inbound: Pattern, outbound: Pattern, requests: Requests | None, replies: Replies | None, ends: Ends
) -> str:
    try:
        bridge.check(inbound, outbound, requests, replies, ends)
    except BridgeError as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class PairKey:
    """variant: on what those protocols run that have a choice (see Peer.VARIANTS); empty for their default."""

    source: str
    target: str
    variant: str = ""

    def __str__(self) -> str:
        return "-".join(part for part in (self.source, self.target, self.variant) if part)

    @classmethod
    def all(cls, protocols: Sequence[str], *, every_variant: bool) -> list["PairKey"]:
        """Every protocol with every protocol."""
        return [
            cls(source, target, variant)
            for source in protocols
            for target in protocols
            for variant in (variants(source, target) if every_variant else ("",))
        ]


def variants(*protocols: str) -> tuple[str, ...]:
    """What a pair can be run on."""
    found = [name for protocol in dict.fromkeys(protocols) for name in peer_variants(protocol)]
    return tuple(found) or ("",)


@dataclass
class Pair:
    """A running gateway between a caller and a backend."""

    key: PairKey
    caller: Caller
    backend: Backend
    folder: Path
    runtime: Runtime

    def in_flight(self, case: Case) -> int:
        """Calls that the gateway serves."""
        return self.runtime._metrics.route(case.id).in_flight

    def contract(self, case: Case) -> Contract:
        """What the gateway's outbound says of the address."""
        assert self.runtime.plan is not None
        route = self.runtime.plan.config.routes[case.id]
        contract: Contract = self.runtime.plan.outbounds[route.target_endpoint].contract(route.target)
        return contract

    def told(self, replies: Any) -> Any:
        """What the caller is told, to the last bit; without nulls where one side's replies have no other absence."""
        blind = any(getattr(peer, "null_is_absent", False) for peer in (self.caller, self.backend))
        return exact(without_nulls(replies) if blind else replies)


class RunningPair:
    """The pair that was asked for last, which runs until another one is asked for."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._key: PairKey | None = None
        self._stack = AsyncExitStack()
        self._outcome: Pair | BaseException | None = None

    async def get(self, key: PairKey) -> Pair:
        """Raises what kept it from starting, each time anew."""
        if key != self._key:
            await self.close()
            self._key = key
            folder = self._folders.mktemp(str(key), numbered=True)
            try:
                self._outcome = await self._stack.enter_async_context(serving(key, folder))
            except BaseException as error:
                self._outcome = error
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome

    async def close(self) -> None:
        self._key = self._outcome = None
        stack, self._stack = self._stack, AsyncExitStack()
        await stack.aclose()


def routes(caller: Caller, backend: Backend, wanted: Sequence[Case]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(endpoints, routes) of routes.yaml."""
    endpoints: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for case in wanted:
        source, source_endpoint, source_address = caller.source(case)
        target, target_endpoint, target_address = backend.target(case)
        endpoints[source], endpoints[target] = source_endpoint, target_endpoint
        route: dict[str, Any] = {
            "from": {"endpoint": source, **source_address},
            "to": {"endpoint": target, **target_address},
        }
        if case.requests is not None:
            route["requests"] = case.requests.value
        if case.replies is not None:
            route["replies"] = case.replies.value
        if case.request_shape is Shape.BATCH and backend.typed:
            route["request"] = {"map": {"specimens": {"each": "$"}}}
        if case.inbound.replies is not Count.NONE and caller.typed:
            if case.reply_shape is Shape.BATCH:
                route["reply"] = {"map": {"specimens": {"each": "$"}}}
            elif case.reply_shape is Shape.RECEIPT and backend.receipt:
                route["reply"] = {"map": {name: f"$params.{name}" for name in backend.receipt}}
        found[case.id] = route
    return endpoints, found


@asynccontextmanager
async def serving(key: PairKey, folder: Path) -> AsyncIterator[Pair]:
    """Caller, gateway and backend of a pair, with a route for every legal case."""
    legal = [case for case in cases(key.source, key.target) if not case.refusal]
    async with AsyncExitStack() as stack:
        caller_type, backend_type = load_peer(key.source).Caller, load_peer(key.target).Backend
        dialect = caller_type.dialect or backend_type.dialect or Dialect.PROTO
        backend = await stack.enter_async_context(backend_type(folder, legal, dialect, key.variant))
        caller = await stack.enter_async_context(caller_type(folder, legal, dialect, key.variant))
        file = write_routes(folder, *routes(caller, backend, legal))
        yield Pair(key, caller, backend, folder, await stack.enter_async_context(running(file)))


@asynccontextmanager
async def running(file: Path) -> AsyncIterator[Runtime]:
    """A gateway on this routes.yaml that is ready."""
    runtime = Runtime(file)
    try:
        await runtime.start()
        await until(lambda: not any(runtime.unready().values()), lambda: f"not ready: {runtime.unready()}")
        yield runtime
    finally:
        await runtime.stop()


def write_routes(folder: Path, endpoints: Mapping[str, Any], found: Mapping[str, Any]) -> Path:
    """JSON is YAML."""
    file = folder / "routes.yaml"
    quiet = {"admin": {"enabled": False}, "access_log": False, "deadline": "20s"}
    file.write_text(json.dumps({"gateway": quiet, "endpoints": endpoints, "routes": found}, indent=1))
    return file
