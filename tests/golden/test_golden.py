"""routes.yaml in, plan or problems out: each case is a YAML file with what `check` and `explain` say of it beside it.

After an intended change: pytest tests/golden --update-golden, then read the diff.
"""

from pathlib import Path

import pytest

from gateway import config as configuration
from gateway.compile import Plan, compile_plan
from gateway.document import parse
from gateway.net.network import Network
from gateway.observe import Metrics
from gateway.problem import ConfigError

HERE = Path(__file__).parent
CASES = sorted((HERE / "cases").glob("*.yaml"))
ROOT = HERE.parents[1]


def describe(plan: Plan) -> str:
    lines = []
    for name in (*plan.explanations, *(name for name in plan.pending if name not in plan.explanations)):
        found = plan.explanations.get(name)
        if found is None:
            lines += [f"route {name}", f"  pending  {plan.pending[name]}"]
            continue
        patterns = f"{found.source_pattern.label} -> {found.target_pattern.label}"
        lines += [
            f"route {name}",
            f"  from     {found.source}",
            f"  to       {found.target}",
            f"  pattern  {patterns}",
            f"  request  {found.request}",
            f"  reply    {found.reply}",
        ]
        if found.silence < float("inf"):
            lines.append(f"  silence  {found.silence:g} s")
        for source in found.generated:
            lines += [f"  | {line}".rstrip() for line in source.strip().splitlines()]
    lines += [f"loss {problem}" for problem in plan.losses]
    return "\n".join(lines) + "\n"


async def outcome(case: Path) -> str:
    environment = {"SET": "set", "PORT": "18080"}
    try:
        config = configuration.read(parse(case.read_bytes(), case.name, environment))
        return describe(await compile_plan(config, Network(Path()), Metrics(), None))
    except ConfigError as error:
        return "\n".join(map(str, error.problems)) + "\n"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
async def test_golden(case: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    expected = case.with_suffix(".txt")
    got = await outcome(case)
    if request.config.getoption("--update-golden"):
        expected.write_text(got)
    assert got == expected.read_text()


def test_there_are_cases() -> None:
    assert len(CASES) > 10
