"""Measures this gateway beside its peers and writes docs/benchmarks.md."""

import argparse
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import google.api.annotations_pb2
import grpc_tools
from grpc_tools import protoc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import broker
from benchmarks.cases import CASES, FOLDER, Case, Site, Variant
from benchmarks.messages import MESSAGES
from benchmarks.process import Process, StartError, free_port
from benchmarks.report import Row, page

VARIANT_CORE: Final = 0
OTHER_CORE: Final = 1
CONNECTIONS: Final = 32
WARM_UP: Final = 200
LEAST_REQUESTS: Final = 64
READY_SECONDS: Final = 30.0
PAGE: Final = FOLDER.parent / "docs" / "benchmarks.md"


class LoadError(Exception):
    """A variant answered wrongly, or not at all."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A variant that is up."""

    case: Case
    variant: Variant
    process: Process
    port: int
    row: Row


class Run:
    """budget: CPU-seconds that a variant shall take with one message in one round."""

    def __init__(self, work: Path, cases: Sequence[Case], rounds: int, budget: float) -> None:
        self._work = work
        self._cases = cases
        self._rounds = rounds
        self._budget = budget
        self.tables: dict[str, list[Row]] = {}

    def measure(self, console: Console) -> None:
        """Raises StartError, LoadError."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with ExitStack() as stack, Progress(*columns, TimeElapsedColumn(), console=console) as progress:
            task = progress.add_task("starting", total=None)
            contenders = self._start(stack)
            pairs = [(contender, message) for contender in contenders for message in MESSAGES]
            progress.update(task, total=self._rounds * len(pairs))
            for round_ in range(self._rounds):
                turn = round_ % len(pairs)
                for contender, message in pairs[turn:] + pairs[:turn]:
                    label = f"round {round_ + 1}: {contender.case.name}, {contender.variant.name}, {message}"
                    progress.update(task, description=label)
                    self._measure(contender, message)
                    progress.advance(task)
            for contender in contenders:
                contender.row.resident_bytes = contender.process.resident_bytes()

    def _start(self, stack: ExitStack) -> list[Contender]:
        site = Site(self._work, free_port(), free_port())
        _compile(site)
        backend = self._process(
            stack, "backend", (sys.executable, "-m", "benchmarks.backend", "--port", str(site.backend_port)), site
        )
        backend.wait_ready()
        kafka = broker.binary()
        if kafka is not None and any(case.kafka for case in self._cases):
            process = broker.start(kafka, site.kafka_port, core=OTHER_CORE, log=self._work / "broker.log")
            stack.callback(process.stop)
        contenders = []
        for case in self._cases:
            rows = self.tables[case.name] = [Row(name, absent=why) for name, why in case.absent.items()]
            for variant in case.variants:
                missing = broker.PACKAGE if case.kafka and kafka is None else variant.missing
                rows.append(Row(variant.name, absent=f"{missing} is not installed" if missing else ""))
                if not missing:
                    contenders.append(self._contender(stack, case, variant, rows[-1], site))
        return contenders

    def _contender(self, stack: ExitStack, case: Case, variant: Variant, row: Row, site: Site) -> Contender:
        port = free_port()
        launch = variant.launch(site, port)
        log = self._work / f"{len(self.tables)}-{variant.name.replace(' ', '-')}.log"
        process = Process(
            f"{case.name}, {variant.name}",
            launch.command,
            core=VARIANT_CORE,
            log=log,
            environment={**site.environment, **launch.environment},
        )
        stack.callback(process.stop)
        contender = Contender(case, variant, process, port, row)
        for message in MESSAGES:
            _wait_right(contender, message)
        return contender

    def _process(self, stack: ExitStack, name: str, command: Sequence[str], site: Site) -> Process:
        process = Process(
            name,
            command,
            core=OTHER_CORE,
            log=self._work / f"{name}.log",
            environment=site.environment,
            port=site.backend_port,
        )
        stack.callback(process.stop)
        return process

    def _measure(self, contender: Contender, message: str) -> None:
        requests = max(LEAST_REQUESTS, round(self._budget * 1e6 / contender.variant.cost[message]))
        job = {
            **contender.case.job(message),
            "port": contender.port,
            "requests": requests,
            "warm_up": min(WARM_UP, requests),
            "connections": CONNECTIONS,
        }
        log = self._work / "load.log"
        load = Process(
            "load",
            (sys.executable, "-m", "benchmarks.load"),
            core=OTHER_CORE,
            log=log,
            environment={"PYTHONPATH": str(FOLDER.parent)},
            pipes=True,
        )
        try:
            _say(load, json.dumps(job))
            if load.output.readline() != "ready\n":
                raise LoadError(str(load.failed(f"{contender.process.name}, {message}")))
            before = contender.process.cpu_seconds()
            _say(load, "go")
            outcome = load.output.readline()
            seconds = contender.process.cpu_seconds() - before
            if not outcome:
                raise LoadError(str(load.failed(f"{contender.process.name}, {message}")))
        finally:
            load.stop()
        contender.row.micros.setdefault(message, []).append(seconds / requests * 1e6)
        contender.row.requests[message] = requests


def _say(process: Process, line: str) -> None:
    process.input.write(line + "\n")
    process.input.flush()


def _wait_right(contender: Contender, message: str) -> None:
    """Return when the variant answers with the right status. Raises StartError."""
    job = contender.case.job(message)
    headers = {"Content-Type": job["content_type"], **job["headers"]}
    deadline = time.monotonic() + READY_SECONDS
    while True:
        answer = _ask(contender.port, job["path"], job["body"].encode(), headers)
        if answer[0] == job["status"]:
            return
        contender.process.check()
        if time.monotonic() > deadline:
            raise contender.process.failed(f"{message}: still {answer} after {READY_SECONDS:g} s")
        time.sleep(0.1)


def _ask(port: int, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    """(status, start of the body); status 0 where there is no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()[:500]
    except OSError as error:
        return 0, str(error)
    finally:
        connection.close()


