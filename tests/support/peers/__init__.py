"""Test peers: for every protocol one caller of the gateway's inbound and one backend of its outbound.

Each is one file of this folder, named as the protocol, with a class Caller and a class Backend that speak it through
libraries that nobody here wrote. An adapter without such a file fails the pair suite.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Protocol

from gateway.bridge import Replies, Requests
from gateway.pattern import Pattern
from gateway.status import Code
from support.specimen import Specimen
from support.specimen_json import Dialect
from support.until import until

PATIENCE_SECONDS = 15.0


class Shape(Enum):
    """What one message is."""

    SPECIMEN = "specimen"
    BATCH = "a list of specimens"
    RECEIPT = "what is known of a message that was accepted"


class Case(Protocol):
    """What a peer must know of a route (see support.pairs.Case)."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def inbound(self) -> Pattern: ...
    @property
    def outbound(self) -> Pattern: ...
    @property
    def requests(self) -> Requests | None: ...
    @property
    def replies(self) -> Replies | None: ...
    @property
    def request_shape(self) -> Shape: ...
    @property
    def reply_shape(self) -> Shape: ...
    @property
    def paced(self) -> bool: ...
    @property
    def endless(self) -> bool: ...


Place = tuple[str, Mapping[str, Any], Mapping[str, Any]]
"""(endpoint's name, the endpoint, the address without its endpoint), as routes.yaml has them."""


class RefusedError(Exception):
    """The gateway's error as the caller's library told it.

    code: in the caller's own terms. detail: the declared failure OutOfStock, or None where it was not told.
    """

    def __init__(self, code: str, text: str, detail: Mapping[str, Any] | None = None) -> None:
        super().__init__(code, text, detail)
        self.code = code
        self.text = text
        self.detail = detail


class Caller(AbstractAsyncContextManager["Caller"], Protocol):
    """Drives the gateway's inbound.

    typed: its contract has types. dialect: the JSON form that they give their upstreams, where it is typed.
    tells_detail: a caller of this protocol is told declared failures. null_is_absent: where a side has it, which may be
    left out, null and absence are one in its replies.
    """

    typed: ClassVar[bool]
    dialect: ClassVar[Dialect | None]
    tells_detail: ClassVar[bool]

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None: ...

    def source(self, case: Case) -> Place: ...

    async def call(self, case: Case, specimens: Sequence[Specimen]) -> list[Any]:
        """The replies: specimens, lists of them or receipts (dicts). Raises RefusedError."""
        ...

    async def misspeak(self, case: Case) -> None:
        """Send what is no message of the contract at all. Raises RefusedError."""
        ...

    def code(self, code: Code, case: Case, *, declared: bool) -> str:
        """How this protocol tells such a failure. declared: it bears OutOfStock."""
        ...


class Listener(Caller, Protocol):
    """A Caller of a protocol that has many replies."""

    async def listen(self, case: Case, specimens: Sequence[Specimen], told: list[Any]) -> None:
        """As call(), for cases with many replies; puts each into `told` once it is there. Cancelled, the caller leaves.

        Raises RefusedError, after the replies that came before.
        """
        ...


class Backend(AbstractAsyncContextManager["Backend"], Protocol):
    """Serves the gateway's outbound, and refuses specimens that are labelled so.

    receipt: names that a reply's params bear when a message is accepted.
    """

    typed: ClassVar[bool]
    dialect: ClassVar[Dialect | None]
    receipt: ClassVar[tuple[str, ...]]
    record: "Record"

    def __init__(self, folder: Path, cases: Sequence[Case], dialect: Dialect, variant: str) -> None: ...

    def target(self, case: Case) -> Place: ...

    def refusal(self, case: Case) -> tuple[Code, bool]:
        """(the code of its refusals, whether they bear the declared failure OutOfStock)."""
        ...

    def receipts(self) -> list[Mapping[str, Any]]:
        """What receipts must say of the messages in the record."""
        ...


def names_out_of_stock(name: str) -> bool:
    """Whether this is what some contract calls the declared failure."""
    return name.rpartition(".")[2].lower() == "outofstock"


class Publisher(Backend, Protocol):
    """A Backend that has endless patterns as well, whose replies are what is published while a call lasts.

    endless: those patterns.
    """

    endless: ClassVar[frozenset[Pattern]]

    async def publish(self, case: Case, specimen: Specimen) -> None:
        """To all who listen at this case. Returns once it is published."""
        ...

    async def misspeak(self, case: Case) -> None:
        """Publish what is no message of any contract at all."""
        ...


class Record:
    """The calls that a backend got, each with its messages, in the order in which they began."""

    def __init__(self) -> None:
        self.calls: list[list[Any]] = []
        self._ended = 0

    def clear(self) -> None:
        self.calls, self._ended = [], 0

    def begin(self) -> list[Any]:
        """The messages of a new call."""
        self.calls.append([])
        return self.calls[-1]

    def end(self) -> None:
        self._ended += 1

    def add(self, message: Any) -> None:
        """A call of one message."""
        self.begin().append(message)
        self.end()

    @property
    def messages(self) -> list[Any]:
        return [message for call in self.calls for message in call]

    async def ended(self, count: int) -> list[list[Any]]:
        """All calls, once so many have ended."""
        await until(lambda: self._ended >= count, lambda: f"{self._ended} of {count} calls reached the backend")
        return self.calls


def load_peer(protocol: str) -> Any:
    """The module of this protocol's test peers. Fails the test where there is none: no adapter may opt out."""
    module = _found(protocol)
    assert module is not None, (
        f"the adapter {protocol} has no test peer: write tests/support/peers/{protocol}.py with Caller and Backend"
    )
    return module


def _found(protocol: str) -> Any:
    name = f"{__name__}.{protocol}"
    return importlib.import_module(name) if importlib.util.find_spec(name) is not None else None


def peer_variants(protocol: str) -> tuple[str, ...]:
    """What this protocol's peers can be run on, where there is a choice: their VARIANTS, name -> title."""
    return tuple(getattr(_found(protocol), "VARIANTS", ()))


def variant_title(protocols: Sequence[str], variant: str) -> str:
    """As people call it."""
    for protocol in protocols:
        title = getattr(_found(protocol), "VARIANTS", {}).get(variant)
        if title:
            return str(title)
    return variant
