"""Runtime: a process's life. Outbounds start before inbounds; draining ends in the opposite order."""

import asyncio
import logging
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

from gateway import config as configuration
from gateway.admin import AdminServer
from gateway.compile import Plan, compile_plan
from gateway.document import load
from gateway.jobs.jobs import Jobs
from gateway.net.network import Network
from gateway.observe import AccessLog, Metrics
from gateway.port import Inbound, Outbound
from gateway.problem import ConfigError
from gateway.route import Route

log = logging.getLogger("gateway")

PENDING_SECONDS: Final = (0.5, 1.0, 2.0, 5.0)
"""Pauses between attempts to get contracts that were not available; the last one repeats."""

LAST_SECONDS: Final = 1.0
LAST_SHARE: Final = 0.2
"""The end of the time for draining, in which callers are told that they won't be answered."""


class Runtime:
    """Serves one routes.yaml.

    start() raises ConfigError, or OSError for a port that is taken; stop() is called after that, too.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._network = Network(file.parent)
        self._metrics = Metrics()
        self._metrics.ready = self.unready
        self._metrics.events = self._network.counters
        self._metrics.rejected = self._network.counters.rejected
        self._metrics.pending = lambda: self.plan.pending if self.plan else ()
        self._metrics.jobs = lambda: self.plan.jobs.counts() if self.plan and self.plan.jobs else ()
        self._access: AccessLog | None = None
        self._admin: AdminServer | None = None
        self._retry: asyncio.Task[None] | None = None
        self._started: list[Inbound | Outbound] = []
        self._jobs: Jobs | None = None
        self._routes: WeakSet[Route] = WeakSet()  # those of former plans too that still have calls
        self.plan: Plan | None = None
        self.draining = False

    async def start(self) -> None:
        config = configuration.read(load(self._file))
        self._access = AccessLog() if config.gateway.access_log else None
        if config.gateway.admin.enabled:
            self._admin = AdminServer(config.gateway.admin.listen, self, self._metrics)
            await self._admin.start()
        plan = await compile_plan(config, self._network, self._metrics, self._access)
        await self._apply(plan)
        where = f", admin at {config.gateway.admin.listen}" if self._admin else ""
        log.info("serving %d routes%s", len(config.routes), where)
        if plan.pending:
            self._retry = asyncio.create_task(self._resolve_pending())

    async def serve(self) -> None:
        """Start, run until SIGTERM or SIGINT, drain, stop."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, ended.set)
        try:
            await self.start()
            await ended.wait()
            await self.drain()
        finally:
            await self.stop()

    async def drain(self) -> None:
        """Accept nothing new and finish what is in flight, within the configured time. Readiness goes first. What can't
        finish is told so: streams without an end of their own at once, all else shortly before the time is up."""
        self.draining = True
        if self._retry is not None:
            self._retry.cancel()
        if self.plan is None:
            return
        grace = self.plan.config.gateway.drain
        log.info("draining for at most %gs", grace)
        ends = asyncio.get_running_loop().time() + grace
        last = min(LAST_SECONDS, grace * LAST_SHARE)
        drains = [asyncio.create_task(inbound.drain()) for inbound in self.plan.inbounds.values()]
        await asyncio.sleep(0)  # a caller that comes back at once must not come here
        for route in self._routes:
            route.drain()
        late = await _unfinished(drains, grace - last)
        if late:
            log.warning("%d endpoints had calls in flight after %gs; they are ended", len(late), grace - last)
            for route in self._routes:
                route.end()
            late = await _unfinished(late, ends - asyncio.get_running_loop().time())
        for task in late:
            task.cancel()
        if late:
            log.warning("%d endpoints were not done after %gs; they are cut", len(late), grace)

    async def stop(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        if self._jobs is not None:
            await self._jobs.stop()
        for side in reversed(self._started):
            await side.stop()
        self._started.clear()
        if self._admin is not None:
            await self._admin.stop()

    def unready(self) -> dict[str, str]:
        """Every endpoint with why it is not ready; empty text where it is."""
        if self.plan is None:
            return {}
        sides: list[tuple[str, Inbound | Outbound]] = [*self.plan.outbounds.items(), *self.plan.inbounds.items()]
        why: dict[str, str] = {}
        for name, side in sides:
            why[name] = why.get(name) or side.unready
        return why

    async def _apply(self, plan: Plan) -> None:
        """Start what is new, swap the routes, stop what is gone."""
        for outbound in plan.outbounds.values():
            if outbound not in self._started:
                self._started.append(outbound)
                await outbound.start()
        await self._keep_jobs(plan)
        for name, inbound in plan.inbounds.items():
            inbound.bind(plan.bindings.get(name, []))
        for inbound in plan.inbounds.values():
            if inbound not in self._started:
                self._started.append(inbound)
                await inbound.start()
        kept = [*plan.outbounds.values(), *plan.inbounds.values()]
        for side in [side for side in self._started if side not in kept]:
            self._started.remove(side)
            await side.stop()
        self.plan = plan
        self._routes.update(plan.routes)

    async def _keep_jobs(self, plan: Plan) -> None:
        """Those of the plan go on before callers ask for them."""
        if self._jobs is not None and self._jobs is not plan.jobs:
            await self._jobs.stop()
        self._jobs = plan.jobs
        if plan.jobs is not None:
            plan.jobs.bind(plan.job_routes)
            await plan.jobs.start()

    async def _resolve_pending(self) -> None:
        """Compile again until no route waits for its contract."""
        attempt = 0
        while self.plan is not None and self.plan.pending:
            await asyncio.sleep(PENDING_SECONDS[min(attempt, len(PENDING_SECONDS) - 1)])
            attempt += 1
            try:
                plan = await compile_plan(self.plan.config, self._network, self._metrics, self._access, self.plan)
            except ConfigError as error:
                for problem in error.problems:
                    log.error("%s", problem)  # noqa: TRY400  the problem says it all
                continue
            for route in self.plan.pending.keys() - plan.pending.keys():
                log.info("route %s is ready", route)
            await self._apply(plan)


async def _unfinished(tasks: Collection["asyncio.Task[Any]"], seconds: float) -> set["asyncio.Task[Any]"]:
    return (await asyncio.wait(tasks, timeout=max(0.0, seconds)))[1] if tasks else set()