def _compile(site: Site) -> None:
    """protoc's Python modules for the hand-written programs, a descriptor set for Envoy. Raises StartError."""
    bundled = (Path(grpc_tools.__file__).parent / "_proto", Path(google.api.annotations_pb2.__file__).parents[2])
    ended = protoc.main(
        [
            "protoc",
            f"-I{FOLDER}",
            *(f"-I{folder}" for folder in bundled),
            f"--python_out={site.work}",
            f"--grpc_python_out={site.work}",
            f"--descriptor_set_out={site.descriptor_set}",
            "--include_imports",
            "bench.proto",
        ]
    )
    if ended:
        raise StartError(f"protoc ended with {ended}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--budget", type=float, default=0.5, help="CPU-seconds a variant takes per message and round")
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="only this one")
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    cases = [case for case in CASES if not options.case or case.name in options.case]
    console = Console()
    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        run = Run(Path(work), cases, options.rounds, options.budget)
        try:
            run.measure(console)
        except (StartError, LoadError) as error:
            sys.exit(str(error))
    text = page(run.tables, cases, rounds=options.rounds, connections=CONNECTIONS)
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(text)
    _print(console, run.tables)
    console.print(f"written to {options.out}")


def _print(console: Console, tables: dict[str, list[Row]]) -> None:
    table = Table("case", "variant", *(f"{message} µs" for message in MESSAGES), "RSS MB")
    for case, rows in tables.items():
        for row in rows:
            cells = [f"{sorted(row.micros[name])[len(row.micros[name]) // 2]:.0f}" for name in MESSAGES if row.micros]
            rss = f"{row.resident_bytes / 1e6:.0f}"
            table.add_row(case, row.name, *((*cells, rss) if cells else ("n/a", "n/a", row.absent)))
    console.print(table)


if __name__ == "__main__":
    main()
