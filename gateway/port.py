"""The whole contract of an adapter: what it consumes, what it makes, and how it declares itself."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import msgspec
from pydantic import Field

from gateway.codecs.cloudevents import CloudEvent
from gateway.codecs.format import Format, Unknown
from gateway.journal.subscription import Settings
from gateway.message import Context, Message
from gateway.net.network import Network
from gateway.pattern import Ends, Pattern
from gateway.schema.types import Record, Type
from gateway.section import Section
from gateway.status import ContractError as ContractError

T = TypeVar("T")


class Service(Protocol):
    """Turns a request into replies. Everything between a socket and a socket is a Service.

    Only Failure and CancelledError may leave it. Closing the generator or cancelling the call cancels upstream.
    """

    async def call(self, request: Message, context: Context) -> Message:
        """Serve a unary pattern. The reply's body is None where the pattern has no reply."""
        ...

    def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        """Serve any other pattern; the caller closes the generator (aclosing).

        more: the request messages of a pattern with many requests; `request` then bears the call's headers and
            params only, with body None. None for one request, which is `request` itself.
        A pattern with one reply yields exactly one message.
        """
        ...


class UnaryService:
    """Base of a Service whose address has unary patterns alone, so that nobody calls stream()."""

    __slots__ = ()

    def stream(
        self, request: Message, more: AsyncIterator[Message] | None, context: Context
    ) -> AsyncGenerator[Message, None]:
        raise TypeError(f"{type(self).__name__} is unary")


class StreamService:
    """Base of a Service whose address has no unary patterns, so that nobody calls call()."""

    __slots__ = ()

    async def call(self, request: Message, context: Context) -> Message:
        raise TypeError(f"{type(self).__name__} is a stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What one side speaks at one address; compile() joins two of them.

    patterns: those that the address can be used with; several where the protocol adapts (an HTTP path).
    format: how request bodies are read (inbound) or written (outbound) on this side.
    reply_format: the same of replies, where it differs (a query string in, JSON out).
    formats, reply_formats: inbound only: in which else a caller may send a request, and may want the reply. Names are
        distinct. Those that the route's types have no form in are left out of Binding.variants.
    request, reply: None where the side is untyped: it then takes the other side's type.
    nulls: a message may be without a body, which is another one than with an empty body (a log's tombstone). It stays
        one where both sides have such and its bytes pass; else it is refused, save where neither side has types.
    unknown: what to do with unknown members that come *from* this side.
    params: names that addressing captures (inbound: bound into the request by name unless the mapping takes them;
        outbound: taken out of the request by name, as text).
    open_params: inbound only: any further name may come along at run time (a query string).
    metadata: inbound only: names addressable as $params.NAME with their types; never bound by name.
    uncertain: inbound only: those of metadata that a request may lack.
    sources: outbound only: metadata that the address computes from the request, name -> source expression
        ("$params.order_id", "$.customer.id", "$key"). "key" becomes Message.key, others Message.params[name].
    opening: outbound only: as sources, for the head of a call with many requests, which comes before any of them: of
        $params, $headers and $key alone.
    ends: outbound only: whether its streams end of their own accord; those of Pattern.SUBSCRIBE never do. Those that
        may not are ended as soon as the process is to stop; those that never do meet no word that waits for it.
    receipt: outbound only: names and types that the reply's params carry (one-way delivery).
    failure: the declared failure of this name, or None. Names match by convention (see gateway.schema.names).
    failures: names of all declared failures, where they are declared per operation.
    headers: names, lower case, that may cross from this side besides the trace context.
    claim: inbound only: what no two routes may share, as a sentence ("POST /orders on 0.0.0.0:8080").
    holds: inbound only: what no two endpoints may share; routes of one endpoint may ("POST /soap on 0.0.0.0:8080").
    link: inbound only: params -> how a caller is told to call this address with them, in the protocol's own words (a
        URL, a method's name). None where the protocol has no words for it. Raises KeyError for a param that the address
        needs, or has no place for.
    describe: one line for `explain`.
    wire: the adapter's own, handed back in bind() and service().
    """

    patterns: frozenset[Pattern]
    format: Format
    reply_format: Format | None = None
    formats: tuple[Format, ...] = ()
    reply_formats: tuple[Format, ...] = ()
    request: Type | None = None
    reply: Type | None = None
    nulls: bool = False
    unknown: Unknown = Unknown.REJECT
    params: tuple[str, ...] = ()
    open_params: bool = False
    metadata: Mapping[str, Type] = field(default_factory=dict)
    uncertain: frozenset[str] = frozenset()
    sources: Mapping[str, str] = field(default_factory=dict)
    opening: Mapping[str, str] = field(default_factory=dict)
    ends: Ends = Ends.SURELY
    receipt: Mapping[str, Type] = field(default_factory=dict)
    failure: Callable[[str], Record | None] = lambda name: None
    failures: tuple[str, ...] = ()
    headers: frozenset[str] = frozenset()
    claim: str = ""
    holds: tuple[str, ...] = ()
    link: Callable[[Mapping[str, str]], str] | None = None
    describe: str = ""
    wire: Any = None

    @property
    def replies(self) -> Format:
        """The format of replies."""
        return self.reply_format or self.format


class Endpoint(Section):
    """Base of every adapter's Endpoint: one entry under `endpoints:`."""

    forward_headers: tuple[str, ...] = Field(
        default=(), description="Metadata names that may cross from this endpoint, besides the W3C trace context."
    )

    @property
    def forwarded(self) -> frozenset[str]:
        """forward_headers in lower case."""
        return frozenset(name.lower() for name in self.forward_headers)


class OnBackbone(Endpoint):
    """Base of an Endpoint whose events may lie on another endpoint's broker; its sides have Side.on_backbone."""

    backbone: str = Field(
        default="",
        description="The name of another endpoint, whose broker bears the events: gateways with the same one share "
        "them. Acknowledgement, redelivery and dead letters are that protocol's.",
    )
    stream: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]{0,100}$",
        description="What the events are called on the backbone's broker (a topic, an exchange); "
        "this endpoint's name where empty.",
    )


