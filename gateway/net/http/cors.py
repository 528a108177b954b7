"""Which pages of other origins may call (CORS): https://fetch.spec.whatwg.org/#http-cors-protocol."""

from collections.abc import Iterable
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from gateway.duration import Duration
from gateway.message import TRACEPARENT
from gateway.section import Section

ANY: Final = "*"
_READ: Final = ("Content-Type", "Last-Event-ID", TRACEPARENT)
_TOLD: Final = ("Retry-After", "Location")
_VARY: Final = (("Vary", "Origin"),)
"""A cache must not give one origin's reply to another."""


def _origin(text: str) -> str:
    parts = urlsplit(text)
    if text != ANY and (not parts.scheme or not parts.netloc or parts.path or parts.query or parts.fragment):
        raise ValueError(f"{text!r} is not an origin such as https://shop.example, nor *")
    return text.lower()


Origin = Annotated[str, AfterValidator(_origin)]
Token = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")]
"""RFC 9110, 5.6.2"""


class Cors(Section):
    """What pages of other origins may do."""

    origins: tuple[Origin, ...] = Field(
        min_length=1, description="Origins whose pages may call, such as https://shop.example; * is any."
    )
    headers: tuple[Token, ...] = Field(
        default=(),
        description="Request headers that pages may send besides those that are read here: Content-Type, "
        "Last-Event-ID, traceparent and forward_headers.",
    )
    expose: tuple[Token, ...] = Field(
        default=(),
        description="Headers of replies that pages may read besides Retry-After, Location and those that any may.",
    )
    credentials: bool = Field(
        default=False, description="Pages may call with the cookies and certificates that the browser has for us."
    )
    max_age: Duration = Field(
        default=600.0, ge=0, le=86400, description="How long a browser may remember what it may send."
    )

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.credentials and ANY in self.origins:
            raise ValueError("with credentials the origins must be named, * is not enough")
        return self


class CorsPolicy:
    """The headers that say so. read: names of the request headers that the endpoint reads."""

    def __init__(self, cors: Cors, read: Iterable[str] = ()) -> None:
        self._any = ANY in cors.origins
        self._origins = frozenset(cors.origins)
        self._credentials = (("Access-Control-Allow-Credentials", "true"),) if cors.credentials else ()
        self._told = (("Access-Control-Expose-Headers", _listed(_TOLD, cors.expose)),)
        self._asked = (
            ("Access-Control-Allow-Headers", _listed(_READ, read, cors.headers)),
            ("Access-Control-Max-Age", f"{cors.max_age:.0f}"),
        )

    def reply(self, origin: str) -> tuple[tuple[str, str], ...]:
        """Of every reply, errors too. origin: the request's, or empty."""
        return (*self._granted(origin), *self._told) if self.admits(origin) else _VARY

    def preflight(self, origin: str, method: str) -> tuple[tuple[str, str], ...]:
        """Of the answer to whether this method may be called; without a grant where it may not."""
        if not self.admits(origin):
            return _VARY
        return (*self._granted(origin), ("Access-Control-Allow-Methods", method), *self._asked)

    def admits(self, origin: str) -> bool:
        """Whether pages of this origin may call."""
        return self._any or origin.lower() in self._origins

    def _granted(self, origin: str) -> tuple[tuple[str, str], ...]:
        if self._any:
            return (("Access-Control-Allow-Origin", ANY),)
        return (*_VARY, ("Access-Control-Allow-Origin", origin), *self._credentials)


def _listed(*names: Iterable[str]) -> str:
    known = {name.lower(): name for some in names for name in some}
    return ", ".join(known.values())
