"""Front: takes CloudEvents over HTTP.

https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents: bindings/http-protocol-binding.md (binary, structured and
batched content mode) and http-webhook.md (validation handshake).
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from adapters.events.config import Endpoint
from gateway.codecs import cloudevents
from gateway.codecs.cloudevents import CloudEvent
from gateway.journal.topic import is_topic
from gateway.net.http import webhook_signature as signature
from gateway.net.http.cloudevents import read_events
from gateway.net.http.media_type import JSON
from gateway.net.http.problem import problem_reply
from gateway.net.http.router import PathTemplate
from gateway.net.http.server import HttpReply, HttpRequest, HttpRoute, HttpServer
from gateway.status import Code, Failure, invalid

BATCH: Final = 1000

_MEMBERS: Final = msgspec.json.Decoder(dict[str, Any])
_HEADERS: Final = (("Content-Type", JSON),)


Publish = Callable[[Sequence[tuple[str, CloudEvent]]], Awaitable[int]]
"""As Hub.publish."""


class Front:
    """POST and OPTIONS of {path}/{topic} on a shared HTTP server."""

    def __init__(self, name: str, endpoint: Endpoint, publish: Publish, server: HttpServer) -> None:
        self._name = name
        self._append = publish
        self._server = server
        self._limit = endpoint.max_message_bytes
        self._keys = signature.read_keys(endpoint.secret)
        self._origins = endpoint.webhook_origins
        self._source = endpoint.source or f"/{name}"
        self._template = PathTemplate(f"{endpoint.path}/{{topic}}")

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        self._server.mount(
            self._name,
            [
                HttpRoute("POST", self._template, self._publish),
                HttpRoute("OPTIONS", self._template, self._permit),
            ],
        )
        await self._server.start()

    async def drain(self) -> None:
        await self._server.drain()

    async def stop(self) -> None:
        await self._server.stop()

    def leave(self, successor: "Front | None") -> None:
        """Serve nothing more, while others may use the server."""
        if successor is None or successor._server is not self._server:  # noqa: SLF001  another one of these
            self._server.mount(self._name, ())

    async def _publish(self, request: HttpRequest) -> HttpReply:
        try:
            topic = request.params["topic"]
            if not is_topic(topic):
                raise Failure(Code.NOT_FOUND, "this is no topic: levels of letters, digits, - and _, divided by dots")
            body = await request.body(self._limit)
            if self._keys:
                signature.verify(self._keys, request.headers, body, time.time())
            plain = partial(self._plain, request, body) if self._keys else None
            events, batched = read_events(request.headers, body, BATCH, plain)
            position = await self._append([(topic, event) for event in events]) if events else 0
        except Failure as failure:
            return problem_reply(failure)
        receipts = [{"id": event.id, "topic": topic} for event in events]
        if position:
            for number, receipt in enumerate(receipts):
                receipt["position"] = str(position + number)
        return HttpReply(202, _HEADERS, msgspec.json.encode(receipts if batched else receipts[0]))

    def _plain(self, request: HttpRequest, body: bytes) -> CloudEvent:
        """The event that a signed webhook is which knows no CloudEvents; its payload's `type` becomes the event's."""
        try:
            members = _MEMBERS.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise invalid(f"malformed JSON: {error}") from None
        kind = members.get("type")
        return cloudevents.event(
            {
                "specversion": cloudevents.SPEC_VERSION,
                "id": request.headers[signature.ID],
                "source": self._source,
                "type": kind if isinstance(kind, str) and kind else request.params["topic"],
                "time": _rfc3339(int(request.headers[signature.TIMESTAMP])),
                "datacontenttype": cloudevents.JSON,
            },
            body,
        )

    async def _permit(self, request: HttpRequest) -> HttpReply:
        """http-webhook.md, 4: whether this sender may deliver here."""
        origin = request.headers.get("webhook-request-origin", "").strip()
        allow = ("Allow", "POST, OPTIONS")
        if not origin:
            return HttpReply(204, (allow,))
        if "*" not in self._origins and origin.lower() not in (known.lower() for known in self._origins):
            failure = Failure(Code.PERMISSION_DENIED, "this sender may not deliver here")
            reply = problem_reply(failure)
            return HttpReply(reply.status, (*reply.headers, allow), reply.body)
        headers = [allow, ("WebHook-Allowed-Origin", origin)]
        if "webhook-request-rate" in request.headers:
            headers.append(("WebHook-Allowed-Rate", "*"))
        return HttpReply(200, headers)


def _rfc3339(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
