"""The operator's HTTP endpoint: /healthz /readyz /metrics /routes. It listens on loopback unless told otherwise."""

from typing import Any, Final, Protocol

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from gateway.compile import Plan
from gateway.net.http.router import PathTemplate
from gateway.net.http.server import HttpReply, HttpRequest, HttpRoute, HttpServer
from gateway.observe import Metrics

_JSON: Final = (("Content-Type", "application/json"),)


class Served(Protocol):
    """What the admin endpoint tells about."""

    plan: Plan | None
    draining: bool

    def unready(self) -> dict[str, str]: ...


class AdminServer:
    """healthz: the process lives. readyz: it takes work; 503 with the reasons while it does not."""

    def __init__(self, listen: str, served: Served, metrics: Metrics) -> None:
        self._served = served
        self._registry = CollectorRegistry()
        self._registry.register(metrics)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._server = HttpServer(listen)
        self._server.mount(
            "admin",
            [
                HttpRoute("GET", PathTemplate("/healthz"), self._health),
                HttpRoute("GET", PathTemplate("/readyz"), self._ready),
                HttpRoute("GET", PathTemplate("/metrics"), self._metrics),
                HttpRoute("GET", PathTemplate("/routes"), self._routes),
            ],
        )

    @property
    def port(self) -> int:
        """The port that was bound."""
        return self._server.port

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    async def _health(self, request: HttpRequest) -> HttpReply:
        return _json(200, {"status": "alive"})

    async def _ready(self, request: HttpRequest) -> HttpReply:
        served = self._served
        if served.draining or served.plan is None:
            return _json(503, {"status": "draining" if served.draining else "starting"})
        unready = {name: why for name, why in served.unready().items() if why}
        body = {"status": "ready", "endpoints": unready, "pending": served.plan.pending}
        # A peer that is down makes its routes answer UNAVAILABLE; the others serve, so the process is ready.
        return _json(200, {key: value for key, value in body.items() if value})

    async def _metrics(self, request: HttpRequest) -> HttpReply:
        return HttpReply(200, (("Content-Type", CONTENT_TYPE_LATEST),), generate_latest(self._registry))

    async def _routes(self, request: HttpRequest) -> HttpReply:
        plan = self._served.plan
        routes: dict[str, Any] = {}
        if plan is not None:
            for name in (*plan.explanations, *(name for name in plan.pending if name not in plan.explanations)):
                explanation = plan.explanations.get(name)
                routes[name] = (
                    {"pending": plan.pending.get(name, "")}
                    if explanation is None
                    else {
                        "from": explanation.source,
                        "to": explanation.target,
                        "pattern": explanation.source_pattern.label,
                        "request": explanation.request,
                        "reply": explanation.reply,
                    }
                )
        return _json(200, routes)


def _json(status: int, body: Any) -> HttpReply:
    return HttpReply(status, _JSON, msgspec.json.encode(body))
