"""Stage: what the demo runs. Backends live in the demo's process, broker and gateway are children."""

import os
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final, Self

import aiohttp

from demo.addresses import Addresses
from demo.backends.inventory import InventoryService
from demo.backends.legacy import LegacyService
from demo.backends.orders import OrderService
from demo.broker import Broker
from demo.contract import HOME
from demo.process import Process, StartError

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0
ROUTES: Final = HOME / "routes.yaml"


class Stage:
    """An async context manager: on leaving, however that comes, all is stopped.

    progress: told what is being started.
    """

    def __init__(self, addresses: Addresses, progress: Callable[[str], None]) -> None:
        self.addresses = addresses
        self.orders = OrderService()
        self.inventory = InventoryService()
        self.legacy = LegacyService()
        self.broker = Broker(addresses.kafka)
        self.gateway = Process(
            "the gateway",
            (sys.executable, "-m", "gateway", "run", "--config", str(ROUTES)),
            {**os.environ, **addresses.environment, "PYTHONUNBUFFERED": "1"},
        )
        self._progress = progress
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
        self.gateway.kill()
        self.broker.kill()

    async def _start(self) -> None:
        addresses, stack = self.addresses, self._stack
        if not ROUTES.is_file():
            raise StartError(f"{ROUTES} is missing: run the demo in a checkout")
        self._progress("starting the Kafka broker")
        stack.push_async_callback(self.broker.stop, STOP_SECONDS)
        await self.broker.start()
        self._progress("starting the backends")
        stack.push_async_callback(self.orders.stop)
        await self.orders.start(addresses.orders)
        stack.push_async_callback(self.inventory.stop)
        await self.inventory.start(addresses.inventory)
        stack.push_async_callback(self.legacy.stop)
        await self.legacy.start(addresses.legacy)
        self._progress("starting the gateway: gateway run --config routes.yaml")
        stack.push_async_callback(self.gateway.stop, STOP_SECONDS)
        await self.gateway.start()
        await self.gateway.wait_until(self._why_not_serving, START_SECONDS)

    async def settled(self) -> None:
        """Return when every endpoint is ready, the consumer group included: brokers let its first member wait."""
        await self.gateway.wait_until(self._why_not_settled, START_SECONDS)

    async def _why_not_serving(self) -> str:
        state = await self._readyz()
        pending = ", ".join(f"{route}: {why}" for route, why in state.get("pending", {}).items())
        return pending if state["status"] == "ready" else str(state["status"])

    async def _why_not_settled(self) -> str:
        state = await self._readyz()
        return ", ".join(f"{name}: {why}" for name, why in state.get("endpoints", {}).items())

    async def _readyz(self) -> dict[str, Any]:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(2)) as session,
                session.get(f"http://{self.addresses.admin}/readyz") as reply,
            ):
                return dict(await reply.json())
        except (aiohttp.ClientError, TimeoutError):
            return {"status": "its admin endpoint does not answer"}
