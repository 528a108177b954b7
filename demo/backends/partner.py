"""The partner who watches the cold store: receives signed webhooks."""

import base64
import hashlib
import hmac

from aiohttp import web

from demo.backends.http_service import HttpService
from demo.backends.inbox import Inbox


def signature(secret: str, identity: str, timestamp: str, body: bytes) -> str:
    """As Standard Webhooks has it: HMAC-SHA256 over id, timestamp and body."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.digest(key, f"{identity}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


class PartnerService(HttpService):
    """POST /hook. What is not signed with the secret is refused."""

    def __init__(self, secret: str) -> None:
        self.inbox = Inbox("the partner's webhook")
        self._secret = secret
        app = web.Application()
        app.router.add_post("/hook", self._take)
        super().__init__(app)

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        identity, timestamp, given = (
            request.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature")
        )
        if not hmac.compare_digest(given, signature(self._secret, identity, timestamp, body)):
            return web.Response(status=401)
        await self.inbox.put("POST", f"webhook-signature: {given}\n{body.decode()}", await request.json())
        return web.Response(status=204)
