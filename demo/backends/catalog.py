"""The product catalog: GraphQL, by graphql-core."""

from typing import Any, Final

from aiohttp import web
from graphql import build_schema, graphql

from demo.backends.http_service import HttpService
from demo.backends.inbox import Inbox
from demo.contract import SCHEMAS

PRODUCTS: Final = {
    "TEA": {"name": "Sencha", "tags": ["green", "loose"], "origin": {"country": "JP", "region": "Uji"}},
    "CUP": {"name": "Cup without handle", "tags": [], "origin": {"country": "DE", "region": None}},
}


class CatalogService(HttpService):
    """POST /graphql, with schemas/catalog.graphql."""

    def __init__(self) -> None:
        self.inbox = Inbox("the GraphQL catalog")
        self._schema = build_schema((SCHEMAS / "catalog.graphql").read_text())
        app = web.Application()
        app.router.add_post("/graphql", self._execute)
        super().__init__(app)

    async def _execute(self, request: web.Request) -> web.Response:
        asked = await request.json()
        variables = asked.get("variables") or {}
        await self.inbox.put("query", f"{asked['query'].strip()}\n{variables}", variables)
        result = await graphql(self._schema, asked["query"], _Root(), variable_values=variables)
        return web.json_response(result.formatted)


class _Root:
    def product(self, info: Any, sku: str) -> dict[str, Any] | None:
        return {"sku": sku, **PRODUCTS[sku]} if sku in PRODUCTS else None
