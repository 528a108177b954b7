"""GraphQL requests as calls of routes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from adapters.graphql.config import Endpoint, Source
from adapters.graphql.contract import forms_of, kinds_of, load
from adapters.graphql.exchange import Exchange
from adapters.graphql.graphiql import page
from adapters.graphql.resolver import resolver, source
from adapters.graphql.socket import SocketHandler
from gateway.codecs.graphql.engine import Engine
from gateway.codecs.graphql.executable import executable
from gateway.codecs.graphql.format import GraphqlFormat
from gateway.codecs.graphql.limits import Limits
from gateway.net.http.cors import CorsPolicy
from gateway.net.http.mounted import Mounted
from gateway.net.http.router import PathTemplate
from gateway.net.http.server import HttpReply, HttpRequest, HttpRoute
from gateway.net.network import Network
from gateway.net.websocket.server import HttpUpgrade
from gateway.pattern import Count
from gateway.port import Binding, Contract, ContractError
from gateway.schema.idl.graphql.reader import ROOTS, GraphqlError, GraphqlSchema, RootField, pattern_of
from gateway.schema.idl.graphql.writer import Written, write
from gateway.schema.types import Operation

_NO_MEMBERS: Final[Mapping[tuple[str, str], str]] = {}
PENDING: Final = "part of the schema is not known yet, because an upstream can't be reached"


class GraphqlInbound(Mounted):
    """One service: a schema at one path of a shared HTTP server."""

    def __init__(self, name: str, endpoint: Endpoint, network: Network) -> None:
        super().__init__(name, endpoint.listen, network, endpoint.tls)
        self._endpoint = endpoint
        self._schema: GraphqlSchema | None = None

    async def load(self) -> None:
        """Read the schema. Without one it is made of what the routes lead to."""
        await super().load()
        if self._endpoint.sdl is not None:
            self._schema = await load(self._endpoint, self._endpoint.sdl, self._network)

    def contract(self, address: Source) -> Contract:
        where = f"{self._endpoint.path} on {self._server.listen}"
        root, _, own = address.field.partition(".")
        kind = ROOTS[root]
        contract = Contract(
            patterns=frozenset({pattern_of(kind)}),
            format=GraphqlFormat(),
            headers=self._endpoint.forwarded,
            claim=f"GraphQL field {address.field} at {where}",
            holds=(f"POST {where}", f"GET {where}"),
            describe=f"GraphQL {address.field} at {where}",
            wire=RootField(kind, own, "", True),
        )
        if self._schema is None:
            return contract
        try:
            operation = self._schema.operation(address.field)
        except GraphqlError as error:
            raise ContractError(str(error), field=("field",), hint=error.hint) from error
        return replace(contract, request=operation.request, reply=operation.reply, wire=operation.wire)

    def bind(self, bindings: Sequence[Binding]) -> None:
        if not bindings:
            self._server.mount(self._name, [])
            return
        endpoint = self._endpoint
        engine = self._engine(bindings)
        rejections = self._network.counters.rejections(self._name)
        exchange = Exchange(engine, endpoint.max_body_bytes, endpoint.max_batch, rejections)
        sockets = SocketHandler(engine, endpoint, rejections)
        shown = page() if endpoint.graphiql else None

        async def get(request: HttpRequest) -> HttpReply | HttpUpgrade:
            if request.upgrades:
                return sockets.upgrade(request)
            if shown is not None and not request.query and "text/html" in request.headers.get("accept", ""):
                return shown
            return await exchange.get(request)

        path = PathTemplate(endpoint.path)
        cors = None if endpoint.cors is None else CorsPolicy(endpoint.cors, endpoint.forward_headers)
        handlers = {"POST": exchange.post, "GET": get}
        self._server.mount(self._name, [HttpRoute(method, path, one, cors) for method, one in handlers.items()])

    def _engine(self, bindings: Sequence[Binding]) -> Engine:
        endpoint = self._endpoint
        schema, members, pending = self._schema, _NO_MEMBERS, ""
        if schema is None:
            known = [binding for binding in bindings if _known(binding)]
            pending = PENDING if len(known) < len(bindings) else ""
            written = _derived(bindings := known)
            members = written.members
            schema = GraphqlSchema.parse(written.sdl, kinds_of(endpoint), forms_of(endpoint))
        resolvers = {one.address.field: resolver(one) for one in bindings if one.pattern.replies is not Count.MANY}
        sources = {one.address.field: source(one) for one in bindings if one.pattern.replies is Count.MANY}
        limits = Limits(endpoint.max_tokens, endpoint.max_depth, endpoint.max_aliases, endpoint.max_cost)
        return Engine(
            executable(schema, resolvers, sources, forms_of(endpoint)),
            limits,
            introspection=endpoint.introspection is not False,
            members=members,
            pending=pending,
        )


def _known(binding: Binding) -> bool:
    """Whether the upstream's contract is there: a route that waits for it has no types."""
    return binding.request is not None


def _derived(bindings: Sequence[Binding]) -> Written:
    """The schema of what these routes take and give."""
    return write(
        {
            binding.address.field: Operation(binding.address.field, binding.pattern, binding.request, binding.reply, {})
            for binding in bindings
        }
    )
