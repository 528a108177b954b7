"""The inventory service: REST."""

from aiohttp import web

from demo.backends.goods import GOODS
from demo.backends.http_service import HttpService
from demo.backends.inbox import Inbox


class InventoryService(HttpService):
    """GET /stock/{sku}, POST /stock/{sku}/deliveries"""

    def __init__(self) -> None:
        self.inbox = Inbox("the REST inventory service")
        app = web.Application()
        app.router.add_get("/stock/{sku}", self._stock)
        app.router.add_post("/stock/{sku}/deliveries", self._deliver)
        super().__init__(app)

    async def _stock(self, request: web.Request) -> web.Response:
        sku = request.match_info["sku"]
        await self.inbox.put("GET", f"{request.method} {request.path_qs}", sku)
        good = GOODS.get(sku)
        if good is None:
            problem = {"title": "Not Found", "status": 404, "detail": f"the shop has no {sku}"}
            return web.json_response(problem, status=404, content_type="application/problem+json")
        return web.json_response({"sku": sku, "available": good.available, "warehouse": good.warehouse})

    async def _deliver(self, request: web.Request) -> web.Response:
        body = await request.text()
        await self.inbox.put("POST", f"{request.method} {request.path}\n{body}", await request.json())
        return web.json_response({}, status=201)
