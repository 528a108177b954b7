"""The replies in an upstream's HTTP body: server-sent events, NDJSON or a JSON array, as they are written here."""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from gateway.net.http.client import HttpStream
from gateway.net.http.json_stream import NDJSON, NDJSON_TYPES, LineReader, array_items
from gateway.net.http.media_type import JSON, parse_media_type
from gateway.net.http.problem import told_problem
from gateway.net.http.sse import SSE, SseReader
from gateway.status import Code, Failure

ACCEPT: Final = f"{NDJSON}, {SSE}, {JSON};q=0.5"

_ERROR: Final = b'{"error":'


async def read_replies(
    answer: HttpStream, limit: int, failure_of: Callable[[Mapping[str, Any]], Failure]
) -> AsyncIterator[bytes]:
    """Each reply as it comes. Raises the Failure that ends them.

    limit: the largest message, of an array all of it, in bytes. failure_of: what a problem in the body means.
    """

    def too_large() -> Failure:
        return Failure(Code.INTERNAL, f"the upstream's reply is larger than {limit} bytes")

    media_type, _ = parse_media_type(answer.headers.get("content-type", ""))
    if media_type == SSE:
        events = SseReader(limit, too_large)
        async for chunk in answer.chunks():
            for event in events.feed(chunk):
                if event.event == "error":
                    raise failure_of(told_problem(event.data))
                if event.event == "end":
                    return
                yield event.data
    elif media_type in NDJSON_TYPES:
        lines = LineReader(limit, too_large)
        async for chunk in answer.chunks():
            for line in lines.feed(chunk):
                yield _checked(line, failure_of)
        for line in lines.end():
            yield _checked(line, failure_of)
    elif media_type == JSON:
        body = await answer.body(limit)
        try:
            items = array_items(body)
        except Failure as failure:
            raise Failure(Code.INTERNAL, f"the upstream's stream: {failure.message}") from failure
        for item in items:
            yield item
    else:
        raise Failure(Code.INTERNAL, f"the upstream answered with {media_type or 'no content type'}, not a stream")


def _checked(line: bytes, failure_of: Callable[[Mapping[str, Any]], Failure]) -> bytes:
    """The message, unless it is the error that ends a broken stream."""
    if line.startswith(_ERROR):
        parsed = told_problem(line)
        error = parsed.get("error") if len(parsed) == 1 else None
        if isinstance(error, dict) and ("code" in error or "status" in error):
            raise failure_of(error)
    return line
