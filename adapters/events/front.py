"""Front: takes CloudEvents over HTTP.

https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents: bindings/http-protocol-binding.md (binary, structured and
batched content mode) and http-webhook.md (validation handshake).
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from adapters.events.config import Endpoint
from gateway.codecs.cloudevents import CloudEvent
from gateway.journal.topic import is_topic
from gateway.net.http.cloudevents import read_events, webhook_event
from gateway.net.http.media_type import JSON
from gateway.net.http.problem import problem_reply
from gateway.net.http.router import PathTemplate
from gateway.net.http.server import HttpReply, HttpRequest, HttpRoute
from gateway.net.http.webhook_handshake import permission
from gateway.net.http.webhook_signature import read_keys, verify
from gateway.status import Code, Failure

BATCH: Final = 1000

_HEADERS: Final = (("Content-Type", JSON),)

Publish = Callable[[Sequence[tuple[str, CloudEvent]]], Awaitable[int]]
"""As EventLog.publish."""


class Front:
    """POST and OPTIONS of {path}/{topic}."""

    def __init__(self, name: str, endpoint: Endpoint, publish: Publish) -> None:
        self._append = publish
        self._limit = endpoint.max_message_bytes
        self._keys = read_keys(endpoint.secret)
        self._origins = endpoint.webhook_origins
        self._source = endpoint.source or f"/{name}"
        template = PathTemplate(f"{endpoint.path}/{{topic}}")
        self.routes = [
            HttpRoute("POST", template, self._publish),
            HttpRoute("OPTIONS", template, self._permit),
        ]

    async def _publish(self, request: HttpRequest) -> HttpReply:
        try:
            topic = request.params["topic"]
            if not is_topic(topic):
                raise Failure(Code.NOT_FOUND, "this is no topic: levels of letters, digits, - and _, divided by dots")
            body = await request.body(self._limit)
            plain = None
            if self._keys:
                verify(self._keys, request.headers, body, time.time())
                plain = partial(webhook_event, request.headers, body, self._source, topic)
            events, batched = read_events(request.headers, body, BATCH, plain)
            position = await self._append([(topic, event) for event in events]) if events else 0
        except Failure as failure:
            return problem_reply(failure)
        receipts = [{"id": event.id, "topic": topic} for event in events]
        if position:
            for number, receipt in enumerate(receipts):
                receipt["position"] = str(position + number)
        return HttpReply(202, _HEADERS, msgspec.json.encode(receipts if batched else receipts[0]))

    async def _permit(self, request: HttpRequest) -> HttpReply:
        return permission(request.headers, self._origins, ("POST", "OPTIONS"))
