"""GraphQL over HTTP: https://graphql.github.io/graphql-over-http/draft/, and GraphQL over server-sent events."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any, Final

from graphql import OperationType

from adapters.graphql.engine import Engine, GraphqlRequest, Operation
from adapters.graphql.errors import RequestError, error, error_of_failure
from adapters.graphql.executable import Caller
from adapters.graphql.status import BAD_REQUEST
from adapters.graphql.wire import COMPLETE, HEARTBEAT, parse_json, sse_next, to_json
from gateway.codecs.form import parse_form
from gateway.net.http_failure import status_of
from gateway.net.http_server import HttpReply, HttpRequest
from gateway.status import Failure

RESPONSE: Final = "application/graphql-response+json"
JSON: Final = "application/json"
SSE: Final = "text/event-stream"
HEARTBEAT_SECONDS: Final = 15.0

_SSE_HEADERS: Final = (("Content-Type", SSE), ("Cache-Control", "no-cache"), ("X-Accel-Buffering", "no"))
_SHOWN: Final = 100


class Exchange:
    """Answers POST and GET.

    limit: of a body, in bytes. batch: the most operations in one.
    """

    def __init__(self, engine: Engine, limit: int, batch: int) -> None:
        self._engine = engine
        self._limit = limit
        self._batch = batch

    async def post(self, request: HttpRequest) -> HttpReply:
        try:
            _check_content_type(request.headers.get("content-type", ""))
            parsed = parse_json(await request.body(self._limit))
            if isinstance(parsed, list):
                return await self._answer_batch(request, parsed)
            asked = request_of(parsed)
        except RequestError as refused:
            return self._refusal(request, refused)
        except ValueError as problem:
            return self._refusal(request, _malformed(str(problem)))
        except Failure as failure:
            return self._refusal(
                request, RequestError([error_of_failure(failure)], status_of(failure, otherwise=400), well_formed=False)
            )
        return await self._answer(request, asked, safe=False)

    async def get(self, request: HttpRequest) -> HttpReply:
        try:
            asked = request_of(_of_query(request.query))
        except RequestError as refused:
            return self._refusal(request, refused)
        except Failure as failure:
            return self._refusal(request, RequestError([error_of_failure(failure)], well_formed=False))
        return await self._answer(request, asked, safe=True)

    async def _answer(self, request: HttpRequest, asked: GraphqlRequest, *, safe: bool) -> HttpReply:
        """safe: nothing but queries and subscriptions (RFC 9110, 9.2.1)."""
        media_type = accepted(request.headers.get("accept", ""))
        stream = SSE in request.headers.get("accept", "")
        if media_type is None and not stream:
            return self._refusal(request, _not_acceptable(f"{RESPONSE}, {JSON} and {SSE} can be had"))
        caller = Caller(request.headers, request.peer, request.trace)
        try:
            operation = self._engine.prepare(asked)
            if safe and operation.kind is OperationType.MUTATION:
                refused = RequestError([error("mutations are sent with POST", BAD_REQUEST)], 405, well_formed=False)
                return self._refusal(request, refused)
            if operation.kind is OperationType.SUBSCRIPTION:
                if not stream:
                    return self._refusal(
                        request, _not_acceptable(f"subscriptions are answered as {SSE}, or by WebSocket")
                    )
                return HttpReply(200, _SSE_HEADERS, events(self._engine.subscribe(operation, caller)))
            result = await self._engine.execute(operation, caller)
        except RequestError as refused:
            if media_type is None:
                # Clients of server-sent events can't read the body of a refusal.
                return HttpReply(200, _SSE_HEADERS, sse_next({"errors": refused.errors}) + COMPLETE)
            return self._refusal(request, refused)
        headers = [(name, value) for name, value in caller.replied if isinstance(value, str)]
        if media_type is None:
            return HttpReply(200, [*headers, *_SSE_HEADERS], sse_next(result) + COMPLETE)
        return HttpReply(200, [*headers, _content_type(media_type)], to_json(result))

    async def _answer_batch(self, request: HttpRequest, parsed: list[Any]) -> HttpReply:
        if self._batch == 1:
            raise RequestError([error("batches are not taken here", BAD_REQUEST)], well_formed=False)
        if not 0 < len(parsed) <= self._batch:
            text = f"a batch may have 1 to {self._batch} operations, this one has {len(parsed)}"
            raise RequestError([error(text, BAD_REQUEST)], well_formed=False)
        media_type = accepted(request.headers.get("accept", ""))
        if media_type is None:
            raise _not_acceptable(f"batches are answered as {RESPONSE} or {JSON}")
        caller = Caller(request.headers, request.peer, request.trace)
        asked = [request_of(one) for one in parsed]
        results = [await self._one_of_batch(one, caller) for one in asked]
        return HttpReply(200, [_content_type(media_type)], to_json(results))

    async def _one_of_batch(self, asked: GraphqlRequest, caller: Caller) -> dict[str, Any]:
        try:
            operation: Operation = self._engine.prepare(asked)
            if operation.kind is OperationType.SUBSCRIPTION:
                raise RequestError([error("a batch can't have subscriptions", BAD_REQUEST)])
            return await self._engine.execute(operation, caller)
        except RequestError as refused:
            return {"errors": refused.errors}

    def _refusal(self, request: HttpRequest, refused: RequestError) -> HttpReply:
        media_type = accepted(request.headers.get("accept", "")) or JSON
        status = 200 if refused.well_formed and media_type == JSON else refused.status
        headers = [_content_type(media_type)]
        if status == 405:
            headers.append(("Allow", "POST"))
        return HttpReply(status, headers, to_json({"errors": refused.errors}))


async def events(responses: AsyncGenerator[dict[str, Any], None]) -> AsyncGenerator[bytes, None]:
    """The responses as server-sent events. What ends them early is told in a last `next`."""
    coming = asyncio.ensure_future(anext(responses, None))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=HEARTBEAT_SECONDS)
            if not done:
                yield HEARTBEAT
                continue
            response = coming.result()
            if response is None:
                break
            yield sse_next(response)
            coming = asyncio.ensure_future(anext(responses, None))
    except RequestError as refused:
        yield sse_next({"errors": refused.errors})
    except Failure as failure:
        yield sse_next({"errors": [error_of_failure(failure)]})
    finally:
        if not coming.done():
            coming.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({coming})
        await responses.aclose()
    yield COMPLETE


def request_of(parameters: Any) -> GraphqlRequest:
    """Of a request's JSON. Raises RequestError."""
    if not isinstance(parameters, dict):
        raise _malformed("a JSON object is expected")
    query, variables = parameters.get("query"), parameters.get("variables")
    operation, extensions = parameters.get("operationName"), parameters.get("extensions")
    if not isinstance(query, str) or not query.strip():
        raise _malformed("query is missing: the GraphQL document, as a string")
    if not (variables is None or isinstance(variables, dict)):
        raise _malformed("variables must be an object")
    if not (operation is None or isinstance(operation, str)):
        raise _malformed("operationName must be a string")
    if not (extensions is None or isinstance(extensions, dict)):
        raise _malformed("extensions must be an object")
    return GraphqlRequest(query, operation or None, variables or {})


