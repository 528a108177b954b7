"""Byte headers: names with values in bytes or none, as logs have them."""

from collections.abc import Iterable, Sequence

from gateway.message import TRACEPARENT, Header, trace_of

ByteHeaders = list[tuple[str, bytes | None]]


def read_headers(given: Sequence[tuple[str, bytes | None]], wanted: frozenset[str]) -> tuple[list[Header], str]:
    """Those that the route wants, and the trace context."""
    found: list[Header] = []
    trace = ""
    for name, value in given:
        lower = name.lower()
        if lower == TRACEPARENT:
            trace = trace_of(value) or trace
        elif lower in wanted and value is not None:
            try:
                found.append((lower, value.decode()))
            except UnicodeDecodeError:
                found.append((lower, value))
    return found, trace


def last_header(given: Sequence[tuple[str, bytes | None]], name: str) -> bytes | None:
    """The last of this name; None where there is none, or none with a value."""
    return next((value for header, value in reversed(given) if header.lower() == name), None)


def byte_headers(headers: Iterable[Header], without: frozenset[str] = frozenset()) -> ByteHeaders:
    """All but those of these names."""
    return [
        (name, value if isinstance(value, bytes) else value.encode()) for name, value in headers if name not in without
    ]
