"""RabbitMQ for the demo: the broker that AMQP_URL names, or Debian's rabbitmq-server on loopback, or none."""

import asyncio
import os
import shutil
import socket
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import aiormq
from aiormq.exceptions import AMQPError

from demo.addresses import HOST, Addresses, split
from demo.process import Process, StartError

START_SECONDS: Final = 20.0
"""From the demo's start on."""
# Debian's own command changes to another user; what it calls stands here.
_DEBIAN: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
_MISSING: Final = (
    "rabbitmq-server is not installed (Debian: apt-get install rabbitmq-server), and AMQP_URL names no broker"
)


class RabbitMQ:
    """absent: why there is none; empty while there is one."""

    def __init__(self, addresses: Addresses) -> None:
        self.absent = "it was not started"
        self.node: Process | None = None
        self._addresses = addresses
        self._mapper: Process | None = None
        self._folder: TemporaryDirectory[str] | None = None

    async def start(self) -> None:
        """Return when it answers, or once `absent` says why not."""
        self.absent = await self._start()

    async def stop(self) -> None:
        """At once: nothing that it keeps is needed again."""
        for process in (self.node, self._mapper):
            if process is not None:
                await process.stop(0.0)
        if self._folder is not None:
            self._folder.cleanup()

    def kill(self) -> None:
        for process in (self.node, self._mapper):
            if process is not None:
                process.kill()

    async def _start(self) -> str:
        if os.environ.get("AMQP_URL"):
            return "the broker that AMQP_URL names does not answer" if await self._why_unready() else ""
        server = str(_DEBIAN) if _DEBIAN.exists() else shutil.which("rabbitmq-server")
        mapper = shutil.which("epmd")
        if server is None or mapper is None:
            return _MISSING
        self._folder = TemporaryDirectory(prefix="demo-rabbitmq-", ignore_cleanup_errors=True)
        mapped, distribution = _free_port(), _free_port()
        environment = _environment(Path(self._folder.name), split(self._addresses.rabbit)[1], mapped, distribution)
        self._mapper = Process("epmd", (mapper, "-port", str(mapped), "-address", HOST), os.environ)
        self.node = Process("RabbitMQ", (server,), environment)
        await self._mapper.start()
        await self.node.start()
        try:
            await self.node.wait_until(self._why_unready, START_SECONDS)
        except StartError as error:
            await self.stop()
            self.node = None
            return str(error).partition("\n")[0]
        return ""

    async def _why_unready(self) -> str:
        try:
            async with asyncio.timeout(5):
                connection = await aiormq.connect(self._addresses.amqp_url)
                await connection.close()
        except (AMQPError, OSError, TimeoutError) as error:
            return type(error).__name__
        return ""


def _environment(folder: Path, port: int, mapped: int, distribution: int) -> dict[str, str]:
    """A node with a folder, a cookie and a port mapper of its own."""
    plugins, settings = folder / "plugins", folder / "rabbitmq.conf"
    plugins.write_text("[].\n")
    settings.write_text(f"listeners.tcp.local = {HOST}:{port}\nlog.console = true\nlog.console.level = warning\n")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))},
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(mapped),
        "ERL_EPMD_ADDRESS": HOST,
        "RABBITMQ_NODENAME": f"gateway-demo-{port}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_CONFIG_FILE": str(settings),
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
        " -kernel inet_dist_use_interface {127,0,0,1}",
        # The script then becomes the node, instead of waiting for it: a signal reaches the node.
        "RUNNING_UNDER_SYSTEMD": "true",
    }


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])