class Address(Section):
    """Base of every adapter's Source (`from:`) and Target (`to:`), without the endpoint's name."""

    @property
    def identity(self) -> str:
        """Equal for equal addresses, and hashable where they are not."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True)


class Binding(msgspec.Struct, frozen=True):
    """A route as its inbound sees it.

    pattern: the one of contract.patterns that was chosen.
    service: reads contract.format and writes contract.replies.
    variants: the route as a Service for other formats, by the names of the request's and of the reply's.
    headers: names, lower case, that the route wants in Message.headers; no others need be collected.
    accepted: a reply says no more than that the message was delivered one way (HTTP's 202).
    request, reply: the types of one message in contract.format and contract.replies, what addressing captures included;
        None where they are not known, or where there is no reply.
    params: the names of Message.params that the route reads besides the request's fields.
    link: the one of a reply's Message.params that links to an address of the same endpoint where the caller goes on
        (HTTP's Location); empty where there is none.
    """

    route: str
    address: Any
    contract: Contract
    pattern: Pattern
    service: Service
    headers: frozenset[str]
    accepted: bool = False
    request: Type | None = None
    reply: Type | None = None
    params: frozenset[str] = frozenset()
    link: str = ""
    variants: Mapping[tuple[str, str], Service] = {}


class Inbound(Protocol):
    """Consumes Services. `address` is what the side's model made of the route's `from:`."""

    async def load(self) -> None:
        """Read what contract() needs. Raises ContractError, or Failure(UNAVAILABLE) when a peer must answer first."""
        ...

    def contract(self, address: Any) -> Contract:
        """What is spoken at this address. Raises ContractError. Called after load(), before start()."""
        ...

    def bind(self, bindings: Sequence[Binding]) -> None:
        """Replace all routes, atomically; safe before and after start()."""
        ...

    async def start(self) -> None:
        """Accept work. Raises OSError when a port is taken. A peer that is down is no error: keep trying."""
        ...

    async def drain(self) -> None:
        """Accept nothing new and return when all in flight is done; the caller bounds the time."""
        ...

    async def stop(self) -> None:
        """Release everything. Safe at any time, even before start()."""
        ...

    @property
    def unready(self) -> str:
        """Why this endpoint can't do its work now; empty when it can."""
        ...


class Outbound(Protocol):
    """Makes Services. `address` is what the side's model made of the route's `to:`."""

    async def load(self) -> None:
        """As Inbound.load."""
        ...

    def contract(self, address: Any) -> Contract:
        """As Inbound.contract."""
        ...

    def service(self, address: Any, contract: Contract, pattern: Pattern) -> Service:
        """Compile the address once. The pattern is one of contract.patterns."""
        ...

    async def start(self) -> None:
        """Connect in the background: a peer that is down is no error."""
        ...

    async def stop(self) -> None:
        """Release everything. Safe at any time, even before start()."""
        ...

    @property
    def unready(self) -> str:
        """As Inbound.unready."""
        ...


def loaded(found: T | None) -> T:
    """What load() has found, for contract(), service() and start(). Raises RuntimeError where load() was not called."""
    if found is None:
        raise RuntimeError("load() comes first")
    return found


class EveryHeader(frozenset[str]):
    """As Binding.headers: all that come, whatever their names."""

    def __contains__(self, name: object) -> bool:
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """How an adapter's endpoints serve others as a log of events by topic, told to and by the protocol's own Services.

    A stream is one log on the broker. The addresses are of the adapter's own models, and equal for equal arguments but
    for live; ValidationError tells what can't be.

    publish: (stream) -> where events of all topics are published.
    durable: (stream, settings) -> where a durable subscription consumes; events that it does not want may come too.
        settings.dead_letters is not looked at: dead letters are the protocol's own.
    live: (stream) -> where all events from now on come to this process alone.
    write: (topic, event) -> the request of the publishing Service.
    read: (a request of a consuming Service) -> (topic, event). Raises Failure(INVALID_ARGUMENT).
    replays: a new durable subscription may begin with what was published before it was there.
    """

    publish: Callable[[str], Address]
    durable: Callable[[str, Settings], Address]
    live: Callable[[str], Address]
    write: Callable[[str, CloudEvent], Message]
    read: Callable[[Message], tuple[str, CloudEvent]]
    replays: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bus:
    """A backbone as one endpoint is given it, which starts and stops what it opens. The core loads it.

    name: of the backbone's endpoint.
    """

    name: str
    stream: str
    backbone: Backbone
    inbound: Callable[[], Inbound]
    outbound: Callable[[], Outbound]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One direction of an adapter.

    address: the model of the route's `from:` or `to:` without its endpoint.
    open: (endpoint's name, its config, the process's network) -> the Inbound or Outbound; does no I/O.
    patterns: all that the side can do, over all addresses.
    settles: inbound only: what was not acknowledged is delivered again.
    on_backbone: as open, for an endpoint that names a backbone.
    """

    address: type[Address]
    open: Callable[[str, Any, Network], Any]
    patterns: frozenset[Pattern]
    settles: bool = False
    on_backbone: Callable[[str, Any, Network, Bus], Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """A protocol. Everything about configuration, docs and tests is derived from this declaration.

    examples: a small endpoint and address for each side, shown in the reference (values as YAML would give them).
    backbone: how its endpoints serve as others' backbone, where they can.
    """

    protocol: str
    summary: str
    endpoint: type[Endpoint]
    inbound: Side | None = None
    outbound: Side | None = None
    examples: Mapping[str, Any] = field(default_factory=dict)
    backbone: Backbone | None = None
