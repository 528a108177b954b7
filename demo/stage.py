"""Stage: what the demo runs. Backends live in the demo's process, broker and gateway are children."""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol, Self

import aiohttp

from demo.addresses import Addresses
from demo.backends.board import DisplayBoard
from demo.backends.carrier import CarrierService
from demo.backends.catalog import CatalogService
from demo.backends.inbox import Inbox
from demo.backends.inventory import InventoryService
from demo.backends.legacy import LegacyService
from demo.backends.orders import OrderService
from demo.backends.partner import PartnerService
from demo.backends.payments import PaymentWorker
from demo.backends.pricing import PricingService
from demo.backends.warehouse import WarehouseController
from demo.broker import Broker
from demo.contract import HOME
from demo.process import Process, StartError
from demo.rabbit import RabbitMQ

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0
ROUTES: Final = HOME / "routes.yaml"


class Backend(Protocol):
    """A service that the gateway calls."""

    inbox: Inbox

    async def start(self, address: str) -> None: ...
    async def stop(self) -> None: ...


class Stage:
    """An async context manager: on leaving, however that comes, all is stopped.

    progress: told what is being started.
    """

    def __init__(self, addresses: Addresses, progress: Callable[[str], None]) -> None:
        self.addresses = addresses
        self.orders = OrderService()
        self.inventory = InventoryService()
        self.legacy = LegacyService()
        self.catalog = CatalogService()
        self.pricing = PricingService()
        self.warehouse = WarehouseController()
        self.board = DisplayBoard()
        self.carrier = CarrierService()
        self.partner = PartnerService(addresses.secret)
        self.payments = PaymentWorker()
        self.broker = Broker(addresses.kafka)
        self.rabbit = RabbitMQ(addresses)
        self.gateway = Process(
            "the gateway",
            (sys.executable, "-m", "gateway", "run", "--config", str(ROUTES)),
            {**os.environ, **addresses.environment, "PYTHONUNBUFFERED": "1"},
        )
        self._progress = progress
        self._rabbit_starts: asyncio.Task[None] | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Raises StartError, or OSError for a port that is taken."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def kill(self) -> None:
        """End the children at once, for those who can't wait."""
        for process in self.processes:
            process.kill()
        self.rabbit.kill()

    @property
    def processes(self) -> Sequence[Process]:
        """Children that should not end before the demo does."""
        return [self.gateway, self.broker, *([] if self.rabbit.node is None else [self.rabbit.node])]

    @property
    def _backends(self) -> Sequence[tuple[Backend, str]]:
        addresses = self.addresses
        return [
            (self.orders, addresses.orders),
            (self.inventory, addresses.inventory),
            (self.legacy, addresses.legacy),
            (self.catalog, addresses.catalog),
            (self.pricing, addresses.pricing),
            (self.warehouse, addresses.warehouse),
            (self.board, addresses.board),
            (self.carrier, addresses.carrier),
            (self.partner, addresses.partner),
        ]

    async def rabbit_started(self) -> str:
        """Why there is no RabbitMQ, or empty. Waits until that is known, at most demo.rabbit.START_SECONDS."""
        if self._rabbit_starts is not None:
            await asyncio.wait({self._rabbit_starts})
            self._rabbit_starts.result()
        return self.rabbit.absent

    async def _start(self) -> None:
        stack = self._stack
        if not ROUTES.is_file():
            raise StartError(f"{ROUTES} is missing: run the demo in a checkout")
        # RabbitMQ takes longest and is needed last: the tour begins without it.
        stack.push_async_callback(self.rabbit.stop)
        stack.push_async_callback(self.payments.stop)
        self._rabbit_starts = asyncio.create_task(self._start_rabbit(), name="RabbitMQ starts")
        stack.push_async_callback(_cancel, self._rabbit_starts)
        self._progress("starting the Kafka broker")
        stack.push_async_callback(self.broker.stop, STOP_SECONDS)
        await self.broker.start()
        self._progress("starting the backends")
        for backend, address in self._backends:
            stack.push_async_callback(backend.stop)
            await backend.start(address)
        self._progress("starting the gateway: gateway run --config routes.yaml")
        stack.push_async_callback(self.gateway.stop, STOP_SECONDS)
        await self.gateway.start()
        await self.gateway.wait_until(self._why_not_serving, START_SECONDS)

    async def _start_rabbit(self) -> None:
        await self.rabbit.start()
        if not self.rabbit.absent:
            await self.payments.start(self.addresses.amqp_url)

    async def settled(self, endpoint: str) -> None:
        """Return when this endpoint is ready, its consumers included: Kafka lets a group's first member wait."""

        async def why_unready() -> str:
            return str((await self._readyz()).get("endpoints", {}).get(endpoint, ""))

        await self.gateway.wait_until(why_unready, START_SECONDS)

    async def counted(self, series: str) -> None:
        """Return when this counter of the admin endpoint, given as its name with its labels, is not zero."""

        async def why_not() -> str:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://{self.addresses.admin}/metrics") as reply,
            ):
                lines = (await reply.text()).splitlines()
            counted = any(line.startswith(f"{series} ") and not line.endswith(" 0.0") for line in lines)
            return "" if counted else f"{series} is zero"

        await self.gateway.wait_until(why_not, START_SECONDS)

    async def _why_not_serving(self) -> str:
        state = await self._readyz()
        pending = ", ".join(f"{route}: {why}" for route, why in state.get("pending", {}).items())
        return pending if state["status"] == "ready" else str(state["status"])

    async def _readyz(self) -> dict[str, Any]:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(2)) as session,
                session.get(f"http://{self.addresses.admin}/readyz") as reply,
            ):
                return dict(await reply.json())
        except (aiohttp.ClientError, TimeoutError):
            return {"status": "its admin endpoint does not answer"}


async def _cancel(task: asyncio.Task[None]) -> None:
    """Return when it has ended: what it started is known then."""
    task.cancel()
    await asyncio.wait({task})
