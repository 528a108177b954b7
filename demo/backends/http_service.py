"""HttpService: an aiohttp application on one address."""

from aiohttp import web


class HttpService:
    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, address: str) -> None:
        """Raises OSError when the address is taken."""
        host, _, port = address.rpartition(":")
        await self._runner.setup()
        await web.TCPSite(self._runner, host, int(port)).start()

    async def stop(self) -> None:
        await self._runner.cleanup()
