"""Metrics and the access log. Per call it costs a few integer additions; Prometheus' own objects are made at scrape."""

import json
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TextIO

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.message import Context
from gateway.status import Code

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class RouteMetrics:
    """Counts of one route; written by the event loop's thread only."""

    __slots__ = ("codes", "counts", "in_flight", "messages_in", "messages_out", "route", "total")

    def __init__(self, route: str) -> None:
        self.route = route
        self.codes = [0] * len(Code)
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0
        self.in_flight = 0
        self.messages_in = 0
        self.messages_out = 0

    def observe(self, code: Code, seconds: float) -> None:
        self.codes[code] += 1
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds


class Metrics(Collector):
    """All metrics of the process.

    ready: endpoint name -> why it is not ready (empty when it is), asked at each scrape.
    events: (endpoint, event, count) of what endpoints count beside calls, asked at each scrape.
    rejected: (endpoint, code, count) of requests that failed without a route, asked at each scrape.
    jobs: (route, state, count), asked at each scrape.
    """

    def __init__(self) -> None:
        self._routes: dict[str, RouteMetrics] = {}
        self.ready: Callable[[], Mapping[str, str]] = dict
        self.pending: Callable[[], Iterable[str]] = tuple
        self.events: Iterable[tuple[str, str, int]] = ()
        self.rejected: Callable[[], Iterable[tuple[str, Code, int]]] = tuple
        self.jobs: Callable[[], Iterable[tuple[str, str, int]]] = tuple

    def route(self, name: str) -> RouteMetrics:
        """The counts of this route, kept over reloads."""
        return self._routes.setdefault(name, RouteMetrics(name))

    def collect(self) -> Iterable[Metric]:
        calls = CounterMetricFamily("gateway_calls", "Calls by route and status code.", labels=("route", "code"))
        seconds = HistogramMetricFamily("gateway_call_seconds", "Duration of calls by route.", labels=("route",))
        flight = GaugeMetricFamily("gateway_calls_in_flight", "Calls being served by route.", labels=("route",))
        messages = CounterMetricFamily(
            "gateway_stream_messages", "Messages of streams by route and direction.", labels=("route", "direction")
        )
        for name, route in self._routes.items():
            for code in Code:
                if route.codes[code]:
                    calls.add_metric((name, code.name), route.codes[code])
            cumulative, buckets = 0, []
            for bound, count in zip((*BUCKETS, "+Inf"), route.counts, strict=True):
                cumulative += count
                buckets.append((str(bound), cumulative))
            seconds.add_metric((name,), buckets, route.total)
            flight.add_metric((name,), route.in_flight)
            messages.add_metric((name, "request"), route.messages_in)
            messages.add_metric((name, "reply"), route.messages_out)
        ready = GaugeMetricFamily(
            "gateway_endpoint_ready", "1 when the endpoint can do its work.", labels=("endpoint",)
        )
        for endpoint, why in self.ready().items():
            ready.add_metric((endpoint,), 0 if why else 1)
        pending = GaugeMetricFamily(
            "gateway_route_pending", "1 while the route waits for its contract.", labels=("route",)
        )
        for name in self.pending():
            pending.add_metric((name,), 1)
        events = CounterMetricFamily(
            "gateway_endpoint_events", "What endpoints count beside calls.", labels=("endpoint", "event")
        )
        for endpoint, event, count in self.events:
            events.add_metric((endpoint, event), count)
        rejected = CounterMetricFamily(
            "gateway_rejected_requests",
            "Requests that failed without a route, by endpoint and status code.",
            labels=("endpoint", "code"),
        )
        for endpoint, code, count in self.rejected():
            rejected.add_metric((endpoint, code.name), count)
        jobs = GaugeMetricFamily("gateway_jobs", "Jobs kept by route and state.", labels=("route", "state"))
        for route_name, state, count in self.jobs():
            jobs.add_metric((route_name, state), count)
        return (calls, seconds, flight, messages, ready, pending, events, rejected, jobs)


class AccessLog:
    """One JSON line per call on a text stream (stdout)."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def write(self, context: Context, code: Code, seconds: float, message: str) -> None:
        """message: why the call failed, or empty. No payload and no header value is ever
        logged, but for the request's id and trace, which have a form that is checked."""
        entry = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "route": context.route,
            "code": code.name,
            "ms": round(seconds * 1000, 3),
            "peer": context.peer,
        }
        if context.request_id:
            entry["request_id"] = context.request_id
        if context.trace:
            entry["trace"] = context.trace
        if message:
            entry["message"] = message
        self._stream.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._stream.flush()
