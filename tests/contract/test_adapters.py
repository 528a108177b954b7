"""What every adapter owes, whichever protocol it speaks. Parametrised over the registry: none can opt out."""

import ast
import importlib
import io
import json
import tokenize
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError
from support.pairs import cases

from gateway import registry
from gateway.net.network import Network
from gateway.port import Adapter, Side
from gateway.routes_schema import routes_schema
from gateway.status import Code

PROTOCOLS = registry.protocols()
ROOT = Path(__file__).parents[2]
MAX_FILE_LINES = 400
MAX_CODE_LINES = 800
"""Of a folder, without blank lines, comments and docstrings."""


@pytest.fixture(params=PROTOCOLS)
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return registry.adapter(request.param)


def _module(adapter: Adapter) -> str:
    (point,) = entry_points(group=registry.GROUP, name=adapter.protocol)
    return point.module


def _folder(adapter: Adapter) -> Path:
    return ROOT.joinpath(*_module(adapter).split("."))


def _sides(adapter: Adapter) -> list[tuple[str, Side]]:
    return [(name, side) for name, side in (("from", adapter.inbound), ("to", adapter.outbound)) if side is not None]


def test_both_directions(adapter: Adapter) -> None:
    assert adapter.inbound is not None
    assert adapter.outbound is not None
    assert adapter.summary


def test_every_option_is_described(adapter: Adapter) -> None:
    models: list[type[BaseModel]] = [adapter.endpoint, *(side.address for _, side in _sides(adapter))]
    for model in models:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            assert field.description.endswith("."), f"{model.__name__}.{name}: a sentence ends in a full stop"


def test_examples_are_valid(adapter: Adapter) -> None:
    endpoints = adapter.examples["endpoints"]
    assert endpoints
    for endpoint in endpoints.values():
        adapter.endpoint.model_validate(endpoint)
    for name, side in _sides(adapter):
        example = dict(adapter.examples[name])
        assert example.pop("endpoint") in endpoints
        side.address.model_validate(example)


def test_unknown_options_are_refused(adapter: Adapter) -> None:
    example = next(iter(adapter.examples["endpoints"].values()))
    with pytest.raises(ValidationError, match="Extra inputs"):
        adapter.endpoint.model_validate({**example, "no_such_option": 1})


def test_status_table_is_total(adapter: Adapter) -> None:
    status = importlib.import_module(f"{_module(adapter)}.status")
    assert set(status.TO_WIRE) >= set(Code), "TO_WIRE is total over Code"
    assert status.FROM_WIRE


def test_folder_has_the_shape_of_all(adapter: Adapter) -> None:
    files = {path.name for path in _folder(adapter).glob("*.py")}
    assert {"__init__.py", "config.py", "inbound.py", "outbound.py", "status.py"} <= files


def test_folder_hides_no_core_logic(adapter: Adapter) -> None:
    lines = 0
    for path in _folder(adapter).glob("*.py"):
        source = path.read_text()
        assert len(source.splitlines()) < MAX_FILE_LINES, path.name
        lines += _code_lines(source)
    assert lines <= MAX_CODE_LINES, "core logic hides in it"


def _code_lines(source: str) -> int:
    tree = ast.parse(source)
    documented: set[int] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                documented.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in skipped:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - documented)


def test_peers_cover_every_pattern(adapter: Adapter) -> None:
    """The pair suite runs each of them with the peers of some protocol, and a stream without end as one."""
    assert adapter.inbound is not None
    assert adapter.outbound is not None
    called = [case for target in PROTOCOLS for case in cases(adapter.protocol, target) if not case.refusal]
    asked = [case for source in PROTOCOLS for case in cases(source, adapter.protocol) if not case.refusal]
    assert {case.inbound for case in called} == adapter.inbound.patterns
    assert {case.outbound for case in asked} == adapter.outbound.patterns


async def test_stop_is_safe_before_start(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    opened = 0
    for name, side in _sides(adapter):
        endpoint = adapter.endpoint.model_validate(adapter.examples["endpoints"][adapter.examples[name]["endpoint"]])
        instance = side.open("example", endpoint, Network(Path()))
        if name == "from":
            instance.bind([])
        await instance.stop()
        await instance.stop()
        assert isinstance(instance.unready, str)
        opened += 1
    assert opened == 2


async def test_contract_of_the_example(adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name, side in _sides(adapter):
        example = dict(adapter.examples[name])
        endpoint = adapter.endpoint.model_validate(adapter.examples["endpoints"][example.pop("endpoint")])
        instance = side.open("example", endpoint, Network(Path()))
        await instance.load()
        contract = instance.contract(side.address.model_validate(example))
        assert contract.patterns
        assert contract.patterns <= side.patterns
        assert contract.describe
        assert bool(contract.claim) == (name == "from"), "an inbound says what no two routes may share"
        await instance.stop()


def test_schema_covers_every_option() -> None:
    text = json.dumps(routes_schema())
    for protocol in PROTOCOLS:
        adapter = registry.adapter(protocol)
        assert json.dumps({"const": protocol})[1:-1] in text
        for _, side in _sides(adapter):
            for field in side.address.model_fields:
                assert f'"{field}"' in text
