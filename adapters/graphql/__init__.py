"""GraphQL over HTTP, server-sent events and WebSockets, in and out."""

from adapters.graphql.config import Endpoint, Source, Target
from adapters.graphql.inbound import GraphqlInbound
from adapters.graphql.outbound import GraphqlOutbound
from gateway.pattern import Pattern
from gateway.port import Adapter, Side

_PATTERNS = frozenset({Pattern.REQUEST_REPLY, Pattern.SERVER_STREAM})

ADAPTER = Adapter(
    protocol="graphql",
    summary="GraphQL over HTTP: queries and mutations, subscriptions over WebSockets and server-sent events",
    endpoint=Endpoint,
    inbound=Side(address=Source, open=GraphqlInbound, patterns=_PATTERNS),
    outbound=Side(address=Target, open=GraphqlOutbound, patterns=_PATTERNS),
    examples={
        "endpoints": {
            "shop": {"listen": "0.0.0.0:8080", "path": "/graphql", "sdl": "schemas/orders.graphql"},
            "catalog": {"target": "http://catalog:8080/graphql", "sdl": "schemas/orders.graphql"},
        },
        "from": {"endpoint": "shop", "field": "Query.order"},
        "to": {"endpoint": "catalog", "field": "Query.order"},
    },
)
