"""Every YAML example in the docs compiles, and every make target and command that they name exists."""

import re
from pathlib import Path

import pytest
import yaml

from gateway import cli, registry
from gateway import config as configuration
from gateway.compile import compile_plan
from gateway.document import parse
from gateway.net.network import Network
from gateway.observe import Metrics

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXTRA = {"Formats of bodies", "Formats of messages", "Conversations", "Webhooks", "Backbone", "Streams"}
"""Sections that not every protocol has."""
EXAMPLES = [
    pytest.param(block, page.parent.name == "protocols", id=f"{page.parent.name}-{page.stem}-{number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.M | re.S))
]


@pytest.mark.parametrize(("example", "strict"), EXAMPLES)
async def test_example_compiles(example: str, strict: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """strict: every loss must be named."""
    monkeypatch.chdir(ROOT)
    document = parse(example.encode(), "example.yaml", {})
    if "routes" in document.data:
        plan = await compile_plan(configuration.read(document), Network(Path()), Metrics(), None)
        assert plan.explanations
        assert not strict or not plan.losses
        return
    endpoints = document.data["endpoints"]
    for key in ("from", "to"):
        address = dict(document.data[key])
        endpoint = dict(endpoints[address.pop("endpoint")])
        adapter = registry.adapter(endpoint.pop("protocol"))
        adapter.endpoint.model_validate(endpoint)
        side = adapter.inbound if key == "from" else adapter.outbound
        assert side is not None
        side.address.model_validate(address)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 1 + len(registry.protocols())


def test_readme_lists_every_protocol() -> None:
    listed = re.findall(r"^\| \[([a-z]+)\]\(docs/protocols/\1\.md\)", (ROOT / "README.md").read_text(), re.M)
    assert sorted(listed) == sorted(registry.protocols())


def test_every_protocol_has_its_page() -> None:
    """All pages in the same order; what is in their examples is run by tests/peers/test_docs_examples.py."""
    pages = {page.stem: page.read_text() for page in (ROOT / "docs" / "protocols").glob("*.md")}
    assert sorted(pages) == sorted(registry.protocols())
    for protocol, text in pages.items():
        titles = [title for title in re.findall(r"^## (.*)$", text, re.M) if title not in EXTRA]
        assert titles == ["Example", "Errors", "Limits and defaults", "Known gaps"], protocol
        assert f"(../reference.md#{protocol})" in text
        assert f"protocol: {protocol}," in text


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        named = set(re.findall(r"\bmake ([a-z]+)\b(?=[`\n ])", page.read_text()))
        commands = {name for name in named if re.search(rf"(`|^)make {name}\b", page.read_text(), re.M)}
        assert commands <= targets, page.name


def test_commands_exist() -> None:
    known = {command.callback.__name__ for command in cli.app.registered_commands if command.callback} | {"demo"}
    named = set(re.findall(r"`gateway ([a-z]+)", (ROOT / "README.md").read_text()))
    assert named <= known
    assert named


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_yaml_examples_are_yaml() -> None:
    for page in PAGES:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.M | re.S):
            yaml.safe_load(block)
