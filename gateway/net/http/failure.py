"""Failures as HTTP tells them: those that HTTP refuses itself, their statuses and headers."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Final

from gateway.net.http.inflate import ENCODINGS
from gateway.net.http.status import HTTP_STATUS
from gateway.status import Code, Failure

_SHOWN: Final = 100


class HttpRefusal(Failure):
    """A request that HTTP has a status of its own for: no route saw it, and no retry of it will help.

    headers: what the refusal bears besides.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: Code = Code.INVALID_ARGUMENT,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(code, message, sent=False)
        self.status = status
        self.headers = headers


class PayloadTooLarge(HttpRefusal):
    """A body over the limit, in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the message is larger than the limit of {limit} bytes")


class UnsupportedMediaType(HttpRefusal):
    """A body in a format that is not read (RFC 9110, 15.5.16). given: the content type. expected: media types."""

    def __init__(self, given: str, expected: Sequence[str]) -> None:
        listed = ", ".join(name for name in expected if " " not in name)
        super().__init__(
            415,
            f"content type {given[:_SHOWN] or 'none'} is not read here, {' or '.join(expected)} is",
            headers=(("Accept", listed), ("Accept-Post", listed), ("Accept-Patch", listed)),
        )


class NotAcceptable(HttpRefusal):
    """A reply in none of the formats that there are (RFC 9110, 15.5.7). given: the caller's Accept."""

    def __init__(self, given: str, offered: Sequence[str]) -> None:
        super().__init__(406, f"replies are {' or '.join(offered)} here, not {given[:_SHOWN]}")


class UnsupportedEncoding(HttpRefusal):
    """A body in a content coding that is not read."""

    def __init__(self, encoding: str) -> None:
        text = f"content encoding {encoding[:_SHOWN]} is not read here, {' and '.join(ENCODINGS)} are"
        super().__init__(415, text, headers=(("Accept-Encoding", ", ".join(ENCODINGS)),))


class RequestTimeout(HttpRefusal):
    """A body that did not move. Its connection is closed."""

    def __init__(self, seconds: float) -> None:
        super().__init__(408, f"the body did not move for {seconds:g} seconds", code=Code.DEADLINE_EXCEEDED)


def status_of(failure: Failure, otherwise: int | None = None) -> int:
    """A refusal's own status; for other failures `otherwise`, or the status of their code."""
    refusal = _refusal(failure)
    if refusal is not None:
        return refusal.status
    return HTTP_STATUS[failure.code] if otherwise is None else otherwise


def headers_of(failure: Failure) -> list[tuple[str, str]]:
    """What a reply that tells this failure bears, whatever its body is."""
    refusal = _refusal(failure)
    headers = [] if refusal is None else list(refusal.headers)
    if failure.retry_after is not None:
        headers.append(("Retry-After", str(max(1, ceil(failure.retry_after)))))
    return headers


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds of Retry-After (RFC 9110, 10.2.3); None where it is missing, or a date."""
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _refusal(failure: Failure) -> HttpRefusal | None:
    # What went wrong while a stream of requests was read comes back through the route, as the cause of its own Failure.
    for one in (failure, failure.__cause__):
        if isinstance(one, HttpRefusal):
            return one
    return None
