"""The carrier: tells over WebSocket where a parcel is, and closes when it has arrived."""

import asyncio
from typing import Final

from aiohttp import web

from demo.backends.http_service import HttpService
from demo.backends.inbox import Inbox

STOPS: Final = ("Kyoto", "Rotterdam", "Hamburg")
PACE_SECONDS: Final = 0.1


class CarrierService(HttpService):
    """GET /track/{parcel_id}, upgraded."""

    def __init__(self) -> None:
        self.inbox = Inbox("the carrier")
        app = web.Application()
        app.router.add_get("/track/{parcel_id}", self._track)
        super().__init__(app)

    async def _track(self, request: web.Request) -> web.StreamResponse:
        parcel_id = request.match_info["parcel_id"]
        await self.inbox.put("track", f"WebSocket {request.path}", parcel_id)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for stop in STOPS:
            await socket.send_json({"parcel_id": parcel_id, "at": stop, "arrived": stop == STOPS[-1]})
            await asyncio.sleep(PACE_SECONDS)
        await socket.close()
        return socket
