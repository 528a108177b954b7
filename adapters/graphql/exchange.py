"""GraphQL over HTTP, and over server-sent events in distinct connections mode.

https://graphql.github.io/graphql-over-http/draft/, https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from adapters.graphql.resolver import Caller
from gateway.codecs.graphql.engine import Engine
from gateway.codecs.graphql.error import BAD_REQUEST, RequestError, error, errors_of, malformed
from gateway.codecs.graphql.request import GraphqlRequest, parse_body, parse_query, request_of, to_json
from gateway.net.counters import Rejections
from gateway.net.http.call import crossing
from gateway.net.http.failure import HttpRefusal, headers_of, status_of
from gateway.net.http.media_type import JSON, accepted, check_media_type
from gateway.net.http.server import HttpReply, HttpRequest
from gateway.net.http.sse import HEARTBEAT, SSE, SSE_HEADERS, sse
from gateway.net.http.stream_writer import stream_reply
from gateway.status import Failure

RESPONSE: Final = "application/graphql-response+json"

_OFFERED: Final = (JSON, RESPONSE)
_COMPLETE: Final = b"event: complete\ndata: \n\n"


class Exchange:
    """Answers POST and GET.

    limit: of a body, in bytes. batch: the most operations in one.
    """

    def __init__(self, engine: Engine, limit: int, batch: int, rejections: Rejections) -> None:
        self._engine = engine
        self._limit = limit
        self._batch = batch
        self._rejections = rejections

    async def post(self, request: HttpRequest) -> HttpReply:
        try:
            check_media_type(request.headers.get("content-type", ""), (JSON,))
            parsed = parse_body(await request.body(self._limit))
            if isinstance(parsed, list):
                return await self._answer_batch(request, parsed)
            asked = request_of(parsed)
        except Failure as failure:
            return _refusal(request, failure)
        return await self._answer(request, asked, safe=False)

    async def get(self, request: HttpRequest) -> HttpReply:
        try:
            asked = request_of(parse_query(request.query))
        except Failure as failure:
            return _refusal(request, failure)
        return await self._answer(request, asked, safe=True)

    async def _answer(self, request: HttpRequest, asked: GraphqlRequest, *, safe: bool) -> HttpReply:
        """safe: nothing but queries and subscriptions (RFC 9110, 9.2.1)."""
        accept = request.headers.get("accept", "")
        media_type = accepted(accept, _OFFERED)
        stream = SSE in accept
        if media_type is None and not stream:
            return _refusal(request, _not_acceptable(f"{RESPONSE}, {JSON} and {SSE} can be had"))
        caller = Caller(request.headers, request.context)
        try:
            operation = self._engine.prepare(asked)
            if safe and operation.mutates:
                raise HttpRefusal(405, "mutations are sent with POST", headers=(("Allow", "POST"),))
            if operation.subscribes:
                if not stream:
                    raise _not_acceptable(f"subscriptions are answered as {SSE}, or by WebSocket")
                events = _Events(self._rejections)
                return await stream_reply(self._engine.subscribe(operation, caller), events, hold_seconds=0)
            result = await self._engine.execute(operation, caller)
        except HttpRefusal as refusal:
            return _refusal(request, refusal)
        except RequestError as refused:
            if media_type is None:
                # Clients of server-sent events can't read the body of a refusal.
                return HttpReply(200, SSE_HEADERS, _Events(self._rejections).failure(refused))
            return _refusal(request, refused)
        headers = crossing(caller.replied)
        if media_type is None:
            return HttpReply(200, [*headers, *SSE_HEADERS], sse(to_json(result), "next") + _COMPLETE)
        return HttpReply(200, [*headers, _content_type(media_type)], to_json(result))

    async def _answer_batch(self, request: HttpRequest, parsed: list[Any]) -> HttpReply:
        if self._batch == 1:
            raise malformed("batches are not taken here")
        if not 0 < len(parsed) <= self._batch:
            raise malformed(f"a batch may have 1 to {self._batch} operations, this one has {len(parsed)}")
        media_type = accepted(request.headers.get("accept", ""), _OFFERED)
        if media_type is None:
            raise _not_acceptable(f"batches are answered as {RESPONSE} or {JSON}")
        caller = Caller(request.headers, request.context)
        asked = [request_of(one) for one in parsed]
        results = [await self._one_of_batch(one, caller) for one in asked]
        return HttpReply(200, [_content_type(media_type)], to_json(results))

    async def _one_of_batch(self, asked: GraphqlRequest, caller: Caller) -> Mapping[str, Any]:
        try:
            operation = self._engine.prepare(asked)
            if operation.subscribes:
                raise malformed("a batch can't have subscriptions")
            return await self._engine.execute(operation, caller)
        except RequestError as refused:
            self._rejections.add(refused)
            return {"errors": refused.errors}


class _Events:
    """Responses as server-sent events. What ends them early is told in a last `next`."""

    headers = SSE_HEADERS
    start = b""
    heartbeat = HEARTBEAT
    cut = False

    def __init__(self, rejections: Rejections) -> None:
        self._rejections = rejections

    def message(self, reply: Mapping[str, Any]) -> bytes:
        return sse(to_json(reply), "next")

    def end(self) -> bytes:
        return _COMPLETE

    def failure(self, failure: Failure) -> bytes:
        self._rejections.add(failure)
        return self.message({"errors": errors_of(failure)}) + _COMPLETE


def _refusal(request: HttpRequest, failure: Failure) -> HttpReply:
    """Clients of application/json expect status 200 once their request was GraphQL at least."""
    media_type = accepted(request.headers.get("accept", ""), _OFFERED) or JSON
    well_formed = isinstance(failure, RequestError) and failure.well_formed
    status = 200 if well_formed and media_type == JSON else status_of(failure)
    body = to_json({"errors": _errors(failure)})
    return HttpReply(status, [_content_type(media_type), *headers_of(failure)], body, failure)


def _errors(failure: Failure) -> Sequence[Mapping[str, Any]]:
    return [error(failure.message, BAD_REQUEST)] if isinstance(failure, HttpRefusal) else errors_of(failure)


def _content_type(media_type: str) -> tuple[str, str]:
    return "Content-Type", f"{media_type}; charset=utf-8"


def _not_acceptable(text: str) -> HttpRefusal:
    return HttpRefusal(406, text)
