"""The Autobahn testsuite, the judge of WebSocket implementations.

It needs Python 2.7, and is installed on first use into .cache/ of the repository.
"""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

CACHE: Final = Path(__file__).parent.parent.parent / ".cache" / "autobahn"
RELEASE: Final = "autobahntestsuite==25.10.1"
AGENT: Final = "gateway"
SAMPLE: Final = (
    "1.*",
    "2.*",
    "3.*",
    "4.*",
    "5.*",
    "6.1.*",
    "6.2.*",
    "6.3.*",
    "6.5.*",
    "7.*",
    "10.*",
    "12.1.1",
    "13.1.1",
)
"""A minute's worth. With AUTOBAHN=all in the environment every case is run, which takes half an hour."""

_RUN: Final = (
    "import site, sys; site.addsitedir(sys.argv[1]); sys.path.insert(0, sys.argv.pop(1)); "
    "from autobahntestsuite import wstest; sys.exit(wstest.run())"
)


def installed() -> str:
    """The Python that runs it; skips the test, naming what is missing."""
    python = _python()
    if python is None:
        pytest.skip("the Autobahn testsuite needs Python 2.7, which is neither in PATH nor among pyenv's versions")
    stamp = CACHE / "installed"
    if not stamp.exists() or stamp.read_text() != RELEASE:
        shutil.rmtree(CACHE, ignore_errors=True)
        command = [python, "-m", "pip", "install", "--quiet", "--target", str(CACHE), RELEASE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
        if done.returncode != 0:
            pytest.skip(f"pip could not install {RELEASE}: {done.stderr.strip()[-200:]}")
        stamp.write_text(RELEASE)
    return python


def _python() -> str | None:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [str(path) for path in sorted(root.glob("versions/2.7*/bin/python"))]
    return found[0] if found else shutil.which("python2.7")


def cases() -> list[str]:
    return ["*"] if os.environ.get("AUTOBAHN") == "all" else list(SAMPLE)


@asynccontextmanager
async def running(mode: str, folder: Path, spec: dict[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
    """The suite as a fuzzing client or server. Its reports go to the folder."""
    file = folder / "spec.json"
    common = {"outdir": str(folder / "reports"), "cases": cases(), "exclude-cases": [], "exclude-agent-cases": {}}
    file.write_text(json.dumps({**spec, **common}))
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            installed(), "-c", _RUN, str(CACHE), "-m", mode, "-s", str(file), "-u", "0", stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def verdicts(folder: Path) -> dict[str, tuple[str, str]]:
    """Case -> (its verdict, that on its close)."""
    index = json.loads((folder / "reports" / "index.json").read_text())[AGENT]
    return {case: (found["behavior"], found["behaviorClose"]) for case, found in index.items()}