def accepted(accept: str) -> str | None:
    """The media type to answer with; None where none of ours will do. RFC 9110, 12.5.1."""
    if not accept.strip():
        return JSON
    best, chosen = 0.0, None
    for entry in accept.split(","):
        name, *parameters = (part.strip().lower() for part in entry.split(";"))
        quality = _quality(parameters)
        media_type = name if name in (RESPONSE, JSON) else JSON if name in ("*/*", "application/*") else None
        if media_type is not None and quality > best:
            best, chosen = quality, media_type
    return chosen


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


def _of_query(query: str) -> Mapping[str, Any]:
    """The parameters of a GET; two of them are JSON in text."""
    found: dict[str, Any] = dict(parse_form(query.encode())) if query else {}
    for name in ("variables", "extensions"):
        if found.get(name):
            try:
                found[name] = parse_json(found[name])
            except (ValueError, AttributeError, TypeError):
                raise _malformed(f"{name} must be a JSON object") from None
        else:
            found.pop(name, None)
    return found


def _check_content_type(given: str) -> None:
    media_type, _, parameters = given.partition(";")
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip(' "')
    if media_type.strip().lower() != JSON or charset not in ("", "utf-8", "utf8"):
        text = f"content type {given[:_SHOWN] or 'none'} is not read here, {JSON} is"
        raise RequestError([error(text, BAD_REQUEST)], 415, well_formed=False)


def _content_type(media_type: str) -> tuple[str, str]:
    return "Content-Type", f"{media_type}; charset=utf-8"


def _malformed(text: str) -> RequestError:
    return RequestError([error(text, BAD_REQUEST)], well_formed=False)


def _not_acceptable(text: str) -> RequestError:
    return RequestError([error(text, BAD_REQUEST)], 406, well_formed=False)
