"""A call of a route as an HTTP exchange: the headers that cross."""

from collections.abc import Iterable, Mapping

from gateway.message import TRACEPARENT, Context, Header, Message


def crossing(headers: Iterable[Header]) -> list[tuple[str, str]]:
    """Those that HTTP can carry: with text, not bytes."""
    return [(name, value) for name, value in headers if isinstance(value, str)]


def request_headers(own: Iterable[tuple[str, str]], request: Message, context: Context) -> list[tuple[str, str]]:
    """The protocol's own headers, the trace, and what crosses."""
    headers = list(own)
    if context.trace:
        headers.append((TRACEPARENT, context.trace))
    if request.headers:
        headers += crossing(request.headers)
    return headers


def reply_headers(headers: Mapping[str, str], wanted: Iterable[str]) -> list[Header]:
    """Those of an answer's headers that are to cross; names in lower case."""
    return [(name, value) for name in wanted if (value := headers.get(name)) is not None]
