"""A stream of replies as one HTTP body: server-sent events, NDJSON or a JSON array, as the caller accepts."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final, Protocol, TypeVar

from gateway.message import Message
from gateway.net.http.json_stream import NDJSON, NDJSON_TYPES, one_line
from gateway.net.http.media_type import JSON
from gateway.net.http.problem import problem_of
from gateway.net.http.server import HttpReply
from gateway.net.http.sse import HEARTBEAT, SSE, SSE_HEADERS, sse
from gateway.status import Failure

HEARTBEAT_SECONDS: Final = 15.0
FIRST_REPLY_SECONDS: Final = 0.2
"""How long a stream's first reply, or its failure, may hold back the status line."""

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Framing(Protocol[T_contra]):
    """How replies stand in a body.

    heartbeat: what keeps a quiet body alive. cut: a failure has no end of its own: the body is cut off, so that it
    can't be taken for the whole.
    """

    @property
    def headers(self) -> Sequence[tuple[str, str]]: ...

    @property
    def start(self) -> bytes: ...

    @property
    def heartbeat(self) -> bytes: ...

    @property
    def cut(self) -> bool: ...

    def message(self, reply: T_contra) -> bytes: ...

    def end(self) -> bytes: ...

    def failure(self, failure: Failure) -> bytes: ...


def framing_of(accept: str) -> Framing[Message]:
    """The framing that the caller accepts; a JSON array where it says nothing of streams."""
    if SSE in accept:
        return Sse()
    if any(media_type in accept for media_type in NDJSON_TYPES):
        return Ndjson()
    return JsonArray()


class Sse:
    """An event for each reply, its key as the id that Last-Event-ID repeats; at last `end`, or `error`."""

    headers = SSE_HEADERS
    start = b""
    heartbeat = HEARTBEAT
    cut = False

    def message(self, reply: Message) -> bytes:
        return sse(reply.body, identity=reply.key)

    def end(self) -> bytes:
        return sse(b"{}", "end")

    def failure(self, failure: Failure) -> bytes:
        return sse(problem_of(failure), "error")


class Ndjson:
    """A line for each reply; at last one with the member `error`, where it failed."""

    headers = (("Content-Type", NDJSON),)
    start = b""
    heartbeat = b"\n"
    cut = True

    def message(self, reply: Message) -> bytes:
        return one_line(reply.body) + b"\n"

    def end(self) -> bytes:
        return b""

    def failure(self, failure: Failure) -> bytes:
        return b'{"error":%b}\n' % problem_of(failure)


class JsonArray:
    """An item for each reply; the bracket that closes it says that all is there."""

    headers = (("Content-Type", JSON),)
    start = b"["
    heartbeat = b" "
    cut = True

    def __init__(self) -> None:
        self._separator = b""

    def message(self, reply: Message) -> bytes:
        separator, self._separator = self._separator, b","
        return b"%b%b" % (separator, reply.body)

    def end(self) -> bytes:
        return b"]"

    def failure(self, failure: Failure) -> bytes:
        return b""


async def stream_reply(
    replies: AsyncGenerator[T, None], framing: Framing[T], *, hold_seconds: float | None = None
) -> HttpReply:
    """The reply whose body these are; closing the body closes them.

    hold_seconds: a failure before the first reply that comes in this time is raised, so that it can have a status of
        its own; FIRST_REPLY_SECONDS by default. 0: every failure is told in the body.
    """
    hold = FIRST_REPLY_SECONDS if hold_seconds is None else hold_seconds
    first = asyncio.ensure_future(anext(replies, None))
    if hold:
        try:
            await asyncio.wait({first}, timeout=hold)
            if first.done() and first.exception() is not None:
                await first
        except BaseException:
            await _abandon(first, replies)
            raise
    body = _framed(first, replies, framing)
    # Started, its aclose() lets go of the upstream, however early the caller leaves.
    await anext(body)
    return HttpReply(200, framing.headers, body)


async def _framed(
    first: "asyncio.Future[T | None]", replies: AsyncGenerator[T, None], framing: Framing[T]
) -> AsyncGenerator[bytes, None]:
    coming = first
    try:
        yield b""
        if framing.start:
            yield framing.start
        while True:
            done, _ = await asyncio.wait({coming}, timeout=HEARTBEAT_SECONDS)
            if not done:
                yield framing.heartbeat
                continue
            reply = coming.result()
            if reply is None:
                yield framing.end()
                return
            yield framing.message(reply)
            coming = asyncio.ensure_future(anext(replies, None))
    except Failure as failure:
        yield framing.failure(failure)
        if framing.cut:
            raise
    finally:
        await _abandon(coming, replies)


async def _abandon(coming: "asyncio.Future[T | None]", replies: AsyncGenerator[T, None]) -> None:
    """The caller left or the stream is over: upstream is cancelled before this returns."""
    if not coming.done():
        coming.cancel()
        await asyncio.wait({coming})
    await replies.aclose()
