"""Calls of routes as GraphQL operations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from adapters.graphql.config import Endpoint, Target
from adapters.graphql.contract import forms_of, kinds_of, load
from adapters.graphql.exchange import RESPONSE
from adapters.graphql.subscription import Subscription
from gateway.codecs.format import Unknown
from gateway.codecs.graphql.format import GraphqlJsonFormat
from gateway.codecs.graphql.response import Answer, read_response
from gateway.message import Context, Message
from gateway.net.deadlines import remaining
from gateway.net.http.call import reply_headers, request_headers
from gateway.net.http.client import HttpAnswer, HttpClient
from gateway.net.http.failure import retry_after
from gateway.net.http.media_type import JSON
from gateway.net.http.status import code_of_carrier
from gateway.net.http.targeted import Targeted
from gateway.net.network import Network
from gateway.net.websocket.client import WebSocketClient
from gateway.net.websocket.connection import WebSocketLimits
from gateway.pattern import Ends, Pattern
from gateway.port import Contract, ContractError, Service, UnaryService, loaded
from gateway.schema.idl.graphql.document import GraphqlCall, call_of_document, call_of_field
from gateway.schema.idl.graphql.reader import GraphqlError, GraphqlSchema, introspection_queries
from gateway.schema.types import Operation
from gateway.status import Code, Failure

INTROSPECTION_SECONDS: Final = 10.0
INTROSPECTION_BYTES: Final = 32 * 1024 * 1024
_HEADERS: Final = (("Content-Type", JSON), ("Accept", f"{RESPONSE}, {JSON};q=0.9"))


class GraphqlOutbound(Targeted[HttpClient]):
    """One GraphQL service."""

    def __init__(self, name: str, endpoint: Endpoint, network: Network) -> None:
        super().__init__(endpoint.target, HttpClient(endpoint.max_body_bytes), network, endpoint.tls)
        self._endpoint = endpoint
        self._sockets = WebSocketClient(WebSocketLimits(max_message_bytes=endpoint.max_body_bytes))
        self._schema: GraphqlSchema | None = None

    async def load(self) -> None:
        """Read the schema, or ask the service for it."""
        await super().load()
        self._sockets.trust = self._client.trust
        if self._schema is None:
            sdl = self._endpoint.sdl
            self._schema = await (self._introspect() if sdl is None else load(self._endpoint, sdl, self._network))

    async def _introspect(self) -> GraphqlSchema:
        client = HttpClient(INTROSPECTION_BYTES)
        client.trust = self._client.trust
        try:
            for query in introspection_queries():
                data = await self._ask(client, query)
                if data is not None:
                    return GraphqlSchema.introspected(data, kinds_of(self._endpoint), forms_of(self._endpoint))
        except GraphqlError as error:
            raise ContractError(str(error), field=("introspection",), hint="give sdl instead") from error
        finally:
            await client.close()
        raise ContractError(
            "the service does not answer introspection", field=("introspection",), hint="give sdl instead"
        )

    async def _ask(self, client: HttpClient, query: str) -> Any:
        """The data; None where the service refuses the query. Raises Failure(UNAVAILABLE)."""
        body = msgspec.json.encode({"query": query})
        try:
            answer = await client.request("POST", self._target, _HEADERS, body, INTROSPECTION_SECONDS)
        except Failure as failure:
            raise Failure(
                Code.UNAVAILABLE, f"its schema can't be asked for: {failure.message}", sent=False
            ) from failure
        if answer.status in (502, 503, 504):
            raise Failure(Code.UNAVAILABLE, f"its schema can't be asked for: it answers {answer.status}", sent=False)
        response = read_response(answer.body)
        if response is None or response.errors or response.data is None:
            return None
        return {name: msgspec.json.decode(value) for name, value in response.data.items()}

    def contract(self, address: Target) -> Contract:
        operation = self._operation(loaded(self._schema), address)
        call: GraphqlCall = operation.wire
        cut = f" without {', '.join(call.cut[:5])}{' ...' if len(call.cut) > 5 else ''}" if call.cut else ""
        return Contract(
            patterns=frozenset({operation.pattern}),
            format=GraphqlJsonFormat(),
            request=operation.request,
            reply=operation.reply,
            unknown=Unknown.DROP,
            ends=Ends.PERHAPS,
            headers=self._endpoint.forwarded,
            describe=f"GraphQL {operation.name} at {self._target}{cut}",
            wire=operation,
        )

    def _operation(self, schema: GraphqlSchema, address: Target) -> Operation:
        try:
            if address.field is not None:
                return call_of_field(schema, address.field, address.recursion)
            return call_of_document(schema, self._document(address.document or ""), address.operation)
        except GraphqlError as error:
            key = "field" if address.field is not None else "document"
            raise ContractError(str(error), field=(key,), hint=error.hint) from error

    def _document(self, given: str) -> str:
        if "{" in given:
            return given
        path: Path = self._network.path(given)
        try:
            return path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ContractError(f"{path}: {reason}", field=("document",)) from error

    def service(self, address: Target, contract: Contract, pattern: Pattern) -> Service:
        call: GraphqlCall = contract.wire.wire
        answer = Answer(call, partial=address.partial)
        if pattern is Pattern.SERVER_STREAM:
            return Subscription(self._sockets, self._target, call, answer)
        return _Call(self._client, self._target, call, answer, tuple(contract.headers))

    async def stop(self) -> None:
        await self._sockets.close()
        await super().stop()


class _Call(UnaryService):
    """One query or mutation."""

    def __init__(
        self, client: HttpClient, target: str, call: GraphqlCall, answer: Answer, wanted: Sequence[str]
    ) -> None:
        self._client = client
        self._target = target
        self._answer = answer
        self._wanted = wanted
        document, name = msgspec.json.encode(call.document), msgspec.json.encode(call.name)
        named = b',"operationName":%b' % name if call.name else b""
        self._head = b'{"query":%b%b,"variables":' % (document, named)

    async def call(self, request: Message, context: Context) -> Message:
        headers = request_headers(_HEADERS, request, context)
        body = b"%b%b}" % (self._head, request.body)
        answer = await self._client.request("POST", self._target, headers, body, remaining(context))
        return Message(self._value(answer), reply_headers(answer.headers, self._wanted))

    def _value(self, answer: HttpAnswer) -> bytes:
        response = read_response(answer.body)
        if response is None or (response.data is None and not response.errors):
            if 200 <= answer.status < 300:
                raise Failure(Code.INTERNAL, "the upstream's answer is not GraphQL")
            text = f"the upstream answered {answer.status} without GraphQL"
            raise Failure(code_of_carrier(answer.status), text, retry_after=retry_after(answer.headers))
        return self._answer.value(response, code_of_carrier(answer.status))
