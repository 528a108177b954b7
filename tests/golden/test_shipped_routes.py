"""The shipped routes.yaml is clean: no problems, the losses known, the JSON Schema content, every route toured."""

import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from demo.addresses import choose
from demo.tour import STEPS
from gateway import config as configuration
from gateway.compile import Plan, compile_plan
from gateway.document import load
from gateway.net.network import Network
from gateway.observe import Metrics
from gateway.routes_schema import routes_schema

ROOT = Path(__file__).parents[2]
ROUTES = ROOT / "routes.yaml"


async def _plan() -> Plan:
    return await compile_plan(configuration.read(load(ROUTES, {})), Network(ROOT), Metrics(), None)


async def test_compiles_clean() -> None:
    plan = await _plan()
    assert not plan.pending
    assert list(plan.explanations) == list(plan.config.routes)


async def test_every_loss_is_named() -> None:
    assert [str(loss) for loss in (await _plan()).losses] == []


def test_editors_accept_it() -> None:
    """With variables as they are: the schema is what yaml-language-server shows the user."""
    schema = routes_schema()
    validator = jsonschema.Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(yaml.safe_load(ROUTES.read_text()))] == []
    first = ROUTES.read_text().splitlines()[0]
    assert (ROOT / first.partition("$schema=")[2]).is_file()


@pytest.mark.parametrize(
    ("endpoint", "fits"),
    [
        ({"protocol": "kafka", "bootstrap_servers": "k:9092", "idempotent": "${X}"}, True),
        ({"protocol": "kafka", "bootstrap_servers": "k:9092", "max_message_bytes": "${SIZE:-4096}"}, True),
        ({"protocol": "kafka", "bootstrap_servers": ["k:9092"], "compression": "${HOW:-none}"}, True),
        ({"protocol": "kafka", "bootstrap_servers": "k:9092", "idempotent": "perhaps"}, False),
        ({"protocol": "kafka", "bootstrap_servers": "k:9092", "max_message_bytes": "4096"}, False),
        ({"protocol": "kafka", "bootstrap_servers": 9092}, False),
        ({"protocol": "grpc", "target": "a:1", "proto": "a.proto"}, True),
        ({"protocol": "grpc", "target": "a:1", "protos": "a.proto"}, False),
    ],
)
def test_schema_takes_variables_and_single_values(endpoint: dict[str, object], fits: bool) -> None:
    validator = jsonschema.Draft202012Validator(routes_schema())
    assert validator.is_valid({"endpoints": {"e": endpoint}, "routes": {}}) is fits


def test_every_route_has_its_comment() -> None:
    lines = ROUTES.read_text().splitlines()
    starts = [at for at, line in enumerate(lines) if re.fullmatch(r"  [a-z-]+:", line) and at > lines.index("routes:")]
    assert len(starts) == len(yaml.safe_load(ROUTES.read_text())["routes"])
    assert [lines[at] for at in starts if not lines[at - 1].startswith("  # ")] == []


def test_the_tour_visits_every_route() -> None:
    assert {step.route for step in STEPS} == set(yaml.safe_load(ROUTES.read_text())["routes"])


def test_the_demo_sets_every_variable() -> None:
    variables = set(re.findall(r"\$\{([A-Z_]+)", ROUTES.read_text()))
    assert set(choose(free=True)[0].environment) == variables
