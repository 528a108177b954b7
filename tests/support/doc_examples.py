"""The examples of docs: routes.yaml files, the commands that call them, and what they print.

Each ```yaml block with routes is an example. In ```console blocks, `$ ` begins a command, `> ` continues it, and the
lines that follow are its output, in which `...` stands for any text. Commands are of the example above them; those
above it under its own heading run before the gateway starts.
The services are the demo's, at their usual ports; brokers are those of the tests. All ports are replaced by free ones.
"""

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from demo.addresses import USUAL_PORTS
from demo.backends.board import DisplayBoard
from demo.backends.carrier import CarrierService
from demo.backends.catalog import CatalogService
from demo.backends.inventory import InventoryService
from demo.backends.legacy import LegacyService
from demo.backends.orders import OrderService
from demo.backends.pricing import PricingService
from demo.backends.warehouse import WarehouseController
from support.gateway_process import GatewayProcess, running_gateway
from support.ports import free_port

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 30.0
SERVICES: Final[Mapping[str, Callable[[], Any]]] = {
    "orders": OrderService,
    "inventory": InventoryService,
    "legacy": LegacyService,
    "catalog": CatalogService,
    "pricing": PricingService,
    "warehouse": WarehouseController,
    "board": DisplayBoard,
    "carrier": CarrierService,
}
_PARTS: Final = {port: part for part, port in USUAL_PORTS.items()}
_PART: Final = re.compile(r"^(?:(#+) [^\n]*|```(yaml|console)\n(.*?)^```)$", re.M | re.S)
_PLACE: Final = re.compile(r"(127\.0\.0\.1[:/])(\d{4,5})\b")


class Command(NamedTuple):
    """output: as the page shows it."""

    text: str
    output: str


class Example(NamedTuple):
    """before: commands that are run before the gateway."""

    routes: str
    before: list[Command]
    commands: list[Command]

    @property
    def text(self) -> str:
        return "\n".join([self.routes, *(command.text for command in (*self.before, *self.commands))])


def read(file: Path) -> list[Example]:
    """The examples of a page that have commands. Raises ValueError where it is not written as the rules above say."""
    examples: list[Example] = []
    above: list[Command] = []  # of this heading's example, which has not come yet
    begun = False  # this heading's example has come
    for heading, kind, block in _PART.findall(file.read_text()):
        if heading:
            _own(file, examples, above)
            above, begun = [], False
        elif kind == "console":
            (examples[-1].commands if begun else above).extend(_commands(file, block))
        elif "\nroutes:" in block:
            examples.append(Example(block, above, []))
            above, begun = [], True
    _own(file, examples, above)
    return [example for example in examples if example.commands]


def _own(file: Path, examples: list[Example], commands: list[Command]) -> None:
    """Commands of a heading without an example are of the one before."""
    if commands and not examples:
        raise ValueError(f"{file.name} has commands and no example")
    if commands:
        examples[-1].commands.extend(commands)


def _commands(file: Path, block: str) -> list[Command]:
    found: list[Command] = []
    for line in block.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append(Command(line[2:], ""))
        elif not found:
            raise ValueError(f"{file.name}: a console block begins with {line!r}")
        elif line.startswith("> ") or line == ">\n":
            found[-1] = Command(found[-1].text + (line[2:] or "\n"), "")
        else:
            found[-1] = Command(found[-1].text, found[-1].output + line)
    return found


def differs(expected: str, printed: str) -> str:
    """What is not as the page shows it; empty where it is."""
    pattern = ".*?".join(re.escape(part) for part in expected.rstrip().split("..."))
    if re.fullmatch(pattern, printed.rstrip(), re.S):
        return ""
    return f"the page shows\n{expected}\nand the command printed\n{printed}"


class Served:
    """An example that runs on free ports.

    brokers: host:port by usual port.
    """

    def __init__(self, example: Example, folder: Path, brokers: Mapping[int, str]) -> None:
        self._example = example
        self._folder = folder
        used = {int(port) for _, port in _PLACE.findall(example.text)}
        self._ports = {port: brokers[port].rpartition(":")[2] if port in brokers else str(free_port()) for port in used}

    def here(self, text: str) -> str:
        """A text of the page with the ports of this run."""
        return _PLACE.sub(lambda place: place[1] + self._ports.get(int(place[2]), place[2]), text)

    async def run(self, command: Command) -> str:
        """What it prints, both streams."""
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        process = await asyncio.create_subprocess_exec(
            shutil.which("bash") or "bash",
            "-c",
            self.here(command.text),
            cwd=self._folder,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(SECONDS):
                printed, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            printed = b"... and did not end\n"
        return printed.decode()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """The services that the example calls, and the gateway, which is ready."""
        routes = yaml.safe_load(self.here(self._example.routes))
        (self._folder / "schemas").symlink_to(ROOT / "schemas")
        async with AsyncExitStack() as stack:
            for port, own in self._ports.items():
                if (part := _PARTS.get(port)) in SERVICES:
                    service = SERVICES[part]()
                    stack.push_async_callback(service.stop)
                    await service.start(f"127.0.0.1:{own}")
            for command in self._example.before:
                await self.run(command)
            gateway = await stack.enter_async_context(running_gateway(self._folder, routes))
            await _settled(gateway)
            yield


async def _settled(gateway: GatewayProcess) -> None:
    """Return when every endpoint is ready, consumer groups included."""
    async with asyncio.timeout(SECONDS):
        while json.loads((await gateway.get("/readyz"))[1]).get("endpoints"):
            await asyncio.sleep(0.05)
