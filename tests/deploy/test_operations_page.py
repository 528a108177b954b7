"""The page for operators tells what the gateway really emits and does."""

import asyncio
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import aiohttp
import yaml
from support.pairs import running, write_routes
from support.ports import free_port

from gateway import config as configuration
from gateway import registry
from gateway.compile import compile_plan
from gateway.document import parse
from gateway.net.network import Network
from gateway.observe import Metrics
from gateway.status import Code, Disposition, disposition

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
FATES = {
    "waits": Disposition.REDELIVER,
    "dead letter at once": Disposition.DEAD_LETTER,
    "dead letter after `max_deliveries`": Disposition.REDELIVER_THEN_DEAD_LETTER,
}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table with this heading, without its head."""
    table = PAGE[PAGE.index(f"| {heading} |") :].partition("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_metrics() -> None:
    told = {name: set(names(labels)) for (name,), labels, _ in ((names(row[0]), *row[1:]) for row in rows("metric"))}
    metrics = Metrics()
    metrics.route("r")
    emitted = {family.name + ("_total" if family.type == "counter" else "") for family in metrics.collect()}
    assert told.keys() == emitted


async def test_endpoint_events() -> None:
    told = {event: set(row[1].split(", ")) for row in rows("event") for event in names(row[0])}
    config = configuration.read(parse((ROOT / "routes.yaml").read_bytes(), "routes.yaml", {}))
    network = Network(ROOT)
    await compile_plan(config, network, Metrics(), None)
    protocols = {name: endpoint.protocol for name, endpoint in config.endpoints.items()}
    for endpoint, event, _ in network.counters:
        assert event in told, f"{protocols[endpoint]} counts {event}"
        known = told[event]
        assert protocols[endpoint] in known or known == {"all listeners"}, f"{event} of {protocols[endpoint]}"
    assert {protocol for of in told.values() for protocol in of} - {"all listeners"} <= {*registry.protocols()}


def test_codes() -> None:
    told = {Code[name]: FATES[row[2]] for row in rows("code") for name in names(row[0])}
    assert told == {code: disposition(code) for code in Code if code is not Code.OK}


def test_alerts_ask_for_what_is_emitted() -> None:
    rules = yaml.safe_load(PAGE.partition("```yaml alerts.yml\n")[2].partition("```")[0])
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    metrics = Metrics()
    metrics.route("r")
    emitted = {family.name + ("_total" if family.type == "counter" else "") for family in metrics.collect()}
    asked = {name for alert in alerts for name in re.findall(r"\bgateway_[a-z_]+", alert["expr"])}
    assert asked and asked <= emitted
    codes = {
        code for alert in alerts for found in re.findall(r'code=~"([^"]+)"', alert["expr"]) for code in found.split("|")
    }
    assert codes <= Code.__members__.keys()


async def test_a_store_can_be_copied_while_it_is_in_use(tmp_path: Path) -> None:
    endpoints = {
        "web": {"protocol": "http", "listen": f"127.0.0.1:{free_port()}"},
        "hub": {"protocol": "events", "store": str(tmp_path / "events.db")},
    }
    routes = {"keep": {"from": {"endpoint": "web", "path": "/a"}, "to": {"endpoint": "hub", "topic": "a"}}}

    def copy() -> int:
        with closing(sqlite3.connect(tmp_path / "events.db")) as used, closing(sqlite3.connect(":memory:")) as made:
            used.backup(made)
            (events,) = made.execute("SELECT count(*) FROM events").fetchone()
            return int(events)

    async with running(write_routes(tmp_path, endpoints, routes)), aiohttp.ClientSession() as session:
        for kept in (1, 2):
            async with session.post(f"http://{endpoints['web']['listen']}/a", json={"n": kept}) as reply:
                assert reply.status == 202
            assert await asyncio.to_thread(copy) == kept
