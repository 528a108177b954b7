"""What a GraphQL endpoint speaks, by its schema."""

import asyncio
from collections.abc import Mapping

from adapters.graphql.config import Endpoint
from gateway.net.network import Network
from gateway.port import ContractError
from gateway.schema.idl.graphql.reader import GraphqlError, GraphqlSchema
from gateway.schema.idl.json.hint import JsonHint
from gateway.schema.types import Kind


def forms_of(endpoint: Endpoint) -> JsonHint:
    """How scalars are written."""
    return JsonHint(endpoint.int64, endpoint.decimal, "iso8601")


def kinds_of(endpoint: Endpoint) -> Mapping[str, Kind]:
    return {name: Kind(kind) for name, kind in endpoint.scalars.items()}


async def load(endpoint: Endpoint, sdl: str, network: Network) -> GraphqlSchema:
    """Raises ContractError."""
    try:
        return await asyncio.to_thread(GraphqlSchema.load, network.path(sdl), kinds_of(endpoint), forms_of(endpoint))
    except GraphqlError as error:
        raise ContractError(str(error), field=("sdl",), hint=error.hint) from error
